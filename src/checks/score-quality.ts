/** Quality metrics over rows, by name, with their direction: the one place that knows which metrics there are. */
import {
  averagePrecision,
  brierScore,
  decisionQuality,
  groupByScore,
  logLoss,
  rocAuc,
} from '../stats/classification.ts';
import { andThen, type Measured, measured, type Numbers, undefinedBecause } from '../stats/measured.ts';
import { regressionQuality } from '../stats/regression.ts';

export type QualityMetric =
  | 'auc'
  | 'average_precision'
  | 'log_loss'
  | 'brier'
  | 'accuracy'
  | 'precision'
  | 'recall'
  | 'f1'
  | 'rmse'
  | 'mae'
  | 'r2';

const metrics: readonly string[] = [
  'auc',
  'average_precision',
  'log_loss',
  'brier',
  'accuracy',
  'precision',
  'recall',
  'f1',
  'rmse',
  'mae',
  'r2',
] satisfies readonly QualityMetric[];
const lowerIsBetter: readonly QualityMetric[] = ['log_loss', 'brier', 'rmse', 'mae'];

export function isQualityMetric(name: string): name is QualityMetric {
  return metrics.includes(name);
}

/** @throws Error naming the known metrics. */
export function qualityMetric(name: string): QualityMetric {
  if (isQualityMetric(name)) return name;
  throw new Error(`metric ${name} is not known; known metrics: ${metrics.join(', ')}`);
}

/** 1 when more is better, -1 when less is. */
export function directionOf(metric: QualityMetric): 1 | -1 {
  return lowerIsBetter.includes(metric) ? -1 : 1;
}

export interface QualityOptions {
  /** Scores from here on are called positive; default 0.5. */
  readonly threshold?: number | null;
  /** Inverse sampling probabilities of a sample; default all rows alike. */
  readonly weights?: Numbers | null;
}

/** The metric over rows; undefined with its reason for one class, no rows or no finite scores. */
export function measureQuality(
  metric: QualityMetric,
  y: Numbers,
  score: Numbers,
  options: QualityOptions = {},
): Measured {
  const threshold = options.threshold ?? 0.5;
  const weights = options.weights ?? undefined;
  switch (metric) {
    case 'auc':
      return rocAuc(y, score, weights);
    case 'average_precision':
      return averagePrecision(y, score, weights);
    case 'log_loss':
      return logLoss(y, score, weights);
    case 'brier':
      return brierScore(y, score, weights);
    case 'accuracy':
    case 'precision':
    case 'recall':
    case 'f1':
      return andThen(groupByScore(y, score, weights), groups => decisionQuality(groups, threshold)[metric]);
    case 'rmse':
    case 'mae':
    case 'r2':
      return andThen(regressionQuality(y, score, weights), quality => {
        const value = quality[metric];
        if (typeof value === 'number') return measured(value);
        return value.value === null ? undefinedBecause(value.reason) : measured(value.value);
      });
  }
}
