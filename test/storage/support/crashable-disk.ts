/**
 * A disk in memory that remembers what was synced. It can fail any call, and it can lose power: then every file keeps only
 * its synced bytes and any subset of its later ones, and every folder its synced names and any subset of later changes.
 */
import type { Disk, DiskFile, FileStat } from '../../../src/storage/disk.ts';

interface Inode {
  readonly id: number;
  written: Buffer;
  synced: Buffer;
  links: number;
}

type Change = { readonly name: string; readonly node: Inode | Folder | null };

class Folder {
  names = new Map<string, Inode | Folder>();
  synced = new Map<string, Inode | Folder>();
  /** Since the last sync, in order. */
  changes: Change[] = [];
}

/** What is done instead of, or besides, the n-th call. */
export type DiskFault = { readonly call: number; readonly code: string; readonly when: 'before' | 'after' } | null;

export class CrashableDisk implements Disk {
  root = new Folder();
  readonly calls: string[] = [];
  fault: DiskFault = null;
  /** Called after every call: the moment at which the power may fail. */
  onStep: () => void = () => undefined;
  #inodes = 0;
  readonly #mount: string;

  constructor(mount: string) {
    this.#mount = mount;
  }

  async #call<T>(name: string, act: () => T): Promise<T> {
    const call = this.calls.length;
    this.calls.push(name);
    const fault = this.fault?.call === call ? this.fault : null;
    if (fault?.when === 'before') throw systemError(fault.code, name);
    const result = act();
    this.onStep();
    if (fault?.when === 'after') throw systemError(fault.code, name);
    return result;
  }

  createFile(path: string): Promise<DiskFile> {
    return this.#call('createFile', () => {
      const { folder, name } = this.#parent(path);
      if (folder.names.has(name)) throw systemError('EEXIST', path);
      this.#inodes += 1;
      const inode: Inode = { id: this.#inodes, written: Buffer.alloc(0), synced: Buffer.alloc(0), links: 1 };
      change(folder, name, inode);
      return this.#handle(inode);
    });
  }

  openFile(path: string): Promise<DiskFile> {
    return this.#call('openFile', () => {
      const found = this.#find(path);
      if (found instanceof Folder) throw systemError('EISDIR', path);
      return this.#handle(found);
    });
  }

  copyFile(): Promise<void> {
    return this.#call('copyFile', () => {
      throw systemError('ENOSYS', 'copyFile');
    });
  }

  link(from: string, to: string): Promise<void> {
    return this.#call('link', () => {
      const inode = this.#find(from);
      const { folder, name } = this.#parent(to);
      if (inode instanceof Folder) throw systemError('EPERM', from);
      if (folder.names.has(name)) throw systemError('EEXIST', to);
      inode.links += 1;
      change(folder, name, inode);
    });
  }

  unlink(path: string): Promise<void> {
    return this.#call('unlink', () => {
      const inode = this.#find(path);
      const { folder, name } = this.#parent(path);
      if (inode instanceof Folder) throw systemError('EISDIR', path);
      inode.links -= 1;
      change(folder, name, null);
    });
  }

  createFolder(path: string): Promise<void> {
    return this.#call('createFolder', () => {
      const { folder, name } = this.#parent(path);
      if (folder.names.has(name)) throw systemError('EEXIST', path);
      change(folder, name, new Folder());
    });
  }

  syncFolder(path: string): Promise<void> {
    return this.#call('syncFolder', () => {
      const folder = this.#find(path);
      if (!(folder instanceof Folder)) throw systemError('ENOTDIR', path);
      folder.synced = new Map(folder.names);
      folder.changes = [];
    });
  }

  readFolder(path: string) {
    return this.#call('readFolder', () => {
      const folder = this.#find(path);
      if (!(folder instanceof Folder)) throw systemError('ENOTDIR', path);
      return [...folder.names].map(([name, node]) => ({ name, kind: kindOf(node) }));
    });
  }

  stat(path: string): Promise<FileStat> {
    return this.#call('stat', () => statOf(this.#find(path)));
  }

  statAll(paths: readonly string[]): Promise<readonly (FileStat | null)[]> {
    return this.#call('statAll', () =>
      paths.map(path => {
        try {
          return statOf(this.#find(path));
        } catch {
          return null;
        }
      }),
    );
  }

  /** The disk after a power cut now; `keep` says of each thing that was not synced whether it reached the disk. */
  afterPowerCut(keep: () => boolean): CrashableDisk {
    const disk = new CrashableDisk(this.#mount);
    const survivors = new Map<Inode, Inode>();
    const surviving = (inode: Inode): Inode => {
      const known = survivors.get(inode);
      if (known !== undefined) return known;
      const written = keep() ? inode.written : torn(inode, keep);
      const survivor: Inode = { ...inode, written, synced: written, links: 0 };
      survivors.set(inode, survivor);
      return survivor;
    };
    const restore = (folder: Folder): Folder => {
      const names = new Map(folder.synced);
      for (const { name, node } of folder.changes) {
        if (!keep()) continue;
        if (node === null) names.delete(name);
        else names.set(name, node);
      }
      const restored = new Folder();
      for (const [name, node] of names) {
        const survivor = node instanceof Folder ? restore(node) : surviving(node);
        if (!(survivor instanceof Folder)) survivor.links += 1;
        restored.names.set(name, survivor);
      }
      restored.synced = new Map(restored.names);
      return restored;
    };
    disk.root = restore(this.root);
    disk.#inodes = this.#inodes;
    return disk;
  }

  #handle(inode: Inode): DiskFile {
    return {
      stat: () => this.#call('file.stat', () => statOf(inode)),
      read: (from, to) => this.#call('file.read', () => inode.written.subarray(from, to)),
      write: body =>
        this.#call('file.write', () => {
          inode.written = Buffer.from(body);
        }),
      sync: () =>
        this.#call('file.sync', () => {
          inode.synced = inode.written;
        }),
      close: () => this.#call('file.close', () => undefined),
    };
  }

  #find(path: string): Inode | Folder {
    let node: Inode | Folder = this.root;
    for (const name of path.slice(this.#mount.length).split('/').filter(Boolean)) {
      if (!(node instanceof Folder)) throw systemError('ENOTDIR', path);
      const next: Inode | Folder | undefined = node.names.get(name);
      if (next === undefined) throw systemError('ENOENT', path);
      node = next;
    }
    return node;
  }

  #parent(path: string): { folder: Folder; name: string } {
    const slash = path.lastIndexOf('/');
    const folder = this.#find(path.slice(0, slash));
    if (!(folder instanceof Folder)) throw systemError('ENOTDIR', path);
    return { folder, name: path.slice(slash + 1) };
  }
}

function change(folder: Folder, name: string, node: Inode | Folder | null): void {
  if (node === null) folder.names.delete(name);
  else folder.names.set(name, node);
  folder.changes.push({ name, node });
}

/** Without a sync even the length may be right and the content zeros. */
function torn(inode: Inode, keep: () => boolean): Buffer {
  if (inode.synced.length === inode.written.length) return inode.synced;
  return keep() ? Buffer.alloc(inode.written.length) : inode.synced;
}

function kindOf(node: Inode | Folder): 'file' | 'folder' {
  return node instanceof Folder ? 'folder' : 'file';
}

function statOf(node: Inode | Folder): FileStat {
  const modified = new Date(0);
  if (node instanceof Folder) return { kind: 'folder', bytes: 0, modified, links: 1, identity: 'folder' };
  const { id, written, links } = node;
  return { kind: 'file', bytes: written.length, modified, links, identity: `${id}-${written.length}` };
}

function systemError(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}
