/**
 * Parquet objects as local files that hold only what somebody is going to read: as long as the object, with holes where
 * columns and row groups lie that nobody asked for. Every hole starts with bytes that no Parquet reader accepts, so that
 * reading one by mistake is an error and never a row.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { EngineFault } from '../engine/fault.ts';
import type { ColumnChunk } from '../engine/job.ts';
import type { ObjectStore } from '../storage/object-store.ts';

export interface RemoteObject {
  readonly store: ObjectStore;
  readonly key: string;
  readonly path: string;
  readonly bytes: number;
  readonly etag: string;
}

/** Bytes asked for at the end of an object: most footers fit, and asking twice costs more than reading too much. */
const tailBytes = 1 << 16;
/** Of one request; four are under way at a time. */
const requestBytesMax = 8 << 20;
const requestsAtOnce = 4;
/** A hole shorter than this is fetched with its neighbours: a request costs more than the bytes. */
const holeBytesMin = 1 << 16;
/** No page header starts like this. */
const poison = Buffer.alloc(16, 0xff);

/** The footer alone: enough to know rows, columns and where their bytes lie. */
export async function fetchFooter(object: RemoteObject, target: string, signal?: AbortSignal): Promise<void> {
  const { bytes } = object;
  if (bytes < 12) throw notParquet(object, `it has ${bytes} bytes`);
  await writeSparse(object, target, async file => {
    const from = Math.max(0, bytes - tailBytes);
    const tail = await read(object, [from, bytes], signal);
    if (Buffer.from(tail.subarray(-4)).toString('latin1') !== 'PAR1')
      throw notParquet(object, 'it does not end in PAR1');
    const footerBytes = Buffer.from(tail).readUInt32LE(tail.length - 8) + 8;
    if (footerBytes > bytes) throw notParquet(object, `its footer claims ${footerBytes} of ${bytes} bytes`);
    await file.write(tail, 0, tail.length, from);
    if (bytes - footerBytes < from) await copy(object, file, [[bytes - footerBytes, from]], signal);
  });
}

/** Everything except the column chunks that are not wanted. */
export async function fetchColumns(
  object: RemoteObject,
  chunks: readonly ColumnChunk[],
  isWanted: (chunk: ColumnChunk) => boolean,
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  const holes = chunks
    .filter(chunk => !isWanted(chunk) && chunk.to - chunk.from >= holeBytesMin)
    .sort((a, b) => a.from - b.from);
  const wanted: [number, number][] = [];
  let at = 0;
  for (const { from, to } of holes) {
    if (from > at) wanted.push([at, from]);
    at = Math.max(at, to);
  }
  if (at < object.bytes) wanted.push([at, object.bytes]);
  await writeSparse(object, target, async file => {
    for (const { from } of holes) await file.write(poison, 0, poison.length, from);
    await copy(object, file, wanted, signal);
  });
}

async function writeSparse(
  { bytes }: RemoteObject,
  target: string,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const file = await open(target, 'wx');
  try {
    await file.truncate(bytes);
    await write(file);
  } finally {
    await file.close();
  }
}

async function copy(
  object: RemoteObject,
  file: FileHandle,
  ranges: readonly (readonly [from: number, to: number])[],
  signal?: AbortSignal,
): Promise<void> {
  const requests = ranges
    .flatMap(([from, to]) =>
      Array.from({ length: Math.ceil((to - from) / requestBytesMax) }, (_, index): [number, number] => [
        from + index * requestBytesMax,
        Math.min(to, from + (index + 1) * requestBytesMax),
      ]),
    )
    .values();
  const fetchNext = async () => {
    for (const [from, to] of requests) {
      signal?.throwIfAborted();
      const piece = await read(object, [from, to], signal);
      await file.write(piece, 0, piece.length, from);
    }
  };
  await Promise.all(Array.from({ length: requestsAtOnce }, fetchNext));
}

async function read(
  { store, key, path, etag }: RemoteObject,
  range: readonly [number, number],
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const answer = await store.get(key, { range, ifMatch: etag, ...(signal === undefined ? {} : { signal }) });
  if (answer.kind === 'found') return answer.value.bytes;
  if (answer.kind === 'unknown') throw new Error(`${path}: ${answer.cause}`);
  throw replaced(path, answer.kind === 'changed' ? answer.detail : 'no object');
}

export function replaced(path: string, found: string): EngineFault {
  return new EngineFault(
    'bad_input',
    `${path}: expected the object that was pinned, found ${found}; it changed, start the job again`,
    { path, found },
  );
}

function notParquet({ path }: RemoteObject, why: string): EngineFault {
  return new EngineFault('bad_input', `${path}: expected a Parquet file, but ${why}`, { path });
}
