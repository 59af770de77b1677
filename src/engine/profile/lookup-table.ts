/** The kernel's lookup table for one column: from a cell to the first edge that may lie at or above the value. */
import { binOf } from '../../stats/histogram.ts';
import { type Precision, TABLE_CELLS } from './kernel.ts';

export interface LookupTable {
  readonly low: number;
  readonly scale: number;
  /** Per cell the byte offset of its first edge, plus 1 when several edges lie in the cell. */
  readonly entries: Uint16Array;
}

/** Offsets are 16-bit numbers and 64-bit edges take 8 bytes. */
export const EDGES_MAX = 8_000;

/** How many edges of each side the table may leave outside: tails stretch the cells but hold little mass. */
const TRIMS = [0, 1, 2, 4, 8, 16, 32];

/**
 * Chooses the range of the table so that as few bins as possible (each about 1 % of the rows) fall into cells with several
 * edges. Deterministic in the edges.
 */
export function buildLookupTable(edges: readonly number[], precision: Precision): LookupTable {
  let best: LookupTable | null = null;
  let bestCost = Infinity;
  for (const trim of TRIMS) {
    if (trim > 0 && 2 * trim + 2 > edges.length) break;
    const table = tableOver(edges, precision, trim);
    const cost = edges.filter(edge => isCrowded(table, precision, edge)).length;
    if (cost < bestCost) {
      best = table;
      bestCost = cost;
    }
  }
  return best ?? tableOver(edges, precision, 0);
}

function tableOver(edges: readonly number[], precision: Precision, trim: number): LookupTable {
  const low = edges[trim] ?? 0;
  const high = edges[edges.length - 1 - trim] ?? 0;
  const wanted = (TABLE_CELLS - 2) / (high - low);
  const round = precision === 'f32' ? Math.fround : (value: number) => value;
  // A range too narrow or too wide for its precision gets one cell: slower, still right.
  const scale =
    Number.isFinite(wanted) && Number.isFinite(round(wanted)) && round(high - low) < Infinity ? round(wanted) : 0;
  const first = new Int32Array(TABLE_CELLS).fill(-1);
  const counts = new Int32Array(TABLE_CELLS);
  edges.forEach((edge, i) => {
    const cell = cellOf(edge, { low, scale }, precision);
    if (counts[cell] === 0) first[cell] = i;
    counts[cell]! += 1;
  });
  const bytes = precision === 'f32' ? 4 : 8;
  const entries = new Uint16Array(TABLE_CELLS);
  let below = 0;
  for (let cell = 0; cell < TABLE_CELLS; cell++) {
    entries[cell] = below * bytes + (counts[cell]! > 1 ? 1 : 0);
    below += counts[cell]!;
  }
  return { low, scale, entries };
}

/** The kernel's own arithmetic, rounding included: both must put an edge into the same cell. */
function cellOf(value: number, { low, scale }: { low: number; scale: number }, precision: Precision): number {
  const product =
    precision === 'f32' ? Math.fround(Math.fround(Math.fround(value) - low) * scale) : (value - low) * scale;
  // 0 · infinity is NaN, which the kernel's saturating conversion turns into 0.
  if (Number.isNaN(product)) return 0;
  return Math.min(TABLE_CELLS - 1, Math.max(0, Math.trunc(product)));
}

function isCrowded(table: LookupTable, precision: Precision, value: number): boolean {
  return (table.entries[cellOf(value, table, precision)]! & 1) === 1;
}

/** Bins of edges after some of them were split: for every fine bin the coarse bin it belongs to. */
export function coarseBins(fine: readonly number[], coarse: readonly number[]): Int32Array {
  // Fine bin i lies above fine edge i − 1, so above every coarse edge at or below it. Edges below the smallest 32-bit
  // float are −infinity: every value lies above them.
  return Int32Array.from({ length: fine.length + 1 }, (_, i) => binAfter(fine[i - 1] ?? -Infinity, coarse));
}

/** Number of edges at or below a value. */
function binAfter(value: number, edges: readonly number[]): number {
  let bin = binOf(value, edges);
  while (edges[bin] === value) bin++;
  return bin;
}
