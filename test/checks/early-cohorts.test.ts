/** Cohorts that are judged before their horizon, because earlier ones say how their labels end. */
import { describe, expect, test } from 'vitest';
import { earlyAges, usualEnd } from '../../src/checks/early-cohorts.ts';
import type { CohortArrivals } from '../../src/checks/index.ts';
import { maturityOf, type UsualEnd } from '../../src/domain/labels.ts';
import { createRandom } from '../../src/stats/random.ts';

const horizonDays = 30;
const rule = { horizonDays, wanted: 0.95 };

/** Of a thousand rows `end` get a label, half of what is missing on every day, seen for `observedDays`. */
function cohort(day: number, end = 900, changes: Partial<CohortArrivals> = {}): CohortArrivals {
  const { observedDays = 30 } = changes;
  const arrived: [number, number][] = [];
  for (let age = 0, left = end; age <= observedDays && left > 0; age++) {
    const now = Math.ceil(left / 2);
    arrived.push([age, now]);
    left -= now;
  }
  return {
    partition: `2026-01-${String(day).padStart(2, '0')}`,
    rows: 1_000,
    observedDays,
    arrived,
    undated: 0,
    ...changes,
  };
}

const many = (ends: readonly number[]) => ends.map((end, index) => cohort(index + 1, end));

describe('with which share labelled a cohort ends', () => {
  test('the prediction interval of one more cohort', () => {
    const end = usualEnd(many([880, 900, 920, 890, 910, 900]), horizonDays);
    // scipy.stats: t.ppf(0.95, 5) = 2.015048373; s = 0.014142136.
    const half = 2.015048373 * 0.0141421356 * Math.sqrt(7 / 6);
    expect(end).toEqual({
      share: expect.closeTo(0.9, 12),
      low: expect.closeTo(0.9 - half, 8),
      high: expect.closeTo(0.9 + half, 8),
      cohorts: 6,
    });
  });

  test('it holds for nineteen of twenty cohorts on either side', () => {
    const random = createRandom(7);
    const draw = () => 800 + Math.round(25 * random.normal());
    let [above, below] = [0, 0];
    const rounds = 2_000;
    for (let round = 0; round < rounds; round++) {
      const end = usualEnd(many(Array.from({ length: 8 }, draw)), horizonDays);
      const next = draw() / 1_000;
      if (next > (end?.high ?? 0)) above++;
      if (next < (end?.low ?? 1)) below++;
    }
    // 0.05 ± 4 standard errors of 2,000 rounds.
    expect(above / rounds).toBeGreaterThan(0.03);
    expect(above / rounds).toBeLessThan(0.07);
    expect(below / rounds).toBeGreaterThan(0.03);
    expect(below / rounds).toBeLessThan(0.07);
  });

  test.each<[string, readonly CohortArrivals[]]>([
    ['none', []],
    ['five', many([900, 900, 900, 900, 900])],
    [
      'six, one of them not seen to the end',
      [...many([900, 900, 900, 900, 900]), cohort(6, 900, { observedDays: 29 })],
    ],
    ['six, one of them of unknown arrival', [...many([900, 900, 900, 900, 900]), cohort(6, 900, { undated: 400 })]],
    ['six, one of them without rows', [...many([900, 900, 900, 900, 900]), cohort(6, 0, { rows: 0 })]],
    ['six without any label', many([0, 0, 0, 0, 0, 0])],
  ])('%s say nothing', (_, earlier) => {
    expect(usualEnd(earlier, horizonDays)).toBeNull();
  });
});

describe('from which age on it is looked at', () => {
  const agesOf = (ends: readonly number[], changes: Partial<typeof rule> = {}) => {
    const end = usualEnd(many(ends), changes.horizonDays ?? horizonDays);
    return end === null ? null : earlyAges(many(ends), end, { ...rule, ...changes });
  };

  test.each<[string, readonly number[], Partial<typeof rule>, readonly number[]]>([
    // 1 − 2^-(a + 1) ≥ 0.95 first at a = 4.
    ['where the curve has the share', Array(6).fill(960), {}, [4, 5, 6, 7]],
    ['later, where more is wanted', Array(6).fill(960), { wanted: 0.99 }, [6, 7, 8, 9]],
    ['later, where cohorts differ', [930, 950, 970, 930, 950, 970], {}, [6, 7, 8, 9]],
    ['never, where they differ by more than is left', [700, 900, 800, 700, 900, 800], {}, []],
    ['never, where all labels are wanted but one cohort in six', [960, 960, 960, 960, 960, 900], { wanted: 1 }, []],
    ['not after the horizon', Array(6).fill(960), { horizonDays: 7 }, [4, 5]],
    ['not a day before it', Array(6).fill(960), { horizonDays: 5 }, []],
  ])('%s', (_, ends, changes, ages) => {
    expect(agesOf(ends, changes)).toEqual(ages);
  });
});

describe('is it mature?', () => {
  const end: UsualEnd = { share: 0.8, low: 0.78, high: 0.82, cohorts: 12 };
  const judge = (labelled: number, changes: Partial<Parameters<typeof maturityOf>[0]> = {}) =>
    maturityOf({
      cohort: { partition: '2026-01-01', scored: 1_000, labelled },
      asOf: '2026-01-11T00:00:00Z',
      horizonDays,
      end,
      wanted: 0.95,
      ...changes,
    });

  test.each<[string, ReturnType<typeof judge>, string, readonly [number, number, number] | null]>([
    ['surely, with most of its labels', judge(785), 'mature', [0.98125, 0.9573, 1]],
    ['not surely: it may end with more', judge(770), 'immature', [0.9625, 0.939, 0.9872]],
    ['not at all', judge(300), 'immature', [0.375, 0.3659, 0.3846]],
    ['more labels than any cohort ended with', judge(900), 'mature', [1, 1, 1]],
    ['without rows', judge(0, { cohort: { partition: '2026-01-01', scored: 0, labelled: 0 } }), 'immature', [0, 0, 0]],
    ['by the horizon alone where nobody knows', judge(785, { end: null }), 'immature', null],
    ['by the horizon, however few there are', judge(3, { asOf: '2026-02-05T00:00:00Z' }), 'mature', null],
    ['all labels wanted', judge(819, { wanted: 1 }), 'immature', [1, 0.9988, 1]],
  ])('%s', (_, found, kind, arrived) => {
    expect(found.kind).toBe(kind);
    const shares = found.arrived === null ? null : [found.arrived.value, ...found.arrived.interval];
    expect(shares).toEqual(arrived === null ? null : arrived.map(share => expect.closeTo(share, 3)));
  });

  test('the reason gives both sides', () => {
    expect(judge(785).reason).toBe(
      'after 10 of 30 days it has 98.1 % (95.7 % to 100.0 %) of the labels that 12 earlier cohorts ended with, at least 95.0 % wanted',
    );
    expect(judge(700).reason).toMatch(/at least 95\.0 % wanted for sure$/);
  });
});
