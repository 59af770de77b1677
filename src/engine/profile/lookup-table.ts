/** The kernel's lookup table for one column: from a cell to the first bin that may hold the value. */
import { binOf } from '../../stats/histogram.ts';
import { type Precision, RECORD_BYTES, type Search, TABLE_CELLS } from './kernel.ts';

export interface LookupTable {
  readonly low: number;
  readonly scale: number;
  /** Per cell the byte offset of its first bin's record, plus 1 where the kernel must walk on from there. */
  readonly entries: Uint16Array;
  readonly search: Search;
}

/** Offsets of records are 16-bit numbers, and one bin lies above the last edge. */
export const EDGES_MAX = Math.floor(0xffff / RECORD_BYTES) - 1;

/** How many edges of each side the table may leave outside: tails stretch the cells but hold little mass. */
const TRIMS = [0, 1, 2, 4, 8, 16, 32];

/** What a bin (about 1 % of the rows) costs, by the number of edges in the cell of its upper edge. */
const COST_OF_PAIR = 1;
const COST_OF_WALK = 4;

/** Chooses the range of the table so that as few bins as possible fall into crowded cells. Deterministic in the edges. */
export function buildLookupTable(edges: readonly number[], precision: Precision): LookupTable {
  let best = tableOver(edges, precision, 0);
  for (const trim of TRIMS) {
    if (best.cost === 0 || 2 * trim + 2 > edges.length) break;
    const table = tableOver(edges, precision, trim);
    if (table.cost < best.cost) best = table;
  }
  return best;
}

function tableOver(edges: readonly number[], precision: Precision, trim: number): LookupTable & { cost: number } {
  const low = edges[trim] ?? 0;
  const high = edges[edges.length - 1 - trim] ?? 0;
  const wanted = (TABLE_CELLS - 2) / (high - low);
  const round = precision === 'f32' ? Math.fround : (value: number) => value;
  // A range too narrow or too wide for its precision gets one cell: slower, still right.
  const scale =
    Number.isFinite(wanted) && Number.isFinite(round(wanted)) && round(high - low) < Infinity ? round(wanted) : 0;
  const counts = new Int32Array(TABLE_CELLS);
  for (const edge of edges) counts[cellOf(edge, { low, scale }, precision)]! += 1;
  const entries = new Uint16Array(TABLE_CELLS);
  let below = 0;
  let cost = 0;
  for (const [cell, count] of counts.entries()) {
    entries[cell] = below * RECORD_BYTES + (count > 2 ? 1 : 0);
    below += count;
    if (count > 1) cost += count * (count > 2 ? COST_OF_WALK : COST_OF_PAIR);
  }
  const crowd = counts.reduce((most, count) => Math.max(most, count), 0);
  return { low, scale, entries, search: crowd <= 1 ? 'one' : crowd === 2 ? 'two' : 'walk', cost };
}

/** The kernel's own arithmetic, rounding included: both must put an edge into the same cell. */
function cellOf(value: number, { low, scale }: { low: number; scale: number }, precision: Precision): number {
  const single = precision === 'f32';
  const product = single ? Math.fround(Math.fround(Math.fround(value) - low) * scale) : (value - low) * scale;
  // 0 · infinity is NaN, which the kernel takes for 0.
  const cell = product > 0 ? Math.min(TABLE_CELLS - 1, product) : 0;
  const magic = single ? 2 ** 23 : 2 ** 52;
  return (single ? Math.fround(cell + magic) : cell + magic) - magic;
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
