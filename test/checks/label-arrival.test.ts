/** Late and lost labels: a cohort is compared with the maturity curve of earlier ones, at its own age. */
import { describe, expect, test } from 'vitest';
import { type CohortArrivals, judgeArrivals, judgeWindowArrival, recordedArrivals } from '../../src/checks/index.ts';
import { recordedCurve } from '../../src/checks/label-arrival.ts';
import { checkResult } from '../../src/checks/result.ts';
import { curveText, maturityLines } from '../../src/cli/label-curve.ts';
import type { CheckResult, Evidence } from '../../src/domain/evidence.ts';
import { agesOfYoung } from '../../src/domain/labels.ts';

/** Labels that come over a week: 10, 30, 50, 70, 80, 85, 90, 95 of a hundred by the end of the day. */
const usual = [10, 20, 20, 20, 10, 5, 5, 5];

function cohort(day: number, changes: Partial<CohortArrivals> & { readonly scale?: number } = {}): CohortArrivals {
  const { scale = 10, observedDays = 7, ...rest } = changes;
  const arrived = usual.map((labels, age) => [age, labels * scale] as const).filter(([age]) => age <= observedDays);
  const partition = `2026-01-${String(day).padStart(2, '0')}`;
  return { partition, rows: 1_000, observedDays, arrived, undated: 0, ...rest };
}

const earlier = [1, 2, 3, 4].map(day => cohort(day));

function judged(one: CohortArrivals, before: readonly CohortArrivals[] = earlier): CheckResult | undefined {
  return judgeArrivals({ judged: [one], earlier: before }).find(({ check }) => check === 'label_arrival');
}

describe('a cohort against the curve of earlier ones', () => {
  test.each<[string, CohortArrivals, CheckResult['status'], RegExp]>([
    [
      'as usual',
      cohort(9),
      'pass',
      /95\.0 % of 1000 rows have a label after 7 days; 90\.0 % is usual then, given a day for delivery/,
    ],
    ['young, as usual', cohort(9, { observedDays: 2 }), 'pass', /50\.0 % .* after 2 days; 30\.0 % is usual/],
    // A daily file brings labels of day 2 on day 3.
    ['a day behind', cohort(9, { observedDays: 2, arrived: [[0, 300]] }), 'pass', /30\.0 % is usual/],
    ['a little behind', cohort(9, { arrived: [[0, 900]] }), 'pass', /90\.0 %/],
    [
      'half of them lost',
      cohort(9, { arrived: [[0, 480]] }),
      'warn',
      /48\.0 % .*: as many as usual after 1 day, so labels are lost or very late/,
    ],
    [
      'young and late',
      cohort(9, { observedDays: 2, arrived: [[0, 100]] }),
      'warn',
      /10\.0 % .* after 2 days; 30\.0 % is usual then, given a day for delivery \(4 earlier cohorts\), .*: as many as usual after 0 days, so labels are late or lost/,
    ],
    ['none at all', cohort(9, { arrived: [] }), 'warn', /0\.0 % .* fewer than usual on the first day/],
    [
      'older than any before',
      cohort(9, { observedDays: 20 }),
      'insufficient',
      /0 earlier cohorts were seen to that age/,
    ],
    ['of unknown arrival', cohort(9, { arrived: [[0, 10]], undated: 90 }), 'insufficient', /90 of them without a time/],
    ['without rows', cohort(9, { rows: 0, arrived: [] }), 'insufficient', /0 rows/],
  ])('%s', (_, one, status, reason) => {
    const found = judged(one);
    expect(found?.status, found?.reason).toBe(status);
    expect(found?.reason).toMatch(reason);
    expect(found?.slice).toBe('2026-01-09');
  });

  test('two earlier cohorts are no curve', () => {
    expect(judged(cohort(9), earlier.slice(2))?.status).toBe('insufficient');
    const [curve] = judgeArrivals({ judged: [], earlier: earlier.slice(2) });
    expect(curve).toMatchObject({ check: 'maturity_curve', status: 'insufficient' });
  });

  test('few rows may be behind by chance, many may not', () => {
    const behind = (rows: number) => cohort(9, { rows, arrived: [[0, 0.2 * rows]], observedDays: 2 });
    expect(judged(behind(50))).toMatchObject({ status: 'pass', limitSource: 'noise floor' });
    expect(judged(behind(5_000))).toMatchObject({ status: 'warn', limitSource: 'material floor' });
  });

  test('cohorts that differ among themselves widen what is usual', () => {
    const restless = [2, 4, 6, 8, 10, 10].map((scale, index) => cohort(index + 1, { scale }));
    const one = cohort(9, { arrived: [[0, 400]] });
    expect(judged(one, restless)).toMatchObject({ status: 'pass', limitSource: 'mean - 3 sd of 6 cohorts' });
    expect(judged(one)?.status).toBe('warn');
  });

  test('an earlier look at the same partition is no reference for it', () => {
    const lost = cohort(9, { arrived: [[0, 400]] });
    expect(judged(lost, [...earlier, lost])).toEqual(judged(lost));
  });
});

test('a window is compared at the age of each of its partitions', () => {
  const window = [cohort(8, { observedDays: 2 }), cohort(9, { observedDays: 0 })];
  const [found] = judgeWindowArrival(window, earlier);
  expect(found).toMatchObject({ status: 'pass', slice: null, value: 0.3, rows: 2_000 });
  expect(found?.details['expected']).toBeCloseTo(0.2, 12);
});

test('what one look recorded is the reference of the next, the newest look at a partition first', () => {
  const evidence = (asOf: string, judgedThen: readonly CohortArrivals[]): Evidence => ({
    schema: 'evidence/1',
    kind: 'labels',
    model: 'm',
    subject: {},
    baseline: null,
    asOf,
    checks: JSON.parse(JSON.stringify(judgeArrivals({ judged: judgedThen, earlier: [] }))),
    verdict: 'pass',
    reasons: [],
  });
  const young = cohort(5, { observedDays: 2 });
  const looks = [evidence('2026-01-07', [cohort(1), young]), evidence('2026-01-12', [cohort(5)])];
  expect(recordedArrivals(looks)).toMatchObject([cohort(1), cohort(5)]);
  expect(
    recordedArrivals([{ ...looks[0]!, checks: [checkResult('label_arrival', { status: 'error', reason: '' })] }]),
  ).toEqual([]);
});

test('late cohorts are no reference until they are the rule', () => {
  const look = (day: number, status: 'pass' | 'warn'): Evidence => {
    const details = { ...cohort(day) };
    const check = checkResult('label_arrival', { status, reason: '', details });
    return {
      schema: 'evidence/1',
      kind: 'labels',
      model: 'm',
      subject: {},
      baseline: null,
      asOf: '',
      checks: [check],
      verdict: status,
      reasons: [],
    };
  };
  const days = (looks: readonly Evidence[]) =>
    recordedArrivals(looks).map(({ partition }) => Number(partition.slice(-2)));
  const good = Array.from({ length: 12 }, (_, index) => look(index + 1, 'pass'));
  expect(days([...good, look(13, 'warn')])).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  const slow = Array.from({ length: 6 }, (_, index) => look(index + 13, 'warn'));
  expect(days([...good, ...slow])).toEqual([9, 10, 11, 12, 13, 14, 15, 16, 17, 18]);
});

test('people see the curve as bars and numbers', () => {
  const [check] = judgeArrivals({ judged: [], earlier });
  const curve = recordedCurve(check ?? { details: {} });
  expect(curve).toHaveLength(8);
  expect(curveText(curve)).toBe('▁▃▅▆▇███ 95.0 % after 7 days');
  expect(maturityLines(curve).at(-1)).toMatch(/^share of rows with a label +10\.0 % +30\.0 % /);
  expect(maturityLines([])).toEqual([]);
});

test.each([
  [30, [6, 12, 18, 24]],
  [7, [1, 3, 4, 6]],
  [1, []],
  [0, []],
] as const)('a horizon of %d days is looked at after %j days', (horizon, ages) => {
  expect(agesOfYoung(horizon)).toEqual(ages);
});
