/** The reference semantics of the object store in a few lines: what the other backends must do, and a fast one for tests. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import {
  causeOf,
  compareKeys,
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

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly modified: string;
}

export class MemoryStore implements ObjectStore {
  readonly url: string;
  readonly #objects = new Map<string, StoredObject>();
  readonly #now: () => Date;
  #writes = 0;

  constructor(options: { readonly name?: string; readonly now?: () => Date } = {}) {
    this.url = `memory://${options.name ?? 'store'}`;
    this.#now = options.now ?? (() => new Date());
  }

  async get(key: string, options: ReadOptions = {}): Promise<ReadResult<{ bytes: Uint8Array; etag: string }>> {
    const problem = readKeyProblem(key);
    if (problem !== null) return { kind: 'unknown', cause: problem };
    if (options.signal?.aborted === true) return { kind: 'unknown', cause: causeOf(options.signal.reason) };
    const object = this.#objects.get(key);
    if (object === undefined) return { kind: 'not_found' };
    if (options.ifMatch !== undefined && options.ifMatch !== object.etag) {
      return { kind: 'changed', detail: `${key}: expected etag ${options.ifMatch}, found ${object.etag}` };
    }
    const [from, to] = options.range ?? [0, object.bytes.length];
    if (options.range !== undefined && (from >= object.bytes.length || from >= to || from < 0)) {
      return {
        kind: 'changed',
        detail: `${key}: no bytes in range ${from}–${to}, it has ${object.bytes.length} bytes`,
      };
    }
    return { kind: 'found', value: { bytes: object.bytes.slice(from, to), etag: object.etag } };
  }

  async download(key: string, path: string, options: DownloadOptions = {}): Promise<ReadResult<Downloaded>> {
    const { ifMatch, signal, digest } = options;
    const read = await this.get(key, { ...(ifMatch === undefined ? {} : { ifMatch }), ...(signal && { signal }) });
    if (read.kind !== 'found') {
      await removeFile(path);
      return read;
    }
    const { bytes, etag } = read.value;
    try {
      await writeFile(path, bytes);
    } catch (error) {
      return { kind: 'unknown', cause: causeOf(error) };
    }
    const sha256 = digest === 'none' ? null : createHash('sha256').update(bytes).digest('hex');
    return { kind: 'found', value: { bytes: bytes.length, sha256, etag } };
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<WriteResult> {
    const problem = writeKeyProblem(key);
    if (problem !== null) return refused(problem);
    if (this.#objects.has(key)) return { kind: 'not_applied', reason: 'exists', detail: `${key} exists` };
    this.#writes += 1;
    const etag = `w${this.#writes}`;
    this.#objects.set(key, { bytes: body.slice(), etag, modified: this.#now().toISOString() });
    return { kind: 'applied', etag };
  }

  async put(key: string, body: Uint8Array): Promise<WriteResult> {
    const created = await this.putIfAbsent(key, body);
    const found = this.#objects.get(key);
    const same = found !== undefined && Buffer.compare(found.bytes, body) === 0;
    return created.kind === 'not_applied' && same ? { kind: 'applied', etag: found.etag } : created;
  }

  async upload(key: string, path: string): Promise<WriteResult> {
    try {
      return await this.put(key, await readFile(path));
    } catch (error) {
      return refused(causeOf(error));
    }
  }

  async head(key: string): Promise<ReadResult<ObjectInfo>> {
    const problem = readKeyProblem(key);
    if (problem !== null) return { kind: 'unknown', cause: problem };
    const object = this.#objects.get(key);
    return object === undefined ? { kind: 'not_found' } : { kind: 'found', value: infoOf(key, object) };
  }

  async list(prefix: string, options: { after?: string; limit?: number } = {}): Promise<ReadResult<ObjectPage>> {
    const limit = options.limit ?? listLimitDefault;
    const { after } = options;
    const matching = [...this.#objects]
      .filter(([key]) => key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0))
      .sort(([a], [b]) => compareKeys(a, b));
    const objects = matching.slice(0, limit).map(([key, object]) => infoOf(key, object));
    const next = matching.length > limit ? (objects.at(-1)?.key ?? null) : null;
    return { kind: 'found', value: { objects, next } };
  }

  async delete(key: string): Promise<WriteResult> {
    const problem = writeKeyProblem(key);
    if (problem !== null) return refused(problem);
    this.#objects.delete(key);
    return { kind: 'applied', etag: '' };
  }
}

function infoOf(key: string, object: StoredObject): ObjectInfo {
  return { key, bytes: object.bytes.length, etag: object.etag, modified: object.modified };
}
