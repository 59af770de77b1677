/**
 * Binning: each feature is cut once into at most 255 bins of about equal weight, and one more for missing values. Cuts are
 * float32 numbers between two values that occur, so `value <= cut` means the same here and in the exported graph.
 */
import type { Random } from '../random.ts';
import { GROUP_BYTES } from './kernel.ts';
import type { Workspace } from './layout.ts';

const SAMPLE_ROWS = 100_000;
const ROWS_PER_BLOCK = 4_096;
const FLOAT32_MAX = 3.4028234663852886e38;
/** Search always takes eight steps over 255 cuts; those that do not exist are +Infinity. */
const CUTS = 255;

export interface Binning {
  /** Index of the feature in the training table. */
  readonly feature: number;
  /** Ascending; a value belongs to the first bin whose cut is not below it, or to the last bin, which has none. */
  readonly cuts: Float32Array;
}

/** Cuts of a column; none for a column with one value. `maxBins` counts without the bin of the missing values. */
export function findCuts(column: Float32Array, maxBins: number, random: Random): Float32Array {
  const { values, counts } = distinctValues(sampleColumn(column, random));
  const cuts: number[] = [];
  let rest = counts.reduce((sum, count) => sum + count, 0);
  let inBin = 0;
  for (let index = 0; index < values.length - 1 && cuts.length < maxBins - 1; index++) {
    inBin += counts[index]!;
    const binsLeft = maxBins - cuts.length;
    // Aim at equal bins of what is left; when every value left can have a bin of its own, it gets one.
    const aim = rest / binsLeft;
    const eachFits = values.length - index <= binsLeft;
    if (eachFits || inBin + counts[index + 1]! / 2 > aim) {
      cuts.push(cutBetween(values[index]!, values[index + 1]!));
      rest -= inBin;
      inBin = 0;
    }
  }
  return Float32Array.from(cuts);
}

/** At most SAMPLE_ROWS values, one drawn from each of as many equal stretches of the column. */
function sampleColumn(column: Float32Array, random: Random): Float32Array {
  if (column.length <= SAMPLE_ROWS) return column.slice();
  const stretch = column.length / SAMPLE_ROWS;
  return Float32Array.from({ length: SAMPLE_ROWS }, (_, index) => column[Math.floor((index + random()) * stretch)]!);
}

/** The values that occur, ascending, with how often each does; NaN is no value. Sorts `sample`. */
function distinctValues(sample: Float32Array): {
  readonly values: readonly number[];
  readonly counts: readonly number[];
} {
  const values: number[] = [];
  const counts: number[] = [];
  for (const value of sample.sort()) {
    // NaN sorts to the end.
    if (Number.isNaN(value)) break;
    if (value === values.at(-1)) counts[counts.length - 1]!++;
    else {
      values.push(value);
      counts.push(1);
    }
  }
  return { values, counts };
}

/** A finite float32 t with a <= t < b: the middle, or `a` when the middle rounds to `b`. */
function cutBetween(a: number, b: number): number {
  const [low, high] = [Math.max(a, -FLOAT32_MAX), Math.min(b, FLOAT32_MAX)];
  const middle = Math.fround(low / 2 + high / 2);
  return middle >= a && middle < b ? middle : a;
}

/** Writes the bins of all rows, by group and by feature, a block of rows at a time so that the block stays cached. */
export function fillBins(workspace: Workspace, columns: readonly Float32Array[], binnings: readonly Binning[]): void {
  const { layout, bytes } = workspace;
  for (const group of layout.groups) {
    const members = binnings.slice(group.first, group.first + group.size).map(({ feature, cuts }, index) => {
      const padded = new Float32Array(CUTS).fill(Infinity);
      padded.set(cuts);
      const byFeature = layout.columns + (group.first + index) * layout.rows;
      return {
        column: columns[feature]!,
        cuts: padded,
        missing: cuts.length + 1,
        byFeature,
        byGroup: group.bins + index,
      };
    });
    for (let from = 0; from < layout.rows; from += ROWS_PER_BLOCK) {
      const range = { from, to: Math.min(layout.rows, from + ROWS_PER_BLOCK) };
      for (const member of members) fillBlock(bytes, member, range);
    }
  }
}

interface BinnedColumn {
  readonly column: Float32Array;
  readonly cuts: Float32Array;
  readonly missing: number;
  readonly byFeature: number;
  readonly byGroup: number;
}

function fillBlock(
  bytes: Uint8Array,
  { column, cuts, missing, byFeature, byGroup }: BinnedColumn,
  { from, to }: { readonly from: number; readonly to: number },
): void {
  for (let row = from; row < to; row++) {
    const value = column[row]!;
    const bin = Number.isNaN(value) ? missing : binOf(cuts, value);
    bytes[byFeature + row] = bin;
    bytes[byGroup + row * GROUP_BYTES] = bin;
  }
}

/** Number of cuts below the value. */
function binOf(cuts: Float32Array, value: number): number {
  let bin = cuts[127]! < value ? 128 : 0;
  if (cuts[bin + 63]! < value) bin += 64;
  if (cuts[bin + 31]! < value) bin += 32;
  if (cuts[bin + 15]! < value) bin += 16;
  if (cuts[bin + 7]! < value) bin += 8;
  if (cuts[bin + 3]! < value) bin += 4;
  if (cuts[bin + 1]! < value) bin += 2;
  if (cuts[bin]! < value) bin += 1;
  return bin;
}
