/** The kernel's lookup table for one column: from a cell to its edge and to the first bin that may hold the value. */
import { BIN_BYTES, CELL_BYTES, type Precision, type Search, WALK_FLAG } from './count-bins.ts';

export interface LookupTable {
  readonly low: number;
  readonly scale: number;
  /** Number of cells. */
  readonly size: number;
  readonly search: Search;
}

/** Small tables leave more of the cache to the values; each fills between two and sixteen (f64: 32) KB. */
const SIZES = [256, 512, 1024, 2048];

/** How many edges of each side the table may leave outside: tails stretch the cells but hold little mass. */
const TRIMS = [0, 1, 2, 4, 8, 16, 32];

/**
 * Chooses the smallest table in which no two edges share a cell, or else the one where fewest edges do. Deterministic in the
 * edges, which ascend.
 */
export function chooseLookupTable(edges: readonly number[], precision: Precision): LookupTable {
  let best: LookupTable | null = null;
  let fewest = Infinity;
  for (const size of SIZES) {
    for (const trim of TRIMS) {
      if (trim > 0 && 2 * trim + 2 > edges.length) break;
      const table = tableOver(edges, { precision, size, trim });
      const crowded = crowdedEdges(edges, table, precision, fewest);
      if (crowded === 0) return { ...table, search: 'look' };
      if (crowded < fewest) {
        best = { ...table, search: 'walk' };
        fewest = crowded;
      }
    }
  }
  return best!;
}

type Cells = Omit<LookupTable, 'search'>;

/** The edges that are not trimmed lie between the second cell and the last but one; the others share the outer two. */
function tableOver(
  edges: readonly number[],
  { precision, size, trim }: { readonly precision: Precision; readonly size: number; readonly trim: number },
): Cells {
  const first = edges[trim] ?? 0;
  const last = edges[edges.length - 1 - trim] ?? 0;
  const round = precision === 'f32' ? Math.fround : (value: number) => value;
  const scale = round((size - 3) / (last - first));
  const low = round(first - 1 / scale);
  // A range too narrow or too wide for its precision gets one cell: slower, still right.
  const usable = scale > 0 && scale < Infinity && Number.isFinite(low) && Number.isFinite(round(last - low));
  return usable ? { low, scale, size } : { low: 0, scale: 0, size };
}

/** How many edges share a cell with another; counted until they are `enough`. */
function crowdedEdges(edges: readonly number[], table: Cells, precision: Precision, enough: number): number {
  let crowded = 0;
  let previous = -1;
  let alone = true;
  for (let i = 0; i < edges.length && crowded < enough; i++) {
    const cell = cellOf(edges[i]!, table, precision);
    if (cell === previous) {
      crowded += alone ? 2 : 1;
      alone = false;
    } else alone = true;
    previous = cell;
  }
  return crowded;
}

/** Writes the cells to `address`, as the kernel reads them. */
export function writeLookupTable(
  table: LookupTable,
  edges: readonly number[],
  precision: Precision,
  { buffer, address }: { readonly buffer: ArrayBuffer; readonly address: number },
): void {
  const cellBytes = CELL_BYTES[precision];
  const numbers = new DataView(buffer, address, table.size * cellBytes);
  const write = (cell: number, edge: number, offset: number): void => {
    const at = cell * cellBytes;
    if (precision === 'f32') numbers.setFloat32(at, edge, true);
    else numbers.setFloat64(at, edge, true);
    numbers.setUint32(at + cellBytes / 2, offset, true);
  };
  const bytes = new Uint8Array(buffer, address, table.size * cellBytes);
  const cells = edges.map(edge => cellOf(edge, table, precision));
  let from = 0;
  for (let below = 0; from < table.size; ) {
    // Cells without an edge up to the next one that has some.
    const cell = cells[below] ?? table.size;
    if (from < cell) {
      write(from, Number.NaN, below * 2 * BIN_BYTES);
      repeatCell(bytes, cellBytes, from, cell);
    }
    if (cell === table.size) break;
    let next = below + 1;
    while (cells[next] === cell) next++;
    const offset = below * 2 * BIN_BYTES;
    if (next === below + 1) write(cell, edges[below]!, offset);
    else write(cell, Number.NaN, offset + WALK_FLAG);
    below = next;
    from = cell + 1;
  }
}

/** Copies the cell at `from` into all cells up to `to`, twice as many each time. */
function repeatCell(bytes: Uint8Array, cellBytes: number, from: number, to: number): void {
  for (let done = 1; done < to - from; done *= 2) {
    const more = Math.min(done, to - from - done);
    bytes.copyWithin((from + done) * cellBytes, from * cellBytes, (from + more) * cellBytes);
  }
}

/** The kernel's own arithmetic, rounding included: both must put an edge into the same cell. */
function cellOf(value: number, { low, scale, size }: Cells, precision: Precision): number {
  const single = precision === 'f32';
  const above = Math.max(value, low);
  const product = single ? Math.fround(Math.fround(above - low) * scale) : (above - low) * scale;
  // 0 · infinity is NaN, which the kernel takes for the last cell.
  const cell = Number.isNaN(product) ? size - 1 : Math.min(product, size - 1);
  const magic = single ? 2 ** 23 : 2 ** 52;
  return (single ? Math.fround(cell + magic) : cell + magic) - magic;
}

/** Bins of edges after some of them were split: for every fine bin the coarse bin it belongs to. Both lists ascend. */
export function coarseBins(fine: readonly number[], coarse: readonly number[]): Int32Array {
  const bins = new Int32Array(fine.length + 1);
  let bin = 0;
  for (let i = 0; i < bins.length; i++) {
    // Fine bin i lies above fine edge i − 1, so above every coarse edge at or below it. Edges below the smallest 32-bit
    // float are −infinity: every value lies above them.
    const edge = i === 0 ? -Infinity : fine[i - 1]!;
    while (bin < coarse.length && coarse[bin]! <= edge) bin++;
    bins[i] = bin;
  }
  return bins;
}
