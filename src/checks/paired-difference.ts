/** How much better the challenger is than the champion on the same rows, with its interval. */
import { clusterBootstrap } from '../stats/bootstrap.ts';
import { delongPaired } from '../stats/delong.ts';
import { andThen, type Measured, measured, type Numbers, undefinedBecause } from '../stats/measured.ts';
import type { EvaluationInput } from './evaluation.ts';
import { everyRow, pick, resampled, rowsByCluster } from './row-clusters.ts';
import { directionOf, measureQuality, type QualityMetric } from './score-quality.ts';
import { isLinearMetric, weightedDifference } from './weighted-quality.ts';

/** The labelled rows of an evaluation, and how they are compared. */
export type PairedInput = Pick<
  EvaluationInput,
  'labels' | 'challengerScores' | 'weights' | 'clusters' | 'threshold' | 'seed'
>;

export interface Difference {
  /** challenger − champion, oriented so that more is better. */
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly champion: number;
  readonly challenger: number;
  readonly method: string;
}

/** Challenger minus champion on all rows with its two-sided interval, oriented so that more is better. */
export function pairedDifference(
  metric: QualityMetric,
  input: PairedInput,
  champion: Numbers,
  confidence: number,
): Measured<Difference> {
  return compare(metric, input, champion, everyRow(input.labels.length), confidence);
}

/** DeLong for the AUC of independent rows, linearisation for weighted ones, cluster bootstrap for anything else. */
export function compare(
  metric: QualityMetric,
  input: PairedInput,
  champion: Numbers,
  rows: Uint32Array,
  confidence: number,
): Measured<Difference> {
  const { weights = null } = input;
  if (weights !== null && input.clusters === null && isLinearMetric(metric)) {
    const pair = {
      labels: pick(input.labels, rows),
      first: pick(input.challengerScores, rows),
      second: pick(champion, rows),
      weights: pick(weights, rows),
      threshold: input.threshold ?? 0.5,
    };
    return andThen(weightedDifference(metric, pair, confidence), ({ value, low, high, first, second }) => {
      const isMoreBetter = directionOf(metric) === 1;
      const bounds = isMoreBetter ? { value, low, high } : { value: -value, low: -high, high: -low };
      return measured({
        ...bounds,
        challenger: first,
        champion: second,
        method: weightedMethod(metric === 'auc' ? 'DeLong' : null),
      });
    });
  }
  if (metric === 'auc' && input.clusters === null) {
    const paired = delongPaired(
      pick(input.labels, rows),
      { first: pick(input.challengerScores, rows), second: pick(champion, rows) },
      confidence,
    );
    if (paired.value === null) return undefinedBecause(paired.reason);
    const { auc1, auc2, difference, interval } = paired.value;
    return measured({ value: difference, ...interval, challenger: auc1, champion: auc2, method: 'DeLong' });
  }
  return compareByBootstrap(metric, input, champion, rows, confidence);
}

/** The method of a weighted comparison, and the usual one that it stands in for. */
export function weightedMethod(instead: string | null): string {
  return `linearisation of weighted rows${instead === null ? '' : `; ${instead} counts all rows alike`}`;
}

function compareByBootstrap(
  metric: QualityMetric,
  input: PairedInput,
  champion: Numbers,
  rows: Uint32Array,
  confidence: number,
): Measured<Difference> {
  const groups = rowsByCluster(input.clusters, rows);
  const direction = directionOf(metric);
  const { threshold, weights = null } = input;
  const quality = (scores: Numbers, chosen: Uint32Array) => {
    const options = { threshold, weights: weights === null ? null : pick(weights, chosen) };
    return measureQuality(metric, pick(input.labels, chosen), pick(scores, chosen), options).value;
  };
  const challengerValue = quality(input.challengerScores, rows);
  const championValue = quality(champion, rows);
  if (challengerValue === null || championValue === null)
    return undefinedBecause(`${metric} is undefined on these rows`);
  const interval = clusterBootstrap({
    clusters: groups.length,
    seed: input.seed,
    confidence,
    // Each resample sorts all rows again; 300 keep the percentile's error below a tenth of the interval.
    resamples: groups.length > 0 && rows.length > 20_000 ? 300 : 1000,
    statistic: multiplicities => {
      const chosen = resampled(groups, multiplicities);
      const left = quality(input.challengerScores, chosen);
      const right = quality(champion, chosen);
      return left === null || right === null ? null : direction * (left - right);
    },
  });
  if (interval.value === null) return undefinedBecause(interval.reason);
  const { estimate, low, high } = interval.value;
  return measured({
    value: estimate,
    low,
    high,
    challenger: challengerValue,
    champion: championValue,
    method: `bootstrap over ${groups.length} clusters`,
  });
}
