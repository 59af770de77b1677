/** The share of rows that have their label by age, over cohorts that were seen to different ages. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ArrivalCounts, arrivedBy, maturityCurve } from '../../src/stats/maturity.ts';

const whole: ArrivalCounts = {
  rows: 100,
  observedDays: 3,
  arrived: [
    [0, 10],
    [1, 40],
    [3, 45],
  ],
};

describe('the maturity curve', () => {
  test.each<[string, readonly ArrivalCounts[], readonly number[]]>([
    ['no cohorts', [], []],
    ['a cohort without rows', [{ rows: 0, observedDays: 5, arrived: [] }], []],
    ['a cohort that nobody labelled', [{ rows: 10, observedDays: 2, arrived: [] }], [0, 0, 0]],
    ['one cohort', [whole], [0.1, 0.5, 0.5, 0.95]],
    ['a cohort of today', [{ rows: 4, observedDays: 0, arrived: [[0, 1]] }], [0.25]],
    ['more labels than rows', [{ rows: 10, observedDays: 1, arrived: [[0, 25]] }], [1, 1]],
    [
      'two cohorts, by their rows',
      [whole, { rows: 300, observedDays: 3, arrived: [[0, 300]] }],
      [0.775, 0.875, 0.875, 0.9875],
    ],
    // 50 of 100 rows of either are left after a day; of those, only the first is seen further: 45 of its 50 come.
    ['a young cohort, cut off', [whole, { rows: 100, observedDays: 1, arrived: [[1, 50]] }], [0.05, 0.5, 0.5, 0.95]],
  ])('%s', (_, cohorts, shares) => {
    const curve = maturityCurve(cohorts);
    expect(curve.map(({ ageDays }) => ageDays)).toEqual(shares.map((_share, age) => age));
    curve.forEach(({ share }, age) => {
      expect(share).toBeCloseTo(shares[age] ?? Number.NaN, 12);
    });
  });

  test('says how many cohorts were seen to an age, and how they differ there', () => {
    const curve = maturityCurve([whole, { rows: 100, observedDays: 1, arrived: [[0, 30]] }]);
    expect(curve.map(({ cohorts }) => cohorts)).toEqual([2, 2, 1, 1]);
    expect(curve[0]?.deviation).toBeCloseTo(Math.SQRT2 / 10, 12);
    expect(curve[3]?.deviation).toBeNull();
  });
});

const cohort = fc
  .record({
    rows: fc.integer({ min: 1, max: 10_000 }),
    observedDays: fc.integer({ min: 0, max: 12 }),
    days: fc.array(fc.nat(400), { minLength: 13, maxLength: 13 }),
  })
  .map(
    ({ rows, observedDays, days }): ArrivalCounts => ({
      rows,
      observedDays,
      arrived: days.slice(0, observedDays + 1).map((labels, age) => [age, labels] as const),
    }),
  );
const cohorts = fc.array(cohort, { minLength: 1, maxLength: 8 });

describe('whatever the cohorts', () => {
  test('the share never falls and stays between 0 and 1', () => {
    fc.assert(
      fc.property(cohorts, list => {
        let before = 0;
        for (const { share } of maturityCurve(list)) {
          expect(share).toBeGreaterThanOrEqual(before - 1e-12);
          expect(share).toBeLessThanOrEqual(1);
          before = share;
        }
      }),
    );
  });

  test('their order does not matter', () => {
    fc.assert(
      fc.property(cohorts, list => {
        const back = maturityCurve([...list].reverse());
        maturityCurve(list).forEach(({ share, cohorts: seen }, age) => {
          expect(share).toBeCloseTo(back[age]?.share ?? Number.NaN, 12);
          expect(seen).toBe(back[age]?.cohorts);
        });
      }),
    );
  });

  test('where all were seen equally long, it is the plain share of all rows', () => {
    fc.assert(
      fc.property(cohorts, list => {
        const even = list.map(one => ({ ...one, observedDays: 12 }));
        const rows = even.reduce((total, one) => total + one.rows, 0);
        for (const { ageDays, share } of maturityCurve(even)) {
          const labels = even.reduce((total, one) => total + arrivedBy(one, ageDays), 0);
          expect(share).toBeCloseTo(labels / rows, 9);
        }
      }),
    );
  });

  test('what happens after a cohort was last seen does not change the ages before', () => {
    fc.assert(
      fc.property(cohorts, fc.nat(12), (list, cut) => {
        const early = list.map(one => ({ ...one, observedDays: Math.min(one.observedDays, cut) }));
        const full = maturityCurve(list);
        maturityCurve(early).forEach(({ ageDays, share }) => {
          expect(share).toBeCloseTo(full[ageDays]?.share ?? Number.NaN, 12);
        });
      }),
    );
  });
});
