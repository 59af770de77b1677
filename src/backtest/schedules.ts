/**
 * What other ways of choosing retraining dates would have given: never, every window, the calendar in all its phases, dates
 * drawn at random, and the best dates in hindsight. All are sums over one table: quality of model t in window w.
 */
import { createRandom } from '../stats/random.ts';

/**
 * `quality(t, w)` is the quality in window w of the model trained on the windows before t; null where it is undefined. The
 * first model is t = first; a retraining at t serves from window t on.
 */
export interface QualityTable {
  readonly first: number;
  readonly windows: number;
  readonly quality: (trainedBefore: number, window: number) => number | null;
}

/** Mean quality when retraining before each of the given windows (ascending). */
export function meanQuality(table: QualityTable, retrainings: readonly number[]): number {
  let total = 0;
  let count = 0;
  let model = table.first;
  let next = 0;
  for (let window = table.first; window < table.windows; window++) {
    while ((retrainings[next] ?? Number.POSITIVE_INFINITY) <= window) model = retrainings[next++]!;
    const quality = table.quality(model, window);
    if (quality === null) continue;
    total += quality;
    count++;
  }
  return count === 0 ? Number.NaN : total / count;
}

/** Every window after the first. */
export function everyWindow({ first, windows }: QualityTable): readonly number[] {
  return Array.from({ length: Math.max(0, windows - first - 1) }, (_, index) => first + 1 + index);
}

/**
 * Evenly spaced dates, `count` of them, in every phase: the period is the span over the count (not rounded), and the phase
 * moves by whole windows. Phases that would leave the span are left out, so every schedule has exactly `count` dates.
 */
export function calendarPhases(table: QualityTable, count: number): readonly (readonly number[])[] {
  const dates = everyWindow(table);
  if (count === 0 || count > dates.length) return [];
  const period = dates.length / count;
  const phases = new Map<string, readonly number[]>();
  for (let phase = 0; phase < Math.ceil(period); phase++) {
    const chosen = Array.from({ length: count }, (_, index) => dates[Math.floor(phase + index * period)]);
    const complete = chosen.filter(date => date !== undefined);
    if (complete.length === count) phases.set(complete.join(), complete);
  }
  return [...phases.values()];
}

/** `schedules` draws of `count` different dates. */
export function randomSchedules(
  table: QualityTable,
  { count, schedules, seed }: { count: number; schedules: number; seed: number },
): readonly (readonly number[])[] {
  const dates = everyWindow(table);
  const random = createRandom(seed);
  return Array.from({ length: schedules }, () => {
    const pool = [...dates];
    for (let at = 0; at < Math.min(count, pool.length); at++) {
      const other = at + random.below(pool.length - at);
      [pool[at], pool[other]] = [pool[other]!, pool[at]!];
    }
    return pool.slice(0, count).sort((left, right) => left - right);
  });
}

/** The best `count` dates in hindsight, exactly, by dynamic programming over (dates used, last date): O(count × windows²). */
export function bestSchedule(table: QualityTable, count: number): readonly number[] {
  const { first, windows } = table;
  // reward[t][w]: sum over windows t..w-1 of the model trained before t.
  const reward = (from: number): Float64Array => {
    const sums = new Float64Array(windows + 1);
    for (let window = from; window < windows; window++)
      sums[window + 1] = sums[window]! + (table.quality(from, window) ?? 0);
    return sums;
  };
  const rewards = Array.from({ length: windows }, (_, from) => (from < first ? new Float64Array(0) : reward(from)));
  let best = new Float64Array(windows).fill(Number.NEGATIVE_INFINITY);
  best[first] = 0;
  const origins: Int32Array[] = [];
  for (let used = 1; used <= count; used++) {
    const next = new Float64Array(windows).fill(Number.NEGATIVE_INFINITY);
    const origin = new Int32Array(windows).fill(-1);
    for (let date = first + used; date < windows; date++) {
      for (let previous = first + used - 1; previous < date; previous++) {
        const value = best[previous]! + rewards[previous]![date]!;
        if (value > next[date]!) {
          next[date] = value;
          origin[date] = previous;
        }
      }
    }
    origins.push(origin);
    best = next;
  }
  let last = -1;
  let highest = Number.NEGATIVE_INFINITY;
  best.forEach((value, date) => {
    const total = date < first ? Number.NEGATIVE_INFINITY : value + (rewards[date]![windows] ?? 0);
    if (total > highest) {
      highest = total;
      last = date;
    }
  });
  const dates: number[] = [];
  for (let used = count; used >= 1 && last >= 0; used--) {
    dates.push(last);
    last = origins[used - 1]![last]!;
  }
  return dates.reverse();
}
