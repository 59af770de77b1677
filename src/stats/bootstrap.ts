/**
 * Cluster bootstrap: rows of the same day or entity are not independent, so whole clusters are drawn. The statistic is
 * computed from per-cluster sums and their multiplicities, so one resample costs clusters, not rows.
 */
import { type Measured, measured, undefinedBecause } from './measured.ts';
import { quantileOfSorted, standardDeviation } from './moments.ts';
import { createRandom } from './random.ts';

export interface BootstrapOptions {
  readonly clusters: number;
  /** The statistic when cluster i counts multiplicities[i] times; null where it is undefined. */
  readonly statistic: (multiplicities: Float64Array) => number | null;
  readonly seed: number;
  /** Default 1,000. */
  readonly resamples?: number;
  /** Two-sided coverage of the percentile interval, default 0.95. */
  readonly confidence?: number;
}

export interface BootstrapInterval {
  readonly estimate: number;
  readonly low: number;
  readonly high: number;
  readonly standardError: number;
  readonly resamples: number;
  /** Resamples in which the statistic was undefined; they are left out of the interval. */
  readonly undefinedResamples: number;
}

/** Percentile interval of a statistic over resampled clusters. The same seed gives the same interval, bit for bit. */
export function clusterBootstrap(options: BootstrapOptions): Measured<BootstrapInterval> {
  const { clusters, statistic, seed, resamples = 1000, confidence = 0.95 } = options;
  if (clusters < 2) return undefinedBecause(`${clusters} clusters: nothing to resample`);
  const estimate = statistic(new Float64Array(clusters).fill(1));
  if (estimate === null || !Number.isFinite(estimate)) return undefinedBecause('the statistic itself is undefined');
  const random = createRandom(seed);
  const multiplicities = new Float64Array(clusters);
  const values: number[] = [];
  for (let resample = 0; resample < resamples; resample++) {
    multiplicities.fill(0);
    for (let draw = 0; draw < clusters; draw++) multiplicities[random.below(clusters)]! += 1;
    const value = statistic(multiplicities);
    if (value !== null && Number.isFinite(value)) values.push(value);
  }
  if (values.length < resamples / 2) return undefinedBecause('the statistic is undefined in most resamples');
  const ascending = Float64Array.from(values).sort();
  const tail = (1 - confidence) / 2;
  return measured({
    estimate,
    low: quantileOfSorted(ascending, tail).value ?? estimate,
    high: quantileOfSorted(ascending, 1 - tail).value ?? estimate,
    standardError: standardDeviation(ascending).value ?? 0,
    resamples,
    undefinedResamples: resamples - values.length,
  });
}
