/** Rows by cluster, for resampling whole days or entities: rows of one cluster are not independent. */
import type { Numbers } from '../stats/measured.ts';

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

export function everyRow(rows: number): Uint32Array {
  return Uint32Array.from({ length: rows }, (_, row) => row);
}

export function pick(values: Numbers, rows: Uint32Array): Float64Array {
  return Float64Array.from(rows, row => values[row]!);
}
