/** Whether probabilities mean what they say. */
import { outsideUnit, problemOf } from './classification.ts';
import { finiteOr, type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';
import { quantileOfSorted } from './moments.ts';

/** One bin of a reliability curve. */
export interface ReliabilityBin {
  readonly n: number;
  readonly meanProbability: number;
  readonly positiveRate: number;
}

export interface CalibrationOptions {
  readonly bins: number;
  readonly binning: 'equal-width' | 'equal-mass';
}

/**
 * Non-empty bins of predicted probability, ascending. Equal-width edges are i/bins, equal-mass edges the quantiles of p;
 * bins are [low, high), the last one closed (as in torchmetrics). Rows of a sample count by their weights.
 */
export function reliability(
  y: Numbers,
  p: Numbers,
  options: CalibrationOptions & { readonly weights?: Numbers | null },
): Measured<ReliabilityBin[]> {
  const problem = problemOf(y, p) ?? outsideUnit(p);
  if (problem !== null) return undefinedBecause(problem);
  if (!(options.bins >= 1)) return undefinedBecause(`${options.bins} bins`);
  const ascending = Float64Array.from(p).sort();
  const lowerEdges = Array.from({ length: options.bins }, (_, i) => {
    const share = i / options.bins;
    return options.binning === 'equal-width' ? share : (quantileOfSorted(ascending, share).value ?? 0);
  });
  const n = new Float64Array(options.bins);
  const probability = new Float64Array(options.bins);
  const positives = new Float64Array(options.bins);
  for (let i = 0; i < y.length; i++) {
    const bin = lastAtMost(lowerEdges, p[i]!);
    const weight = options.weights?.[i] ?? 1;
    n[bin]! += weight;
    probability[bin]! += weight * p[i]!;
    positives[bin]! += weight * y[i]!;
  }
  return measured(reliabilityBins(n, probability, positives));
}

function lastAtMost(edges: readonly number[], value: number): number {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (edges[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

/** Reliability bins from sums per bin, as a score histogram holds them. Empty bins are left out. */
export function reliabilityBins(n: Numbers, probabilitySums: Numbers, positives: Numbers): ReliabilityBin[] {
  const bins: ReliabilityBin[] = [];
  for (let i = 0; i < n.length; i++) {
    if (!(n[i]! > 0)) continue;
    bins.push({ n: n[i]!, meanProbability: probabilitySums[i]! / n[i]!, positiveRate: positives[i]! / n[i]! });
  }
  return bins;
}

/** Expected calibration error: gaps |rate − probability| weighted by rows (l1), their root mean square (l2), or the largest. */
export function calibrationError(bins: readonly ReliabilityBin[], norm: 'l1' | 'l2' | 'max' = 'l1'): Measured {
  const total = sum(bins.map(bin => bin.n));
  if (!(total > 0)) return undefinedBecause('no rows');
  const gaps = bins.map(bin => Math.abs(bin.positiveRate - bin.meanProbability));
  if (norm === 'max') return measured(Math.max(...gaps));
  const weighted = bins.map((bin, i) => (bin.n / total) * (norm === 'l1' ? gaps[i]! : gaps[i]! ** 2));
  return measured(norm === 'l1' ? sum(weighted) : Math.sqrt(sum(weighted)));
}

/** Calibration in the large: mean p − mean y. Positive when the model promises too much. */
export function calibrationInTheLarge(y: Numbers, p: Numbers): Measured {
  const problem = problemOf(y, p);
  return problem === null ? finiteOr((sum(p) - sum(y)) / y.length, 'not finite') : undefinedBecause(problem);
}

export interface CalibrationLine {
  /** 1 when calibrated; below 1 the scores are too extreme. */
  readonly slope: number;
  readonly intercept: number;
  readonly slopeStandardError: number;
}

/**
 * Cox's calibration line: logistic regression of y on logit(p), by Newton's method (IRLS). p is clipped to [1e-9, 1 − 1e-9].
 * Undefined with one class, constant p, or when p separates the classes (the slope is then infinite).
 */
export function calibrationSlope(y: Numbers, p: Numbers): Measured<CalibrationLine> {
  const problem = problemOf(y, p) ?? outsideUnit(p);
  if (problem !== null) return undefinedBecause(problem);
  const positives = sum(y);
  if (positives === 0 || positives === y.length) return undefinedBecause('only one class');
  const x = Float64Array.from(p, value => {
    const clipped = Math.min(1 - 1e-9, Math.max(1e-9, value));
    return Math.log(clipped) - Math.log1p(-clipped);
  });
  const center = sum(x) / x.length;
  if (x.every(value => value === x[0])) return undefinedBecause('all probabilities are equal');
  let slope = 1;
  let level = Math.log(positives / (y.length - positives));
  for (let iteration = 0; iteration < 100; iteration++) {
    let [g0, g1, h00, h01, h11] = [0, 0, 0, 0, 0];
    for (let i = 0; i < x.length; i++) {
      const u = x[i]! - center;
      const fitted = 1 / (1 + Math.exp(-(level + slope * u)));
      const weight = fitted * (1 - fitted);
      g0 += y[i]! - fitted;
      g1 += (y[i]! - fitted) * u;
      h00 += weight;
      h01 += weight * u;
      h11 += weight * u * u;
    }
    const determinant = h00 * h11 - h01 * h01;
    if (!(determinant > 1e-12 * h00 * h11) || !Number.isFinite(determinant)) break;
    // Half-steps keep the first moves from overshooting on extreme scores.
    const move = Math.max(1, Math.abs((h00 * g1 - h01 * g0) / determinant) / 2);
    const stepSlope = (h00 * g1 - h01 * g0) / determinant / move;
    const stepLevel = (h11 * g0 - h01 * g1) / determinant / move;
    slope += stepSlope;
    level += stepLevel;
    if (Math.abs(slope) > 1e6) break;
    if (Math.abs(stepSlope) < 1e-12 * (1 + Math.abs(slope)) && Math.abs(stepLevel) < 1e-12 * (1 + Math.abs(level))) {
      return measured({ slope, intercept: level - slope * center, slopeStandardError: Math.sqrt(h00 / determinant) });
    }
  }
  return undefinedBecause('the probabilities separate the classes: the slope has no finite estimate');
}

/** A non-decreasing step function from score to probability. */
export interface IsotonicFit {
  /** Ascending lowest score of each block. */
  readonly scores: readonly number[];
  readonly probabilities: readonly number[];
}

/** Isotonic regression of labels on scores by pool-adjacent-violators (Ayer et al. 1955). */
export function fitIsotonic(y: Numbers, score: Numbers): Measured<IsotonicFit> {
  const problem = problemOf(y, score);
  if (problem !== null) return undefinedBecause(problem);
  const order = Array.from({ length: y.length }, (_, i) => i).sort((a, b) => score[a]! - score[b]!);
  const blocks: { score: number; last: number; positives: number; n: number }[] = [];
  for (const row of order) {
    const previous = blocks.at(-1);
    if (previous !== undefined && previous.last === score[row]!) {
      previous.positives += y[row]!;
      previous.n += 1;
    } else blocks.push({ score: score[row]!, last: score[row]!, positives: y[row]!, n: 1 });
    // A tie that is still growing may be pooled now: pooling is associative.
    pool(blocks);
  }
  return measured({
    scores: blocks.map(block => block.score),
    probabilities: blocks.map(block => block.positives / block.n),
  });
}

function pool(blocks: { score: number; last: number; positives: number; n: number }[]): void {
  while (blocks.length > 1) {
    const [left, right] = [blocks[blocks.length - 2]!, blocks[blocks.length - 1]!];
    if (left.positives * right.n <= right.positives * left.n) return;
    blocks.pop();
    left.positives += right.positives;
    left.n += right.n;
    left.last = right.last;
  }
}

export function applyIsotonic(fit: IsotonicFit, score: number): number {
  return fit.probabilities[lastAtMost(fit.scores, score)]!;
}
