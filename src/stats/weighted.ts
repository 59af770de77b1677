/**
 * Samples with unequal probabilities: each row stands for 1/π rows, its weight. Means and ratios are Hájek's (the weights in
 * the denominator too, so only their proportions matter); their errors come from linearisation (Särndal, Swensson and
 * Wretman 1992, section 5): an estimate has one *influence* u_i per row, and its variance is n/(n − 1) Σ u_i². The influence
 * of a difference of two estimates on the same rows is the difference of their influences, which makes it paired.
 */
import { problemOf } from './classification.ts';
import { lengthMismatch, type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';
import { type Interval, wilsonInterval } from './proportions.ts';
import { normalQuantile } from './special.ts';

export interface Linearised {
  readonly value: number;
  /** What each row adds to the error of the value; their sum is 0 up to rounding. */
  readonly influence: Float64Array;
}

/** What is wrong with weights, or null: they must be positive and finite, one for each row. */
export function weightProblem(weights: Numbers, rows: number): string | null {
  if (weights.length !== rows) return `${rows} rows have ${weights.length} weights`;
  for (let i = 0; i < weights.length; i++) {
    if (!(weights[i]! > 0 && weights[i]! < Infinity)) return `weight ${i} is ${weights[i]}, expected a positive number`;
  }
  return null;
}

/** Kish's effective size (Σw)²/Σw²: a sample of so many rows of equal weight tells as much. */
export function effectiveRows(weights: Numbers): number {
  // Relative to the largest: its square does not overflow, and equal weights give exactly their number.
  let largest = 0;
  for (let i = 0; i < weights.length; i++) largest = Math.max(largest, weights[i]!);
  const relative = Float64Array.from(weights, weight => weight / largest);
  return weights.length === 0 ? 0 : sum(relative) ** 2 / sum(relative.map(weight => weight * weight));
}

/** Hájek's mean Σwz/Σw. */
export function weightedMean(values: Numbers, weights: Numbers): Measured<Linearised> {
  return weightedRatio(values, new Float64Array(values.length).fill(1), weights);
}

/** Σw·top / Σw·bottom: rates within a part of the rows, and anything else that is a ratio of two means. */
export function weightedRatio(top: Numbers, bottom: Numbers, weights: Numbers): Measured<Linearised> {
  const problem = lengthMismatch(top, bottom, 'the two sides of a ratio') ?? weightProblem(weights, top.length);
  if (problem !== null) return undefinedBecause(problem);
  const whole = sum(Float64Array.from(bottom, (value, i) => value * weights[i]!));
  if (!(whole > 0)) return undefinedBecause('no weight in the denominator');
  const value = sum(Float64Array.from(top, (part, i) => part * weights[i]!)) / whole;
  if (!Number.isFinite(value)) return undefinedBecause('the ratio is not finite');
  return measured({
    value,
    influence: Float64Array.from(top, (part, i) => (weights[i]! * (part - value * bottom[i]!)) / whole),
  });
}

/**
 * Area under the ROC curve with weighted placements; with equal weights the value and variance are DeLong's. The influence
 * of a positive is w (share of negatives below it − AUC) / Σw of positives, and the other way round.
 */
export function weightedAuc(y: Numbers, score: Numbers, weights: Numbers): Measured<Linearised> {
  const problem = problemOf(y, score) ?? weightProblem(weights, y.length);
  if (problem !== null) return undefinedBecause(problem);
  const total = [0, 0];
  const rows = [0, 0];
  for (let i = 0; i < y.length; i++) {
    total[y[i]!]! += weights[i]!;
    rows[y[i]!]! += 1;
  }
  const [negatives = 0, positives = 0] = total;
  if (rows[0] === 0 || rows[1] === 0) return undefinedBecause('only one class');
  if (rows[0] === 1 || rows[1] === 1) return undefinedBecause('the variance needs two rows of each class');
  const order = Uint32Array.from({ length: y.length }, (_, i) => i).sort((a, b) => score[a]! - score[b]!);
  const placement = new Float64Array(y.length);
  const below = [0, 0];
  for (let start = 0; start < order.length; ) {
    let end = start;
    const tied = [0, 0];
    for (; end < order.length && score[order[end]!] === score[order[start]!]; end++) {
      tied[y[order[end]!]!]! += weights[order[end]!]!;
    }
    for (let at = start; at < end; at++) {
      const row = order[at]!;
      placement[row] =
        y[row] === 1 ? (below[0]! + tied[0]! / 2) / negatives : (positives - below[1]! - tied[1]! / 2) / positives;
    }
    below[0]! += tied[0]!;
    below[1]! += tied[1]!;
    start = end;
  }
  const ofPositives = Float64Array.from(placement, (share, i) => (y[i] === 1 ? share * weights[i]! : 0));
  const value = Math.min(1, sum(ofPositives) / positives);
  // Each class has its own n/(n − 1); the common one of the variance is taken out.
  const common = y.length / (y.length - 1);
  const factors = rows.map(n => Math.sqrt(n / (n - 1) / common));
  return measured({
    value,
    influence: Float64Array.from(
      placement,
      (share, i) => (factors[y[i]!]! * weights[i]! * (share - value)) / total[y[i]!]!,
    ),
  });
}

/** Standard error of a linearised estimate: √(n/(n − 1) Σu²); null for fewer than two rows. */
export function standardErrorOf({ influence }: Pick<Linearised, 'influence'>): number | null {
  const n = influence.length;
  if (n < 2) return null;
  return Math.sqrt((n / (n - 1)) * sum(influence.map(u => u * u)));
}

/** Normal interval of a linearised estimate, cut to `bounds`. */
export function normalInterval(
  estimate: Linearised,
  confidence: number,
  bounds: Interval = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY },
): Measured<Interval> {
  const error = standardErrorOf(estimate);
  if (error === null) return undefinedBecause('one row has no spread');
  const half = normalQuantile((1 + confidence) / 2) * error;
  return measured({
    low: Math.max(bounds.low, estimate.value - half),
    high: Math.min(bounds.high, estimate.value + half),
  });
}

/**
 * Wilson's interval of a weighted rate at its effective size p(1 − p)/variance (Dean and Pagano 2015). A rate of 0 or 1 has
 * no variance to tell its size; Kish's then stands in, so that the interval of ten rows that are all right is wide.
 */
export function rateInterval(estimate: Linearised, kish: number, confidence: number): Measured<Interval> {
  const { value } = estimate;
  const error = standardErrorOf(estimate);
  const spread = value * (1 - value);
  const size = error !== null && error > 0 && spread > 0 ? spread / error ** 2 : kish;
  return wilsonInterval({ count: Math.min(Math.max(0, value), 1) * size, n: size }, 1 - confidence);
}
