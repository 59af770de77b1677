/** What an AUC between two samples is worth. */
import { describe, expect, test } from 'vitest';
import { judgeSeparation, type Separation } from '../../src/checks/domain-classifier.ts';

const separation: Separation = {
  rows: 5_000,
  of: { reference: 80_000, current: 9_000 },
  auc: 0.71,
  interval: [0.7, 0.72],
  top: [
    { name: 'balance', gain: 0.6 },
    { name: 'channel', gain: 0.3 },
  ],
  columns: 12,
};

describe('two samples', () => {
  test.each<[string, Partial<Separation>, number, string, RegExp]>([
    ['told apart', {}, 0.625, 'warn', /AUC of 0\.71, 0\.625 is the limit; it looks at balance, channel$/],
    ['hardly told apart', { auc: 0.6 }, 0.625, 'pass', /AUC of 0\.6, 0\.625 is the limit$/],
    ['too small', { rows: 150, auc: null, interval: null }, 0.625, 'insufficient', /150 rows .* 200 are needed/],
    ['without columns', { columns: 0, auc: null, interval: null }, 0.625, 'not_applicable', /no feature/],
    // 0.5 + 3.09 · 1.3 √(401 / (12 · 200²)) = 0.616: what chance reaches is never an alarm, whatever is declared.
    ['of 200 rows, with a bold limit', { rows: 200, auc: 0.58 }, 0.51, 'pass', /0\.6161 is the limit/],
  ])('%s', (_, of, limit, status, reason) => {
    const [check] = judgeSeparation({ ...separation, ...of }, { limit });
    expect(check).toMatchObject({ check: 'multivariate_drift', status, weight: 'advisory' });
    expect(check?.reason).toMatch(reason);
  });

  test('are graded on the scale of all drift checks', () => {
    const [check] = judgeSeparation({ ...separation, auc: 0.638 }, { limit: 0.625 });
    // Half a standard deviation of one normal feature: PSI 0.25.
    expect(check?.severity).toBeCloseTo(0.25, 2);
    expect(check).toMatchObject({ interval: [0.7, 0.72], rows: 10_000, limitSource: 'declared' });
  });
});
