/**
 * The object store in an S3 bucket, or any server that speaks S3 and honours `If-None-Match`.
 *
 * Every create carries an id of its own in the object's metadata. A lost answer makes the next try meet our own object and
 * get 412; the id tells it from somebody else's, even if the bytes are equal. The SDK's own retries are off, because they
 * would hide exactly the answers that matter here.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { crc32, crc32Header } from './crc32.ts';
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
import { delayMsOf, faultOf, type RetryLimits, type S3Fault } from './s3-answers.ts';
import { openClient, type S3Location, type S3Options } from './s3-client.ts';
import {
  type MultipartUpload,
  prepareMultipart,
  sourceOfBytes,
  sourceOfFile,
  type UploadSource,
} from './s3-multipart.ts';
import { abortedBy, bodyBytes, bodyToFile, crc32OfFile, fileHolds } from './s3-transfer.ts';

const singleBytesMaxDefault = 256 * 2 ** 20;
const partBytesDefault = 16 * 2 ** 20;
const retryDefault: RetryLimits = { attempts: 6, firstDelayMs: 100, delayMsMax: 5_000 };

export class S3Store implements ObjectStore {
  readonly url: string;
  readonly client: S3Client;
  readonly bucket: string;
  readonly #singleBytesMax: number;
  readonly #partBytes: number;
  readonly #prefix: string;
  readonly #retry: RetryLimits;

  constructor(location: S3Location, options: S3Options = {}) {
    this.bucket = location.bucket;
    this.#prefix = location.prefix === '' ? '' : `${location.prefix}/`;
    this.url = `s3://${location.bucket}/${location.prefix}`;
    this.#singleBytesMax = options.singleBytesMax ?? singleBytesMaxDefault;
    this.#partBytes = options.partBytes ?? partBytesDefault;
    this.#retry = options.retry ?? retryDefault;
    this.client = openClient(options);
  }

  /** Closes idle connections; the store must not be used afterwards. */
  close(): void {
    this.client.destroy();
  }

  async get(key: string, options: ReadOptions = {}): Promise<ReadResult<{ bytes: Uint8Array; etag: string }>> {
    const { range } = options;
    if (range !== undefined && (range[0] < 0 || range[0] >= range[1])) {
      return { kind: 'changed', detail: `${key}: no bytes in range ${range[0]}–${range[1]}` };
    }
    return this.#read(key, options.signal, async () => {
      const answer = await this.#getObject(key, options);
      return { kind: 'found', value: { bytes: await bodyBytes(answer, range), etag: etagOf(answer) } };
    });
  }

  async download(key: string, path: string, options: DownloadOptions = {}): Promise<ReadResult<Downloaded>> {
    const { digest = 'sha256', signal } = options;
    const result = await this.#read<Downloaded>(key, signal, async () => {
      const answer = await this.#getObject(key, options);
      const written = await bodyToFile(answer, { path, digest, signal });
      return { kind: 'found', value: { ...written, etag: etagOf(answer) } };
    });
    if (result.kind !== 'found') await removeFile(path);
    return result;
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<WriteResult> {
    const checksum = crc32Header(crc32(body));
    return this.#create(key, undefined, id =>
      this.#putObject(key, { id, checksum, bytes: body.length, open: () => body }),
    );
  }

  async put(key: string, body: Uint8Array): Promise<WriteResult> {
    const created = await this.putIfAbsent(key, body);
    if (created.kind !== 'not_applied' || created.reason !== 'exists') return created;
    return answerOfMet(created, await this.get(key), ({ bytes }) => Buffer.compare(bytes, body) === 0);
  }

  async upload(key: string, path: string, options: { readonly signal?: AbortSignal } = {}): Promise<WriteResult> {
    const { signal } = options;
    let source: UploadSource | null = null;
    try {
      signal?.throwIfAborted();
      source = await sourceOfFile(path);
      const isSmall = source.bytes <= this.#singleBytesMax;
      const created = isSmall
        ? await this.#createFromFile(key, path, source.bytes, signal)
        : await this.#createInParts(key, source, signal);
      if (created.kind !== 'not_applied' || created.reason !== 'exists') return created;
      const met = await this.#read(key, signal, async () => {
        const answer = await this.#getObject(key, {});
        return { kind: 'found', value: { same: await fileHolds(answer, path), etag: etagOf(answer) } };
      });
      return answerOfMet(created, met, ({ same }) => same);
    } catch (error) {
      // Only reading the local file gets here: requests have their own answers.
      return refused(causeOf(error));
    } finally {
      await source?.close().catch(() => undefined);
    }
  }

  async head(key: string): Promise<ReadResult<ObjectInfo>> {
    return this.#read(key, undefined, async () => {
      const answer = await this.#headObject(key);
      const modified = answer.LastModified?.toISOString();
      if (answer.ContentLength === undefined || modified === undefined) throw new Error(`${key}: incomplete answer`);
      return { kind: 'found', value: { key, bytes: answer.ContentLength, etag: etagOf(answer), modified } };
    });
  }

  async list(prefix: string, options: { after?: string; limit?: number } = {}): Promise<ReadResult<ObjectPage>> {
    const limit = Math.max(1, options.limit ?? listLimitDefault);
    const objects: ObjectInfo[] = [];
    for (let after = options.after; ; ) {
      const page = await this.#listPage(prefix, after, limit - objects.length);
      if (page.kind !== 'found') return page;
      objects.push(...page.value.objects);
      if (page.value.next === null || objects.length >= limit) {
        return { kind: 'found', value: { objects, next: page.value.next } };
      }
      after = page.value.next;
    }
  }

  async delete(key: string): Promise<WriteResult> {
    const problem = writeKeyProblem(key);
    if (problem !== null) return refused(problem);
    let cause = '';
    for (let attempt = 0; attempt < this.#retry.attempts; attempt += 1) {
      try {
        await this.client.send(new DeleteObjectCommand(this.#target(key)));
        return { kind: 'applied', etag: '' };
      } catch (error) {
        const fault = faultOf(error);
        if (fault.kind === 'no_such_key') return { kind: 'applied', etag: '' };
        if (fault.kind === 'refused' && cause === '') return refused(fault.cause);
        cause = fault.cause;
      }
      await this.#pause(attempt);
    }
    return { kind: 'unknown', cause };
  }

  /**
   * Uploads the parts of an object and leaves the one request that decides to the caller. For the probe, which lets
   * several completions race.
   */
  async prepareParts(key: string, body: Uint8Array): Promise<{ complete(): Promise<WriteResult> }> {
    const id = randomUUID();
    const upload = await this.#prepare(key, sourceOfBytes(body), id);
    return { complete: () => this.#create(key, undefined, async () => upload.complete(), id) };
  }

  /**
   * Tries to create the key until the answer is clear. `send` may be called again after anything: its condition makes a
   * second application impossible.
   */
  async #create(
    key: string,
    signal: AbortSignal | undefined,
    send: (id: string) => Promise<string>,
    id: string = randomUUID(),
  ): Promise<WriteResult> {
    const problem = writeKeyProblem(key);
    if (problem !== null) return refused(problem);
    /** Set once a request may have been, or may still be, applied. */
    let doubt: string | null = null;
    let cause = '';
    for (let attempt = 0; attempt < this.#retry.attempts; attempt += 1) {
      try {
        return { kind: 'applied', etag: await send(id) };
      } catch (error) {
        if (signal?.aborted === true) return { kind: 'unknown', cause: causeOf(signal.reason) };
        const fault = faultOf(error);
        cause = fault.cause;
        if (fault.kind === 'condition_failed' || fault.kind === 'conflict' || fault.kind === 'no_such_upload') {
          const settled = await this.#settle(key, id);
          if (settled !== null) return settled;
        }
        if (fault.kind === 'refused' || fault.kind === 'no_such_key') {
          return doubt === null ? refused(cause) : { kind: 'unknown', cause: `${doubt}; then ${cause}` };
        }
        if (fault.kind === 'ambiguous' || fault.kind === 'conflict') doubt ??= cause;
        // The parts are gone: the caller must send them again.
        if (fault.kind === 'no_such_upload') break;
      }
      await this.#pause(attempt);
    }
    return (await this.#settle(key, id)) ?? { kind: 'unknown', cause: doubt ?? cause };
  }

  /** Whose object is there? Null when there is none, or nobody can say. */
  async #settle(key: string, id: string): Promise<WriteResult | null> {
    try {
      const found = await this.#headObject(key);
      // First the proof that this is an object's answer: without it, missing metadata says nothing.
      const etag = etagOf(found);
      if (found.Metadata?.[metadata.write] === id) return { kind: 'applied', etag };
      return { kind: 'not_applied', reason: 'exists', detail: `${key} exists` };
    } catch {
      return null;
    }
  }

  async #createFromFile(
    key: string,
    path: string,
    bytes: number,
    signal: AbortSignal | undefined,
  ): Promise<WriteResult> {
    // The checksum goes ahead of the bytes, so the file is read twice; the second time from memory.
    const checksum = crc32Header(await crc32OfFile(path, signal));
    const open = () => createReadStream(path, { highWaterMark: 1 << 20 });
    return this.#create(key, signal, id => this.#putObject(key, { id, checksum, bytes, open, signal }));
  }

  async #putObject(
    key: string,
    object: {
      id: string;
      checksum: string;
      bytes: number;
      open: () => Uint8Array | Readable;
      signal?: AbortSignal | undefined;
    },
  ): Promise<string> {
    const { id, checksum, bytes, signal } = object;
    const answer = await this.client.send(
      new PutObjectCommand({
        ...this.#target(key),
        Body: object.open(),
        ContentLength: bytes,
        IfNoneMatch: '*',
        ChecksumCRC32: checksum,
        // For servers that keep no checksums: what a reader compares with.
        Metadata: { [metadata.write]: id, [metadata.crc32]: checksum },
      }),
      abortedBy(signal),
    );
    return etagOf(answer);
  }

  async #createInParts(key: string, source: UploadSource, signal: AbortSignal | undefined): Promise<WriteResult> {
    const problem = writeKeyProblem(key);
    if (problem !== null) return refused(problem);
    const id = randomUUID();
    let result: WriteResult = { kind: 'unknown', cause: `${key}: no attempt was made` };
    for (let attempt = 0; attempt < this.#retry.attempts; attempt += 1) {
      let upload: MultipartUpload;
      try {
        upload = await this.#prepare(key, source, id, signal);
      } catch (error) {
        const fault = faultOf(error);
        // Nothing that was sent so far can make the object appear.
        return fault.kind === 'refused' || signal?.aborted === true
          ? refused(fault.cause)
          : { kind: 'unknown', cause: fault.cause };
      }
      result = await this.#create(key, signal, () => upload.complete(), id);
      if (result.kind === 'not_applied') await upload.abort();
      // After a conflict or a lost upload S3 wants all parts again; after anything else in doubt they may still count.
      if (result.kind !== 'unknown' || !upload.mustRestart()) return result;
    }
    return result;
  }

  #prepare(key: string, source: UploadSource, id: string, signal?: AbortSignal): Promise<MultipartUpload> {
    return prepareMultipart({
      client: this.client,
      target: this.#target(key),
      source,
      partBytes: this.#partBytes,
      metadata: { [metadata.write]: id },
      persist: send => this.#persist(send, signal),
    });
  }

  /** Repeats a request that is harmless to repeat; rejects with the last error. */
  async #persist<T>(send: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        signal?.throwIfAborted();
        return await send();
      } catch (error) {
        if (signal?.aborted === true || attempt + 1 >= this.#retry.attempts || !isWorthRepeating(faultOf(error)))
          throw error;
      }
      await this.#pause(attempt);
    }
  }

  /** Reads change nothing, so everything but a clear answer is asked again. */
  async #read<T>(
    key: string,
    signal: AbortSignal | undefined,
    ask: () => Promise<ReadResult<T>>,
  ): Promise<ReadResult<T>> {
    const problem = readKeyProblem(key);
    if (problem !== null) return { kind: 'unknown', cause: problem };
    try {
      return await this.#persist(ask, signal);
    } catch (error) {
      const fault = faultOf(error);
      if (fault.kind === 'no_such_key') return { kind: 'not_found' };
      if (fault.kind === 'condition_failed' || fault.kind === 'no_such_range') {
        return { kind: 'changed', detail: `${key}: ${fault.cause}` };
      }
      return { kind: 'unknown', cause: `${key}: ${fault.cause}` };
    }
  }

  #getObject(key: string, options: ReadOptions): Promise<GetObjectCommandOutput> {
    const { range, ifMatch, signal } = options;
    return this.client.send(
      new GetObjectCommand({
        ...this.#target(key),
        ...(ifMatch === undefined ? {} : { IfMatch: `"${ifMatch}"` }),
        // The checksum is the whole object's, so it cannot vouch for a range.
        ...(range === undefined ? { ChecksumMode: 'ENABLED' } : { Range: `bytes=${range[0]}-${range[1] - 1}` }),
      }),
      abortedBy(signal),
    );
  }

  #headObject(key: string): Promise<HeadObjectCommandOutput> {
    return this.client.send(new HeadObjectCommand(this.#target(key)));
  }

  #listPage(prefix: string, after: string | undefined, limit: number): Promise<ReadResult<ObjectPage>> {
    const folder = prefix === '' ? 'all' : prefix;
    return this.#read(folder.replace(/\/$/, ''), undefined, async () => {
      const answer = await this.client.send(
        new ListObjectsV2Command({
          Bucket: this.bucket,
          Prefix: `${this.#prefix}${prefix}`,
          MaxKeys: Math.min(1000, limit),
          ...(after === undefined ? {} : { StartAfter: `${this.#prefix}${after}` }),
        }),
      );
      const contents = answer.Contents ?? [];
      const objects = contents.flatMap(({ Key, Size, ETag, LastModified }): ObjectInfo[] => {
        const key = Key?.slice(this.#prefix.length) ?? '';
        // Folder markers and the like, which other tools leave.
        if (readKeyProblem(key) !== null) return [];
        return [{ key, bytes: Size ?? 0, etag: unquoted(ETag), modified: (LastModified ?? new Date(0)).toISOString() }];
      });
      const last = contents.at(-1)?.Key?.slice(this.#prefix.length);
      if (answer.IsTruncated === true && last === undefined) throw new Error('truncated listing without keys');
      return { kind: 'found', value: { objects, next: answer.IsTruncated === true ? (last ?? null) : null } };
    });
  }

  #target(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.bucket, Key: `${this.#prefix}${key}` };
  }

  async #pause(attempt: number): Promise<void> {
    if (attempt + 1 < this.#retry.attempts) await sleep(delayMsOf(attempt, this.#retry, Math.random));
  }
}

/** Names of the metadata that every object of ours has. */
const metadata = { write: 'almanac-write', crc32: 'almanac-crc32' } as const;

function isWorthRepeating(fault: S3Fault): boolean {
  return fault.kind === 'try_again' || fault.kind === 'ambiguous' || fault.kind === 'conflict';
}

/** An answer without an ETag is no answer of an object store. */
function etagOf(answer: { readonly ETag?: string | undefined }): string {
  const etag = unquoted(answer.ETag);
  if (etag === '') throw new Error('the answer has no ETag');
  return etag;
}

function unquoted(etag: string | undefined): string {
  return (etag ?? '').replaceAll('"', '');
}
