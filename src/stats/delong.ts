/**
 * DeLong's test for AUCs on the same rows (DeLong, DeLong and Clarke-Pearson 1988), by midranks in O(n log n) (Sun and Xu
 * 2014): the placement of a positive is the share of negatives below it, ties half, and the other way round.
 */
import { problemOf } from './classification.ts';
import { type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';
import type { Interval } from './proportions.ts';
import { log10NormalTwoSided, normalQuantile, normalTwoSided } from './special.ts';

export interface DelongAuc {
  readonly auc: number;
  readonly variance: number;
  /** Normal interval, cut to [0, 1]. */
  readonly interval: Interval;
}

export interface DelongPaired {
  readonly auc1: number;
  readonly auc2: number;
  readonly variance1: number;
  readonly variance2: number;
  readonly covariance: number;
  /** auc1 − auc2. */
  readonly difference: number;
  readonly standardError: number;
  readonly interval: Interval;
  readonly z: number;
  readonly p: number;
  readonly log10P: number;
}

/** One AUC with its variance and interval. Needs two rows of each class. */
export function delongAuc(y: Numbers, score: Numbers, confidence = 0.95): Measured<DelongAuc> {
  const problem = problemOf(y, score) ?? tooFew(y);
  if (problem !== null) return undefinedBecause(problem);
  const placed = placements(y, score);
  const variance = covarianceOf(placed, placed);
  const half = normalQuantile((1 + confidence) / 2) * Math.sqrt(variance);
  const { auc } = placed;
  return measured({ auc, variance, interval: { low: Math.max(0, auc - half), high: Math.min(1, auc + half) } });
}

/** Two scores of the same rows: the difference of their AUCs with interval and test. Identical scores give p = 1. */
export function delongPaired(
  y: Numbers,
  scores: { first: Numbers; second: Numbers },
  confidence = 0.95,
): Measured<DelongPaired> {
  const problem = problemOf(y, scores.first) ?? problemOf(y, scores.second) ?? tooFew(y);
  if (problem !== null) return undefinedBecause(problem);
  const one = placements(y, scores.first);
  const two = placements(y, scores.second);
  const variance1 = covarianceOf(one, one);
  const variance2 = covarianceOf(two, two);
  const covariance = covarianceOf(one, two);
  const difference = one.auc - two.auc;
  // Rounding may leave a tiny negative number where the two scores rank alike.
  const squared = variance1 + variance2 - 2 * covariance;
  const standardError = squared > 1e-15 * (variance1 + variance2) ? Math.sqrt(squared) : 0;
  if (standardError === 0 && Math.abs(difference) > 1e-12) return undefinedBecause('the difference has no variance');
  const z = standardError === 0 ? 0 : difference / standardError;
  const half = normalQuantile((1 + confidence) / 2) * standardError;
  return measured({
    auc1: one.auc,
    auc2: two.auc,
    variance1,
    variance2,
    covariance,
    difference,
    standardError,
    interval: { low: difference - half, high: difference + half },
    z,
    p: normalTwoSided(z),
    log10P: log10NormalTwoSided(z),
  });
}

function tooFew(y: Numbers): string | null {
  const positives = sum(y);
  const negatives = y.length - positives;
  if (positives === 0 || negatives === 0) return 'only one class';
  return positives < 2 || negatives < 2 ? 'the variance needs two rows of each class' : null;
}

interface Placements {
  readonly auc: number;
  readonly ofPositives: Float64Array;
  readonly ofNegatives: Float64Array;
}

function placements(y: Numbers, score: Numbers): Placements {
  const order = Uint32Array.from({ length: y.length }, (_, i) => i).sort((a, b) => score[a]! - score[b]!);
  const positives = sum(y);
  const negatives = y.length - positives;
  const placement = new Float64Array(y.length);
  let negativesBelow = 0;
  let positivesBelow = 0;
  for (let start = 0; start < order.length; ) {
    let end = start;
    let tied = 0;
    while (end < order.length && score[order[end]!] === score[order[start]!]) tied += y[order[end++]!]!;
    const tiedNegatives = end - start - tied;
    for (let at = start; at < end; at++) {
      const row = order[at]!;
      placement[row] =
        y[row] === 1 ? (negativesBelow + tiedNegatives / 2) / negatives : 1 - (positivesBelow + tied / 2) / positives;
    }
    positivesBelow += tied;
    negativesBelow += tiedNegatives;
    start = end;
  }
  const ofPositives = placement.filter((_, row) => y[row] === 1);
  return { auc: sum(ofPositives) / positives, ofPositives, ofNegatives: placement.filter((_, row) => y[row] === 0) };
}

/** Covariance of two AUCs: S10/m + S01/n over the placements. */
function covarianceOf(a: Placements, b: Placements): number {
  const sample = (x: Float64Array, z: Float64Array): number => {
    let total = 0;
    for (let i = 0; i < x.length; i++) total += (x[i]! - a.auc) * (z[i]! - b.auc);
    return total / (x.length - 1) / x.length;
  };
  return sample(a.ofPositives, b.ofPositives) + sample(a.ofNegatives, b.ofNegatives);
}
