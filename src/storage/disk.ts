/**
 * The few calls to the file system that the local store is made of. They are a port, so that tests can fail the n-th call,
 * or forget what was not synced and look at the disk as it is after a power cut.
 */
import { constants, type Dirent, statSync } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';

export interface FileStat {
  readonly kind: 'file' | 'folder' | 'other';
  readonly bytes: number;
  readonly modified: Date;
  /** Names (hard links) of the file. */
  readonly links: number;
  /** Differs between files, and changes when the content is rewritten. */
  readonly identity: string;
}

export interface FolderEntry {
  readonly name: string;
  readonly kind: 'file' | 'folder' | 'other';
}

export interface DiskFile {
  stat(): Promise<FileStat>;
  /** Exactly the bytes [from, to), or fewer where the file ends. */
  read(from: number, to: number): Promise<Uint8Array>;
  write(body: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Every call rejects with the system's error (`code` is `ENOENT`, `EEXIST`, …). */
export interface Disk {
  /** Fails when the name exists. */
  createFile(path: string): Promise<DiskFile>;
  openFile(path: string): Promise<DiskFile>;
  /** Replaces the target. */
  copyFile(from: string, to: string): Promise<void>;
  /** Gives the file a second name, atomically; fails when that name exists. */
  link(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  createFolder(path: string): Promise<void>;
  /** Makes the names in the folder durable. */
  syncFolder(path: string): Promise<void>;
  /** In no order; links are followed, and those that lead nowhere are left out. */
  readFolder(path: string): Promise<readonly FolderEntry[]>;
  stat(path: string): Promise<FileStat>;
  /** One answer per path; null when there is nothing. */
  statAll(paths: readonly string[]): Promise<readonly (FileStat | null)[]>;
}

export const realDisk: Disk = {
  createFile: async path => openHandle(path, 'wx'),
  openFile: async path => openHandle(path, 'r'),
  // A clone where the file system has them, else copied inside the kernel.
  copyFile: (from, to) => copyFile(from, to, constants.COPYFILE_FICLONE),
  link,
  unlink,
  createFolder: path => mkdir(path),
  async syncFolder(path) {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  async readFolder(path) {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.flatMap(entry => {
      const kind = kindOfEntry(path, entry);
      return kind === null ? [] : [{ name: entry.name, kind }];
    });
  },
  stat: async path => fileStat(await stat(path, { bigint: true })),
  statAll,
};

async function openHandle(path: string, flags: 'r' | 'wx'): Promise<DiskFile> {
  const handle = await open(path, flags);
  return {
    stat: async () => fileStat(await handle.stat({ bigint: true })),
    async read(from, to) {
      const buffer = Buffer.allocUnsafe(to - from);
      let filled = 0;
      while (filled < buffer.length) {
        const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, from + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return buffer.subarray(0, filled);
    },
    write: body => handle.writeFile(body),
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}

/**
 * A stat in the thread pool costs ten times the system call. Listings stat tens of thousands of files, so they are called
 * directly, a millisecond's worth at a time.
 */
async function statAll(paths: readonly string[]): Promise<readonly (FileStat | null)[]> {
  const stats: (FileStat | null)[] = [];
  for (const [index, path] of paths.entries()) {
    const found = statSync(path, { bigint: true, throwIfNoEntry: false });
    stats.push(found === undefined ? null : fileStat(found));
    if (index % 256 === 255) await new Promise(resolve => setImmediate(resolve));
  }
  return stats;
}

interface SystemStat {
  isFile(): boolean;
  isDirectory(): boolean;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly mtime: Date;
  readonly nlink: bigint;
  readonly ino: bigint;
}

function fileStat(found: SystemStat): FileStat {
  return {
    kind: found.isFile() ? 'file' : found.isDirectory() ? 'folder' : 'other',
    bytes: Number(found.size),
    modified: found.mtime,
    links: Number(found.nlink),
    // Not the time of the last status change: linking and unlinking other names of the file moves it.
    identity: [found.ino, found.mtimeNs, found.size].map(part => part.toString(36)).join('-'),
  };
}

function kindOfEntry(folder: string, entry: Dirent): FolderEntry['kind'] | null {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  if (!entry.isSymbolicLink()) return 'other';
  const target = statSync(join(folder, entry.name), { throwIfNoEntry: false });
  if (target === undefined) return null;
  return target.isFile() ? 'file' : target.isDirectory() ? 'folder' : 'other';
}
