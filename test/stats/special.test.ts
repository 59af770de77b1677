/** Values from scipy 1.17 (scipy.special, scipy.stats) unless said. */
import { describe, expect, test } from 'vitest';
import * as special from '../../src/stats/special.ts';

/** Relative difference, absolute near 0. */
function error(got: number, expected: number): number {
  return Math.abs(got - expected) / Math.max(Math.abs(expected), 1e-300);
}

describe('special functions agree with scipy to 1e-9', () => {
  test.each([
    [0.5, 1e-6, 0.9988716212090307],
    [0.5, 0.3, 0.4385780260809997],
    [0.5, 20, 2.5396285894708634e-10],
    [1, 1, 0.36787944117144245],
    [4.5, 2, 0.9114125268316792],
    [4.5, 30, 1.3406780483959625e-9],
    [50, 50, 0.48119168452795674],
    [50, 80, 0.0001307839765914092],
    [1000, 1010, 0.37232105526300524],
    [500000.0, 501000.0, 0.07871866138612969],
    [500000.0, 499000.0, 0.921419708012855],
  ])('Q(%d, %d)', (a, x, expected) => {
    expect(error(special.regularizedGammaQ(a!, x!), expected!)).toBeLessThan(1e-9);
  });
  test.each([
    [0.5, 1e-6, 0.0011283787909692373],
    [2, 0.001, 4.996667916333409e-7],
    [4.5, 2, 0.08858747316832083],
    [100, 60, 1.4815276326460494e-6],
    [100000.0, 99000.0, 0.0007574199211747684],
  ])('P(%d, %d)', (a, x, expected) => {
    expect(error(special.regularizedGammaP(a!, x!), expected!)).toBeLessThan(1e-9);
  });
  test.each([
    [0.001, 6.907178885383853],
    [0.1, 2.252712651734206],
    [0.5, 0.5723649429247],
    [1.5, -0.12078223763524526],
    [2.5, 0.2846828704729192],
    [3.7, 1.428072326665388],
    [10, 12.801827480081469],
    [15.5, 26.536914491115613],
    [100, 359.1342053695754],
    [1000000.0, 12815504.569147611],
  ])('ln Γ(%d)', (x, expected) => {
    expect(error(special.logGamma(x!), expected!)).toBeLessThan(1e-12);
  });
  test.each([
    [-3, 1.9999779095030015],
    [-0.5, 1.5204998778130465],
    [0, 1.0],
    [1e-8, 0.9999999887162083],
    [0.1, 0.8875370839817152],
    [1, 0.15729920705028516],
    [2.5, 0.00040695201744495886],
    [5, 1.5374597944280347e-12],
    [20, 5.395865611607901e-176],
  ])('erfc(%d)', (x, expected) => {
    expect(error(special.erfc(x!), expected!)).toBeLessThan(1e-12);
  });
  test.each([
    [1e-300, -37.0470962993612],
    [1e-20, -9.262340089798409],
    [1e-5, -4.264890793922825],
    [0.01, -2.3263478740408408],
    [0.2, -0.8416212335729142],
    [0.5, 0.0],
    [0.75, 0.6744897501960817],
    [0.975, 1.959963984540054],
    [0.999999, 4.753424308817087],
  ])('normal quantile of %d', (p, expected) => {
    expect(Math.abs(special.normalQuantile(p!) - expected!)).toBeLessThan(1e-13 * (1 + Math.abs(expected!)));
  });
  test.each([
    [0.99, 1, 6.6348966010212145],
    [0.99, 9, 21.665994333461924],
    [0.95, 99, 123.2252214533618],
    [0.5, 3, 2.3659738843753377],
    [0.01, 2, 0.020100671707002873],
    [0.01, 50, 29.706682698841284],
    [0.999, 1000, 1143.9170926196791],
    [1e-6, 4, 0.0028297613229586872],
    [0.0001, 1, 1.5707963350195693e-8],
  ])('χ² quantile of %d with %d degrees of freedom', (p, df, expected) => {
    expect(error(special.chiSquaredQuantile(p!, df!), expected!)).toBeLessThan(1e-10);
  });
  test.each([
    [0.2, 0.999999999999495],
    [0.5, 0.9639452436648751],
    [0.8, 0.5441424115741981],
    [1.0, 0.26999967167735456],
    [1.17, 0.12939004218561884],
    [1.19, 0.11774229287977166],
    [1.5, 0.022217962616525127],
    [2, 0.0006709252557796953],
    [5, 3.8574996959278356e-22],
    [10, 2.767793053473475e-87],
  ])('Kolmogorov tail at %d', (lambda, expected) => {
    expect(error(special.kolmogorovTail(lambda!), expected!)).toBeLessThan(1e-12);
  });
  test.each([
    [0.3, 2, 3, 0.34829999999999994],
    [0.5, 0.5, 0.5, 0.5000000000000001],
    [0.9, 10, 1, 0.34867844010000004],
    [0.01, 5, 0.5, 2.4712578086395438e-11],
    [0.5, 1000, 1000, 0.4999999999999992],
  ])('I_%d(%d, %d)', (x, a, b, expected) => {
    expect(error(special.regularizedBeta(x!, a!, b!), expected!)).toBeLessThan(1e-11);
  });
  test.each([
    [59, 129, 0.5, -1.6641907032132837],
    [0, 10, 0.1, -1.0536051565782631],
    [400, 1000, 0.5, -22.715259239806773],
    [100, 1000, 0.5, -371.1164211849318],
    [499000, 1000000, 0.5, -3.780812744992511],
    [7, 10, 0.5, -0.05623971832287608],
  ])('ln P(X ≤ %d), n = %d, p = %d', (k, n, p, expected) => {
    expect(error(special.logBinomialLowerTail(k!, n!, p!), expected!)).toBeLessThan(1e-9);
  });
  test.each([
    [2, 5, 0.10193947882985835],
    [0.1, 30, 0.9210096117902712],
    [10, 3, 0.0021283990584141503],
  ])("Student's t = %d, df = %d", (t, df, expected) => {
    expect(error(special.studentTwoSided(t!, df!), expected!)).toBeLessThan(1e-12);
  });
  test.each([
    [0.95, 5, 2.0150483733330233],
    [0.975, 1, 12.706204736174698],
    [0.05, 30, -1.6972608865939574],
    [0.5, 7, 0],
  ])("Student's quantile of %d, df = %d", (p, df, expected) => {
    expect(special.studentQuantile(p!, df!)).toBeCloseTo(expected!, 9);
  });
});

test('tails beyond the smallest double are still numbers', () => {
  // Asymptotic expansion of the normal tail: log10 of √(2/(πx)) e^(−x/2) (1 − 1/x + 3/x²).
  const x = 5000;
  const expected = Math.log10(Math.sqrt(2 / (Math.PI * x)) * (1 - 1 / x + 3 / (x * x))) - x / 2 / Math.LN10;
  expect(special.log10ChiSquaredTail(x, 1)).toBeCloseTo(expected, 9);
  expect(special.log10NormalTwoSided(Math.sqrt(x))).toBeCloseTo(expected, 9);
  expect(special.logKolmogorovTail(40)).toBeCloseTo(Math.LN2 - 3200, 9);
});

test('the ends of every range are exact', () => {
  expect([special.regularizedGammaQ(2, 0), special.regularizedGammaP(2, Infinity)]).toEqual([1, 1]);
  expect([special.normalQuantile(0), special.normalQuantile(1)]).toEqual([-Infinity, Infinity]);
  expect([special.chiSquaredQuantile(0, 3), special.chiSquaredQuantile(1, 3)]).toEqual([0, Infinity]);
  expect([special.kolmogorovTail(0), special.logBinomialLowerTail(-1, 5, 0.5)]).toEqual([1, -Infinity]);
});
