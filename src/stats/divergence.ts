/**
 * Distances between two distributions given as counts (or weights) over the same bins. Both sides are normalised here, so
 * duplicating all rows changes nothing. p is the reference (expected), q the current (actual) side.
 */
import { shares } from './histogram.ts';
import {
  andThen,
  finiteOr,
  lengthMismatch,
  type Measured,
  measured,
  type Numbers,
  sum,
  undefinedBecause,
} from './measured.ts';
import { chiSquaredQuantile, chiSquaredTail, log10ChiSquaredTail } from './special.ts';

/** How PSI treats empty bins. `jeffreys` adds ½ to every count of both sides; `floor` raises every share to the floor. */
export type PsiSmoothing =
  | { readonly kind: 'jeffreys' }
  | { readonly kind: 'none' }
  | { readonly kind: 'floor'; readonly floor: number }
  | { readonly kind: 'add'; readonly add: number };

export interface PsiResult {
  readonly psi: number;
  /** Bins that are empty on either side: there the value is the smoothing's more than the data's. */
  readonly emptyBins: number;
  /** (q − p) ln(q/p) of every bin, for the report's top contributions. */
  readonly contributions: readonly number[];
}

/**
 * Population stability index Σ (q − p) ln(q/p), the symmetrised Kullback–Leibler divergence.
 * Source: Yurdakul, "Statistical properties of the population stability index" (2018).
 */
export function psi(
  expected: Numbers,
  actual: Numbers,
  smoothing: PsiSmoothing = { kind: 'jeffreys' },
): Measured<PsiResult> {
  return compareShares(expected, actual, () => {
    const p = smoothedShares(expected, smoothing);
    const q = smoothedShares(actual, smoothing);
    let emptyBins = 0;
    const contributions: number[] = [];
    for (let i = 0; i < p.length; i++) {
      if (expected[i] === 0 || actual[i] === 0) emptyBins++;
      contributions.push(p[i] === q[i] ? 0 : (q[i]! - p[i]!) * Math.log(q[i]! / p[i]!));
    }
    const total = sum(contributions);
    if (!Number.isFinite(total)) return undefinedBecause('a bin is empty on one side and no smoothing was asked for');
    return measured({ psi: total, emptyBins, contributions });
  });
}

function smoothedShares(counts: Numbers, smoothing: PsiSmoothing): number[] {
  const add = smoothing.kind === 'jeffreys' ? 0.5 : smoothing.kind === 'add' ? smoothing.add : 0;
  const total = sum(counts) + add * counts.length;
  const floor = smoothing.kind === 'floor' ? smoothing.floor : 0;
  const result = new Array<number>(counts.length);
  for (let i = 0; i < result.length; i++) result[i] = Math.max((counts[i]! + add) / total, floor);
  return result;
}

export interface PsiSignificance {
  /** PSI / (1/N + 1/M), about χ² with B − 1 degrees of freedom when nothing changed. */
  readonly statistic: number;
  readonly p: number;
  readonly log10P: number;
}

/** Significance of a PSI from N reference and M current rows over B bins (Yurdakul 2018). */
export function psiSignificance(
  value: number,
  size: { n: number; m: number; bins: number },
): Measured<PsiSignificance> {
  if (size.bins < 2) return undefinedBecause(`${size.bins} bins: a distribution over one bin cannot change`);
  if (size.n <= 0 || size.m <= 0) return undefinedBecause('a sample without rows');
  const statistic = value / (1 / size.n + 1 / size.m);
  const df = size.bins - 1;
  return measured({ statistic, p: chiSquaredTail(statistic, df), log10P: log10ChiSquaredTail(statistic, df) });
}

/** PSI that samples of these sizes reach without any drift, at the given quantile (0.99 by default): χ²(B−1)(1/N + 1/M). */
export function psiNoiseFloor(size: { n: number; m: number; bins: number; quantile?: number }): Measured {
  if (size.bins < 2) return undefinedBecause(`${size.bins} bins: a distribution over one bin cannot change`);
  if (size.n <= 0 || size.m <= 0) return undefinedBecause('a sample without rows');
  return measured(chiSquaredQuantile(size.quantile ?? 0.99, size.bins - 1) * (1 / size.n + 1 / size.m));
}

/** Kullback–Leibler divergence KL(p‖q) = Σ p ln(p/q) in nats. Undefined when q is 0 where p is not. */
export function klDivergence(observed: Numbers, expected: Numbers): Measured {
  return compareShares(observed, expected, (p, q) => {
    let total = 0;
    for (let i = 0; i < p.length; i++) if (p[i]! > 0) total += p[i]! * Math.log(p[i]! / q[i]!);
    return finiteOr(total, 'the expected share of an observed bin is 0: the divergence is infinite');
  });
}

/**
 * KL(observed‖expected) over categories, where observed categories that the expectation lacks share `holdout` of its mass
 * (Great Expectations' tail_weight_holdout).
 */
export function klDivergenceWithHoldout(
  observed: Readonly<Record<string, number>>,
  expected: Readonly<Record<string, number>>,
  holdout: number,
): Measured {
  const names = [...new Set([...Object.keys(expected), ...Object.keys(observed)])];
  const news = names.filter(name => !Object.hasOwn(expected, name));
  const kept = news.length > 0 ? 1 - holdout : 1;
  return andThen(shares(Object.values(expected)), known => {
    const share = new Map(Object.keys(expected).map((name, i) => [name, known[i]! * kept]));
    return klDivergence(
      names.map(name => observed[name] ?? 0),
      names.map(name => share.get(name) ?? holdout / news.length),
    );
  });
}

/** Jensen–Shannon divergence in bits, in [0, 1]. Needs no smoothing. */
export function jsDivergenceBits(p: Numbers, q: Numbers): Measured {
  return compareShares(p, q, (a, b) => {
    let total = 0;
    for (let i = 0; i < a.length; i++) {
      const middle = (a[i]! + b[i]!) / 2;
      if (a[i]! > 0) total += a[i]! * Math.log2(a[i]! / middle);
      if (b[i]! > 0) total += b[i]! * Math.log2(b[i]! / middle);
    }
    return measured(Math.min(1, Math.max(0, total / 2)));
  });
}

/** Jensen–Shannon distance base 2: the root of the divergence in bits, in [0, 1]. Ours; peers' base e tops at 0.8326. */
export function jsDistanceBase2(p: Numbers, q: Numbers): Measured {
  return andThen(jsDivergenceBits(p, q), bits => measured(Math.sqrt(bits)));
}

/** Hellinger distance √(1 − Σ √(pq)), computed as √(½ Σ (√p − √q)²), which does not cancel for small change. */
export function hellinger(p: Numbers, q: Numbers): Measured {
  return compareShares(p, q, (a, b) => {
    let total = 0;
    for (let i = 0; i < a.length; i++) total += (Math.sqrt(a[i]!) - Math.sqrt(b[i]!)) ** 2;
    return measured(Math.min(1, Math.sqrt(total / 2)));
  });
}

/** Total variation ½ Σ |p − q|: the share of rows that moved. */
export function totalVariation(p: Numbers, q: Numbers): Measured {
  return compareShares(p, q, (a, b) => {
    let total = 0;
    for (let i = 0; i < a.length; i++) total += Math.abs(a[i]! - b[i]!);
    return measured(Math.min(1, total / 2));
  });
}

export interface LInfinity {
  readonly distance: number;
  /** Index of the bin with the largest change. */
  readonly bin: number;
}

/** max |p − q| and where it is. */
export function lInfinity(p: Numbers, q: Numbers): Measured<LInfinity> {
  return compareShares(p, q, (a, b) => {
    let bin = 0;
    for (let i = 1; i < a.length; i++) if (Math.abs(a[i]! - b[i]!) > Math.abs(a[bin]! - b[bin]!)) bin = i;
    return measured({ distance: Math.abs(a[bin]! - b[bin]!), bin });
  });
}

/** L∞ minus its own noise: max(0, L∞ − √(−½ ln(α/2)) √((N+M)/(NM))). Deequ's robust form; needs counts, not shares. */
export function lInfinityRobust(p: Numbers, q: Numbers, alpha: number): Measured {
  return andThen(lInfinity(p, q), ({ distance }) => {
    const n = sum(p);
    const m = sum(q);
    return measured(Math.max(0, distance - Math.sqrt(-Math.log(alpha / 2) / 2) * Math.sqrt((n + m) / (n * m))));
  });
}

/** max |count difference| / combined total (TFDV): sensitive to volume, so a volume check and not a drift metric. */
export function normalizedAbsoluteDifference(p: Numbers, q: Numbers): Measured {
  const mismatch = lengthMismatch(p, q, 'the two histograms');
  if (mismatch !== null) return undefinedBecause(mismatch);
  const total = sum(p) + sum(q);
  if (total === 0) return undefinedBecause('no rows on either side');
  let largest = 0;
  for (let i = 0; i < p.length; i++) largest = Math.max(largest, Math.abs(p[i]! - q[i]!));
  return finiteOr(largest / total, 'a count is not finite');
}

function compareShares<T>(p: Numbers, q: Numbers, compare: (p: number[], q: number[]) => Measured<T>): Measured<T> {
  const mismatch = lengthMismatch(p, q, 'the two histograms');
  if (mismatch !== null) return undefinedBecause(mismatch);
  return andThen(shares(p), a => andThen(shares(q), b => compare(a, b)));
}
