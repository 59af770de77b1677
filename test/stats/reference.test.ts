/** Values from scipy 1.17, scikit-learn and statsmodels on the data written here. */
import { describe, expect, test } from 'vitest';
import { applyIsotonic, calibrationSlope, fitIsotonic } from '../../src/stats/calibration.ts';
import { chiSquaredContingency } from '../../src/stats/chi-squared.ts';
import {
  averagePrecision,
  brierScore,
  decisionQuality,
  groupByScore,
  logLoss,
  qualityAtTop,
  rocAuc,
} from '../../src/stats/classification.ts';
import { kolmogorovSmirnov } from '../../src/stats/kolmogorov-smirnov.ts';
import { benjaminiYekutieli } from '../../src/stats/multiplicity.ts';
import { newcombeInterval, wilsonInterval } from '../../src/stats/proportions.ts';
import { spearman } from '../../src/stats/rank.ts';
import { regressionQuality } from '../../src/stats/regression.ts';
import { wasserstein } from '../../src/stats/wasserstein.ts';

describe('two samples', () => {
  const x = [
    0.346, 0.822, 0.33, -1.303, 0.905, 0.446, -0.537, 0.581, 0.365, 0.294, 0.028, 0.547, -0.736, -0.163, -0.482, 0.599,
    0.04, -0.292, -0.782, -0.257, 0.008, -0.276, 1.294, 1.007, -2.711, -1.889, -0.175, -0.422, 0.214, 0.217, 2.118,
    -1.112, -0.378, 2.043, 0.647, 0.663, -0.514, -1.648, 0.167, 0.109,
  ];
  const y = [
    -1.073, -0.42, 0.314, -0.734, 0.282, 0.515, 0.443, -0.208, 1.112, 1.469, 0.785, -0.582, 1.278, -0.202, 1.455,
    -0.886, 1.497, 0.376, -1.098, 0.023, 0.465, 0.727, -0.779, -0.929, 0.64, -0.16, 0.683, 1.311, -1.579, 0.705, 1.87,
    0.043, -0.573, 1.303, 0.704, 1.475, -0.014, -1.378, 0.268, -0.135, 1.33, 0.632, -1.557, -1.034, 1.461, 1.216,
    -0.368, 0.399, 0.935, 0.962, 1.451, 0.708, 0.286, 0.089, 1.667,
  ];

  test('exact Kolmogorov–Smirnov and Wasserstein', () => {
    const result = kolmogorovSmirnov(x, y, 'exact').value;
    expect(result?.d).toBeCloseTo(0.25, 14);
    expect(result?.p).toBeCloseTo(0.09119250700450687, 12);
    expect(wasserstein(x, y).value).toBeCloseTo(0.3600522727272728, 13);
  });

  test('exact tails keep their relative precision', () => {
    const first = Array.from({ length: 200 }, (_, i) => i);
    const result = kolmogorovSmirnov(
      first,
      first.map(value => value + 170),
      'exact',
    ).value;
    expect(Math.abs((result?.p ?? 0) / 2.7680822467797173e-74 - 1)).toBeLessThan(1e-9);
  });

  test('tails below the smallest double are logarithms: disjoint samples give 2 / C(2n, n)', () => {
    const n = 1500;
    const first = Array.from({ length: n }, (_, i) => i);
    const result = kolmogorovSmirnov(
      first,
      first.map(value => value + n),
      'exact',
    ).value;
    let log10Ways = 0;
    for (let i = 1; i <= n; i++) log10Ways += Math.log10((n + i) / i);
    expect(result?.p).toBe(0);
    expect(result?.log10P).toBeCloseTo(Math.log10(2) - log10Ways, 8);
  });

  test('Stephens follows the exact tail within 4 percent', () => {
    const exact = kolmogorovSmirnov(x, y, 'exact').value?.p ?? 0;
    const asymptotic = kolmogorovSmirnov(x, y, 'asymptotic').value?.p ?? 0;
    expect(Math.abs(asymptotic / exact - 1)).toBeLessThan(0.12);
    expect(kolmogorovSmirnov(new Float64Array(3000), new Float64Array(3000)).value).toMatchObject({
      d: 0,
      p: 1,
      method: 'asymptotic',
    });
  });
});

test('contingency, G and Yates', () => {
  const table = [
    [12, 13, 14, 15, 16],
    [17, 16, 18, 19, 11],
  ];
  const [chi, chiP, g, gP] = [2.2797013353849183, 0.6844671528022548, 2.2795398451292517, 0.684496592651388];
  expect(chiSquaredContingency(table).value?.statistic).toBeCloseTo(chi!, 12);
  expect(chiSquaredContingency(table).value?.p).toBeCloseTo(chiP!, 12);
  expect(chiSquaredContingency(table, { statistic: 'g' }).value?.statistic).toBeCloseTo(g!, 12);
  expect(chiSquaredContingency(table, { statistic: 'g' }).value?.p).toBeCloseTo(gP!, 12);
  expect(
    chiSquaredContingency(
      [
        [10, 20],
        [30, 25],
      ],
      { yates: true },
    ).value?.p,
  ).toBeCloseTo(0.0999616438735349, 12);
});

describe('classifier', () => {
  const y = [1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1];
  const p = [
    0.4, 0.1, 0.72, 0.18, 0.25, 0.28, 0.46, 0.27, 0.41, 0.56, 0.18, 0.54, 0.16, 0.6, 0.38, 0.38, 0.89, 0.34, 0.34, 0.7,
    0.52, 0.3, 0.44, 0.41, 0.12, 0.52, 0.23, 0.39, 0.17, 0.52,
  ];

  test('AUC, average precision, log-loss, Brier', () => {
    expect(rocAuc(y, p).value).toBeCloseTo(0.9027777777777778, 13);
    expect(averagePrecision(y, p).value).toBeCloseTo(0.8749221910986617, 13);
    expect(logLoss(y, p).value).toBeCloseTo(0.46551496162707207, 13);
    expect(brierScore(y, p).value).toBeCloseTo(0.14836000000000002, 13);
  });

  test('decisions at a threshold', () => {
    const groups = groupByScore(y, p).value;
    if (groups === null) throw new Error('undefined');
    const quality = decisionQuality(groups, 0.5);
    expect([quality.precision.value, quality.recall.value]).toEqual([0.8888888888888888, 0.6666666666666666]);
    expect(quality.f1.value).toBeCloseTo(0.7619047619047619, 14);
  });

  test('the calibration line is the logistic regression on logit p', () => {
    const line = calibrationSlope(y, p).value;
    expect(line?.intercept).toBeCloseTo(1.0140747572952717, 8);
    expect(line?.slope).toBeCloseTo(3.723439908584618, 8);
    expect(line?.slopeStandardError).toBeCloseTo(1.4589964176369885, 8);
  });

  test('isotonic regression', () => {
    const fit = fitIsotonic(y, p).value;
    if (fit === null) throw new Error('undefined');
    const fitted = p.map(score => applyIsotonic(fit, score));
    const expected = [
      0.5, 0.0, 1.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.5, 1.0, 0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 1.0, 0.0, 0.0, 1.0,
      0.6666666666666666, 0.0, 0.5, 0.5, 0.0, 0.6666666666666666, 0.0, 0.5, 0.0, 0.6666666666666666,
    ];
    for (const [i, value] of fitted.entries()) expect(value).toBeCloseTo(expected[i]!, 14);
  });
});

test('top-k counts ties at the cut in proportion', () => {
  const groups = { positives: [0, 1, 1], negatives: [4, 3, 1] };
  expect(qualityAtTop(groups, 2).value).toEqual({ precision: 0.5, recall: 0.5, lift: 2.5 });
  expect(qualityAtTop(groups, 4).value).toEqual({ precision: 0.375, recall: 0.75, lift: 1.875 });
  expect(qualityAtTop(groups, 0)).toEqual({ value: null, reason: 'k is 0' });
});

test('regression and rank correlation', () => {
  const y = [1.627, -1.176, 0.16, -2.138, -0.002, 0.9, -0.237, -0.629, 0.232, 0.7, 0.664, 1.972];
  const prediction = [1.836, -1.768, 0.034, -2.21, 0.107, 0.87, -0.063, -2.3, 1.062, 0.125, -0.509, 2.61];
  const quality = regressionQuality(y, prediction).value;
  expect(quality?.mae).toBeCloseTo(0.5165833333333333, 13);
  expect(quality?.rmse).toBeCloseTo(0.710223028350954, 13);
  expect(quality?.r2.value).toBeCloseTo(0.5797681626532294, 13);
  expect(spearman(y, prediction).value).toBeCloseTo(0.8671328671328673, 13);
});

test('intervals and the Benjamini–Yekutieli correction', () => {
  const newcombe = newcombeInterval({ count: 56, n: 70 }, { count: 48, n: 80 }).value;
  expect(newcombe?.low).toBeCloseTo(0.05243147240236498, 12);
  expect(newcombe?.high).toBeCloseTo(0.33387265403690614, 12);
  const wilson = wilsonInterval({ count: 3, n: 50 }).value;
  expect(wilson?.low).toBeCloseTo(0.020614970348973943, 13);
  expect(wilson?.high).toBeCloseTo(0.16217091688838173, 13);
  const q = benjaminiYekutieli([0.01, 0.02, 0.03, 0.5]);
  for (const [i, expected] of [0.08333333333333331, 0.08333333333333331, 0.08333333333333331, 1.0].entries())
    expect(q[i]).toBeCloseTo(expected, 14);
});
