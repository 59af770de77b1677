/** Intervals in the shape that documents carry: a pair, or null where the statistic is undefined. */
import type { Measured } from '../stats/measured.ts';
import { type Interval, newcombeInterval, wilsonInterval } from '../stats/proportions.ts';

export type Bounds = readonly [low: number, high: number] | null;

export function boundsOf(interval: Measured<Interval>): Bounds {
  return interval.value === null ? null : [interval.value.low, interval.value.high];
}

/** Wilson's 95 % interval of `count` among `n` rows. */
export function wilson(count: number, n: number): Bounds {
  return boundsOf(wilsonInterval({ count, n }));
}

/** Newcombe's 95 % interval of the difference of two shares. */
export function newcombe(count1: number, n1: number, count2: number, n2: number): Bounds {
  return boundsOf(newcombeInterval({ count: count1, n: n1 }, { count: count2, n: n2 }));
}
