/** The smallest ELF library with a dynamic section: one header, two segments, the entries and their texts. */
export function craftElf({
  needed,
  runPath = null,
}: {
  readonly needed: readonly string[];
  readonly runPath?: string | null;
}): Uint8Array {
  const texts = ['', ...needed, ...(runPath === null ? [] : [runPath])];
  const table = Buffer.from(`${texts.join('\0')}\0`);
  const indexOf = (index: number) => Buffer.byteLength(texts.slice(0, index).join('\0')) + (index === 0 ? 0 : 1);
  const headerBytes = 64 + 2 * 56;
  const entryCount = needed.length + (runPath === null ? 0 : 1) + 3;
  const tableOffset = headerBytes + 16 * entryCount;
  // Loaded elsewhere than it lies in the file, as real libraries are.
  const base = 0x40_0000;
  const bytes = Buffer.alloc(tableOffset + table.length);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes.writeUInt16LE(62, 18);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(2, 56);
  const segment = (at: number, type: number, offset: number, length: number) => {
    bytes.writeUInt32LE(type, at);
    bytes.writeBigUInt64LE(BigInt(offset), at + 8);
    bytes.writeBigUInt64LE(BigInt(base + offset), at + 16);
    bytes.writeBigUInt64LE(BigInt(length), at + 32);
  };
  segment(64, 1, 0, bytes.length);
  segment(120, 2, headerBytes, 16 * entryCount);
  const entries: [tag: number, value: number][] = needed.map((_, index) => [1, indexOf(index + 1)]);
  if (runPath !== null) entries.push([29, indexOf(needed.length + 1)]);
  entries.push([5, base + tableOffset], [10, table.length], [0, 0]);
  for (const [index, [tag, value]] of entries.entries()) {
    bytes.writeBigUInt64LE(BigInt(tag), headerBytes + 16 * index);
    bytes.writeBigUInt64LE(BigInt(value), headerBytes + 16 * index + 8);
  }
  bytes.set(table, tableOffset);
  return bytes;
}
