/** Rules over the daily series of one metric: change points, limits learned from history, rates of change. */
import { type Measured, measured, type Numbers, undefinedBecause } from './measured.ts';
import { median, medianAbsoluteDeviation, standardDeviation } from './moments.ts';
import type { Interval } from './proportions.ts';

export interface PageHinkleyOptions {
  /** Observations before the first alarm, default 30. */
  readonly instancesMin?: number;
  /** Change that is tolerated per observation, default 0.005. */
  readonly delta?: number;
  /** Alarm level of the cumulated deviation, default 50. */
  readonly threshold?: number;
  /** Forgetting factor of the cumulated deviation, default 0.9999. */
  readonly alpha?: number;
}

/** A change of the mean that the test found. */
export interface LevelShift {
  /** Observation that raised the alarm. */
  readonly alarm: number;
  /** First observation of the new level: the one after the cumulated deviation was last at its extreme. */
  readonly onset: number;
  readonly direction: 'up' | 'down';
}

/**
 * Page–Hinkley test for a change of the mean in either direction (Page 1954; the recursion of River).
 * @returns the index of the observation that raised the first alarm, or null when there is none.
 */
export function pageHinkley(series: Numbers, options: PageHinkleyOptions = {}): number | null {
  return firstShift(series, options)?.alarm ?? null;
}

/** The first alarm of the Page–Hinkley test with where the new level began; null when there is none. */
export function firstShift(series: Numbers, options: PageHinkleyOptions = {}): LevelShift | null {
  const { instancesMin = 30, delta = 0.005, threshold = 50, alpha = 0.9999 } = options;
  let average = 0;
  let increase = 0;
  let decrease = 0;
  let lowest = { value: Infinity, at: 0 };
  let highest = { value: -Infinity, at: 0 };
  for (let i = 0; i < series.length; i++) {
    average += (series[i]! - average) / (i + 1);
    const deviation = series[i]! - average;
    increase = alpha * increase + deviation - delta;
    decrease = alpha * decrease + deviation + delta;
    if (increase < lowest.value) lowest = { value: increase, at: i };
    if (decrease > highest.value) highest = { value: decrease, at: i };
    if (i + 1 < instancesMin) continue;
    if (increase - lowest.value > threshold) return { alarm: i, onset: lowest.at + 1, direction: 'up' };
    if (highest.value - decrease > threshold) return { alarm: i, onset: highest.at + 1, direction: 'down' };
  }
  return null;
}

/**
 * Every change of the mean, in order. After each alarm the test starts again at the onset it named; an alarm at the first
 * chance after that is the same change, and only moves its onset closer.
 */
export function levelShifts(series: Numbers, options: PageHinkleyOptions = {}): readonly LevelShift[] {
  const found: LevelShift[] = [];
  const values = Array.from(series);
  for (let from = 0; from < values.length; ) {
    const shift = firstShift(values.slice(from), options);
    if (shift === null) break;
    const alarm = from + shift.alarm;
    from += shift.onset;
    const isSame = shift.alarm + 1 === (options.instancesMin ?? 30) && found.at(-1)?.direction === shift.direction;
    if (isSame) found.pop();
    found.push({ alarm, onset: from, direction: shift.direction });
  }
  return found;
}

/** mean ± k standard deviations of accepted windows. */
export function sigmaLimits(values: Numbers, { k, ddof }: { k: number; ddof: 0 | 1 }): Measured<Interval> {
  const spread = standardDeviation(values, ddof);
  if (spread.value === null) return spread;
  const values64 = Float64Array.from(values);
  const center = values64.reduce((total, value) => total + value, 0) / values64.length;
  return measured({ low: center - k * spread.value, high: center + k * spread.value });
}

/**
 * Points of [from, to) outside mean ± k sd of all other points (sample sd). Points under test never judge themselves. With
 * sd = 0 any change is an anomaly; `floor` is the smallest half-width of the band.
 */
export function historyAnomalies(
  series: Numbers,
  { from, to, k, floor = 0 }: { from: number; to: number; k: number; floor?: number },
): Measured<number[]> {
  const history = Array.from(series).filter((_, i) => i < from || i >= to);
  if (history.length === 0) return undefinedBecause('no history outside the points under test');
  const center = history.reduce((total, value) => total + value, 0) / history.length;
  const half = Math.max(floor, k * (standardDeviation(history, 1).value ?? 0));
  const tested = Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i).filter(i => i < series.length);
  return measured(tested.filter(i => Math.abs(series[i]! - center) > half));
}

/** x(i) / x(i − order); null where the earlier value is 0. */
export function relativeRates(series: Numbers, order = 1): (number | null)[] {
  return Array.from(series)
    .slice(order)
    .map((value, i) => (series[i] === 0 ? null : value / series[i]!))
    .map(ratio => (ratio === null || !Number.isFinite(ratio) ? null : ratio));
}

/** |x − median| / (1.4826 MAD + floor) against accepted history; `floor` keeps a quiet history from alarming at anything. */
export function robustZ(value: number, history: Numbers, floor: number): Measured {
  const center = median(history);
  const spread = medianAbsoluteDeviation(history);
  if (center.value === null) return center;
  if (spread.value === null) return spread;
  const scale = 1.4826 * spread.value + floor;
  return scale > 0
    ? measured(Math.abs(value - center.value) / scale)
    : undefinedBecause('a constant history, no floor');
}
