/**
 * The dynamic section of an ELF library: what it needs to be loaded and where it says to look. Only 64-bit little-endian
 * files are read, which is all that ONNX Runtime's Linux builds are. Numbers are those of the ELF specification 1.2 and
 * the gABI supplement. A provider library has hundreds of megabytes, so only the parts that matter are read.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

export interface ElfLibrary {
  /** DT_NEEDED, in the order the loader goes through them. */
  readonly needed: readonly string[];
  /** DT_RUNPATH, else DT_RPATH, split at colons; may hold `$ORIGIN`. */
  readonly runPath: readonly string[];
}

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT = { end: 0, needed: 1, stringTable: 5, stringBytes: 10, rpath: 15, runpath: 29 } as const;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly bytes: number;
}

/** @throws Error that says why the file is no such library. */
export function readElf(path: string): ElfLibrary {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    return readDynamic(path, (offset, length) => {
      if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > size) {
        throw new Error(`${path}: cut short: bytes ${offset} to ${offset + length} are wanted, it has ${size}`);
      }
      const bytes = new DataView(new ArrayBuffer(length));
      readSync(file, bytes, 0, length, offset);
      return bytes;
    });
  } finally {
    closeSync(file);
  }
}

type Read = (offset: number, length: number) => DataView;

function readDynamic(path: string, read: Read): ElfLibrary {
  const header = read(0, 64);
  // 0x7f 'E' 'L' 'F', then class 2 (64 bits) and encoding 1 (little-endian).
  if (header.getUint32(0) !== 0x7f454c46) throw new Error(`${path}: is no ELF library`);
  if (header.getUint16(4) !== 0x0201) throw new Error(`${path}: is not 64-bit little-endian ELF`);
  const segments = programHeaders(header, read);
  const dynamic = segments.find(segment => segment.type === PT_DYNAMIC);
  if (dynamic === undefined) return { needed: [], runPath: [] };
  const entries = dynamicEntries(read(dynamic.offset, dynamic.bytes));
  const first = (tag: number) => entries.find(entry => entry.tag === tag)?.value;
  const [address, bytes] = [first(DT.stringTable), first(DT.stringBytes)];
  if (address === undefined || bytes === undefined) throw new Error(`${path}: its dynamic section has no string table`);
  // The table's address is where it will lie in memory; the segment that is loaded there says where it lies in the file.
  const holder = segments.find(
    segment => segment.type === PT_LOAD && address >= segment.address && address < segment.address + segment.bytes,
  );
  if (holder === undefined) throw new Error(`${path}: no segment holds its string table`);
  const table = new Uint8Array(read(holder.offset + address - holder.address, bytes).buffer);
  const text = (index: number) => {
    const end = table.indexOf(0, index);
    if (index >= bytes || end < 0)
      throw new Error(`${path}: name ${index} lies outside its string table of ${bytes} bytes`);
    return new TextDecoder().decode(table.subarray(index, end));
  };
  const runPath = first(DT.runpath) ?? first(DT.rpath);
  return {
    needed: entries.filter(entry => entry.tag === DT.needed).map(entry => text(entry.value)),
    runPath:
      runPath === undefined
        ? []
        : text(runPath)
            .split(':')
            .filter(folder => folder !== ''),
  };
}

function programHeaders(header: DataView, read: Read): readonly Segment[] {
  const [start, size, count] = [word(header, 32), header.getUint16(54, true), header.getUint16(56, true)];
  return Array.from({ length: count }, (_, index) => {
    const entry = read(start + index * size, 56);
    return { type: entry.getUint32(0, true), offset: word(entry, 8), address: word(entry, 16), bytes: word(entry, 32) };
  });
}

function dynamicEntries(section: DataView): readonly { readonly tag: number; readonly value: number }[] {
  const entries: { tag: number; value: number }[] = [];
  for (let offset = 0; offset + 16 <= section.byteLength; offset += 16) {
    const tag = word(section, offset);
    if (tag === DT.end) break;
    entries.push({ tag, value: word(section, offset + 8) });
  }
  return entries;
}

function word(view: DataView, offset: number): number {
  return Number(view.getBigUint64(offset, true));
}
