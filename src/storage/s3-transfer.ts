/**
 * What goes with requests to S3, and the bodies of its answers. A connection may end early after a 200, so every body is
 * measured before anyone uses it.
 */
import { setMaxListeners } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { crc32, crc32Header } from './crc32.ts';
import { type DigestWanted, FileSink } from './file-sink.ts';

/** For a request of the client. Ten requests that share a signal are no leak, which Node warns of. */
export function abortedBy(signal: AbortSignal | undefined): { readonly abortSignal?: AbortSignal } {
  if (signal === undefined) return {};
  setMaxListeners(0, signal);
  return { abortSignal: signal };
}

export async function bodyBytes(
  answer: GetObjectCommandOutput,
  range?: readonly [from: number, to: number],
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const meter = new Meter(answer, range);
  for await (const chunk of streamOf(answer)) {
    meter.add(chunk);
    chunks.push(chunk);
  }
  meter.verify();
  return Buffer.concat(chunks);
}

/** Replaces the file; what it leaves when it rejects is of no use. */
export async function bodyToFile(
  answer: GetObjectCommandOutput,
  target: { readonly path: string; readonly digest: DigestWanted; readonly signal: AbortSignal | undefined },
): Promise<{ readonly bytes: number; readonly sha256: string | null }> {
  const meter = new Meter(answer);
  const body = streamOf(answer);
  body.on('data', (chunk: Buffer) => meter.add(chunk));
  const sink = new FileSink(target.path, target.digest);
  await pipeline(body, sink, target.signal === undefined ? {} : { signal: target.signal });
  meter.verify();
  return { bytes: meter.bytes, sha256: sink.sha256 };
}

/** Whether the file has exactly these bytes; rejects when the answer is not what its head announced. */
export async function fileHolds(answer: GetObjectCommandOutput, path: string): Promise<boolean> {
  const body = streamOf(answer);
  let file: FileHandle | null = null;
  try {
    file = await open(path, 'r');
    const { size } = await file.stat();
    if (size !== answer.ContentLength) return false;
    const meter = new Meter(answer);
    let isSame = true;
    for await (const chunk of body) {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(chunk.length), 0, chunk.length, meter.bytes);
      isSame &&= bytesRead === chunk.length && Buffer.compare(buffer, chunk) === 0;
      meter.add(chunk);
    }
    // A difference counts only in bytes that arrived as they were sent.
    meter.verify();
    return isSame;
  } finally {
    body.destroy();
    await file?.close();
  }
}

export async function crc32OfFile(path: string, signal?: AbortSignal): Promise<number> {
  const file = await open(path, 'r');
  // One buffer for the whole file: allocating a new one per read costs more than the checksum.
  const buffer = Buffer.allocUnsafe(1 << 20);
  let checksum = 0;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      if (bytesRead === 0) break;
      checksum = crc32(buffer.subarray(0, bytesRead), checksum);
    }
  } finally {
    await file.close();
  }
  return checksum;
}

function streamOf(answer: GetObjectCommandOutput): Readable {
  if (!(answer.Body instanceof Readable)) throw new Error('the answer has no body');
  // Whoever reads the body meets its error there; one that comes before must not end the process.
  answer.Body.on('error', () => undefined);
  return answer.Body;
}

/** Counts a body and compares it with what the answer's head announced. */
class Meter {
  bytes = 0;
  #crc32 = 0;
  readonly #expectedBytes: number | undefined;
  /** The SDK verifies the server's own checksum; ours is for servers that keep none. */
  readonly #expectedCrc32: string | undefined;

  constructor(answer: GetObjectCommandOutput, range?: readonly [from: number, to: number]) {
    this.#expectedBytes = answer.ContentLength;
    const kept = range === undefined && answer.ChecksumCRC32 === undefined;
    this.#expectedCrc32 = kept ? answer.Metadata?.['almanac-crc32'] : undefined;
    if (range === undefined) return;
    const [from, to] = range;
    const found = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.ContentRange ?? '');
    const wanted = found === null ? '' : `${from}-${Math.min(to, Number(found[3])) - 1}`;
    if (found === null || wanted !== `${found[1]}-${found[2]}`) {
      throw new Error(`asked for bytes ${from}-${to - 1}, the answer has ${answer.ContentRange ?? 'no range'}`);
    }
  }

  add(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    if (this.#expectedCrc32 !== undefined) this.#crc32 = crc32(chunk, this.#crc32);
  }

  verify(): void {
    if (this.bytes !== this.#expectedBytes) {
      throw new Error(`the body has ${this.bytes} bytes, its head announced ${this.#expectedBytes ?? 'no length'}`);
    }
    if (this.#expectedCrc32 !== undefined && crc32Header(this.#crc32) !== this.#expectedCrc32) {
      throw new Error(`the body's CRC-32 is ${crc32Header(this.#crc32)}, expected ${this.#expectedCrc32}`);
    }
  }
}
