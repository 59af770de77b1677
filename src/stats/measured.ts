/**
 * One shape for every statistic: a value, or null with the reason why there is none. NaN and infinities never leave this
 * folder, because JSON cannot hold them and a comparison with NaN is silently false.
 */

export type Measured<T = number> = { readonly value: T } | { readonly value: null; readonly reason: string };

/** Any sequence of numbers: plain arrays and typed arrays alike. */
export type Numbers = ArrayLike<number>;

export function measured<T>(value: T): Measured<T> {
  return { value };
}

export function undefinedBecause(reason: string): { readonly value: null; readonly reason: string } {
  return { value: null, reason };
}

/** Wraps a formula whose result may overflow: NaN and ±infinity become null with the given reason. */
export function finiteOr(value: number, reason: string): Measured {
  return Number.isFinite(value) ? { value } : { value: null, reason };
}

/** Continues with the value when there is one; hands the reason on when there is none. */
export function andThen<A, B>(result: Measured<A>, next: (value: A) => Measured<B>): Measured<B> {
  return 'reason' in result ? result : next(result.value);
}

/** The reason two vectors cannot be compared element by element, or null. */
export function lengthMismatch(first: Numbers, second: Numbers, names: string): string | null {
  if (first.length === second.length) return null;
  return `${names} differ in length: ${first.length} and ${second.length}`;
}

/** Neumaier's compensated sum: error of a few ulp whatever the length or the order of magnitude. */
export function sum(values: Numbers): number {
  let total = 0;
  let lost = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const next = total + value;
    lost += Math.abs(total) >= Math.abs(value) ? total - next + value : value - next + total;
    total = next;
  }
  // Infinities make `lost` NaN; the plain total is then the right answer.
  return Number.isFinite(lost) ? total + lost : total;
}
