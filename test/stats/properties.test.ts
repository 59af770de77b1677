import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { clusterBootstrap } from '../../src/stats/bootstrap.ts';
import { componentDeviations, estimateBand, estimateQuality } from '../../src/stats/cbpe.ts';
import { balancedCramersV, chiSquaredContingency } from '../../src/stats/chi-squared.ts';
import { rocAuc } from '../../src/stats/classification.ts';
import { delongAuc, delongPaired } from '../../src/stats/delong.ts';
import {
  hellinger,
  jsDistanceBase2,
  klDivergence,
  lInfinity,
  psi,
  psiNoiseFloor,
  totalVariation,
} from '../../src/stats/divergence.ts';
import { effectsOfNormalShift, severityOf } from '../../src/stats/equivalence.ts';
import { coarsen, histogram, histogramQuantile, sumGroups } from '../../src/stats/histogram.ts';
import { kolmogorovSmirnov, ksBinned } from '../../src/stats/kolmogorov-smirnov.ts';
import { mcnemar, mcnemarExact } from '../../src/stats/mcnemar.ts';
import type { Measured } from '../../src/stats/measured.ts';
import { benjaminiHochberg } from '../../src/stats/multiplicity.ts';
import { twoProportionZ } from '../../src/stats/proportions.ts';
import { createRandom } from '../../src/stats/random.ts';
import { levelShifts, pageHinkley } from '../../src/stats/sequential.ts';
import { normalizeWasserstein, wasserstein, wassersteinBinned } from '../../src/stats/wasserstein.ts';

const counts = fc.array(fc.nat(1000), { minLength: 2, maxLength: 12 });
const pair = fc.integer({ min: 2, max: 12 }).chain(bins => {
  const side = fc.array(fc.nat(1000), { minLength: bins, maxLength: bins }).filter(list => list.some(n => n > 0));
  return fc.tuple(side, side);
});
const distances: Record<string, (p: number[], q: number[]) => Measured> = {
  psi: (p, q) => {
    const result = psi(p, q);
    return result.value === null ? result : { value: result.value.psi };
  },
  js: jsDistanceBase2,
  hellinger,
  totalVariation,
  lInfinity: (p, q) => {
    const result = lInfinity(p, q);
    return result.value === null ? result : { value: result.value.distance };
  },
  cramersV: balancedCramersV,
};

const defined = (result: Measured): number => {
  if (result.value === null) throw new Error('undefined');
  return result.value;
};

describe.each(Object.entries(distances))('%s', (name, distance) => {
  test('is symmetric, 0 for equal data and never negative', () => {
    fc.assert(
      fc.property(pair, ([p, q]) => {
        const forward = defined(distance(p, q));
        // PSI adds half a row to every bin, so it is symmetric too.
        expect(forward).toBeCloseTo(defined(distance(q, p)), 12);
        expect(forward).toBeGreaterThanOrEqual(0);
        expect(defined(distance(p, p))).toBeCloseTo(0, 14);
      }),
    );
  });

  test('does not depend on the order of the bins', () => {
    fc.assert(
      fc.property(pair, ([p, q]) => {
        expect(defined(distance(p, q))).toBeCloseTo(defined(distance([...p].reverse(), [...q].reverse())), 12);
      }),
    );
  });

  test('is 1 for disjoint data', () => {
    if (name !== 'psi') expect(defined(distance([3, 0], [0, 9]))).toBeCloseTo(1, 12);
  });

  test('does not change when all rows are doubled', () => {
    if (name === 'psi') return;
    fc.assert(
      fc.property(pair, ([p, q]) => {
        expect(
          defined(
            distance(
              p.map(n => 2 * n),
              q,
            ),
          ),
        ).toBeCloseTo(defined(distance(p, q)), 12);
      }),
    );
  });
});

describe('undefined is null with a reason', () => {
  const empty: number[] = [];
  test.each<[string, Measured<unknown>]>([
    ['PSI without rows', psi([0, 0], [1, 1])],
    ['PSI of other bins', psi([1, 1], [1, 1, 1])],
    ['PSI of a NaN count', psi([1, Number.NaN], [1, 1])],
    ['KL to an empty bin', klDivergence([1, 1], [1, 0])],
    ['KS of nothing', kolmogorovSmirnov(empty, [1])],
    ['KS of infinities', kolmogorovSmirnov([Infinity], [1])],
    ['Wasserstein of nothing', wasserstein(empty, [1])],
    ['a constant reference at 0', normalizeWasserstein(1, { iqr: 0, sd: 0, median: 0 })],
    [
      'chi-squared with an empty sample',
      chiSquaredContingency([
        [0, 0],
        [1, 2],
      ]),
    ],
    ['AUC of one class', rocAuc([1, 1], [0.1, 0.2])],
    ['AUC of a NaN score', rocAuc([1, 0], [Number.NaN, 0.2])],
    ['AUC of a third label', rocAuc([2, 0], [0.1, 0.2])],
    ['DeLong with one positive', delongAuc([1, 0, 0], [0.1, 0.2, 0.3])],
    ['a proportion of nothing', twoProportionZ({ count: 0, n: 0 }, { count: 1, n: 2 })],
    ['one cluster', clusterBootstrap({ clusters: 1, statistic: () => 1, seed: 1 })],
    ['CBPE without rows', estimateQuality(empty, empty)],
    ['severity of NaN', severityOf('ks', Number.NaN)],
  ])('%s', (_, result) => {
    expect(result).toEqual({ value: null, reason: expect.stringMatching(/\w+/) });
  });

  test('but no change is a fact: z 0 and p 1 also where the variance is 0', () => {
    expect(twoProportionZ({ count: 0, n: 10 }, { count: 0, n: 20 }).value).toMatchObject({ z: 0, p: 1 });
    expect(mcnemarExact(0, 0).value).toMatchObject({ p: 1 });
    expect(chiSquaredContingency([[5], [7]]).value).toMatchObject({ statistic: 0, p: 1 });
    const y = [1, 0, 1, 0, 1];
    const same = delongPaired(y, { first: [0.9, 0.1, 0.8, 0.3, 0.2], second: [0.9, 0.1, 0.8, 0.3, 0.2] });
    expect(same.value).toMatchObject({ z: 0, p: 1, difference: 0 });
  });
});

describe('histograms', () => {
  test('coarse groups are contiguous, keep every row and give heavy bins their own', () => {
    fc.assert(
      fc.property(counts, fc.integer({ min: 2, max: 10 }), (fine, bins) => {
        const groups = coarsen(fine, bins);
        const sums = sumGroups(fine, groups);
        expect(sums.reduce((a, b) => a + b, 0)).toBe(fine.reduce((a, b) => a + b, 0));
        for (let i = 1; i < groups.length; i++) expect([0, 1]).toContain(groups[i]! - groups[i - 1]!);
        if (fine.some(n => n > 0)) expect(sums.every(n => n > 0)).toBe(true);
      }),
    );
    expect(coarsen([1, 1, 50, 1, 1], 10)).toEqual([0, 0, 1, 2, 2]);
  });

  test('a quantile lies within one bin of the exact one', () => {
    const random = createRandom(3);
    const values = Float64Array.from({ length: 5000 }, () => random.normal()).sort();
    const edges = Array.from({ length: 99 }, (_, i) => values[50 * (i + 1)]!);
    const binned = { counts: histogram(values, edges), edges, min: values[0]!, max: values.at(-1)! };
    for (const q of [0.05, 0.25, 0.5, 0.9]) {
      expect(Math.abs(defined(histogramQuantile(q, binned)) - values[5000 * q]!)).toBeLessThan(0.03);
    }
  });

  test('KS from bins brackets the exact one; Wasserstein from bins is close', () => {
    const random = createRandom(5);
    const x = Float64Array.from({ length: 4000 }, () => random.normal());
    const y = Float64Array.from({ length: 3000 }, () => random.normal() * 1.1 + 0.3);
    const ascending = Float64Array.from(x).sort();
    const edges = Array.from({ length: 99 }, (_, i) => ascending[40 * (i + 1)]!);
    const [p, q] = [histogram(x, edges), histogram(y, edges)];
    const binned = ksBinned(p, q).value;
    const exact = kolmogorovSmirnov(x, y).value?.d ?? 0;
    expect(binned?.d).toBeLessThanOrEqual(exact);
    expect(binned?.dMax).toBeGreaterThanOrEqual(exact);
    const side = (counts: number[], values: Float64Array) => ({
      counts,
      min: Math.min(...values),
      max: Math.max(...values),
    });
    const approximate = defined(wassersteinBinned(side(p, x), side(q, y), edges));
    expect(Math.abs(approximate - defined(wasserstein(x, y)))).toBeLessThan(0.02);
  });
});

describe('the common scale', () => {
  test('holds the equivalences of N(0, 1) against N(d, 1)', () => {
    // d = 0.447: PSI 0.20, KS 0.177, JS 0.188, Hellinger 0.157, V 0.218, AUC 0.624.
    const effects = effectsOfNormalShift(Math.sqrt(0.2));
    expect(effects.psi).toBeCloseTo(0.2, 14);
    expect(effects.ks).toBeCloseTo(0.177, 3);
    expect(effects.jsDistanceBase2).toBeCloseTo(0.188, 3);
    expect(effects.hellinger).toBeCloseTo(0.157, 3);
    expect(effects.balancedCramersV).toBeCloseTo(0.218, 3);
    expect(effects.auc).toBeCloseTo(0.624, 3);
  });

  test('every metric maps back to the PSI of its shift', () => {
    const effects = effectsOfNormalShift(0.6);
    expect(defined(severityOf('ks', effects.ks))).toBeCloseTo(0.36, 10);
    expect(defined(severityOf('auc', effects.auc))).toBeCloseTo(0.36, 10);
    expect(defined(severityOf('hellinger', effects.hellinger))).toBeCloseTo(0.36, 10);
    expect(defined(severityOf('jsDistanceBase2', effects.jsDistanceBase2))).toBeCloseTo(0.36, 8);
    expect(defined(severityOf('balancedCramersV', effects.balancedCramersV))).toBeCloseTo(0.36, 8);
    expect([severityOf('ks', 1).value, severityOf('jsDistanceBase2', 1).value]).toEqual([64, expect.closeTo(64, 0)]);
  });

  test('PSI noise: ten bins need 217 rows against a large reference to stay under 0.1', () => {
    expect(defined(psiNoiseFloor({ n: 1e12, m: 217, bins: 10 }))).toBeLessThan(0.1);
    expect(defined(psiNoiseFloor({ n: 1e12, m: 216, bins: 10 }))).toBeGreaterThan(0.1);
  });
});

describe('resampling and bands', () => {
  test('the same seed gives the same interval, bit for bit, and it covers the mean', () => {
    const random = createRandom(11);
    const values = Array.from({ length: 60 }, () => random.normal() + 5);
    const options = {
      clusters: values.length,
      seed: 7,
      statistic: (times: Float64Array) =>
        values.reduce((total, value, i) => total + value * times[i]!, 0) / values.length,
    };
    const interval = clusterBootstrap(options).value;
    expect(clusterBootstrap(options).value).toEqual(interval);
    expect(clusterBootstrap({ ...options, seed: 8 }).value).not.toEqual(interval);
    expect(interval!.low).toBeLessThan(interval!.estimate);
    expect(interval!.high - interval!.low).toBeCloseTo((2 * 1.96) / Math.sqrt(60), 1);
  });

  test('estimated quality of calibrated scores lies within its band of the truth', () => {
    const random = createRandom(21);
    const draw = (rows: number) => {
      const p = Float64Array.from({ length: rows }, () => random.next());
      return { p, y: p.map(value => (random.next() < value ? 1 : 0)), called: p.map(value => (value >= 0.5 ? 1 : 0)) };
    };
    const reference = draw(20_000);
    const chunk = draw(4000);
    const deviations = componentDeviations(reference.y, reference.called, reference.p);
    const estimate = estimateQuality(chunk.p, chunk.called).value;
    const auc = defined(estimate!.auc);
    const band = estimateBand(auc, { deviation: defined(deviations.auc), rows: 4000 }).value;
    const truth = defined(rocAuc(chunk.y, chunk.p));
    expect(truth).toBeGreaterThan(band!.low);
    expect(truth).toBeLessThan(band!.high);
    expect(band!.high - band!.low).toBeLessThan(0.06);
    expect(defined(deviations.accuracy)).toBeCloseTo(Math.sqrt(0.75 * 0.25), 1);
  });

  test('DeLong has the size it claims: about 5 % of equal models differ at 5 %', () => {
    const random = createRandom(31);
    let rejected = 0;
    for (let trial = 0; trial < 300; trial++) {
      const y = Array.from({ length: 120 }, () => (random.next() < 0.4 ? 1 : 0));
      const noisy = () => y.map(label => label + 1.5 * random.normal());
      if ((delongPaired(y, { first: noisy(), second: noisy() }).value?.p ?? 1) < 0.05) rejected++;
    }
    expect(rejected).toBeGreaterThan(4);
    expect(rejected).toBeLessThan(30);
  });
});

test('q-values keep the order of p-values, never fall below them, and skip tests not made', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 30 }), p => {
      const q = benjaminiHochberg(p);
      for (const [i, value] of q.entries()) {
        expect(value).toBeGreaterThanOrEqual(p[i]!);
        for (const [j, other] of q.entries()) if (p[i]! < p[j]!) expect(value).toBeLessThanOrEqual(other!);
      }
    }),
  );
  expect(benjaminiHochberg([0.01, null, 0.02])).toEqual([0.02, null, 0.02]);
});

test('McNemar turns from exact to chi-squared above 25 discordant rows', () => {
  expect(mcnemar(10, 15).value?.method).toBe('exact');
  expect(mcnemar(10, 16).value?.method).toBe('chi-squared');
  expect(mcnemarExact(0, 4000).value).toMatchObject({ p: 0, log10P: expect.closeTo((1 - 4000) * Math.log10(2), 6) });
});

test('Page–Hinkley stays quiet on a constant and finds a drop as well as a rise', () => {
  const quiet = new Array<number>(500).fill(3);
  expect(pageHinkley(quiet)).toBeNull();
  for (const level of [10, -10]) {
    const index = pageHinkley([...quiet, ...new Array<number>(100).fill(level)], { threshold: 20 });
    expect(index).toBeGreaterThanOrEqual(500);
    expect(index).toBeLessThan(510);
  }
});

test('levels that change twice are found where they change, in both directions', () => {
  const level = (height: number, rows: number) => Array.from({ length: rows }, (_, row) => height + (row % 2) / 20);
  const series = [...level(0, 20), ...level(4, 15), ...level(1, 15)];
  const shifts = levelShifts(series, { instancesMin: 3, threshold: 2, alpha: 1 });
  expect(shifts.map(({ onset, direction }) => [onset, direction])).toEqual([
    [20, 'up'],
    [35, 'down'],
  ]);
  expect(levelShifts(level(3, 50), { instancesMin: 3, threshold: 2, alpha: 1 })).toEqual([]);
  expect(levelShifts([])).toEqual([]);
});
