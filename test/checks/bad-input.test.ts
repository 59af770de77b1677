/** Ten kinds of bad input, each as a Parquet file through baseline, profile and judgement: a sensible answer, never a throw. */
import { mkdir, readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkDrift, judgeChallenger, judgeQuality, validateData } from '../../src/checks/index.ts';
import type { Contract, ContractColumn } from '../../src/domain/contract.ts';
import type { CheckResult } from '../../src/domain/evidence.ts';
import type { Baseline, Profile } from '../../src/domain/profile.ts';
import { run as freeze } from '../../src/engine/verbs/baseline.ts';
import { run as count } from '../../src/engine/verbs/profile.ts';
import type { VerbContext } from '../../src/engine/verbs.ts';
import { Bench, column, contractOf } from '../engine/support/fixtures.ts';

let bench: Bench;
let context: VerbContext;
beforeAll(async () => {
  bench = await Bench.create();
  context = { progress: () => {}, scratch: bench.folder, memoryMb: 1024, signal: new AbortController().signal };
});
afterAll(() => bench.close());

const good = 'SELECT i AS id, (i % 97)::DOUBLE AS x FROM range(5000) t(i)';
let made = 0;

interface Judged {
  readonly checks: readonly CheckResult[];
  readonly profile: Profile;
  find(check: string, column?: string | null): CheckResult | undefined;
}

/** Freezes the edges of `reference`, counts `current` on them, and judges it as production does. */
async function judge(input: {
  readonly reference?: string;
  readonly current: string;
  readonly columns?: readonly ContractColumn[];
  readonly contract?: Partial<Contract>;
}): Promise<Judged> {
  const { reference = good, current, columns = [column('x', { type: 'double', onFail: 'block' })] } = input;
  const contract = contractOf(columns, { keys: [], ...input.contract });
  const names = columns.map(({ name }) => name);
  const name = `case-${++made}`;
  const outputFolder = bench.path(name);
  await mkdir(outputFolder, { recursive: true });
  const files = {
    reference: [await bench.parquet(`${name}-r.parquet`, reference)],
    current: [await bench.parquet(`${name}-c.parquet`, current)],
  };
  const frozen = await freeze(
    { files: files.reference, columns: names, number: 1, reason: 'test', score: null, outputFolder },
    context,
  );
  const baseline: Baseline = JSON.parse(await readFile(frozen.baseline, 'utf8'));
  const profileOf = async (which: 'reference' | 'current'): Promise<Profile> => {
    const job = {
      files: files[which],
      columns: names,
      personal: [],
      baseline: frozen.baseline,
      dataset: name,
      kind: 'window',
      asOf: '2026-02-01T00:00:00Z',
      eventTime: null,
      knownAt: null,
      outputFolder,
    } as const;
    return JSON.parse(await readFile((await count(job, context)).profile, 'utf8'));
  };
  const before = await profileOf('reference');
  const profile = await profileOf('current');
  const checks = [
    ...validateData({ contract, profile, reference: before, baseline, history: [], asOf: '2026-02-01T00:00:00Z' }),
    ...checkDrift({
      contract,
      profile,
      reference: before,
      baseline,
      limits: { warn: 0.1, alert: 0.25, minRows: 100 },
      importance: null,
      history: [],
    }),
  ];
  // Documents hold no NaN and no infinity, whatever came in.
  expect(checks.filter(({ status }) => status === 'error')).toEqual([]);
  expect(JSON.parse(JSON.stringify(checks))).toEqual(checks);
  return {
    checks,
    profile,
    find: (check, of = 'x') => checks.find(one => one.check === check && one.column === of),
  };
}

function alarming({ checks }: Judged): readonly string[] {
  return checks.filter(({ status }) => status === 'fail' || status === 'warn').map(({ check }) => check);
}

describe('bad input', () => {
  test('the reference itself raises nothing', async () => {
    expect(alarming(await judge({ current: good }))).toEqual([]);
  });

  test('all NULL: missing and drift say so, as a jump of the NULLs', async () => {
    const judged = await judge({ current: 'SELECT NULL::DOUBLE AS x FROM range(1000)' });
    expect(judged.profile.columns['x']).toMatchObject({ n: 1000, nulls: 1000, min: null, max: null });
    const drift = judged.find('drift');
    expect(drift?.status).toBe('fail');
    expect(JSON.stringify(drift?.details)).toContain('null_jump');
  });

  test('all NULL in the reference: nothing to compare with, and a NULL column is as before', async () => {
    const nulls = 'SELECT NULL::DOUBLE AS x FROM range(1000)';
    expect(alarming(await judge({ reference: nulls, current: nulls }))).toEqual([]);
    const filled = await judge({ reference: nulls, current: good });
    expect(filled.find('drift')?.status).toBe('fail');
  });

  test('constant: a constant column stays quiet while it is constant, and a column that becomes one is a data bug', async () => {
    const constant = 'SELECT 7::DOUBLE AS x FROM range(1000)';
    expect(alarming(await judge({ reference: constant, current: constant }))).toEqual([]);
    const drift = (await judge({ current: constant })).find('drift');
    expect(drift?.status).toBe('fail');
    expect(JSON.stringify(drift?.details)).toContain('"constant"');
  });

  test('one row: insufficient, neither pass nor alarm', async () => {
    const judged = await judge({ current: 'SELECT 96::DOUBLE AS x' });
    expect(judged.find('drift')).toMatchObject({ status: 'insufficient', rows: 1 });
    expect(alarming(judged)).toEqual([]);
    const single = await judge({ reference: 'SELECT 1::DOUBLE AS x', current: good });
    expect(single.find('drift')?.status).toBe('insufficient');
  });

  test('one class: AUC is undefined with its reason, never NaN; a challenger is not judged by it', () => {
    const labels = new Float64Array(500).fill(1);
    const scores = Float64Array.from(labels, (_, row) => row / 500);
    const [quality] = judgeQuality({
      metric: 'auc',
      min: 0.7,
      minRows: 100,
      cohort: { partition: '2026-01-01', scored: 500, labelled: 500 },
      asOf: '2026-02-01T00:00:00Z',
      horizonDays: 0,
      end: null,
      wanted: 1,
      labels,
      scores,
      unlabelledScores: null,
      weights: null,
      clusters: null,
      threshold: 0.5,
      seed: 1,
    }).filter(({ check }) => check === 'quality');
    expect(quality).toMatchObject({
      status: 'insufficient',
      value: null,
      reason: expect.stringContaining('one class'),
    });
    const challenger = judgeChallenger({
      metric: 'auc',
      min: 0.7,
      champion: { nonInferiorBy: 0.01, confidence: 0.95 },
      labels,
      challengerScores: scores,
      championScores: scores,
      clusters: null,
      slices: [],
      minSliceRows: 100,
      threshold: 0.5,
      seed: 1,
    });
    expect(challenger.find(({ check }) => check === 'auc')).toMatchObject({ status: 'insufficient', value: null });
  });

  test('infinite: counted apart, kept out of the moments, named by its own check', async () => {
    const current = `SELECT CASE WHEN i % 10 = 0 THEN 'inf'::DOUBLE WHEN i % 10 = 1 THEN '-inf'::DOUBLE ELSE (i % 97) END AS x FROM range(1000) t(i)`;
    const judged = await judge({ current });
    expect(judged.profile.columns['x']).toMatchObject({ positiveInfinity: 100, negativeInfinity: 100, max: 96 });
    expect(judged.find('finite')).toMatchObject({ status: 'fail', value: 200 });
  });

  test('1e308: sums that overflow stay numbers, and the column is still judged', async () => {
    const current = 'SELECT CASE WHEN i % 2 = 0 THEN 1e308 ELSE -1e308 END AS x FROM range(1000) t(i)';
    const judged = await judge({ current });
    expect(judged.profile.columns['x']).toMatchObject({ min: -1e308, max: 1e308 });
    expect(judged.find('drift')?.status).toBe('fail');
    expect(alarming(await judge({ reference: current, current }))).toEqual([]);
  });

  test('mixed time zones: the same instants are the same times; a column without a zone beside one with it is told', async () => {
    const columns = [
      column('seen_at', { type: 'timestamp', onFail: 'warn' }),
      column('paid_at', { type: 'timestamp', onFail: 'warn' }),
    ];
    const instant = (zone: string) => `(TIMESTAMPTZ '2026-01-05 00:00:00${zone}' + INTERVAL (i % 1440) MINUTE)`;
    const rows = (zone: string) =>
      `SELECT ${instant(zone)} AS seen_at, ${instant('+00')} AS paid_at FROM range(2000) t(i)`;
    const judged = await judge({
      reference: rows('+00'),
      current: `${rows('+00')} UNION ALL ${rows('+05:30')}`,
      columns,
    });
    expect(judged.profile.columns['seen_at']).toMatchObject({ min: '2026-01-04T18:30:00.000Z', nulls: 0 });
    expect(alarming(judged)).toEqual([]);
    const naive = `SELECT seen_at, CAST(paid_at AS TIMESTAMP) AS paid_at FROM (${rows('+00')})`;
    expect((await judge({ reference: rows('+00'), current: naive, columns })).find('time_zones', null)).toMatchObject({
      status: 'warn',
      reason: expect.stringContaining('paid_at'),
    });
  });

  test('10,000 categories: the known ones are no alarm, and new ones are counted', async () => {
    const columns = [column('c', { type: 'category', onFail: 'block' })];
    const many = (from: number) => `SELECT 'v' || (${from} + i % 10000) AS c FROM range(20000) t(i)`;
    expect(alarming(await judge({ reference: many(0), current: many(0), columns }))).toEqual([]);
    const judged = await judge({ reference: many(0), current: many(5000), columns });
    expect(judged.profile.columns['c']).toMatchObject({ unseen: 10_000 });
    expect(judged.find('unseen', 'c')?.status).not.toBe('pass');
  });

  test('duplicated keys: counted exactly, and a failure of the keys, not of any column', async () => {
    const profile = (await judge({ current: good })).profile;
    const keys = { columns: ['id'], duplicates: 12, exact: true };
    const checks = validateData({
      contract: contractOf([column('x', { type: 'double' })], { keys: ['id'] }),
      profile: { ...profile, keys },
      reference: null,
      baseline: null,
      history: [],
      asOf: '2026-02-01T00:00:00Z',
    });
    expect(checks.find(({ check }) => check === 'keys')).toMatchObject({
      status: 'fail',
      column: null,
      reason: expect.stringContaining('12'),
    });
  });

  test('HTML in a category is a value like any other: counted, compared and shown as it is', async () => {
    const columns = [column('c', { type: 'category', onFail: 'warn' })];
    const html = `<script>alert("x")</script>`;
    const reference = `SELECT CASE WHEN i % 2 = 0 THEN '${html}' ELSE 'b' END AS c FROM range(2000) t(i)`;
    const judged = await judge({ reference, current: reference, columns });
    expect(judged.profile.columns['c']).toMatchObject({ counts: [1000, 1000], unseen: 0 });
    expect(alarming(judged)).toEqual([]);
    const moved = await judge({ reference, current: `SELECT '<b>new</b>' AS c FROM range(2000)`, columns });
    expect(moved.profile.columns['c']).toMatchObject({ unseen: 2000, unseenTop: [['<b>new</b>', 2000]] });
    expect(moved.find('drift', 'c')?.status).toBe('fail');
  });
});
