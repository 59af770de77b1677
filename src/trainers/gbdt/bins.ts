/**
 * Binning: each feature is cut once into at most 255 bins of about equal weight, and one more for missing values. Cuts are
 * float32 numbers between two values that occur, so `value <= cut` means the same here and in the exported graph.
 */
import type { Random } from '../random.ts';
import { sampleIndices } from '../random.ts';
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
  const sample =
    column.length <= SAMPLE_ROWS
      ? column.slice()
      : Float32Array.from(sampleIndices(random, column.length, SAMPLE_ROWS), row => column[row]!);
  // NaN sorts to the end.
  sample.sort();
  let present = sample.length;
  while (present > 0 && Number.isNaN(sample[present - 1]!)) present--;

  const cuts: number[] = [];
  let rest = present;
  let inBin = 0;
  for (let index = 0; index < present; ) {
    const value = sample[index]!;
    let end = index + 1;
    while (end < present && sample[end] === value) end++;
    if (end === present) break;
    inBin += end - index;
    const next = sample[end]!;
    let afterNext = end + 1;
    while (afterNext < present && sample[afterNext] === next) afterNext++;
    // Aim at equal bins of what is left; a value heavy enough to fill a bin gets one of its own.
    const aim = rest / (maxBins - cuts.length);
    const overshoots = inBin + (afterNext - end) / 2 > aim;
    if (
      cuts.length < maxBins - 1 &&
      (inBin >= aim || overshoots || distinctFit(sample, present, end, maxBins - cuts.length))
    ) {
      cuts.push(cutBetween(value, next));
      rest -= inBin;
      inBin = 0;
    }
    index = end;
  }
  return Float32Array.from(cuts);
}

/** True when every value from `from` on, and the one before, can have a bin of its own. */
function distinctFit(sorted: Float32Array, end: number, from: number, bins: number): boolean {
  let distinct = 1;
  for (let index = from; index < end && distinct <= bins; distinct++) {
    const value = sorted[index]!;
    while (index < end && sorted[index] === value) index++;
  }
  return distinct <= bins;
}

/** A finite float32 t with a <= t < b: the middle, or `a` when the middle rounds to `b`. */
function cutBetween(a: number, b: number): number {
  const [low, high] = [Math.max(a, -FLOAT32_MAX), Math.min(b, FLOAT32_MAX)];
  const middle = Math.fround(low / 2 + high / 2);
  return middle >= a && middle < b ? middle : a;
}

/** Writes the bins of all rows into the groups of the workspace, a block of rows at a time so that the block stays cached. */
export function fillBins(workspace: Workspace, columns: readonly Float32Array[], binnings: readonly Binning[]): void {
  const { layout, bytes } = workspace;
  for (const group of layout.groups) {
    const members = binnings.slice(group.first, group.first + group.size).map(({ feature, cuts }) => {
      const padded = new Float32Array(CUTS).fill(Infinity);
      padded.set(cuts);
      return { column: columns[feature]!, padded, missing: cuts.length + 1 };
    });
    for (let from = 0; from < layout.rows; from += ROWS_PER_BLOCK) {
      const to = Math.min(layout.rows, from + ROWS_PER_BLOCK);
      members.forEach(({ column, padded, missing }, index) => {
        let at = group.bins + from * group.size + index;
        for (let row = from; row < to; row++, at += group.size) {
          const value = column[row]!;
          bytes[at] = Number.isNaN(value) ? missing : binOf(padded, value);
        }
      });
    }
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
