/** Takes one file out of a zip archive. A wheel is a zip; reading it ourselves means that nothing inside it is ever run. */
import { open } from 'node:fs/promises';
import { inflateRawSync } from 'node:zlib';

const endOfDirectory = 0x06054b50;
const directoryEntry = 0x02014b50;
const stored = 0;
const deflated = 8;
/** The end record has 22 bytes and a comment of up to 64 KiB. */
const tailBytesMax = 22 + 65_535;

/**
 * The bytes of the first entry whose name `wanted` accepts.
 * @throws Error when the archive is damaged, needs ZIP64, or has no such entry.
 */
export async function readZipEntry(path: string, wanted: (name: string) => boolean): Promise<Buffer> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const tail = await readAt(file, Math.max(0, size - tailBytesMax), Math.min(size, tailBytesMax));
    const end = findEnd(tail, path);
    const directory = await readAt(file, tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));
    for (const entry of entriesOf(directory)) {
      if (!wanted(entry.name)) continue;
      // The local header repeats name and extra field, with an extra field of its own length.
      const header = await readAt(file, entry.offset, 30);
      const from = entry.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
      const packed = await readAt(file, from, entry.packedBytes);
      const bytes = unpack(packed, entry.method, `${path}: ${entry.name}`);
      if (bytes.length !== entry.bytes) {
        throw new Error(`${path}: ${entry.name} has ${bytes.length} bytes, the directory says ${entry.bytes}`);
      }
      return bytes;
    }
    throw new Error(`${path}: no entry of the wanted name`);
  } finally {
    await file.close();
  }
}

function findEnd(tail: Buffer, path: string): number {
  for (let at = tail.length - 22; at >= 0; at -= 1) if (tail.readUInt32LE(at) === endOfDirectory) return at;
  throw new Error(`${path}: not a zip archive (no end record)`);
}

function* entriesOf(directory: Buffer) {
  let at = 0;
  while (at + 46 <= directory.length && directory.readUInt32LE(at) === directoryEntry) {
    const nameBytes = directory.readUInt16LE(at + 28);
    yield {
      name: directory.toString('utf8', at + 46, at + 46 + nameBytes),
      method: directory.readUInt16LE(at + 10),
      packedBytes: directory.readUInt32LE(at + 20),
      bytes: directory.readUInt32LE(at + 24),
      offset: directory.readUInt32LE(at + 42),
    };
    at += 46 + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
}

function unpack(packed: Buffer, method: number, what: string): Buffer {
  if (method === stored) return packed;
  if (method === deflated) return inflateRawSync(packed);
  throw new Error(`${what}: compression method ${method} is not supported, expected stored (0) or deflated (8)`);
}

async function readAt(file: Awaited<ReturnType<typeof open>>, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  if (bytesRead !== length)
    throw new Error(`zip archive is cut short: ${length} bytes at ${position}, found ${bytesRead}`);
  return buffer;
}
