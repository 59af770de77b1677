/**
 * The object store: everything Almanac keeps is an immutable object under a key that is never reused.
 *
 * Three rules make the rest of the system simple:
 * - **Honest answers.** A write was applied, or it was not (and why), or nobody knows. Unknown is an answer of its own:
 *   the object may exist, or may still appear later. It never triggers clean-up and never counts as a failure.
 * - **Create-if-absent decides.** There is no overwrite, conditional or not. Whoever creates the key has won; everyone
 *   else reads what is there and decides again.
 * - **Nothing throws.** Whatever goes wrong on the way is an answer, so that no caller can forget a case.
 */
import { rm } from 'node:fs/promises';

export type WriteResult =
  | { readonly kind: 'applied'; readonly etag: string }
  | {
      readonly kind: 'not_applied';
      /** `exists`: the key is taken. `refused`: the store said no (full, forbidden, bad key); nothing will appear later. */
      readonly reason: 'exists' | 'changed' | 'not_found' | 'refused';
      readonly detail: string;
    }
  | { readonly kind: 'unknown'; readonly cause: string };

export type ReadResult<T> =
  | { readonly kind: 'found'; readonly value: T }
  | { readonly kind: 'not_found' }
  /** The object is there, but it is not the one the caller pinned (`ifMatch`), or it ends before the asked range. */
  | { readonly kind: 'changed'; readonly detail: string }
  /** No trustworthy answer: unreachable, forbidden, cut short, or bytes that do not match their checksum. */
  | { readonly kind: 'unknown'; readonly cause: string };

export interface ObjectInfo {
  readonly key: string;
  readonly bytes: number;
  /** Opaque; equal while the object is unchanged. Not a hash of the content. */
  readonly etag: string;
  /** When the store received it, ISO text in UTC. */
  readonly modified: string;
}

export interface ReadOptions {
  /** Bytes [from, to); clipped at the end of the object. */
  readonly range?: readonly [from: number, to: number];
  readonly ifMatch?: string;
  readonly signal?: AbortSignal;
}

export interface DownloadOptions {
  readonly ifMatch?: string;
  readonly digest?: 'sha256' | 'none';
  readonly signal?: AbortSignal;
}

export interface Downloaded {
  readonly bytes: number;
  /** Lower-case hex; null when the caller asked for no digest. */
  readonly sha256: string | null;
  readonly etag: string;
}

export interface ObjectPage {
  readonly objects: readonly ObjectInfo[];
  /** Give it as `after` for the next page; null when the listing is complete. */
  readonly next: string | null;
}

export interface ObjectStore {
  /** Where it is, for messages: `file:///…` or `s3://bucket/prefix`. */
  readonly url: string;

  /** Reads into memory: documents, footers, log entries. Length and checksum are verified. */
  get(key: string, options?: ReadOptions): Promise<ReadResult<{ readonly bytes: Uint8Array; readonly etag: string }>>;

  /**
   * Streams to a local file, which is replaced; on any answer but `found` no file is left. Length and checksum are
   * verified. The SHA-256 of what was written comes with it unless `digest` is `none` (then it is null): hashing costs as
   * much processor time as the transfer itself, on a thread of its own.
   */
  download(key: string, path: string, options?: DownloadOptions): Promise<ReadResult<Downloaded>>;

  /**
   * Creates the key if it is absent. `applied` means that *this call* created it, even when another writer brings the
   * same bytes: it is the one arbiter of races.
   */
  putIfAbsent(key: string, body: Uint8Array): Promise<WriteResult>;

  /**
   * Writes under a name that is unique (random or a digest). Safe to run twice: finding exactly these bytes there is
   * `applied`; other bytes are `exists`, and they stay.
   */
  put(key: string, body: Uint8Array): Promise<WriteResult>;

  /** Like `put`, from a local file of any size, which must not change meanwhile. */
  upload(key: string, path: string, options?: { readonly signal?: AbortSignal }): Promise<WriteResult>;

  head(key: string): Promise<ReadResult<ObjectInfo>>;

  /**
   * Objects whose key starts with the prefix (any text, not only whole segments), in byte order of their keys, from the
   * first key greater than `after`. `limit` defaults to 1,000. A prefix without objects is an empty page.
   */
  list(prefix: string, options?: { readonly after?: string; readonly limit?: number }): Promise<ReadResult<ObjectPage>>;

  /** `applied` means that the key is absent now, also when it was absent before. */
  delete(key: string): Promise<WriteResult>;
}

export const listLimitDefault = 1000;

/** All pages of a listing; the first answer that is not `found` ends it. */
export async function listAll(
  store: ObjectStore,
  prefix: string,
  after?: string,
): Promise<ReadResult<readonly ObjectInfo[]>> {
  const objects: ObjectInfo[] = [];
  for (let from = after; ; ) {
    const page = await store.list(prefix, { limit: 10_000, ...(from === undefined ? {} : { after: from }) });
    if (page.kind !== 'found') return page;
    objects.push(...page.value.objects);
    if (page.value.next === null) return { kind: 'found', value: objects };
    from = page.value.next;
  }
}

// --- Keys ---------------------------------------------------------------------------------------------------------

/** S3 allows 1,024 bytes including the store's own prefix; file systems 255 for a name, of which a temporary name needs some. */
const keyBytesMax = 900;
const segmentBytesMax = 200;

/** Every reader of the table must be able to open the name: no character that a URL, a shell or Hadoop's Path reads as syntax. */
const writableSegment = /^[A-Za-z0-9_=,@%~-][A-Za-z0-9_.=,@%~-]*$/;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
const controlCharacter = /[\u0000-\u001f\u007f]/;

/**
 * Why a key cannot be written, or null. Keys are segments of `A–Z a–z 0–9 _ . = , @ % ~ -` joined by `/`; a segment has
 * 1 to 200 characters and does not start with a dot (such names are the local store's temporary files). Names that
 * people chose are escaped in `keys.ts`.
 */
export function writeKeyProblem(key: string): string | null {
  if (key.length === 0) return 'the key is empty';
  if (key.length > keyBytesMax) return `the key has ${key.length} characters, at most ${keyBytesMax} are allowed`;
  for (const segment of key.split('/')) {
    if (segment.length > segmentBytesMax) {
      return `segment ${JSON.stringify(segment.slice(0, 40))}… has ${segment.length} characters, at most ${segmentBytesMax} are allowed`;
    }
    if (!writableSegment.test(segment)) return `segment ${JSON.stringify(segment)} is not allowed in a key`;
  }
  return null;
}

/** Why a key cannot be read, or null. Wider than for writing: input data has names that others chose. */
export function readKeyProblem(key: string): string | null {
  if (key.length === 0) return 'the key is empty';
  if (controlCharacter.test(key)) return `key ${JSON.stringify(key)} has control characters`;
  for (const segment of key.split('/')) {
    if (segment === '' || segment.startsWith('.')) return `segment ${JSON.stringify(segment)} is not allowed in a key`;
  }
  return null;
}

/** Byte order of UTF-8, the order of listings; JavaScript's own order differs where surrogates meet U+E000 and above. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  let index = 0;
  while (index < length && a.charCodeAt(index) === b.charCodeAt(index)) index += 1;
  if (index === length) return a.length - b.length;
  const [left, right] = [a.charCodeAt(index), b.charCodeAt(index)];
  if (isSurrogate(left) !== isSurrogate(right)) return isSurrogate(left) ? 1 : -1;
  return left - right;
}

/** Half of a character above U+FFFF, which has the longest encoding and sorts last. */
function isSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdfff;
}

// --- Answers ------------------------------------------------------------------------------------------------------

export function refused(detail: string): WriteResult {
  return { kind: 'not_applied', reason: 'refused', detail };
}

/**
 * What a `put` or an `upload` says that met an object, once that was read: `isSame` is whether it has the caller's bytes. Only
 * bytes that were seen to differ are in the way; while nobody can read them, or the object went meanwhile, nothing is known.
 */
export function answerOfMet<Met extends { readonly etag: string }>(
  created: WriteResult,
  met: ReadResult<Met>,
  isSame: (met: Met) => boolean,
): WriteResult {
  switch (met.kind) {
    case 'found':
      return isSame(met.value) ? { kind: 'applied', etag: met.value.etag } : created;
    case 'changed':
      return created;
    case 'not_found':
      return { kind: 'unknown', cause: 'an object was in the way, and is gone' };
    case 'unknown':
      return { kind: 'unknown', cause: `an object is in the way and could not be read: ${met.cause}` };
  }
}

/** After a failed download: half a file, or one of an earlier download, must not be taken for the object. */
export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => undefined);
}

/** Any thrown thing in one line, with its chain of causes. */
export function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code =
    'code' in error && typeof error.code === 'string' && !error.message.includes(error.code) ? error.code : '';
  const own = [error.name === 'Error' ? '' : error.name, code, error.message].filter(part => part !== '').join(': ');
  return error.cause === undefined ? own : `${own} (${causeOf(error.cause)})`;
}
