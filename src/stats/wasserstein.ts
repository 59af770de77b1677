/** Wasserstein-1 (earth mover's) distance: the area between two distribution functions, in the column's own unit. */

import { shares } from './histogram.ts';
import { andThen, finiteOr, type Measured, measured, type Numbers, undefinedBecause } from './measured.ts';

/** W1 = ∫ |F − G| of two samples, with optional non-negative weights. Non-finite values are left out. */
export function wasserstein(
  x: Numbers,
  y: Numbers,
  weights: { x?: Numbers | undefined; y?: Numbers | undefined } = {},
): Measured {
  const first = sortedPairs(x, weights.x);
  const second = sortedPairs(y, weights.y);
  if (first === null || second === null) return undefinedBecause('values and weights differ in length');
  if (first.total <= 0 || second.total <= 0) return undefinedBecause('a sample without finite values or weight');
  let i = 0;
  let j = 0;
  let f = 0;
  let g = 0;
  let at = Math.min(first.pairs[0]![0], second.pairs[0]![0]);
  let distance = 0;
  while (i < first.pairs.length || j < second.pairs.length) {
    const next = Math.min(first.pairs[i]?.[0] ?? Infinity, second.pairs[j]?.[0] ?? Infinity);
    distance += Math.abs(f / first.total - g / second.total) * (next - at);
    at = next;
    while (first.pairs[i]?.[0] === at) f += first.pairs[i++]![1];
    while (second.pairs[j]?.[0] === at) g += second.pairs[j++]![1];
  }
  return finiteOr(distance, 'the distance overflows');
}

function sortedPairs(values: Numbers, weights: Numbers | undefined) {
  if (weights !== undefined && weights.length !== values.length) return null;
  const pairs: [value: number, weight: number][] = [];
  let total = 0;
  for (let i = 0; i < values.length; i++) {
    const weight = weights === undefined ? 1 : weights[i]!;
    if (!Number.isFinite(values[i]) || !(weight > 0)) continue;
    pairs.push([values[i]!, weight]);
    total += weight;
  }
  return { pairs: pairs.sort((a, b) => a[0] - b[0]), total };
}

export interface BinnedSide {
  readonly counts: Numbers;
  readonly min: number;
  readonly max: number;
}

/**
 * W1 from two histograms on the same frozen edges, mass uniform inside a bin; the guard bins reach to the smaller minimum
 * and the larger maximum of the two sides. In a bin where F − G changes sign the area is that of two triangles.
 */
export function wassersteinBinned(reference: BinnedSide, current: BinnedSide, edges: Numbers): Measured {
  return andThen(shares(reference.counts), p =>
    andThen(shares(current.counts), q => {
      if (p.length !== q.length || p.length !== edges.length + 1) return undefinedBecause('histograms on other edges');
      const min = Math.min(reference.min, current.min);
      const max = Math.max(reference.max, current.max);
      let before = 0;
      let distance = 0;
      for (let bin = 0; bin < p.length; bin++) {
        const low = bin === 0 ? Math.min(min, edges[0] ?? min) : edges[bin - 1]!;
        const high = bin === p.length - 1 ? Math.max(max, low) : edges[bin]!;
        const after = before + q[bin]! - p[bin]!;
        distance += (high - low) * absoluteMean(before, after);
        before = after;
      }
      return finiteOr(distance, 'the distance overflows');
    }),
  );
}

/** Mean of |d| while d runs linearly from a to b. */
function absoluteMean(a: number, b: number): number {
  if (a * b >= 0) return (Math.abs(a) + Math.abs(b)) / 2;
  return (a * a + b * b) / (2 * (Math.abs(a) + Math.abs(b)));
}

/**
 * W1 in reference standard deviations: divided by IQR/1.349, else by the standard deviation, else by |median|. Undefined
 * for a constant reference at 0: then any change is a constant that changed, and the caller says so.
 */
export function normalizeWasserstein(
  distance: number,
  reference: { iqr: number; sd: number; median: number },
): Measured<{ value: number; scale: 'iqr' | 'sd' | 'median' }> {
  if (reference.iqr > 0) return measured({ value: distance / (reference.iqr / 1.349), scale: 'iqr' });
  if (reference.sd > 0) return measured({ value: distance / reference.sd, scale: 'sd' });
  if (reference.median !== 0) return measured({ value: distance / Math.abs(reference.median), scale: 'median' });
  return undefinedBecause('the reference is constant 0: it has no scale');
}

/** W1 of two samples divided by their joint range (deepchecks' scale), in [0, 1]. */
export function wassersteinByJointRange(x: Numbers, y: Numbers): Measured {
  return andThen(wasserstein(x, y), distance => {
    let min = Infinity;
    let max = -Infinity;
    for (const values of [x, y]) {
      for (let i = 0; i < values.length; i++) {
        if (!Number.isFinite(values[i])) continue;
        min = Math.min(min, values[i]!);
        max = Math.max(max, values[i]!);
      }
    }
    return measured(max === min ? 0 : distance / (max - min));
  });
}
