/**
 * Confidence-based performance estimation: quality before labels arrive, from calibrated probabilities alone (NannyML).
 * Valid under covariate shift inside regions the model knows; blind to concept drift, invalid in regions it never saw.
 */
import { outsideUnit, rocAucOfGroups } from './classification.ts';
import { delongAuc } from './delong.ts';
import { lengthMismatch, type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';

export interface EstimatedQuality {
  readonly truePositives: number;
  readonly falsePositives: number;
  readonly falseNegatives: number;
  readonly trueNegatives: number;
  readonly accuracy: Measured;
  readonly precision: Measured;
  readonly recall: Measured;
  readonly f1: Measured;
  readonly auc: Measured;
}

/**
 * Expected confusion: TP = Σ p over rows called positive, FP = Σ (1 − p) there, FN = Σ p elsewhere, TN the rest. The AUC
 * weighs every row p as a positive and 1 − p as a negative, ties half. `score` orders the rows; default p itself. `counts`
 * says how many rows an entry stands for, as the bins of a histogram do; default one each.
 */
export function estimateQuality(
  p: Numbers,
  predicted: Numbers,
  score: Numbers = p,
  counts: Numbers | null = null,
): Measured<EstimatedQuality> {
  const problem =
    lengthMismatch(p, predicted, 'probabilities and decisions') ??
    lengthMismatch(p, score, 'probabilities and scores') ??
    (counts === null ? null : lengthMismatch(p, counts, 'probabilities and counts')) ??
    outsideUnit(p);
  if (problem !== null) return undefinedBecause(problem);
  const rows = counts === null ? p.length : sum(counts);
  if (!(rows > 0)) return undefinedBecause('no rows');
  let [tp, fp, fn, tn] = [0, 0, 0, 0];
  for (let i = 0; i < p.length; i++) {
    const count = counts?.[i] ?? 1;
    if (predicted[i] === 1) {
      tp += count * p[i]!;
      fp += count * (1 - p[i]!);
    } else {
      fn += count * p[i]!;
      tn += count * (1 - p[i]!);
    }
  }
  const ratio = (top: number, bottom: number, reason: string): Measured =>
    bottom > 0 ? measured(top / bottom) : undefinedBecause(reason);
  return measured({
    truePositives: tp,
    falsePositives: fp,
    falseNegatives: fn,
    trueNegatives: tn,
    accuracy: measured((tp + tn) / rows),
    precision: ratio(tp, tp + fp, 'nothing was called positive'),
    recall: ratio(tp, tp + fn, 'no positives are expected'),
    f1: ratio(2 * tp, 2 * tp + fp + fn, 'no positives, neither called nor expected'),
    auc: estimatedAuc(p, score, counts),
  });
}

function estimatedAuc(p: Numbers, score: Numbers, counts: Numbers | null): Measured {
  const order = Uint32Array.from({ length: p.length }, (_, i) => i).sort((a, b) => score[a]! - score[b]!);
  const positives: number[] = [];
  const negatives: number[] = [];
  let last = Number.NaN;
  for (const row of order) {
    if (score[row] !== last) {
      positives.push(0);
      negatives.push(0);
      last = score[row]!;
    }
    const count = counts?.[row] ?? 1;
    positives[positives.length - 1]! += count * p[row]!;
    negatives[negatives.length - 1]! += count * (1 - p[row]!);
  }
  return rocAucOfGroups({ positives, negatives });
}

export const estimatedMetrics = ['accuracy', 'precision', 'recall', 'f1', 'auc'] as const;
export type EstimatedMetric = (typeof estimatedMetrics)[number];

/**
 * Standard deviation of one row's contribution to each metric on the labelled reference. The ratio metrics use the
 * linearised ratio (delta method), the AUC DeLong's placements.
 */
export function componentDeviations(
  y: Numbers,
  predicted: Numbers,
  score: Numbers,
): Readonly<Record<EstimatedMetric, Measured>> {
  const n = y.length;
  const indicator = (pick: (label: number, called: number) => number): Float64Array =>
    Float64Array.from({ length: n }, (_, i) => pick(y[i]!, predicted[i]!));
  const hit = indicator((label, called) => label * called);
  return {
    accuracy: ratioDeviation(
      indicator((label, called) => (label === called ? 1 : 0)),
      indicator(() => 1),
    ),
    precision: ratioDeviation(
      hit,
      indicator((_, called) => called),
    ),
    recall: ratioDeviation(
      hit,
      indicator(label => label),
    ),
    f1: ratioDeviation(
      hit.map(value => 2 * value),
      indicator((label, called) => label + called),
    ),
    auc: aucDeviation(y, score),
  };
}

/** sd of (a − R b)/mean(b) with R = Σa/Σb. */
function ratioDeviation(a: Float64Array, b: Float64Array): Measured {
  const total = sum(b);
  if (!(total > 0)) return undefinedBecause('the metric is undefined on the reference');
  const ratio = sum(a) / total;
  const mean = total / b.length;
  const squares = sum(a.map((value, i) => ((value - ratio * b[i]!) / mean) ** 2));
  return measured(Math.sqrt(squares / a.length));
}

function aucDeviation(y: Numbers, score: Numbers): Measured {
  const auc = delongAuc(y, score);
  return auc.value === null ? auc : measured(Math.sqrt(auc.value.variance * y.length));
}

/** estimate ± 3 sd of a row's contribution over the root of the rows, cut to [0, 1]. */
export function estimateBand(
  estimate: number,
  { deviation, rows, k = 3 }: { deviation: number; rows: number; k?: number },
): Measured<{ low: number; high: number }> {
  if (!(rows > 0)) return undefinedBecause('no rows');
  const half = (k * deviation) / Math.sqrt(rows);
  return measured({ low: Math.max(0, estimate - half), high: Math.min(1, estimate + half) });
}
