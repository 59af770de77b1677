import { describe, expect, test } from 'vitest';
import { freezeBaseline, profileRows } from '../../src/backtest/profile-rows.ts';
import type { History } from '../../src/backtest/table.ts';
import { checkDrift, type VolumeWindow, validateData } from '../../src/checks/index.ts';
import { fitOfType } from '../../src/checks/schema.ts';
import type { Contract } from '../../src/domain/contract.ts';
import type { CheckResult } from '../../src/domain/evidence.ts';
import type { Baseline, CategoryProfile, Profile, TimeProfile } from '../../src/domain/profile.ts';
import { createRandom } from '../../src/stats/random.ts';
import { contractOf, dayOf, numericColumn } from './support/monitoring.ts';

function normals(rows: number, seed = 1): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length: rows }, () => 10 + 2 * random.normal());
}

function numeric(values: Float32Array, baseline: Baseline): Profile {
  const history: History = {
    columns: [{ kind: 'number', name: 'x', values }],
    labels: new Float32Array(values.length),
  };
  return profileRows(history, { baseline, kind: 'window', window: { from: dayOf(0), to: dayOf(1) }, scores: null });
}

const trained = normals(5000);
const baseline = freezeBaseline(
  { columns: [{ kind: 'number', name: 'x', values: trained }], labels: new Float32Array(5000) },
  'test',
);
const reference = numeric(trained, baseline);

function validate(changes: {
  profile?: Profile;
  contract?: Contract;
  reference?: Profile | null;
  baseline?: Baseline | null;
  history?: readonly VolumeWindow[];
  maxAgeHours?: number;
}): CheckResult[] {
  return validateData({
    contract: contractOf([numericColumn('x')]),
    profile: reference,
    reference,
    baseline,
    history: [],
    asOf: `${dayOf(1)}T06:00:00Z`,
    ...changes,
  });
}

function statusOf(checks: readonly CheckResult[], check: string, column: string | null = 'x'): string {
  return (
    checks.find(result => result.check === check && (column === null || result.column === column))?.status ?? 'absent'
  );
}

function category(counts: readonly number[], changes: Partial<CategoryProfile> = {}): CategoryProfile {
  return {
    kind: 'category',
    type: 'VARCHAR',
    n: 0,
    nulls: 0,
    empty: 0,
    counts,
    unseen: 0,
    unseenTop: [],
    length: null,
    ...changes,
  };
}

function withColumn(column: Profile['columns'][string], rows: number): Profile {
  return { ...reference, rows, columns: { x: column } };
}

function vocabulary(values: readonly string[]): Baseline {
  return { ...baseline, columns: { x: { kind: 'category', vocabulary: values } } };
}

const categories = contractOf([numericColumn('x', { type: 'category' })]);

describe('bad input', () => {
  const drift = (profile: Profile) =>
    checkDrift({
      contract: contractOf([numericColumn('x')]),
      profile,
      reference,
      baseline,
      limits: { warn: 0.1, alert: 0.25, minRows: 100 },
      importance: null,
      history: [],
    });

  test.each<[string, Float32Array, Record<string, string>, string]>([
    [
      'the reference itself',
      trained,
      { schema: 'pass', missing_change: 'pass', outliers: 'pass', finite: 'pass' },
      'pass',
    ],
    [
      'no rows',
      new Float32Array(0),
      { missing: 'insufficient', volume: 'fail', outliers: 'insufficient' },
      'insufficient',
    ],
    ['one row', normals(1), { missing: 'pass', finite: 'pass' }, 'insufficient'],
    [
      'all missing',
      new Float32Array(1000).fill(Number.NaN),
      { missing_change: 'fail', outliers: 'insufficient' },
      'fail',
    ],
    ['a constant', new Float32Array(1000).fill(10), { missing: 'pass', finite: 'pass' }, 'fail'],
    ['infinite values', normals(1000).map((value, row) => (row < 3 ? Infinity : value)), { finite: 'fail' }, 'pass'],
    [
      '1e38 in one row',
      normals(1000).map((value, row) => (row === 0 ? 1e38 : value)),
      { finite: 'pass', outliers: 'pass' },
      'pass',
    ],
    ['every value 1e38', new Float32Array(1000).fill(1e38), { outliers: 'warn' }, 'fail'],
  ])('%s', (_, values, expected, drifted) => {
    const profile = numeric(values, baseline);
    const checks = validate({ profile });
    for (const [check, status] of Object.entries(expected)) {
      expect(statusOf(checks, check, check === 'volume' || check === 'schema' ? null : 'x'), check).toBe(status);
    }
    const all = [...checks, ...drift(profile)];
    expect(statusOf(drift(profile), 'drift')).toBe(drifted);
    expect(all.filter(check => check.status === 'error')).toEqual([]);
    // Documents hold no NaN and no infinity, and every answer has a reason.
    expect(JSON.parse(JSON.stringify(all))).toEqual(all);
    expect(all.filter(check => check.reason === '')).toEqual([]);
  });

  test('1e308 overflows no check', () => {
    const huge: Profile['columns'][string] = {
      ...(reference.columns['x'] as Extract<Profile['columns'][string], { kind: 'numeric' }>),
      min: -1e308,
      max: 1e308,
      s1: Infinity,
      s2: Infinity,
      s3: Infinity,
      s4: Infinity,
    };
    const all = [...validate({ profile: withColumn(huge, 5000) }), ...drift(withColumn(huge, 5000))];
    expect(all.filter(check => check.status === 'error')).toEqual([]);
    expect(JSON.parse(JSON.stringify(all))).toEqual(all);
  });

  test('10,000 categories, each once: a long tail is normal when the reference had one', () => {
    const counts = new Array<number>(10_000).fill(1);
    const names = counts.map((_, index) => `v${index}`);
    const before = withColumn(category(counts), 10_000);
    const now = withColumn(category(counts, { unseen: 4000, unseenTop: [['new', 1]] }), 14_000);
    const checks = validate({ contract: categories, profile: now, reference: before, baseline: vocabulary(names) });
    expect(statusOf(checks, 'unseen')).toBe('pass');
    expect(checks.find(({ check }) => check === 'unseen')?.limitSource).toMatch('Good–Turing');
  });

  test('HTML in a category stays text, cut and quoted', () => {
    const html = `<img src=x onerror=alert(1)>${'a'.repeat(200)}`;
    const before = withColumn(category([900, 100]), 1000);
    const now = withColumn(category([800, 100], { unseen: 100, unseenTop: [[html, 100]] }), 1000);
    const checks = validate({
      contract: categories,
      profile: now,
      reference: before,
      baseline: vocabulary(['a', 'b']),
    });
    const unseen = checks.find(({ check }) => check === 'unseen');
    expect(unseen?.status).toBe('warn');
    expect(unseen?.reason).toMatch('"<img src=x onerror=alert(1)>');
    expect(unseen?.reason.length).toBeLessThan(250);
  });

  test('unseen values of personal data are counted, never shown', () => {
    const contract = contractOf([numericColumn('x', { type: 'category', pii: true })]);
    const now = withColumn(category([800, 100], { unseen: 100, unseenTop: [['ana@example.org', 100]] }), 1000);
    const checks = validate({
      contract,
      profile: now,
      reference: withColumn(category([900, 100]), 1000),
      baseline: vocabulary(['a', 'b']),
    });
    expect(statusOf(checks, 'unseen')).toBe('warn');
    expect(JSON.stringify(checks)).not.toMatch('ana@');
  });

  test('times with and without a zone in one contract fail', () => {
    const time = (type: string): TimeProfile => ({
      kind: 'time',
      type,
      n: 10,
      nulls: 0,
      min: null,
      max: null,
      days: {},
    });
    const profile = {
      ...reference,
      columns: { ...reference.columns, at: time('TIMESTAMP WITH TIME ZONE'), known: time('TIMESTAMP') },
    };
    const contract = contractOf([numericColumn('x')], { eventTime: 'at', knownAt: 'known' });
    expect(statusOf(validate({ contract, profile }), 'time_zones', null)).toBe('fail');
  });

  test('one broken column answers error for itself alone', () => {
    const contract = contractOf([numericColumn('x'), numericColumn('y')]);
    const broken = { ...reference.columns['x']!, histogram: [1, 2, 3] } as Profile['columns'][string];
    const both: Baseline = { ...baseline, columns: { x: baseline.columns['x']!, y: baseline.columns['x']! } };
    const checks = checkDrift({
      contract,
      profile: { ...reference, columns: { x: reference.columns['x']!, y: broken } },
      reference: { ...reference, columns: { x: reference.columns['x']!, y: reference.columns['x']! } },
      baseline: both,
      limits: { warn: 0.1, alert: 0.25, minRows: 100 },
      importance: null,
      history: [],
    });
    expect([statusOf(checks, 'drift', 'x'), statusOf(checks, 'drift', 'y')]).toEqual(['pass', 'error']);
  });
});

describe('contract rules', () => {
  test.each<[string, Partial<Contract>, Partial<Profile>, string, string | null, string]>([
    [
      'duplicated keys',
      { keys: ['id'] },
      { keys: { columns: ['id'], duplicates: 2, exact: true } },
      'keys',
      null,
      'fail',
    ],
    ['unique keys', { keys: ['id'] }, { keys: { columns: ['id'], duplicates: 0, exact: true } }, 'keys', null, 'pass'],
    [
      'keys counted per partition only',
      { keys: ['id'] },
      { keys: { columns: ['id'], duplicates: 0, exact: false } },
      'keys',
      null,
      'insufficient',
    ],
    ['a missing column', { columns: [numericColumn('y')] }, {}, 'schema', 'y', 'fail'],
    ['a value below the minimum', { columns: [numericColumn('x', { min: 9 })] }, {}, 'range', 'x', 'fail'],
    ['values inside the range', { columns: [numericColumn('x', { min: -100, max: 100 })] }, {}, 'range', 'x', 'pass'],
    [
      'few values outside, quarantined',
      { columns: [numericColumn('x', { max: 16, onFail: 'quarantine' })] },
      {},
      'range',
      'x',
      'warn',
    ],
    [
      'many values outside, quarantined',
      { columns: [numericColumn('x', { max: 10, onFail: 'quarantine' })] },
      {},
      'range',
      'x',
      'fail',
    ],
    [
      'a rule met mostly',
      { rules: [{ id: 'r', sql: 'x > 0', mostly: 0.9, onFail: 'block' }] },
      { rules: [{ id: 'r', n: 100, bad: 10 }] },
      'rule:r',
      null,
      'pass',
    ],
    [
      'a rule broken too often',
      { rules: [{ id: 'r', sql: 'x > 0', mostly: 0.9, onFail: 'block' }] },
      { rules: [{ id: 'r', n: 100, bad: 11 }] },
      'rule:r',
      null,
      'fail',
    ],
    [
      'a rule nobody evaluated',
      { rules: [{ id: 'r', sql: 'x > 0', mostly: 0.9, onFail: 'block' }] },
      {},
      'rule:r',
      null,
      'insufficient',
    ],
    [
      'rows from the future',
      { eventTime: 'at' },
      { time: { maxEvent: null, maxKnownAt: null, futureRows: 3 } },
      'future_rows',
      null,
      'fail',
    ],
  ])('%s', (_, contract, profile, check, column, status) => {
    const checks = validate({
      contract: contractOf([numericColumn('x')], contract),
      profile: { ...reference, ...profile },
    });
    expect(statusOf(checks, check, column)).toBe(status);
  });

  test.each([
    ['float', 'DOUBLE', 'same'],
    ['float', 'BIGINT', 'lossy'],
    ['float', 'VARCHAR', 'wrong'],
    ['int', 'DECIMAL(10,0)', 'same'],
    ['int', 'DECIMAL(10,2)', 'lossy'],
    ['category', "ENUM('a')", 'same'],
    ['timestamp', 'VARCHAR', 'wrong'],
    ['date', 'TIMESTAMP', 'lossy'],
  ] as const)('%s stored as %s is %s', (expected, found, fit) => expect(fitOfType(expected, found)).toBe(fit));
});

describe('volume and freshness against accepted history', () => {
  const weeks = (rows: (week: number) => number, accepted = true): VolumeWindow[] =>
    Array.from({ length: 8 }, (_, week) => ({ from: dayOf(-7 * (8 - week)), rows: rows(week), ageHours: 6, accepted }));
  const sized = (rows: number): Profile => ({ ...reference, rows });

  test.each<[string, number, VolumeWindow[], string]>([
    ['as usual', 5000, weeks(week => 5000 + week), 'pass'],
    ['a tenth of the rows', 500, weeks(week => 5000 + week), 'fail'],
    ['twice and a half', 12_500, weeks(week => 5000 + week), 'fail'],
    ['a fifth less after a constant history', 4000, weeks(() => 5000), 'warn'],
    ['within the floor of a constant history', 5100, weeks(() => 5000), 'pass'],
    ['no history', 5000, [], 'insufficient'],
    ['history that was never accepted', 500, weeks(() => 5000, false), 'insufficient'],
  ])('%s', (_, rows, history, status) => {
    expect(statusOf(validate({ profile: sized(rows), history }), 'volume', null)).toBe(status);
  });

  test.each<[string, string, number | undefined, string]>([
    ['on time', `${dayOf(1)}T00:00:00Z`, undefined, 'pass'],
    ['two days late', `${dayOf(-1)}T00:00:00Z`, undefined, 'warn'],
    ['beyond the declared age', `${dayOf(-1)}T00:00:00Z`, 24, 'fail'],
  ])('%s', (_, newest, maxAgeHours, status) => {
    const profile = { ...reference, time: { maxEvent: newest, maxKnownAt: null, futureRows: 0 } };
    const contract = contractOf([numericColumn('x')], { eventTime: 'at' });
    const history = weeks(() => 5000);
    const checks = validate({ profile, contract, history, ...(maxAgeHours === undefined ? {} : { maxAgeHours }) });
    expect(statusOf(checks, 'freshness', null)).toBe(status);
  });
});
