/**
 * Special functions to 1e-12 relative in ordinary ranges, 1e-9 everywhere they are used. Tails are also given as log10, so
 * that a p-value of 1e-400 is still a number and not 0.
 *
 * Sources: C. Loader, "Fast and accurate computation of binomial probabilities" (2000) for the deviance form of the gamma
 * and binomial densities, which stays exact when shape and argument are in the millions; Numerical Recipes 3rd ed. 6.2 and
 * 6.4 for series and continued fractions; M. Wichura, AS 241 (1988) for the normal quantile; Marsaglia, Tsang and Wang,
 * J. Stat. Softw. 8 (2003) for Kolmogorov's two series.
 */

const LOG_SQRT_2PI = 0.9189385332046728;
const LOG_2 = Math.LN2;
const EPSILON = 2 ** -53;
const TINY = 1e-300;
const ITERATIONS_MAX = 1_000_000;

const LANCZOS = [
  0.9999999999998099, 676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406, 12.507343278686905,
  -0.13857109526572012, 0.000009984369578019572, 1.5056327351493116e-7,
];

/** ln Γ(x) for x > 0. Lanczos, g = 7. */
export function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  // For large x the Stirling form keeps full relative precision.
  if (x > 15) return (x - 0.5) * Math.log(x) - x + LOG_SQRT_2PI + stirlingSeries(x);
  let series = LANCZOS[0]!;
  for (let i = 1; i < LANCZOS.length; i++) series += LANCZOS[i]! / (x - 1 + i);
  const shifted = x + 6.5;
  return LOG_SQRT_2PI + (x - 0.5) * Math.log(shifted) - shifted + Math.log(series);
}

/** ln n! − [½ ln(2πn) + n ln n − n] = 1/(12n) − 1/(360n³) + …, for n > 15. */
function stirlingSeries(n: number): number {
  const s = 1 / (n * n);
  return (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s * (1 / 1188 - (s * 691) / 360360))))) / n;
}

/** Loader's stirlerr(n) for any n ≥ 0. */
function stirlingError(n: number): number {
  if (n > 15) return stirlingSeries(n);
  return logGamma(n + 1) - (n + 0.5) * Math.log(n) + n - LOG_SQRT_2PI;
}

/** Loader's bd0: x ln(x/np) + np − x without cancellation when x ≈ np. */
function deviance(x: number, np: number): number {
  if (Math.abs(x - np) >= 0.1 * (x + np)) return x * Math.log(x / np) + np - x;
  const v = (x - np) / (x + np);
  let total = (x - np) * v;
  let term = 2 * x * v;
  for (let j = 1; j < 1000; j++) {
    term *= v * v;
    const next = total + term / (2 * j + 1);
    if (next === total) break;
    total = next;
  }
  return total;
}

/** ln of x^a e^−x / Γ(a). */
function logGammaKernel(a: number, x: number): number {
  if (a < 1) return a * Math.log(x) - x - logGamma(a);
  return 0.5 * Math.log(a) - LOG_SQRT_2PI - stirlingError(a) - deviance(a, x);
}

/** ln P(a, x) by the series; good for x < a + 1. */
function logLowerGammaSeries(a: number, x: number): number {
  let term = 1 / a;
  let total = term;
  for (let n = 1; n < ITERATIONS_MAX; n++) {
    term *= x / (a + n);
    total += term;
    if (term < total * EPSILON) break;
  }
  return logGammaKernel(a, x) + Math.log(total);
}

/** ln Q(a, x) by the continued fraction (modified Lentz); good for x ≥ a + 1. */
function logUpperGammaFraction(a: number, x: number): number {
  let b = x + 1 - a;
  let c = 1 / TINY;
  let d = 1 / b;
  let h = d;
  for (let i = 1; i < ITERATIONS_MAX; i++) {
    const an = -i * (i - a);
    b += 2;
    d = an * d + b;
    if (Math.abs(d) < TINY) d = TINY;
    c = b + an / c;
    if (Math.abs(c) < TINY) c = TINY;
    d = 1 / d;
    const factor = d * c;
    h *= factor;
    if (Math.abs(factor - 1) < EPSILON * 2) break;
  }
  return logGammaKernel(a, x) + Math.log(h);
}

/** Regularised lower incomplete gamma function P(a, x), a > 0, x ≥ 0. */
export function regularizedGammaP(a: number, x: number): number {
  if (x <= 0) return 0;
  if (x === Infinity) return 1;
  return x < a + 1 ? Math.exp(logLowerGammaSeries(a, x)) : -Math.expm1(logUpperGammaFraction(a, x));
}

/** Regularised upper incomplete gamma function Q(a, x) = 1 − P(a, x). */
export function regularizedGammaQ(a: number, x: number): number {
  return Math.exp(logRegularizedGammaQ(a, x));
}

/** ln Q(a, x): finite where Q itself underflows. */
export function logRegularizedGammaQ(a: number, x: number): number {
  if (x <= 0) return 0;
  if (x === Infinity) return -Infinity;
  if (x >= a + 1) return logUpperGammaFraction(a, x);
  return Math.log1p(-Math.exp(logLowerGammaSeries(a, x)));
}

/** Complementary error function, by erfc(x) = Q(½, x²). */
export function erfc(x: number): number {
  return x >= 0 ? regularizedGammaQ(0.5, x * x) : 1 + regularizedGammaP(0.5, x * x);
}

export function erf(x: number): number {
  return x >= 0 ? regularizedGammaP(0.5, x * x) : -regularizedGammaP(0.5, x * x);
}

/** Φ(x), the standard normal distribution function. */
export function normalCdf(x: number): number {
  return 0.5 * erfc(-x / Math.SQRT2);
}

/** P(|Z| ≥ |z|) for a standard normal Z. */
export function normalTwoSided(z: number): number {
  return erfc(Math.abs(z) / Math.SQRT2);
}

/** log10 of P(|Z| ≥ |z|). */
export function log10NormalTwoSided(z: number): number {
  return logRegularizedGammaQ(0.5, (z * z) / 2) / Math.LN10;
}

/** P(χ²(df) ≥ x). */
export function chiSquaredTail(x: number, df: number): number {
  return regularizedGammaQ(df / 2, x / 2);
}

/** log10 of P(χ²(df) ≥ x). */
export function log10ChiSquaredTail(x: number, df: number): number {
  return logRegularizedGammaQ(df / 2, x / 2) / Math.LN10;
}

/** The x with P(χ²(df) ≤ x) = p, 0 ≤ p < 1. Wilson–Hilferty start, bracketed Newton. */
export function chiSquaredQuantile(p: number, df: number): number {
  if (p <= 0) return 0;
  if (p >= 1) return Infinity;
  const a = df / 2;
  // The smaller tail carries the relative precision.
  const upper = p > 0.5;
  const target = upper ? Math.log1p(-p) : Math.log(p);
  const logTail = (x: number): number =>
    upper ? logRegularizedGammaQ(a, x) : x < a + 1 ? logLowerGammaSeries(a, x) : Math.log(regularizedGammaP(a, x));
  const spread = 2 / (9 * df);
  let x = Math.max(a * (1 - spread + normalQuantile(p) * Math.sqrt(spread)) ** 3, TINY);
  if (x < 1e-3 * a) x = Math.exp((Math.log(p) + logGamma(a + 1)) / a);
  let low = 0;
  let high = Infinity;
  for (let i = 0; i < 200; i++) {
    const error = logTail(x) - target;
    const tooLarge = upper ? error < 0 : error > 0;
    if (tooLarge) high = x;
    else low = x;
    // d ln(tail)/dx = ± density / tail, density = kernel(a, x)/x.
    const slope = (upper ? -1 : 1) * Math.exp(logGammaKernel(a, x) - Math.log(x) - logTail(x));
    let next = x - error / slope;
    if (!(next > low && next < high)) next = high === Infinity ? 2 * x : (low + high) / 2;
    if (Math.abs(next - x) <= 4 * EPSILON * x) return 2 * next;
    x = next;
  }
  return 2 * x;
}

const CENTRAL_NUMERATOR = [
  3.3871328727963665, 133.14166789178438, 1971.5909503065513, 13731.69376550946, 45921.95393154987, 67265.7709270087,
  33430.57558358813, 2509.0809287301227,
];
const CENTRAL_DENOMINATOR = [
  1, 42.31333070160091, 687.1870074920579, 5394.196021424751, 21213.794301586597, 39307.89580009271, 28729.085735721943,
  5226.495278852854,
];
const MIDDLE_NUMERATOR = [
  1.4234371107496835, 4.630337846156546, 5.769497221460691, 3.6478483247632045, 1.2704582524523684, 0.2417807251774506,
  0.022723844989269184, 0.0007745450142783414,
];
const MIDDLE_DENOMINATOR = [
  1, 2.053191626637759, 1.6763848301838038, 0.6897673349851, 0.14810397642748008, 0.015198666563616457,
  0.0005475938084995345, 1.0507500716444169e-9,
];
const FAR_NUMERATOR = [
  6.657904643501103, 5.463784911164114, 1.7848265399172913, 0.29656057182850487, 0.026532189526576124,
  0.0012426609473880784, 0.000027115555687434876, 2.0103343992922881e-7,
];
const FAR_DENOMINATOR = [
  1, 0.599832206555888, 0.1369298809227358, 0.014875361290850615, 0.0007868691311456133, 0.000018463183175100548,
  1.421511758316446e-7, 2.0442631033899397e-15,
];

/** The z with Φ(z) = p. Wichura's AS 241 (PPND16). */
export function normalQuantile(p: number): number {
  if (p <= 0) return -Infinity;
  if (p >= 1) return Infinity;
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q;
    return (q * polynomial(CENTRAL_NUMERATOR, r)) / polynomial(CENTRAL_DENOMINATOR, r);
  }
  const r = Math.sqrt(-Math.log(q < 0 ? p : 1 - p));
  const size =
    r <= 5
      ? polynomial(MIDDLE_NUMERATOR, r - 1.6) / polynomial(MIDDLE_DENOMINATOR, r - 1.6)
      : polynomial(FAR_NUMERATOR, r - 5) / polynomial(FAR_DENOMINATOR, r - 5);
  return q < 0 ? -size : size;
}

function polynomial(coefficients: readonly number[], x: number): number {
  let value = 0;
  for (let i = coefficients.length - 1; i >= 0; i--) value = value * x + coefficients[i]!;
  return value;
}

/** ln of Kolmogorov's Q(λ) = P(K > λ) = 2 Σ (−1)^(k−1) exp(−2k²λ²); the theta form below λ = 1.18. */
export function logKolmogorovTail(lambda: number): number {
  if (lambda <= 0) return 0;
  if (lambda < 1.18) {
    const y = Math.exp((-Math.PI * Math.PI) / (8 * lambda * lambda));
    const cdf = (Math.sqrt(2 * Math.PI) / lambda) * y * (1 + y ** 8 + y ** 24 + y ** 48);
    return Math.log1p(-Math.min(cdf, 1));
  }
  const x = Math.exp(-2 * lambda * lambda);
  return LOG_2 - 2 * lambda * lambda + Math.log1p(-(x ** 3) + x ** 8 - x ** 15);
}

export function kolmogorovTail(lambda: number): number {
  return Math.exp(logKolmogorovTail(lambda));
}

/** ln P(X = k) for X ~ Binomial(n, p), Loader's form. */
export function logBinomialMass(k: number, n: number, p: number): number {
  if (k < 0 || k > n) return -Infinity;
  if (p <= 0) return k === 0 ? 0 : -Infinity;
  if (p >= 1) return k === n ? 0 : -Infinity;
  if (k === 0) return n * Math.log1p(-p);
  if (k === n) return n * Math.log(p);
  const error = stirlingError(n) - stirlingError(k) - stirlingError(n - k);
  const fit = deviance(k, n * p) + deviance(n - k, n * (1 - p));
  return error - fit + 0.5 * Math.log(n / (2 * Math.PI * k * (n - k)));
}

/** ln P(X ≤ k) for X ~ Binomial(n, p): the mass at k times a sum of falling ratios, so nothing underflows. */
export function logBinomialLowerTail(k: number, n: number, p: number): number {
  if (k < 0) return -Infinity;
  if (k >= n) return 0;
  const odds = (1 - p) / p;
  // Above the mean the lower tail is close to 1: sum the other side.
  if (k > n * p) return Math.log1p(-Math.exp(logBinomialLowerTail(n - k - 1, n, 1 - p)));
  let ratio = 1;
  let total = 1;
  for (let j = k; j > 0; j--) {
    ratio *= (j / (n - j + 1)) * odds;
    total += ratio;
    if (ratio < total * EPSILON) break;
  }
  return logBinomialMass(k, n, p) + Math.log(total);
}

/** Regularised incomplete beta function I_x(a, b), by the continued fraction (modified Lentz). */
export function regularizedBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - regularizedBeta(1 - x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  let c = 1;
  let d = 1 - ((a + b) * x) / (a + 1);
  if (Math.abs(d) < TINY) d = TINY;
  d = 1 / d;
  let h = d;
  for (let m = 1; m < 100_000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    let factor = 1;
    for (const numerator of [even, odd]) {
      d = 1 + numerator * d;
      if (Math.abs(d) < TINY) d = TINY;
      c = 1 + numerator / c;
      if (Math.abs(c) < TINY) c = TINY;
      d = 1 / d;
      factor = d * c;
      h *= factor;
    }
    if (Math.abs(factor - 1) < EPSILON * 2) break;
  }
  return front * h;
}

/** t with P(T ≤ t) = p for Student's t with df degrees of freedom, 0 < p < 1: by bisection, to the last digits. */
export function studentQuantile(p: number, df: number): number {
  if (p < 0.5) return -studentQuantile(1 - p, df);
  const tail = 2 * (1 - p);
  let [low, high] = [0, 1];
  while (studentTwoSided(high, df) > tail) high *= 2;
  for (let halving = 0; halving < 100 && low < high; halving++) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) break;
    if (studentTwoSided(middle, df) > tail) low = middle;
    else high = middle;
  }
  return high;
}

/** P(|T| ≥ |t|) for Student's t with df degrees of freedom. */
export function studentTwoSided(t: number, df: number): number {
  return regularizedBeta(df / (df + t * t), df / 2, 0.5);
}
