/** Proportions: rates of nulls, of unseen values, of broken rules; their intervals and their differences. */
import { finiteOr, type Measured, measured, undefinedBecause } from './measured.ts';
import { log10NormalTwoSided, normalQuantile, normalTwoSided } from './special.ts';

export interface Interval {
  readonly low: number;
  readonly high: number;
}
export interface Proportion {
  readonly count: number;
  readonly n: number;
}

function problemOf({ count, n }: Proportion): string | null {
  if (!(n > 0)) return 'no rows';
  return count >= 0 && count <= n ? null : `count ${count} is not between 0 and ${n}`;
}

/** Wilson's score interval; 0 and n counts give sensible bounds. */
export function wilsonInterval(proportion: Proportion, alpha = 0.05): Measured<Interval> {
  const problem = problemOf(proportion);
  if (problem !== null) return undefinedBecause(problem);
  const { count, n } = proportion;
  const z = normalQuantile(1 - alpha / 2);
  const share = count / n;
  const center = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n))) / (1 + (z * z) / n);
  // The bounds at the ends are exact; rounding would leave 1 − 1e-17.
  return measured({
    low: count === 0 ? 0 : Math.max(0, center - half),
    high: count === n ? 1 : Math.min(1, center + half),
  });
}

export interface TwoProportions {
  readonly z: number;
  readonly p: number;
  readonly log10P: number;
  readonly difference: number;
}

/** z = (p1 − p2)/se, two-sided; pooled variance by default. Equal proportions give z = 0 and p = 1, also at 0 and 1. */
export function twoProportionZ(
  first: Proportion,
  second: Proportion,
  variance: 'pooled' | 'unpooled' = 'pooled',
): Measured<TwoProportions> {
  const problem = problemOf(first) ?? problemOf(second);
  if (problem !== null) return undefinedBecause(problem);
  const p1 = first.count / first.n;
  const p2 = second.count / second.n;
  const difference = p1 - p2;
  if (difference === 0) return measured({ z: 0, p: 1, log10P: 0, difference });
  const pooled = (first.count + second.count) / (first.n + second.n);
  const squared =
    variance === 'pooled'
      ? pooled * (1 - pooled) * (1 / first.n + 1 / second.n)
      : (p1 * (1 - p1)) / first.n + (p2 * (1 - p2)) / second.n;
  if (!(squared > 0)) return undefinedBecause('the unpooled variance is 0');
  const z = difference / Math.sqrt(squared);
  return measured({ z, p: normalTwoSided(z), log10P: log10NormalTwoSided(z), difference });
}

/** Newcombe's hybrid score interval for p1 − p2 (1998, method 10); works at 0 and 1. */
export function newcombeInterval(first: Proportion, second: Proportion, alpha = 0.05): Measured<Interval> {
  const one = wilsonInterval(first, alpha);
  const two = wilsonInterval(second, alpha);
  if (one.value === null) return one;
  if (two.value === null) return two;
  const p1 = first.count / first.n;
  const p2 = second.count / second.n;
  return measured({
    low: p1 - p2 - Math.hypot(p1 - one.value.low, two.value.high - p2),
    high: p1 - p2 + Math.hypot(one.value.high - p1, p2 - two.value.low),
  });
}

/** Cohen's h = 2 asin √p1 − 2 asin √p2: 0.2 small, 0.5 medium, 0.8 large. */
export function cohenH(p1: number, p2: number): Measured {
  return finiteOr(2 * Math.asin(Math.sqrt(p1)) - 2 * Math.asin(Math.sqrt(p2)), 'a proportion is not between 0 and 1');
}

/**
 * Good–Turing estimate of the mass of values never seen: f1/N, with f1 the values seen exactly once among N rows. What
 * share of a new window may be unseen although nothing drifted. With f1 = N the estimate is 1: everything may be new.
 */
export function goodTuringUnseenMass(singletons: number, n: number): Measured {
  if (!(n > 0)) return undefinedBecause('no rows');
  return singletons >= 0 && singletons <= n
    ? measured(singletons / n)
    : undefinedBecause(`${singletons} singletons among ${n} rows`);
}

/** Upper bound of a rate never observed in n rows: z²/(n + z²) of Wilson, about 3.8/n at 95 %. */
export function zeroCountUpperBound(n: number, alpha = 0.05): Measured {
  if (!(n > 0)) return undefinedBecause('no rows');
  const z = normalQuantile(1 - alpha / 2);
  return measured((z * z) / (n + z * z));
}
