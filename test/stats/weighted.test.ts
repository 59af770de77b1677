/** Weighted samples: values, errors and effective sizes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { measureQuality, type QualityMetric } from '../../src/checks/index.ts';
import { drawnByWeight } from '../../src/checks/row-clusters.ts';
import {
  isLinearMetric,
  weightedDifference,
  weightedInterval,
  weightedQuality,
} from '../../src/checks/weighted-quality.ts';
import { delongAuc, delongPaired } from '../../src/stats/delong.ts';
import { createRandom } from '../../src/stats/random.ts';
import {
  effectiveRows,
  rateInterval,
  standardErrorOf,
  weightedAuc,
  weightedMean,
  weightProblem,
} from '../../src/stats/weighted.ts';

const binary: readonly QualityMetric[] = ['auc', 'log_loss', 'brier', 'accuracy', 'precision', 'recall', 'f1'];
const numeric: readonly QualityMetric[] = ['mae', 'rmse', 'r2'];
const metrics = [...binary, ...numeric];

const rows = fc
  .array(
    fc.record({ y: fc.constantFrom(0, 1), s: fc.integer({ min: 1, max: 9 }), w: fc.integer({ min: 1, max: 5 }) }),
    {
      minLength: 6,
      maxLength: 40,
    },
  )
  .filter(list => [0, 1].every(side => list.filter(({ y }) => y === side).length >= 2))
  .map(list => ({
    labels: list.map(({ y }) => y),
    scores: list.map(({ s }) => s / 10),
    weights: list.map(({ w }) => w),
    threshold: 0.5,
  }));

/** Null for metrics that are not linear: none of those here. */
function qualityOf(metric: QualityMetric, sample: { labels: number[]; scores: number[]; weights: number[] }) {
  if (!isLinearMetric(metric)) return null;
  return weightedQuality(metric, { ...sample, threshold: 0.5 }).value;
}

describe.each(metrics)('%s of a weighted sample', metric => {
  test('is that of the rows repeated as often as they weigh', () => {
    fc.assert(
      fc.property(rows, sample => {
        const repeated = sample.weights.flatMap((weight, row) => Array.from({ length: weight }, () => row));
        const plain = measureQuality(
          metric,
          repeated.map(row => sample.labels[row]!),
          repeated.map(row => sample.scores[row]!),
        );
        const found = qualityOf(metric, sample)?.value ?? null;
        const point = measureQuality(metric, sample.labels, sample.scores, { weights: sample.weights });
        if (plain.value === null) expect([found, point.value]).toEqual([null, null]);
        else {
          expect(found).toBeCloseTo(plain.value, 10);
          expect(point.value).toBeCloseTo(plain.value, 10);
        }
      }),
    );
  });

  test('and its error depend on the proportions of the weights alone', () => {
    fc.assert(
      fc.property(rows, fc.constantFrom(1e-6, 3, 1e9), (sample, factor) => {
        const one = qualityOf(metric, sample);
        const other = qualityOf(metric, { ...sample, weights: sample.weights.map(weight => weight * factor) });
        // To fast-check, any answer of a property but true is a failure.
        if (one === null || other === null) {
          expect(one).toBe(other);
          return;
        }
        expect(other.value).toBeCloseTo(one.value, 9);
        expect(standardErrorOf(other)).toBeCloseTo(standardErrorOf(one) ?? Number.NaN, 9);
        expect(one.influence.reduce((total, u) => total + u, 0)).toBeCloseTo(0, 9);
      }),
    );
  });
});

test('with equal weights the AUC, its error and its paired difference are those of DeLong', () => {
  fc.assert(
    fc.property(rows, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 40, maxLength: 40 }), (sample, more) => {
      const { labels, scores } = sample;
      const weights = labels.map(() => 4);
      const found = weightedAuc(labels, scores, weights).value;
      const plain = delongAuc(labels, scores).value;
      expect(found?.value).toBeCloseTo(plain?.auc ?? Number.NaN, 12);
      expect((found === null ? null : standardErrorOf(found)) ?? Number.NaN).toBeCloseTo(
        Math.sqrt(plain?.variance ?? Number.NaN),
        12,
      );
      const second = more.slice(0, labels.length).map(score => score / 10);
      const pair = { labels, weights, first: scores, second, threshold: 0.5 };
      const difference = weightedDifference('auc', pair, 0.9).value;
      const paired = delongPaired(labels, { first: scores, second }, 0.9).value;
      if (paired === null) return;
      expect(difference?.value).toBeCloseTo(paired.difference, 12);
      expect(difference?.low).toBeCloseTo(paired.interval.low, 9);
    }),
  );
});

describe('effective rows', () => {
  test.each([
    ['equal weights', [3, 3, 3, 3], 4],
    ['one row outweighs all', [1e6, 1, 1], 1],
    ['two kinds', [1, 1, 2, 2], 36 / 10],
    ['no rows', [], 0],
    ['weights whose squares overflow', [1e200, 1e200], 2],
  ])('%s', (_, weights, expected) => {
    expect(effectiveRows(weights)).toBeCloseTo(expected, 5);
  });
});

test.each([
  ['nought', [1, 0], /weight 1 is 0/],
  ['negative', [-1, 1], /weight 0 is -1/],
  ['NaN', [1, Number.NaN], /NaN/],
  ['infinite', [1, Number.POSITIVE_INFINITY], /Infinity/],
  ['too few', [1], /2 rows have 1 weights/],
])('%s weights are no weights', (_, weights, reason) => {
  expect(weightProblem(weights, 2)).toMatch(reason);
  expect(weightedMean([1, 2], weights).value).toBeNull();
});

test('ten rows that are all right are no proof, and few positives of great weight are fewer still', () => {
  const perfect = weightedMean(new Float64Array(10).fill(1), new Float64Array(10).fill(7)).value;
  const bounds = rateInterval(perfect!, 10, 0.95).value;
  expect(bounds?.low).toBeCloseTo(0.7225, 3);
  expect(bounds?.high).toBe(1);
});

/** Rows whose labels were sampled by score: a tenth of the low ones, nine in ten of the high ones. */
function sampledByScore(seed: number, population: number) {
  const random = createRandom(seed);
  const all = { labels: [] as number[], scores: [] as number[], weights: [] as number[] };
  const sample = { labels: [] as number[], scores: [] as number[], weights: [] as number[], threshold: 0.5 };
  for (let row = 0; row < population; row++) {
    const score = random.next();
    const label = random.next() < 0.15 + 0.6 * score ? 1 : 0;
    all.labels.push(label);
    all.scores.push(score);
    const chance = score > 0.7 ? 0.9 : 0.1;
    if (random.next() >= chance) continue;
    sample.labels.push(label);
    sample.scores.push(score);
    sample.weights.push(1 / chance);
  }
  return { all, sample };
}

test.each(['auc', 'accuracy', 'precision', 'brier', 'f1'] as const)(
  'intervals of %s hold the value of all rows about as often as they say',
  metric => {
    if (!isLinearMetric(metric)) return;
    const samples = 100;
    let held = 0;
    let heldUnweighted = 0;
    for (let seed = 1; seed <= samples; seed++) {
      const { all, sample } = sampledByScore(seed, 1_500);
      const truth = measureQuality(metric, all.labels, all.scores).value ?? Number.NaN;
      const found = weightedInterval(metric, sample, 0.95).value;
      if (found !== null && found.low <= truth && truth <= found.high) held++;
      const alike = weightedInterval(metric, { ...sample, weights: sample.weights.map(() => 1) }, 0.95).value;
      if (alike !== null && alike.low <= truth && truth <= alike.high) heldUnweighted++;
    }
    // The sample is a third of the population, so intervals that ignore that are a little too wide.
    expect(held / samples).toBeGreaterThan(0.9);
    if (metric === 'auc' || metric === 'brier') expect(heldUnweighted / samples).toBeLessThan(0.85);
  },
);

test('rows drawn by weight stand for the population', () => {
  const { all, sample } = sampledByScore(3, 40_000);
  const drawn = drawnByWeight(Float64Array.from(sample.weights), 1);
  expect(drawn.length).toBe(Math.floor(effectiveRows(sample.weights)));
  const mean = (values: readonly number[]) => values.reduce((total, value) => total + value, 0) / values.length;
  expect(mean(Array.from(drawn, row => sample.scores[row]!))).toBeCloseTo(mean(all.scores), 1);
});

test('equal weights are worth exactly their rows, so that a least number of rows means what it says', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2_000 }), fc.double({ min: 1e-3, max: 1e6, noNaN: true }), (n, weight) => {
      expect(effectiveRows(new Float64Array(n).fill(weight))).toBe(n);
    }),
  );
});
