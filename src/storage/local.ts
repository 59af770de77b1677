/**
 * The object store in a local folder. An object is created in five steps, of which the third decides:
 *
 *     write .tmp-<id> · fsync it · link it to its name (fails if the name exists) · unlink .tmp-<id> · fsync the folder
 *
 * Nobody ever sees half an object, and `applied` means that it survives a power cut. Names that start with a dot are not
 * objects; a killed process may leave some, and `removeDebris` takes them away.
 */
import { randomUUID } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Disk, type DiskFile, type FileStat, realDisk } from './disk.ts';
import { sha256OnThread } from './file-sink.ts';
import { FolderSync } from './folder-sync.ts';
import { keysInFolder } from './local-listing.ts';
import {
  answerOfMet,
  causeOf,
  type Downloaded,
  type DownloadOptions,
  listLimitDefault,
  type ObjectInfo,
  type ObjectPage,
  type ObjectStore,
  type ReadOptions,
  type ReadResult,
  readKeyProblem,
  refused,
  removeFile,
  type WriteResult,
  writeKeyProblem,
} from './object-store.ts';

/** The file system said no before anything became visible; it may say yes later (space, rights), but nothing is pending. */
const refusals = new Set([
  ...['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'ENAMETOOLONG', 'ENOTDIR', 'EISDIR', 'ENOENT', 'EFBIG'],
  ...['EMFILE', 'ENFILE', 'EMLINK', 'EXDEV', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'ELOOP', 'EINVAL', 'EEXIST'],
]);

export class LocalStore implements ObjectStore {
  readonly url: string;
  readonly #root: string;
  readonly #disk: Disk;
  readonly #folderSync: FolderSync;
  /** Folders that exist and whose names are durable up to the root. */
  readonly #durableFolders = new Set<string>();
  /**
   * After a failed fsync the kernel may have dropped the very pages that were to be written, and the next fsync would say
   * that all is well. So this process writes no more.
   */
  #failedSync: string | null = null;

  /** The folder must exist. */
  constructor(folder: string, disk: Disk = realDisk) {
    this.#root = resolve(folder);
    this.#disk = disk;
    this.#folderSync = new FolderSync(disk);
    this.url = pathToFileURL(this.#root).href;
  }

  /** Where an object lies on this machine, for readers that open files themselves. */
  pathOf(key: string): string {
    return join(this.#root, key);
  }

  async get(key: string, options: ReadOptions = {}): Promise<ReadResult<{ bytes: Uint8Array; etag: string }>> {
    return this.#read(key, options.signal, async file => {
      const before = await file.stat();
      const mismatch = mismatchOf(key, before, options.ifMatch);
      if (mismatch !== null) return mismatch;
      const [from, to] = options.range ?? [0, before.bytes];
      const end = Math.min(to, before.bytes);
      if (options.range !== undefined && (from < 0 || from >= end)) {
        return { kind: 'changed', detail: `${key}: no bytes in range ${from}–${to}, it has ${before.bytes} bytes` };
      }
      const bytes = await file.read(from, end);
      const after = await file.stat();
      if (after.identity !== before.identity) return { kind: 'changed', detail: `${key}: rewritten while it was read` };
      if (bytes.length !== end - from) {
        return { kind: 'unknown', cause: `${key}: read ${bytes.length} of ${end - from} bytes` };
      }
      return { kind: 'found', value: { bytes, etag: before.identity } };
    });
  }

  async download(key: string, path: string, options: DownloadOptions = {}): Promise<ReadResult<Downloaded>> {
    const result = await this.#read(key, options.signal, async (file): Promise<ReadResult<Downloaded>> => {
      const before = await file.stat();
      const mismatch = mismatchOf(key, before, options.ifMatch);
      if (mismatch !== null) return mismatch;
      await this.#disk.copyFile(this.pathOf(key), path);
      const copy = await this.#disk.stat(path);
      // The copy was made by name: it must have been the file that was opened, unchanged.
      const after = await this.#disk.stat(this.pathOf(key));
      if (after.identity !== before.identity || copy.bytes !== before.bytes) {
        return { kind: 'changed', detail: `${key}: rewritten while it was copied` };
      }
      const sha256 = options.digest === 'none' ? null : await sha256OnThread(path, options.signal);
      return { kind: 'found', value: { bytes: copy.bytes, sha256, etag: before.identity } };
    });
    if (result.kind !== 'found') await removeFile(path);
    return result;
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<WriteResult> {
    return this.#create(key, temporary => this.#writeFile(temporary, body));
  }

  async put(key: string, body: Uint8Array): Promise<WriteResult> {
    const created = await this.putIfAbsent(key, body);
    if (created.kind !== 'not_applied' || created.reason !== 'exists') return created;
    return answerOfMet(created, await this.get(key), ({ bytes }) => Buffer.compare(bytes, body) === 0);
  }

  async upload(key: string, path: string, options: { readonly signal?: AbortSignal } = {}): Promise<WriteResult> {
    const { signal } = options;
    const created = await this.#create(key, async temporary => {
      signal?.throwIfAborted();
      await this.#disk.copyFile(path, temporary);
      signal?.throwIfAborted();
      return this.#syncFile(temporary);
    });
    if (created.kind !== 'not_applied' || created.reason !== 'exists') return created;
    const met = await this.#read(key, signal, async file => {
      const [ours, found] = [await this.#disk.stat(path), await file.stat()];
      const mismatch = mismatchOf(key, found);
      if (mismatch !== null) return mismatch;
      const same =
        ours.bytes === found.bytes &&
        (await sha256OnThread(path, signal)) === (await sha256OnThread(this.pathOf(key), signal));
      return { kind: 'found', value: { same, etag: found.identity } };
    });
    return answerOfMet(created, met, ({ same }) => same);
  }

  async head(key: string): Promise<ReadResult<ObjectInfo>> {
    const problem = readKeyProblem(key);
    if (problem !== null) return { kind: 'unknown', cause: problem };
    try {
      const found = await this.#disk.stat(this.pathOf(key));
      return mismatchOf(key, found) ?? { kind: 'found', value: infoOf(key, found) };
    } catch (error) {
      return this.#missingOr(error, key);
    }
  }

  async list(prefix: string, options: { after?: string; limit?: number } = {}): Promise<ReadResult<ObjectPage>> {
    const limit = Math.max(1, options.limit ?? listLimitDefault);
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    const problem = folder === '' ? null : readKeyProblem(folder.slice(0, -1));
    if (problem !== null) return { kind: 'unknown', cause: problem };
    try {
      const keys: string[] = [];
      for await (const key of keysInFolder({
        disk: this.#disk,
        root: this.#root,
        folder,
        prefix,
        after: options.after,
      })) {
        keys.push(key);
        if (keys.length > limit) break;
      }
      const page = keys.slice(0, limit);
      const stats = await this.#disk.statAll(page.map(key => this.pathOf(key)));
      // Null: deleted since its folder was read.
      const objects = page.flatMap((key, index) => {
        const found = stats[index];
        return found === null || found === undefined ? [] : [infoOf(key, found)];
      });
      return { kind: 'found', value: { objects, next: keys.length > limit ? (page.at(-1) ?? null) : null } };
    } catch (error) {
      const missing = await this.#missingOr(error, folder);
      return missing.kind === 'not_found' ? { kind: 'found', value: { objects: [], next: null } } : missing;
    }
  }

  async delete(key: string): Promise<WriteResult> {
    const problem = this.#writeProblem(key);
    if (problem !== null) return refused(problem);
    try {
      await this.#disk.unlink(this.pathOf(key));
    } catch (error) {
      const missing = await this.#missingOr(error, key);
      if (missing.kind !== 'unknown') return { kind: 'applied', etag: '' };
      return refusals.has(codeOf(error)) ? refused(causeOf(error)) : { kind: 'unknown', cause: causeOf(error) };
    }
    return (await this.#syncFolder(dirname(this.pathOf(key)))) ?? { kind: 'applied', etag: '' };
  }

  /** Takes away what killed processes left behind. Nothing that is still being written is as old as a day. */
  async removeDebris(before: Date): Promise<{ readonly files: number }> {
    let files = 0;
    for await (const key of keysInFolder({
      disk: this.#disk,
      root: this.#root,
      folder: '',
      prefix: '',
      debris: true,
    })) {
      const [found] = await this.#disk.statAll([this.pathOf(key)]);
      if (found === null || found === undefined || found.modified >= before) continue;
      await this.#disk.unlink(this.pathOf(key));
      files += 1;
    }
    return { files };
  }

  /** The one way an object comes into being; `fill` writes and syncs the temporary file. */
  async #create(key: string, fill: (temporary: string) => Promise<WriteResult | null>): Promise<WriteResult> {
    const problem = this.#writeProblem(key);
    if (problem !== null) return refused(problem);
    const path = this.pathOf(key);
    const temporary = join(dirname(path), `.tmp-${randomUUID()}`);
    try {
      const failed = (await this.#makeFolder(dirname(path))) ?? (await fill(temporary));
      if (failed !== null) return failed;
    } catch (error) {
      await this.#discard(temporary);
      // Nothing has the object's name yet, so whatever it was, nothing was applied.
      return refused(causeOf(error));
    }
    return this.#publish(key, temporary);
  }

  async #publish(key: string, temporary: string): Promise<WriteResult> {
    const path = this.pathOf(key);
    let linkError: unknown = null;
    let own: FileStat | null = null;
    try {
      await this.#disk.link(temporary, path);
    } catch (error) {
      linkError = error;
    }
    try {
      // The server of a network file system may have linked although its answer was lost: then the file has two names.
      own = await this.#disk.stat(temporary);
    } catch (error) {
      if (linkError === null) return { kind: 'unknown', cause: causeOf(error) };
    }
    await this.#discard(temporary);
    const isOurs = linkError === null || (own !== null && own.links > 1);
    if (!isOurs && codeOf(linkError) !== 'EEXIST') {
      return refusals.has(codeOf(linkError))
        ? refused(causeOf(linkError))
        : { kind: 'unknown', cause: causeOf(linkError) };
    }
    // Also for the loser: it will act on what the winner wrote, so that must be durable before it hears of it.
    const unsynced = await this.#syncFolder(dirname(path));
    if (unsynced !== null) return unsynced;
    if (isOurs && own !== null) return { kind: 'applied', etag: own.identity };
    return this.#occupied(key);
  }

  async #occupied(key: string): Promise<WriteResult> {
    const found = await this.head(key);
    if (found.kind === 'changed') return refused(found.detail);
    return { kind: 'not_applied', reason: 'exists', detail: `${key} exists` };
  }

  async #writeFile(path: string, body: Uint8Array): Promise<WriteResult | null> {
    const file = await this.#disk.createFile(path);
    try {
      await file.write(body);
      return await this.#sync(path, () => file.sync());
    } finally {
      await file.close();
    }
  }

  async #syncFile(path: string): Promise<WriteResult | null> {
    const file = await this.#disk.openFile(path);
    try {
      return await this.#sync(path, () => file.sync());
    } finally {
      await file.close();
    }
  }

  /** Creates what is missing of the path below the root, and makes every name on it durable once per process. */
  async #makeFolder(folder: string): Promise<WriteResult | null> {
    if (folder === this.#root || this.#durableFolders.has(folder)) return null;
    const failed = await this.#makeFolder(dirname(folder));
    if (failed !== null) return failed;
    try {
      await this.#disk.createFolder(folder);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      const found = await this.#disk.stat(folder);
      if (found.kind !== 'folder') return refused(`a file is in the way: ${folder} must be a folder`);
    }
    const unsynced = await this.#syncFolder(dirname(folder));
    if (unsynced === null) this.#durableFolders.add(folder);
    return unsynced;
  }

  #syncFolder(folder: string): Promise<WriteResult | null> {
    return this.#sync(folder, () => this.#folderSync.sync(folder));
  }

  async #sync(path: string, sync: () => Promise<void>): Promise<WriteResult | null> {
    try {
      await sync();
      return null;
    } catch (error) {
      this.#failedSync = `fsync of ${path} failed: ${causeOf(error)}`;
      return { kind: 'unknown', cause: this.#failedSync };
    }
  }

  #writeProblem(key: string): string | null {
    if (this.#failedSync !== null) return `${this.#failedSync}; restart the process before it writes again`;
    return writeKeyProblem(key);
  }

  /** Debris is harmless, and what went wrong before is the news: a failure here is not. */
  async #discard(temporary: string): Promise<void> {
    await this.#disk.unlink(temporary).catch(() => undefined);
  }

  async #read<T>(
    key: string,
    signal: AbortSignal | undefined,
    read: (file: DiskFile) => Promise<ReadResult<T>>,
  ): Promise<ReadResult<T>> {
    const problem = readKeyProblem(key);
    if (problem !== null) return { kind: 'unknown', cause: problem };
    let file: DiskFile;
    try {
      signal?.throwIfAborted();
      file = await this.#disk.openFile(this.pathOf(key));
    } catch (error) {
      return this.#missingOr(error, key);
    }
    try {
      return await read(file);
    } catch (error) {
      // Not `not_found`: the object is there, but perhaps not the folder it should go to.
      return { kind: 'unknown', cause: causeOf(error) };
    } finally {
      await file.close().catch(() => undefined);
    }
  }

  /**
   * A missing root is no empty store: its disk may not be mounted. Nor does a file where the key has a folder mean that nothing
   * was ever written there.
   */
  async #missingOr(error: unknown, key: string): Promise<Exclude<ReadResult<never>, { readonly kind: 'found' }>> {
    if (codeOf(error) === 'ENOTDIR')
      return {
        kind: 'changed',
        detail: `${key}: a file is in the way, where a folder of its path must be. Move it away`,
      };
    if (codeOf(error) !== 'ENOENT') return { kind: 'unknown', cause: causeOf(error) };
    try {
      await this.#disk.stat(this.#root);
      return { kind: 'not_found' };
    } catch (rootError) {
      return { kind: 'unknown', cause: `the store's folder is not there: ${causeOf(rootError)}` };
    }
  }
}

function mismatchOf(key: string, found: FileStat, ifMatch?: string): { kind: 'changed'; detail: string } | null {
  if (found.kind !== 'file') return { kind: 'changed', detail: `${key}: a ${found.kind} is in the way` };
  if (ifMatch === undefined || ifMatch === found.identity) return null;
  return { kind: 'changed', detail: `${key}: expected etag ${ifMatch}, found ${found.identity}` };
}

function infoOf(key: string, found: FileStat): ObjectInfo {
  return { key, bytes: found.bytes, etag: found.identity, modified: found.modified.toISOString() };
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
