/** Means, spreads and quantiles: of samples, and of the shifted power sums a profile holds. */
import { finiteOr, type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';

/** Sums of (x − pivot)^k over n finite values. */
export interface PowerSums {
  readonly n: number;
  readonly pivot: number;
  readonly s1: number;
  readonly s2: number;
  readonly s3: number;
  readonly s4: number;
}

export interface Moments {
  readonly mean: number;
  /** Population variance m2. */
  readonly variance: number;
  readonly sd: number;
  /** m3 / m2^1.5 and m4 / m2²; undefined for constants. */
  readonly skewness: Measured;
  readonly kurtosis: Measured;
}

/** Central moments from sums about a pivot; the pivot near the mean is what keeps m2 from cancelling. */
export function momentsOf({ n, pivot, s1, s2, s3, s4 }: PowerSums): Measured<Moments> {
  if (!(n > 0)) return undefinedBecause('no finite values');
  const shift = s1 / n;
  const mean = pivot + shift;
  const m2 = Math.max(0, s2 / n - shift * shift);
  if (overflowed(s1) || overflowed(s2)) return undefinedBecause('the sums of powers overflow a double');
  const m3 = s3 / n - (3 * shift * s2) / n + 2 * shift ** 3;
  const m4 = s4 / n - (4 * shift * s3) / n + (6 * shift * shift * s2) / n - 3 * shift ** 4;
  const constant = 'a constant has no shape';
  return measured({
    mean,
    variance: m2,
    sd: Math.sqrt(m2),
    skewness: m2 > 0 ? shape(m3 / m2 ** 1.5, s3) : undefinedBecause(constant),
    kurtosis: m2 > 0 ? shape(m4 / (m2 * m2), s4) : undefinedBecause(constant),
  });
}

function shape(value: number, sum: number): Measured {
  return finiteOr(overflowed(sum) ? Number.NaN : value, 'the sum of powers overflows a double');
}

/** Profiles write a sum beyond the doubles as the largest double, because JSON has no infinity. */
function overflowed(sum: number): boolean {
  return !(Math.abs(sum) < Number.MAX_VALUE);
}

export function mean(values: Numbers): Measured {
  return values.length === 0 ? undefinedBecause('no values') : finiteOr(sum(values) / values.length, 'not finite');
}

/** Standard deviation with divisor n − ddof, two passes. */
export function standardDeviation(values: Numbers, ddof: 0 | 1 = 1): Measured {
  if (values.length <= ddof) return undefinedBecause(`${values.length} values with ${ddof} degrees of freedom taken`);
  const center = sum(values) / values.length;
  const squares = Array.from(values, value => (value - center) ** 2);
  return finiteOr(Math.sqrt(sum(squares) / (values.length - ddof)), 'not finite');
}

/** Quantile by linear interpolation between order statistics (type 7, as numpy and DuckDB's quantile_cont). */
export function quantile(values: Numbers, q: number): Measured {
  if (values.length === 0) return undefinedBecause('no values');
  return quantileOfSorted(Float64Array.from(values).sort(), q);
}

export function quantileOfSorted(ascending: Numbers, q: number): Measured {
  if (ascending.length === 0) return undefinedBecause('no values');
  const at = Math.min(1, Math.max(0, q)) * (ascending.length - 1);
  const low = ascending[Math.floor(at)]!;
  const high = ascending[Math.ceil(at)]!;
  // Equal ends also when both are infinite.
  return finiteOr(low === high ? low : low + (high - low) * (at - Math.floor(at)), 'not finite');
}

export function median(values: Numbers): Measured {
  return quantile(values, 0.5);
}

/** Median absolute deviation from the median (times 1.4826 it estimates the sd of a normal). */
export function medianAbsoluteDeviation(values: Numbers): Measured {
  const center = median(values);
  return center.value === null ? center : median(Array.from(values, value => Math.abs(value - center.value)));
}
