/** Quality metrics of weighted samples with their errors: the value that `measureQuality` gives, and each row's influence on it. */
import { logLossOf } from '../stats/classification.ts';
import { andThen, type Measured, measured, type Numbers, undefinedBecause } from '../stats/measured.ts';
import type { Interval } from '../stats/proportions.ts';
import {
  effectiveRows,
  type Linearised,
  normalInterval,
  rateInterval,
  weightedAuc,
  weightedMean,
  weightedRatio,
} from '../stats/weighted.ts';
import type { QualityMetric } from './score-quality.ts';

export interface WeightedRows {
  readonly labels: Numbers;
  readonly scores: Numbers;
  /** Inverse sampling probabilities, or anything in proportion to them. */
  readonly weights: Numbers;
  readonly threshold: number;
}

/** Average precision is no smooth function of means; it is resampled instead. */
export type LinearMetric = Exclude<QualityMetric, 'average_precision'>;

export function isLinearMetric(metric: QualityMetric): metric is LinearMetric {
  return metric !== 'average_precision';
}

/** What a sample is worth, for people; nothing where all rows count alike. */
export function sampleText(weights: Numbers | null): string {
  return weights === null ? '' : `, a weighted sample worth ${Math.round(effectiveRows(weights))} rows of equal weight`;
}

/** The metric over a weighted sample, linearised. */
export function weightedQuality(metric: LinearMetric, rows: WeightedRows): Measured<Linearised> {
  const { labels: y, scores: s, weights } = rows;
  if (y.length === 0) return undefinedBecause('no labelled rows');
  const each = (of: (label: number, score: number) => number) =>
    Float64Array.from(y as ArrayLike<number>, (label, i) => of(label, s[i]!));
  const isCalled = (score: number) => (score >= rows.threshold ? 1 : 0);
  const mean = (of: (label: number, score: number) => number) => weightedMean(each(of), weights);
  switch (metric) {
    case 'auc':
      return weightedAuc(y, s, weights);
    case 'log_loss':
      return mean(logLossOf);
    case 'brier':
      return mean((label, score) => (score - label) ** 2);
    case 'accuracy':
      return mean((label, score) => Number(isCalled(score) === label));
    case 'precision':
      return weightedRatio(
        each((label, score) => isCalled(score) * label),
        each((_, score) => isCalled(score)),
        weights,
      );
    case 'recall':
      return weightedRatio(
        each((label, score) => isCalled(score) * label),
        each(label => label),
        weights,
      );
    case 'f1':
      return weightedRatio(
        each((label, score) => 2 * isCalled(score) * label),
        each((label, score) => isCalled(score) + label),
        weights,
      );
    case 'mae':
      return mean((label, score) => Math.abs(score - label));
    case 'rmse':
      return andThen(
        mean((label, score) => (score - label) ** 2),
        ({ value, influence }) => {
          const rmse = Math.sqrt(value);
          // The root's slope; an error of nought has none and no spread either.
          return measured({ value: rmse, influence: influence.map(u => (rmse === 0 ? 0 : u / (2 * rmse))) });
        },
      );
    case 'r2':
      return andThen(weightedMean(y, weights), ({ value: center }) =>
        andThen(
          weightedRatio(
            each((label, score) => (score - label) ** 2),
            each(label => (label - center) ** 2),
            weights,
          ),
          ({ value, influence }) => measured({ value: 1 - value, influence: influence.map(u => -u) }),
        ),
      );
  }
}

/** The metric with its two-sided interval: Wilson's for rates, else normal within what the metric can be. */
export function weightedInterval(
  metric: LinearMetric,
  rows: WeightedRows,
  confidence: number,
): Measured<Interval & { readonly value: number }> {
  return andThen(weightedQuality(metric, rows), found => {
    const interval =
      metric === 'accuracy' || metric === 'precision' || metric === 'recall'
        ? rateInterval(found, effectiveRows(domainWeights(metric, rows)), confidence)
        : normalInterval(found, confidence, boundsOf(metric));
    return andThen(interval, bounds => measured({ value: found.value, ...bounds }));
  });
}

/** Weights of the rows that a rate is a rate of. */
function domainWeights(metric: 'accuracy' | 'precision' | 'recall', rows: WeightedRows): Numbers {
  return Float64Array.from(rows.weights as ArrayLike<number>).filter((_, i) => {
    if (metric === 'accuracy') return true;
    return metric === 'recall' ? rows.labels[i] === 1 : rows.scores[i]! >= rows.threshold;
  });
}

function boundsOf(metric: LinearMetric): Interval {
  if (metric === 'r2') return { low: Number.NEGATIVE_INFINITY, high: 1 };
  if (metric === 'auc' || metric === 'f1' || metric === 'brier') return { low: 0, high: 1 };
  return { low: 0, high: Number.POSITIVE_INFINITY };
}

/** first − second on the same rows with its two-sided interval. */
export function weightedDifference(
  metric: LinearMetric,
  pair: Omit<WeightedRows, 'scores'> & { readonly first: Numbers; readonly second: Numbers },
  confidence: number,
): Measured<Interval & { readonly value: number; readonly first: number; readonly second: number }> {
  const { first, second, ...rows } = pair;
  return andThen(weightedQuality(metric, { ...rows, scores: first }), one =>
    andThen(weightedQuality(metric, { ...rows, scores: second }), two => {
      const value = one.value - two.value;
      const influence = one.influence.map((u, i) => u - two.influence[i]!);
      return andThen(normalInterval({ value, influence }, confidence), interval =>
        measured({ value, ...interval, first: one.value, second: two.value }),
      );
    }),
  );
}
