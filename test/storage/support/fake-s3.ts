/** An S3 server in this process: honest, one bucket, no signatures; failures come from the proxy in front of it. */
import { createHash, randomUUID } from 'node:crypto';
import { crc32, crc32Header } from '../../../src/storage/crc32.ts';
import { compareKeys } from '../../../src/storage/object-store.ts';
import { errorAnswer, type S3Request, type S3Response, type Upstream } from '../../support/fault-proxy.ts';

interface Stored {
  readonly body: Buffer;
  readonly etag: string;
  readonly modified: Date;
  readonly metadata: Readonly<Record<string, string>>;
  readonly crc32: string | null;
}

export interface FakeS3 {
  readonly handle: Upstream;
  readonly objects: Map<string, Stored>;
  readonly uploads: Map<string, { readonly parts: Map<number, Buffer>; readonly metadata: Record<string, string> }>;
}

export interface FakeS3Options {
  readonly ignoreConditions?: boolean;
  /** Checks at the start of a completion and writes later, so that racing ones all pass the check. */
  readonly checkThenWrite?: boolean;
  /** Keeps and returns no checksums. */
  readonly withoutChecksums?: boolean;
}

export function fakeS3(options: FakeS3Options = {}): FakeS3 {
  const objects: FakeS3['objects'] = new Map();
  const uploads: FakeS3['uploads'] = new Map();

  const isTaken = (request: S3Request, key: string) =>
    options.ignoreConditions !== true && request.headers['if-none-match'] === '*' && objects.has(key);

  const store = (key: string, body: Buffer, metadata: Record<string, string>): S3Response => {
    const etag = `"${createHash('md5').update(body).digest('hex')}"`;
    const checksum = options.withoutChecksums === true ? null : crc32Header(crc32(body));
    // Whole seconds, which is all that S3 tells.
    const modified = new Date(Math.floor(Date.now() / 1000) * 1000);
    objects.set(key, { body, etag, modified, metadata, crc32: checksum });
    return { status: 200, headers: { etag }, body: Buffer.alloc(0) };
  };

  const complete = async (request: S3Request, key: string, id: string): Promise<S3Response> => {
    const upload = uploads.get(id);
    if (upload === undefined) return errorAnswer(404, 'NoSuchUpload');
    if (isTaken(request, key)) return errorAnswer(412, 'PreconditionFailed');
    if (options.checkThenWrite === true) await new Promise(resolve => setTimeout(resolve, 5));
    const body = Buffer.concat([...upload.parts].sort(([a], [b]) => a - b).map(([, part]) => part));
    const announced = request.headers['x-amz-checksum-crc32'];
    if (announced !== undefined && announced !== crc32Header(crc32(body))) return errorAnswer(400, 'BadDigest');
    uploads.delete(id);
    const { headers } = store(key, body, upload.metadata);
    const text = `<CompleteMultipartUploadResult><ETag>${headers['etag']}</ETag></CompleteMultipartUploadResult>`;
    return { status: 200, headers: { 'content-type': 'application/xml' }, body: Buffer.from(text) };
  };

  const list = (query: URLSearchParams): S3Response => {
    const prefix = query.get('prefix') ?? '';
    const after = query.get('start-after') ?? '';
    const limit = Number(query.get('max-keys') ?? 1000);
    const keys = [...objects.keys()]
      .filter(key => key.startsWith(prefix) && (after === '' || compareKeys(key, after) > 0))
      .sort(compareKeys);
    const contents = keys.slice(0, limit).map(key => {
      const { body, etag, modified } = objects.get(key)!;
      return `<Contents><Key>${key}</Key><Size>${body.length}</Size><ETag>${etag.replaceAll('"', '&quot;')}</ETag><LastModified>${modified.toISOString()}</LastModified></Contents>`;
    });
    const truncated = `<IsTruncated>${keys.length > limit}</IsTruncated>`;
    const text = `<ListBucketResult>${truncated}${contents.join('')}</ListBucketResult>`;
    return { status: 200, headers: { 'content-type': 'application/xml' }, body: Buffer.from(text) };
  };

  const read = (request: S3Request, key: string): S3Response => {
    const found = objects.get(key);
    if (found === undefined) return errorAnswer(404, 'NoSuchKey');
    const wanted = request.headers['if-match'];
    if (options.ignoreConditions !== true && wanted !== undefined && wanted !== found.etag) {
      return errorAnswer(412, 'PreconditionFailed');
    }
    const headers = {
      etag: found.etag,
      'last-modified': found.modified.toUTCString(),
      ...found.metadata,
      ...(found.crc32 !== null && request.headers['x-amz-checksum-mode'] === 'ENABLED'
        ? { 'x-amz-checksum-crc32': found.crc32, 'x-amz-checksum-type': 'FULL_OBJECT' }
        : {}),
    };
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (range === null) return { status: 200, headers, body: found.body };
    const [from, last] = [Number(range[1]), Math.min(Number(range[2]), found.body.length - 1)];
    if (from > last) return errorAnswer(416, 'InvalidRange');
    const partial = { ...headers, 'content-range': `bytes ${from}-${last}/${found.body.length}` };
    return { status: 206, headers: partial, body: found.body.subarray(from, last + 1) };
  };

  const write = (request: S3Request, key: string): S3Response => {
    const announced = request.headers['x-amz-checksum-crc32'];
    if (announced !== undefined && announced !== crc32Header(crc32(request.body))) return errorAnswer(400, 'BadDigest');
    return isTaken(request, key)
      ? errorAnswer(412, 'PreconditionFailed')
      : store(key, request.body, metadataOf(request));
  };

  const handle: Upstream = async request => {
    const url = new URL(request.url, 'http://fake');
    const key = decodeURIComponent(url.pathname.split('/').slice(2).join('/'));
    const id = url.searchParams.get('uploadId');
    switch (request.method) {
      case 'GET':
        return key === '' ? list(url.searchParams) : read(request, key);
      case 'HEAD': {
        const answer = read(request, key);
        const length = { 'content-length': String(answer.body.length) };
        return { ...answer, headers: { ...answer.headers, ...length }, body: Buffer.alloc(0) };
      }
      case 'PUT': {
        if (id === null) return write(request, key);
        const upload = uploads.get(id);
        if (upload === undefined) return errorAnswer(404, 'NoSuchUpload');
        upload.parts.set(Number(url.searchParams.get('partNumber')), request.body);
        return { status: 200, headers: { etag: '"part"' }, body: Buffer.alloc(0) };
      }
      case 'POST': {
        if (id !== null) return complete(request, key, id);
        const created = randomUUID();
        uploads.set(created, { parts: new Map(), metadata: metadataOf(request) });
        const text = `<InitiateMultipartUploadResult><UploadId>${created}</UploadId></InitiateMultipartUploadResult>`;
        return { status: 200, headers: { 'content-type': 'application/xml' }, body: Buffer.from(text) };
      }
      case 'DELETE':
        if (id === null) objects.delete(key);
        else uploads.delete(id);
        return { status: 204, headers: {}, body: Buffer.alloc(0) };
      default:
        return errorAnswer(405, 'MethodNotAllowed');
    }
  };
  return { handle, objects, uploads };
}

function metadataOf(request: S3Request): Record<string, string> {
  const kept = Object.entries(request.headers).filter(([name]) => name.startsWith('x-amz-meta-'));
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]));
}
