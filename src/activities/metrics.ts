/** The metrics a definition may name, measured on labelled rows with an interval, alone and as a paired difference. */
import { delongAuc, delongPaired } from '../stats/delong.ts';
import type { Measured, Numbers } from '../stats/measured.ts';
import { normalQuantile } from '../stats/special.ts';
import { PermanentFault } from './fault.ts';

export interface ScoredRows {
  /** Binary: 1 and 0; multiclass: index of the class; regression: the value. */
  readonly labels: Numbers;
  /** `width` numbers per row. */
  readonly scores: Numbers;
  readonly width: number;
}
export interface MetricValue {
  readonly value: number;
  readonly interval: readonly [low: number, high: number];
}
export interface MetricDifference {
  readonly challenger: number;
  readonly champion: number;
  /** Oriented: positive is better for the challenger. */
  readonly gain: number;
  readonly interval: readonly [low: number, high: number];
}

const lossMetrics = ['log_loss', 'brier', 'rmse', 'mae', 'accuracy'] as const;
type LossMetric = (typeof lossMetrics)[number];
export const metricNames = ['auc', ...lossMetrics] as const;

/** Probabilities are kept this far from 0 and 1, as scikit-learn does for float32 scores. */
const probabilityMin = 1e-7;

export function isHigherBetter(metric: string): boolean {
  return metric === 'auc' || metric === 'accuracy';
}

export function measureMetric(metric: string, rows: ScoredRows, confidence: number): Measured<MetricValue> {
  if (metric === 'auc') {
    const auc = delongAuc(rows.labels, rows.scores, confidence);
    if (auc.value === null) return auc;
    const { interval } = auc.value;
    return { value: { value: auc.value.auc, interval: [interval.low, interval.high] } };
  }
  const name = lossMetric(metric);
  const { mean, standardError } = momentsOf(lossesOf(name, rows));
  const half = normalQuantile((1 + confidence) / 2) * standardError;
  if (!Number.isFinite(half)) return { value: null, reason: `${rows.labels.length} rows are too few for ${metric}` };
  return {
    value: { value: shown(name, mean), interval: [shown(name, Math.max(0, mean - half)), shown(name, mean + half)] },
  };
}

/** Both on the same rows, so what makes a row hard for both cancels out. */
export function compareMetric(
  metric: string,
  rows: { readonly labels: Numbers; readonly challenger: Numbers; readonly champion: Numbers; readonly width: number },
  confidence: number,
): Measured<MetricDifference> {
  const { labels, width } = rows;
  if (metric === 'auc') {
    const paired = delongPaired(labels, { first: rows.challenger, second: rows.champion }, confidence);
    if (paired.value === null) return paired;
    const { auc1, auc2, difference, interval } = paired.value;
    return { value: { challenger: auc1, champion: auc2, gain: difference, interval: [interval.low, interval.high] } };
  }
  const name = lossMetric(metric);
  const challenger = lossesOf(name, { labels, scores: rows.challenger, width });
  const champion = lossesOf(name, { labels, scores: rows.champion, width });
  const sign = isHigherBetter(name) ? 1 : -1;
  const gains = challenger.map((loss, index) => sign * (loss - (champion[index] ?? 0)));
  const { mean, standardError } = momentsOf(gains);
  const half = normalQuantile((1 + confidence) / 2) * standardError;
  if (!Number.isFinite(half)) return { value: null, reason: `${labels.length} rows are too few for ${metric}` };
  const before = shown(name, momentsOf(champion).mean);
  const after = shown(name, momentsOf(challenger).mean);
  // RMSE is the root of a mean: its gain is scaled by the slope of the root (delta method).
  const slope = name === 'rmse' ? 1 / Math.max(after + before, Number.MIN_VALUE) : 1;
  const gain = sign * (after - before);
  return {
    value: { challenger: after, champion: before, gain, interval: [(mean - half) * slope, (mean + half) * slope] },
  };
}

function lossMetric(metric: string): LossMetric {
  const name = lossMetrics.find(known => known === metric);
  if (name !== undefined) return name;
  throw new PermanentFault(
    'UnknownMetric',
    `metric ${JSON.stringify(metric)} is not known; known: ${metricNames.join(', ')}`,
  );
}

/** Per row; for `rmse` the squared error, of which the root is shown. */
function lossesOf(metric: LossMetric, { labels, scores, width }: ScoredRows): Float64Array {
  const losses = new Float64Array(labels.length);
  for (let row = 0; row < losses.length; row += 1)
    losses[row] = lossOf(metric, labels[row] ?? Number.NaN, scores, row * width, width);
  return losses;
}

function lossOf(metric: LossMetric, label: number, scores: Numbers, at: number, width: number): number {
  const score = scores[at] ?? Number.NaN;
  switch (metric) {
    case 'log_loss': {
      const probability = width > 1 ? (scores[at + label] ?? 0) : label === 1 ? score : 1 - score;
      return -Math.log(Math.min(1 - probabilityMin, Math.max(probabilityMin, probability)));
    }
    case 'brier':
      return (score - label) ** 2;
    case 'accuracy':
      return (width > 1 ? argmax(scores, at, width) : score >= 0.5 ? 1 : 0) === label ? 1 : 0;
    case 'rmse':
      return (score - label) ** 2;
    case 'mae':
      return Math.abs(score - label);
  }
}

function argmax(scores: Numbers, at: number, width: number): number {
  let best = 0;
  for (let index = 1; index < width; index += 1) if ((scores[at + index] ?? 0) > (scores[at + best] ?? 0)) best = index;
  return best;
}

function momentsOf(values: Float64Array): { readonly mean: number; readonly standardError: number } {
  const count = values.length;
  if (count < 2) return { mean: values[0] ?? Number.NaN, standardError: Number.NaN };
  const mean = values.reduce((total, value) => total + value, 0) / count;
  const squares = values.reduce((total, value) => total + (value - mean) ** 2, 0);
  return { mean, standardError: Math.sqrt(squares / (count - 1) / count) };
}

function shown(metric: LossMetric, mean: number): number {
  return metric === 'rmse' ? Math.sqrt(mean) : mean;
}
