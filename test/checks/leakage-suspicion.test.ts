/** Suspicions of leakage: two splits that disagree, a feature that follows the outcome, a window that ends too late. */
import { describe, expect, test } from 'vitest';
import {
  checkAggregations,
  checkLeadLag,
  checkRandomSplit,
  type LeadLagAssociation,
  type LeadLagAuc,
  planTimeSplit,
  type SquaredAssociation,
} from '../../src/checks/leakage-suspicion.ts';
import { foldVerdict } from '../../src/domain/evidence.ts';
import { addDays } from '../../src/domain/time.ts';
import { contractOf, numericColumn } from './support/monitoring.ts';

describe('T6: a random split against a later period', () => {
  const quality = (auc: number, standardError: number) => ({ auc, standardError, testRows: 1_000 });
  test.each([
    ['both alike', 0.81, 0.8, 0.01, 'pass', /0\.81 on a random split and of 0\.8 on a later period$/],
    ['a later period that is easier', 0.7, 0.8, 0.01, 'pass', /later period$/],
    ['a gap', 0.9, 0.8, 0.01, 'warn', /rows know of each other within a period, or the world moves on/],
    ['a gap that may be chance', 0.9, 0.8, 0.05, 'pass', /with so few rows that may be chance/],
    ['no spread at all', 1, 0.5, 0, 'warn', /AUC of 1 on/],
  ] as const)('%s', (_, random, time, error, status, reason) => {
    const [check] = checkRandomSplit({ random: quality(random, error), time: quality(time, error) });
    expect(check).toMatchObject({ check: 'leakage_random_split', status, weight: 'advisory', rows: 1_000 });
    expect(check?.value).toBeCloseTo(random - time, 12);
    expect(check?.reason).toMatch(reason);
  });

  test('what cannot be split is not applicable', () => {
    expect(checkRandomSplit({ reason: 'no dates' })).toMatchObject([
      { status: 'not_applicable', reason: 'T6: no dates' },
    ]);
  });

  const days = Array.from({ length: 10 }, (_, index) => ({ partition: addDays('2026-01-01', index), rows: 100 }));
  test.each([
    ['a fifth of ten days, a day apart', days, 1, { learnUntil: '2026-01-08', testFrom: '2026-01-09' }],
    ['a week apart', days, 7, { learnUntil: '2026-01-02', testFrom: '2026-01-09' }],
    ['further apart than there are days', days, 9, null],
    ['one day', days.slice(0, 1), 1, null],
    ['no days', [], 1, null],
    [
      'days in any order, one of them with most rows',
      [...days, { partition: '2026-01-11', rows: 900 }].reverse(),
      1,
      {
        learnUntil: '2026-01-10',
        testFrom: '2026-01-11',
      },
    ],
    ['days without rows', days.map(day => ({ ...day, rows: 0 })), 1, null],
  ] as const)('%s', (_, partitions, gapDays, split) => {
    expect(planTimeSplit(partitions, from => addDays(from, -gapDays))).toEqual(split);
  });
});

describe('T7: a feature of a later date', () => {
  const contract = contractOf([numericColumn('income')]);
  const usual: LeadLagAuc = { past: 0.64, present: 0.65, future: 0.66, positives: 2_000, negatives: 8_000 };
  const judge = (changes: Partial<LeadLagAuc>) => checkLeadLag(contract, { income: { ...usual, ...changes } })[0];
  test.each<[string, Partial<LeadLagAuc>, string, RegExp]>([
    [
      'tells as much as today',
      {},
      'pass',
      /the value of income has an AUC of 0\.65, that of the key's next date 0\.66, the previous one 0\.64$/,
    ],
    ['tells much more', { future: 0.9 }, 'warn', /income follows the outcome/],
    [
      'tells much more, the other way round',
      { present: 0.4, future: 0.1 },
      'warn',
      /0\.6, that of the key's next date 0\.9/,
    ],
    ['tells less', { future: 0.5 }, 'pass', /0\.5/],
    ['tells more among few rows', { future: 0.72, positives: 60, negatives: 60 }, 'pass', /0\.72/],
    [
      'has few positives',
      { positives: 20 },
      'insufficient',
      /20 positives and 8000 negatives have a later value; 50 of each/,
    ],
    ['has one class', { present: null, future: null }, 'insufficient', /income/],
    ['has no previous date', { past: null }, 'pass', /0\.66$/],
  ])('%s', (_, changes, status, reason) => {
    const check = judge(changes);
    expect(check?.status, check?.reason).toBe(status);
    expect(check).toMatchObject({ check: 'leakage_lead_lag', column: 'income' });
    expect(check?.reason).toMatch(reason);
  });

  const cells = (squared: number | null, changes: Partial<SquaredAssociation> = {}): SquaredAssociation => ({
    squared,
    rows: 10_000,
    values: 4,
    labels: 2,
    outside: 2_000,
    ...changes,
  });
  test.each<[string, Partial<LeadLagAssociation>, string, RegExp]>([
    ['tells as much as today', {}, 'pass', /alone, the value of income has a Cramér's V of 0\.19\d*, that of/],
    ['tells much more', { future: cells(0.25) }, 'warn', /next date 0\.4998, .*income follows the outcome/],
    ['tells less', { future: cells(0) }, 'pass', /next date 0,/],
    [
      'tells more among few rows',
      { present: cells(0.04, { rows: 200, outside: 80 }), future: cells(0.16, { rows: 200, outside: 80 }) },
      'pass',
      /next date 0\.38/,
    ],
    [
      'has many categories, which find something in any label',
      { present: cells(0.09, { values: 900 }), future: cells(0.105, { values: 900 }) },
      'pass',
      /0\.1\d+/,
    ],
    ['has few of another class', { present: cells(0.04, { outside: 20 }) }, 'insufficient', /20 of them outside/],
    ['has one category', { present: cells(0, { values: 1, labels: 1 }), future: null }, 'insufficient', /10000 rows/],
    ['is another one in every row', { present: cells(1, { values: 10_000 }) }, 'insufficient', /vary/],
    ['does not return', { present: null, future: null }, 'insufficient', /0 rows have a later value/],
    ['is a number and constant', { present: cells(null, { values: 1, labels: 3 }) }, 'insufficient', /vary/],
  ])('of another kind that %s', (_, changes, status, reason) => {
    const given: LeadLagAssociation = {
      measure: "Cramér's V",
      past: cells(0.04),
      present: cells(0.04),
      future: cells(0.04),
      ...changes,
    };
    const [check] = checkLeadLag(contract, { income: given });
    expect(check?.status, check?.reason).toBe(status);
    expect(check?.reason).toMatch(reason);
  });

  test('dates are neither, and a suspicion blocks nothing', () => {
    const both = contractOf([numericColumn('income'), numericColumn('since', { type: 'date' })]);
    const checks = checkLeadLag(both, { income: { ...usual, future: 0.95 } });
    expect(checks.map(({ status }) => status)).toEqual(['warn', 'not_applicable']);
    expect(foldVerdict(checks)).toBe('warn');
    expect(checkLeadLag(both, { reason: 'rows have no keys to follow' })).toMatchObject([
      { status: 'not_applicable', column: null },
    ]);
  });
});

describe('T8: where the window of an aggregate ends', () => {
  const contract = contractOf([{ ...numericColumn('logins_30d'), window: { days: 30, ends: 'counted_to' } }]);
  const found = { column: 'logins_30d', ends: 'counted_to', rows: 100, late: 0, unknown: 0, leadHours: -1 };
  test.each([
    ['before the prediction', {}, 'pass', /the 30 days that logins_30d is made of end at counted_to, in no row after/],
    ['after it', { late: 9, leadHours: 24 }, 'fail', /in 9 rows \(9\.0 %\) after the prediction, by up to 24 hours/],
    ['nobody knows where', { unknown: 100 }, 'insufficient', /no row has one/],
  ] as const)('%s', (_, changes, status, reason) => {
    const [check] = checkAggregations(contract, [{ ...found, ...changes }]);
    expect(check).toMatchObject({ check: 'leakage_aggregation', column: 'logins_30d', status });
    expect(check?.reason).toMatch(reason);
  });

  test('a window that ends too late blocks, a column that is not there as well, and no declaration is no answer', () => {
    expect(foldVerdict(checkAggregations(contract, [{ ...found, late: 1 }]))).toBe('fail');
    const missing = checkAggregations(contract, [{ column: 'logins_30d', reason: 'it is no column' }]);
    expect(missing).toMatchObject([{ status: 'error', weight: 'blocking' }]);
    expect(checkAggregations(contractOf([numericColumn('income')]), [])).toMatchObject([{ status: 'not_applicable' }]);
  });
});
