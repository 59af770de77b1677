/**
 * Histograms as the profiles hold them: ascending finite edges e0 < … < em and m + 2 counts. Bin 0 is (−∞, e0], bin i is
 * (e(i−1), e(i)], the last is (em, ∞). The upper bound is inclusive, as in DuckDB's `histogram(x, edges)`.
 */
import { type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';

/** Index of the bin of a finite value: the number of edges below it. */
export function binOf(value: number, edges: Numbers): number {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (value > edges[middle]!) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Counts, or sums of weights, of the finite values per bin; others are the caller's to count apart. */
export function histogram(values: Numbers, edges: Numbers, weights?: Numbers): number[] {
  const counts = new Array<number>(edges.length + 1).fill(0);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isFinite(value)) counts[binOf(value, edges)]! += weights?.[i] ?? 1;
  }
  return counts;
}

/** Counts divided by their total. Undefined for an empty histogram and for negative or non-finite counts. */
export function shares(counts: Numbers): Measured<number[]> {
  for (let i = 0; i < counts.length; i++) {
    if (!(counts[i]! >= 0 && counts[i]! < Infinity)) return undefinedBecause(`count ${i} is ${counts[i]}`);
  }
  const total = sum(counts);
  if (total === 0) return undefinedBecause('no rows: all counts are 0');
  // A loop: Array.from with a function takes ten times as long, and every distance passes here.
  const result = new Array<number>(counts.length);
  for (let i = 0; i < result.length; i++) result[i] = counts[i]! / total;
  return measured(result);
}

/**
 * Quantile from a histogram, linear inside a bin. `min` and `max` bound the guard bins; a point bin answers its value. The
 * error is at most the width of one bin.
 */
export function histogramQuantile(
  q: number,
  { counts, edges, min, max }: { counts: Numbers; edges: Numbers; min: number; max: number },
): Measured {
  const total = sum(counts);
  if (total === 0) return undefinedBecause('no rows: all counts are 0');
  const target = q * total;
  let before = 0;
  for (let bin = 0; bin < counts.length; bin++) {
    const count = counts[bin]!;
    if (count > 0 && before + count >= target) {
      const low = Math.max(bin === 0 ? min : edges[bin - 1]!, min);
      const high = Math.min(bin === counts.length - 1 ? max : edges[bin]!, max);
      const inside = Math.min(1, Math.max(0, (target - before) / count));
      return measured(low + (high - low) * inside);
    }
    before += count;
  }
  return measured(max);
}

/**
 * Groups of neighbouring fine bins with about equal reference mass: the coarse view on which PSI is reported. Deterministic
 * in the reference counts. A fine bin that holds 1/binsMax of the mass or more stands alone (a heavy hitter's point bin).
 * @returns for every fine bin the index of its coarse bin, ascending from 0.
 */
export function coarsen(referenceCounts: Numbers, binsMax: number): number[] {
  const total = sum(referenceCounts);
  const share = total / binsMax;
  const group: number[] = [];
  let current = 0;
  let mass = 0;
  let empty = true;
  for (let bin = 0; bin < referenceCounts.length; bin++) {
    const count = referenceCounts[bin]!;
    const heavy = total > 0 && count >= share && count > 0;
    // Close the open group when it is full, or when this bin is to stand alone.
    if (!empty && mass > 0 && (heavy || mass + count / 2 > share)) {
      current++;
      mass = 0;
      empty = true;
    }
    group.push(current);
    mass += count;
    empty = false;
    if (heavy) {
      current++;
      mass = 0;
      empty = true;
    }
  }
  // A tail without reference mass belongs to the last group that has some: it would be a bin with an expectation of 0.
  const last = mass === 0 && current > 0 ? current - 1 : current;
  return group.map(index => Math.min(index, last));
}

/** Sums fine counts into the groups made by `coarsen`. */
export function sumGroups(counts: Numbers, groups: readonly number[]): number[] {
  const result = new Array<number>((groups.at(-1) ?? -1) + 1).fill(0);
  for (let bin = 0; bin < groups.length; bin++) result[groups[bin]!]! += counts[bin] ?? 0;
  return result;
}

/** A bucket [low, high) with a count; low = high is a point mass. */
export interface Bucket {
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

/**
 * Two histograms with different buckets on the union of their edges, mass uniform inside a bucket (TFDV's rebucketing).
 * Point masses stay apart: a point never mixes with a bucket that covers it.
 */
export function alignBuckets(first: readonly Bucket[], second: readonly Bucket[]): { p: number[]; q: number[] } {
  const wide = (bucket: Bucket): boolean => bucket.high > bucket.low;
  const all = [...first, ...second];
  const edges = [...new Set(all.filter(wide).flatMap(bucket => [bucket.low, bucket.high]))].sort((a, b) => a - b);
  const points = [...new Set(all.filter(bucket => !wide(bucket)).map(bucket => bucket.low))].sort((a, b) => a - b);
  const spread = (buckets: readonly Bucket[]): number[] => {
    const mass = new Array<number>(Math.max(0, edges.length - 1) + points.length).fill(0);
    for (const bucket of buckets) {
      if (!wide(bucket)) {
        mass[Math.max(0, edges.length - 1) + points.indexOf(bucket.low)]! += bucket.count;
        continue;
      }
      for (let i = edges.indexOf(bucket.low); edges[i]! < bucket.high; i++) {
        mass[i]! += (bucket.count * (edges[i + 1]! - edges[i]!)) / (bucket.high - bucket.low);
      }
    }
    return mass;
  };
  return { p: spread(first), q: spread(second) };
}
