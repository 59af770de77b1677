/** Uploads in parts. Nothing is visible until the completion, which carries the same condition as a plain create. */
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { combineCrc32, crc32, crc32Header } from './crc32.ts';
import { faultOf } from './s3-answers.ts';

/** Where the bytes come from; read in parts, more than once if a request is repeated. */
export interface UploadSource {
  readonly bytes: number;
  read(from: number, to: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

export interface MultipartUpload {
  /** Resolves with the ETag. */
  complete(): Promise<string>;
  /** True once the server has said that this upload cannot be completed any more. */
  mustRestart(): boolean;
  /** Frees the parts; only after a clear answer. What it fails to free, the bucket's lifecycle rule does. */
  abort(): Promise<void>;
}

export interface MultipartRequest {
  readonly client: S3Client;
  readonly target: { readonly Bucket: string; readonly Key: string };
  readonly source: UploadSource;
  readonly partBytes: number;
  readonly metadata: Record<string, string>;
  /** Repeats a request that is harmless to repeat. */
  readonly persist: <T>(send: () => Promise<T>) => Promise<T>;
}

interface SentPart {
  readonly PartNumber: number;
  readonly ETag: string | undefined;
  readonly ChecksumCRC32: string;
  readonly crc32: number;
  readonly bytes: number;
}

/** Parts in flight: enough to keep the connection busy while the next part is read; each holds its bytes in memory. */
const partsAtOnce = 4;

export async function prepareMultipart(request: MultipartRequest): Promise<MultipartUpload> {
  const { client, target, source, partBytes, persist } = request;
  const created = await persist(() =>
    client.send(
      new CreateMultipartUploadCommand({
        ...target,
        Metadata: request.metadata,
        ChecksumAlgorithm: 'CRC32',
        ChecksumType: 'FULL_OBJECT',
      }),
    ),
  );
  const upload = { ...target, UploadId: created.UploadId };
  const parts: SentPart[] = [];
  let nextPart = 0;
  const partCount = Math.max(1, Math.ceil(source.bytes / partBytes));
  const sendParts = async () => {
    while (nextPart < partCount) {
      const index = nextPart;
      nextPart += 1;
      parts[index] = await persist(() => sendPart({ client, upload, source, partBytes, index }));
    }
  };
  const abort = () => client.send(new AbortMultipartUploadCommand(upload)).then(ignore, ignore);
  const lanes = await Promise.allSettled(Array.from({ length: Math.min(partsAtOnce, partCount) }, sendParts));
  const failed = lanes.find(lane => lane.status === 'rejected');
  if (failed !== undefined) {
    await abort();
    throw failed.reason;
  }
  let isLost = false;
  const complete = async (): Promise<string> => {
    try {
      const answer = await client.send(completion(upload, parts));
      if (answer.ETag === undefined) throw new Error('the answer has no ETag');
      return answer.ETag.replaceAll('"', '');
    } catch (error) {
      const { kind } = faultOf(error);
      if (kind === 'conflict' || kind === 'no_such_upload') isLost = true;
      throw error;
    }
  };
  return { complete, mustRestart: () => isLost, abort };
}

async function sendPart(part: {
  client: S3Client;
  upload: { Bucket: string; Key: string; UploadId: string | undefined };
  source: UploadSource;
  partBytes: number;
  index: number;
}): Promise<SentPart> {
  const { client, upload, source, partBytes, index } = part;
  const from = index * partBytes;
  const body = await source.read(from, Math.min(source.bytes, from + partBytes));
  const checksum = crc32(body);
  const answer = await client.send(
    new UploadPartCommand({
      ...upload,
      PartNumber: index + 1,
      // As a stream: the SDK would sign the SHA-256 of bytes in memory, which takes longer than sending them.
      Body: Readable.from([body]),
      ContentLength: body.length,
      ChecksumCRC32: crc32Header(checksum),
    }),
  );
  const sent = { PartNumber: index + 1, ETag: answer.ETag, ChecksumCRC32: crc32Header(checksum) };
  return { ...sent, crc32: checksum, bytes: body.length };
}

function completion(
  upload: { Bucket: string; Key: string; UploadId: string | undefined },
  parts: readonly SentPart[],
): CompleteMultipartUploadCommand {
  const whole = parts.slice(1).reduce((crc, part) => combineCrc32(crc, part.crc32, part.bytes), parts[0]?.crc32 ?? 0);
  return new CompleteMultipartUploadCommand({
    ...upload,
    IfNoneMatch: '*',
    ChecksumCRC32: crc32Header(whole),
    ChecksumType: 'FULL_OBJECT',
    MultipartUpload: {
      Parts: parts.map(({ PartNumber, ETag, ChecksumCRC32 }) => ({ PartNumber, ETag, ChecksumCRC32 })),
    },
  });
}

function ignore(): void {}

export function sourceOfBytes(body: Uint8Array): UploadSource {
  return { bytes: body.length, read: async (from, to) => body.subarray(from, to), close: async () => undefined };
}

export async function sourceOfFile(path: string): Promise<UploadSource> {
  const file = await open(path, 'r');
  const { size } = await file.stat();
  return {
    bytes: size,
    async read(from, to) {
      const buffer = Buffer.allocUnsafe(to - from);
      let filled = 0;
      while (filled < buffer.length) {
        const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, from + filled);
        if (bytesRead === 0) throw new Error(`${path}: shrank to ${from + filled} of ${size} bytes during the upload`);
        filled += bytesRead;
      }
      return buffer;
    },
    close: () => file.close(),
  };
}
