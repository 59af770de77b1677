/** Rows by cluster, for resampling whole days or entities: rows of one cluster are not independent. */
import { type Numbers, sum } from '../stats/measured.ts';
import { createRandom } from '../stats/random.ts';
import { effectiveRows } from '../stats/weighted.ts';

/** The rows of each cluster; without cluster ids every row is its own. */
export function rowsByCluster(clusters: Int32Array | null, rows: Uint32Array): readonly Uint32Array[] {
  if (clusters === null) return Array.from(rows, row => Uint32Array.of(row));
  const groups = new Map<number, number[]>();
  for (const row of rows) {
    const cluster = clusters[row]!;
    const known = groups.get(cluster);
    if (known === undefined) groups.set(cluster, [row]);
    else known.push(row);
  }
  return [...groups.values()].map(group => Uint32Array.from(group));
}

/** The rows of a resample in which cluster i counts multiplicities[i] times. */
export function resampled(groups: readonly Uint32Array[], multiplicities: Float64Array): Uint32Array {
  let length = 0;
  groups.forEach((group, index) => {
    length += group.length * multiplicities[index]!;
  });
  const chosen = new Uint32Array(length);
  let at = 0;
  groups.forEach((group, index) => {
    for (let copy = 0; copy < multiplicities[index]!; copy++) {
      chosen.set(group, at);
      at += group.length;
    }
  });
  return chosen;
}

/**
 * Rows drawn in proportion to their weights (systematically, from one random start), as many as the sample is worth: to be
 * used with equal weights where a method knows no others.
 */
export function drawnByWeight(weights: Numbers, seed: number): Uint32Array {
  const count = Math.max(1, Math.floor(effectiveRows(weights)));
  const step = sum(weights) / count;
  const chosen = new Uint32Array(count);
  let next = createRandom(seed).next() * step;
  let passed = 0;
  let at = 0;
  for (let row = 0; row < weights.length && at < count; row++) {
    passed += weights[row]!;
    for (; passed > next && at < count; next += step) chosen[at++] = row;
  }
  return chosen.subarray(0, at);
}

export function everyRow(rows: number): Uint32Array {
  return Uint32Array.from({ length: rows }, (_, row) => row);
}

export function pick(values: Numbers, rows: Uint32Array): Float64Array {
  return Float64Array.from(rows, row => values[row]!);
}
