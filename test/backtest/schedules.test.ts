import { describe, expect, test } from 'vitest';
import {
  bestSchedule,
  calendarPhases,
  everyWindow,
  meanQuality,
  type QualityTable,
  randomSchedules,
} from '../../src/backtest/schedules.ts';

/** A model is good for three windows and poor afterwards, except that windows 9 and later need a model from 9 on. */
const table: QualityTable = {
  first: 2,
  windows: 14,
  quality: (model, window) =>
    window >= 9 && model < 9 ? 0.5 : Math.max(0.6, 0.9 - 0.1 * Math.max(0, window - model - 2)),
};

describe('schedules over one table of models', () => {
  test('a retraining serves from its own window on', () => {
    const constant: QualityTable = { first: 0, windows: 4, quality: model => model };
    expect(meanQuality(constant, [2])).toBe((0 + 0 + 2 + 2) / 4);
    expect(meanQuality(constant, [])).toBe(0);
  });

  test('undefined windows are left out of the mean', () => {
    expect(meanQuality({ first: 0, windows: 3, quality: (_, window) => (window === 1 ? null : 0.8) }, [])).toBe(0.8);
  });

  test.each([1, 2, 3, 4])('the best %i dates in hindsight are what a search over all sets finds', count => {
    const dates = everyWindow(table);
    const sets = (from: number, left: number): number[][] =>
      left === 0
        ? [[]]
        : dates.slice(from).flatMap((date, index) => sets(from + index + 1, left - 1).map(rest => [date, ...rest]));
    const best = Math.max(...sets(0, count).map(set => meanQuality(table, set)));
    const found = bestSchedule(table, count);
    expect(found).toHaveLength(count);
    expect(meanQuality(table, found)).toBeCloseTo(best, 12);
  });

  test('every phase of the calendar and every random schedule has the number of dates asked for', () => {
    for (const count of [1, 3, 5, 11]) {
      const phases = calendarPhases(table, count);
      expect(phases.length).toBeGreaterThan(0);
      for (const dates of [...phases, ...randomSchedules(table, { count, schedules: 20, seed: 1 })]) {
        expect(new Set(dates).size).toBe(count);
        expect(dates).toEqual(dates.toSorted((left, right) => left - right));
        expect(dates[0]).toBeGreaterThan(table.first);
        expect(dates.at(-1)).toBeLessThan(table.windows);
      }
    }
    expect(calendarPhases(table, 0)).toEqual([]);
    expect(calendarPhases(table, 12)).toEqual([]);
  });

  test('the same seed draws the same schedules', () => {
    const draw = (seed: number) => randomSchedules(table, { count: 3, schedules: 5, seed });
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });
});
