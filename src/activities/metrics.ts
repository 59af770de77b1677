/** Realised quality with an interval: DeLong for the AUC, a block bootstrap for every other metric. */
import { measureQuality, qualityMetric } from '../checks/score-quality.ts';
import { clusterBootstrap } from '../stats/bootstrap.ts';
import { delongAuc } from '../stats/delong.ts';
import type { Measured } from '../stats/measured.ts';

export interface MetricValue {
  readonly value: number;
  readonly interval: readonly [low: number, high: number];
}

/** Rows are resampled in this many blocks, every hundredth row in one: independent of the order they came in. */
const blocks = 100;
const resamples = 300;
const seed = 1;

export function measureMetric(
  name: string,
  labels: Float64Array,
  scores: Float64Array,
  confidence: number,
): Measured<MetricValue> {
  const metric = qualityMetric(name);
  if (metric === 'auc') {
    const auc = delongAuc(labels, scores, confidence);
    if (auc.value === null) return auc;
    const { interval } = auc.value;
    return { value: { value: auc.value.auc, interval: [interval.low, interval.high] } };
  }
  const whole = measureQuality(metric, labels, scores);
  if (whole.value === null) return whole;
  const interval = clusterBootstrap({
    clusters: Math.min(blocks, labels.length),
    seed,
    confidence,
    resamples,
    statistic: multiplicities => {
      const rows = resampledRows(labels.length, multiplicities);
      const pick = (values: Float64Array) => Float64Array.from(rows, row => values[row] ?? Number.NaN);
      return measureQuality(metric, pick(labels), pick(scores)).value;
    },
  });
  if (interval.value === null) return interval;
  return { value: { value: whole.value, interval: [interval.value.low, interval.value.high] } };
}

function resampledRows(count: number, multiplicities: Float64Array): readonly number[] {
  const rows: number[] = [];
  for (let row = 0; row < count; row += 1) {
    const times = multiplicities[row % multiplicities.length] ?? 0;
    for (let copy = 0; copy < times; copy += 1) rows.push(row);
  }
  return rows;
}
