/** What the counts of paired rows are called: a unit, an offset, missing values, or nothing at all. */
import { describe, expect, test } from 'vitest';
import { checkResult } from '../../src/checks/result.ts';
import {
  type ComparedFeature,
  checkDistributionSkew,
  checkRowSkew,
  type ServedComparison,
} from '../../src/checks/skew.ts';
import type { CheckResult } from '../../src/domain/evidence.ts';

const limits = { mismatch: 0.001, rows: 10_000 };

function compared(feature: Partial<ComparedFeature>, table: Partial<ServedComparison> = {}): ServedComparison {
  const equal = {
    name: 'x',
    rows: 1_000,
    mismatches: 0,
    servedMissing: 0,
    ratio: null,
    difference: null,
    examples: [],
  };
  const { rows } = { ...equal, ...feature };
  return {
    drawn: rows,
    paired: rows,
    unserved: { rows: 0, of: rows },
    duplicates: 0,
    features: [{ ...equal, ...feature }],
    ...table,
  };
}

const constant = (value: number, rows: number) => ({ rows, low: value, median: value, high: value });
const wide = { rows: 600, low: -3, median: 0.2, high: 4 };

describe('a feature', () => {
  test.each<[string, Partial<ComparedFeature>, string, RegExp]>([
    ['that is equal', {}, 'pass', /^x differs in 0 of 1000 rows \(0\.0 %\)$/],
    [
      'in another unit',
      { mismatches: 900, ratio: constant(100, 900), difference: wide },
      'fail',
      /100 times .* a unit/,
    ],
    [
      'from another time zone',
      { mismatches: 900, ratio: wide, difference: constant(-3600, 900) },
      'fail',
      /3600 below .* time zone/,
    ],
    ['that was not there yet', { mismatches: 500, servedMissing: 500 }, 'fail', /served as missing$/],
    [
      'of two spellings',
      { mismatches: 40, examples: [{ served: 'Web', trained: 'web', rows: 40 }] },
      'fail',
      /most often "Web" was served for "web" \(40 rows\)/,
    ],
    ['that differs in one row of a thousand', { mismatches: 1 }, 'warn', /1 of 1000 .* 10000 rows would tell/],
    ['that differs in one of ten thousand', { rows: 10_000, mismatches: 1 }, 'pass', /1 of 10000/],
    ['that was not logged', { rows: 0 }, 'not_applicable', /score\.pass_through/],
  ])('%s', (_, feature, status, reason) => {
    const check = checkRowSkew(compared(feature, { drawn: 1_000, paired: 1_000 }), limits).find(
      one => one.check === 'row_skew',
    );
    expect(check?.status).toBe(status);
    expect(check?.reason).toMatch(reason);
  });

  test('has its share, its interval and the limit beside it', () => {
    const [, check] = checkRowSkew(compared({ mismatches: 100 }), limits);
    expect(check).toMatchObject({ column: 'x', value: 0.1, limit: 0.001, rows: 1_000, weight: 'blocking' });
    expect(check?.interval?.[0]).toBeCloseTo(0.0829, 4);
    expect(check?.interval?.[1]).toBeCloseTo(0.12015, 4);
  });
});

describe('the keys', () => {
  test.each<[string, Partial<ServedComparison>, string, RegExp]>([
    ['all served', {}, 'pass', /0 of 1000 training rows were never served/],
    ['a tenth never served', { unserved: { rows: 100, of: 1_000 } }, 'warn', /100 of 1000/],
    ['that stand for several rows', { duplicates: 3 }, 'warn', /3 keys occur more than once/],
    ['of partitions that were not read whole', { unserved: { rows: 0, of: 0 } }, 'pass', /0 of 0/],
  ])('%s', (_, table, status, reason) => {
    const [keys] = checkRowSkew(compared({}, table), limits);
    expect(keys?.check).toBe('skew_keys');
    expect(keys?.status).toBe(status);
    expect(keys?.reason).toMatch(reason);
  });

  test('that never overlap leave nothing to compare, and the reason says so', () => {
    const checks = checkRowSkew(compared({ rows: 0 }, { drawn: 500, paired: 0 }), limits);
    expect(checks.map(({ status }) => status)).toEqual(['not_applicable']);
    expect(checks[0]?.reason).toMatch(/none of 500 training rows .* never overlap/);
  });
});

describe('the first window of a version', () => {
  const drift = (status: CheckResult['status']) =>
    checkResult('drift', { column: 'x', status, weight: 'blocking', reason: 'x has a PSI of 0.4' });

  test.each(['pass', 'warn', 'fail'] as const)('says of a column what drift says: %s', status => {
    const [skew, ...more] = checkDistributionSkew([
      drift(status),
      checkResult('score_drift', { status: 'pass', reason: '' }),
    ]);
    expect(more).toEqual([]);
    expect(skew).toMatchObject({ check: 'distribution_skew', column: 'x', status, weight: 'advisory' });
    expect(skew?.reason).toMatch(status === 'pass' ? /^x has a PSI of 0.4$/ : /^x has .*how the feature is made/);
  });
});
