/** Served rows paired with the training rows of the same keys, counted on real files. */
import { mkdir } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ServedComparison } from '../../src/checks/skew.ts';
import type { CompareServedJob, ServedChunk } from '../../src/engine/served-job.ts';
import { run } from '../../src/engine/verbs/compare-served.ts';
import { Bench, column, contractOf } from './support/fixtures.ts';

let bench: Bench;
const features = ['a', 'n', 'channel', 'mail'];
const contract = contractOf([
  column('a', { type: 'double' }),
  column('n', { type: 'int' }),
  column('channel', { type: 'category' }),
  column('mail', { type: 'text', pii: true }),
]);

beforeAll(async () => {
  bench = await Bench.create();
});
afterAll(() => bench.close());

const rows = 2_000;
const values = `i::BIGINT AS id, (i * 1.5)::DOUBLE AS a, i::INT AS n, 'c' || (i % 3) AS channel, 'm' || (i % 2) AS mail`;
const select = (replaced = '', from = 0, to = rows) =>
  `SELECT * ${replaced} FROM (SELECT ${values} FROM range(${from}, ${to}) t(i))`;

async function compare(name: string, given: Partial<CompareServedJob> & { served: readonly ServedChunk[] }) {
  const scratch = bench.path(name);
  await mkdir(scratch, { recursive: true });
  const trained = await bench.parquet(
    `${name}-trained.parquet`,
    `SELECT '2026-01-01' AS partition, * FROM (${select()})`,
  );
  const job = { trained, whole: ['2026-01-01'], contract, sampleRows: rows, seed: 7, tolerance: 1e-4, ...given };
  return await run(job, { progress: () => {}, scratch, memoryMb: 1024, signal: new AbortController().signal });
}

async function chunk(name: string, sql: string, of: Partial<ServedChunk> = {}): Promise<ServedChunk> {
  const path = await bench.parquet(`${name}.parquet`, sql);
  const { length } = await bench.read(path);
  const inputs = [{ path }];
  return { partition: '2026-01-01', inputs, rows: length, tables: {}, transform: null, features, ...of };
}

function feature({ features }: ServedComparison, name: string) {
  return features.find(one => one.name === name);
}

test('equal rows in other files and another order have no mismatch', async () => {
  const served = [
    await chunk('equal-1', `${select('', 1_000)} ORDER BY id DESC`),
    await chunk('equal-0', select('', 0, 1_000)),
  ];
  const found = await compare('equal', { served });
  expect(found).toMatchObject({ drawn: rows, paired: rows, unserved: { rows: 0, of: rows }, duplicates: 0 });
  expect(found.features.map(({ rows, mismatches }) => [rows, mismatches])).toEqual(features.map(() => [rows, 0]));
});

test('a unit, a spelling and missing values are counted, personal data is never shown', async () => {
  const replaced = `REPLACE (a * 100 AS a, CASE WHEN id % 4 = 0 THEN NULL ELSE n END AS n,
    CASE channel WHEN 'c0' THEN 'C0' ELSE channel END AS channel, 'nobody' AS mail)`;
  const found = await compare('changed', { served: [await chunk('changed', select(replaced))] });
  expect(feature(found, 'a')).toMatchObject({
    // Zero times a hundred is still zero.
    mismatches: rows - 1,
    ratio: { rows: rows - 1, low: 100, median: 100, high: 100 },
    // No value of one row: each pair occurs once.
    examples: [],
  });
  expect(feature(found, 'n')).toMatchObject({ mismatches: 500, servedMissing: 500, ratio: null });
  expect(feature(found, 'channel')).toMatchObject({
    mismatches: 667,
    examples: [{ served: 'C0', trained: 'c0', rows: 667 }],
  });
  expect(feature(found, 'mail')).toMatchObject({ mismatches: rows, examples: [] });
});

test.each([
  ['within the tolerance', 'a * 1.00005', 0],
  ['beyond it', 'a * 1.001 + 1', rows],
  ['infinite', `'inf'::DOUBLE`, rows],
  ['NaN', `'nan'::DOUBLE`, rows],
])('a number %s', async (name, sql, mismatches) => {
  const found = await compare(name, { served: [await chunk(name, select(`REPLACE (${sql} AS a)`))] });
  expect(feature(found, 'a')?.mismatches).toBe(mismatches);
});

test('NaN equals NULL, and integers are compared exactly', async () => {
  const nan = `SELECT '2026-01-01' AS partition, * FROM (${select(`REPLACE ('nan'::DOUBLE AS a, 1000000 AS n)`)})`;
  const trained = await bench.parquet('nan-trained.parquet', nan);
  const served = [await chunk('null', select('REPLACE (NULL::DOUBLE AS a, 1000001 AS n)'))];
  const found = await compare('null', { trained, served });
  expect(found.features.map(({ mismatches }) => mismatches)).toEqual([0, rows, 0, 0]);
});

test('the same keys are drawn on both sides, and only a bounded number of them', async () => {
  const found = await compare('sample', { served: [await chunk('sample', select())], sampleRows: 200 });
  expect(found.drawn).toBeGreaterThan(140);
  expect(found.drawn).toBeLessThan(260);
  expect(found.paired).toBe(found.drawn);
});

test('rows that were never served, and keys that stand for two rows', async () => {
  const served = [
    await chunk('few', `${select('', 0, 1_500)} UNION ALL SELECT 3::BIGINT, 1.0, 1, 'c1', 'm1'`),
    await chunk('extra', `SELECT 9999::BIGINT AS id, 1.0::DOUBLE AS a, 1::INT AS n, 'c' AS channel, 'm' AS mail`),
  ];
  const found = await compare('few', { served });
  expect(found).toMatchObject({ paired: 1_499, duplicates: 1 });
  // The key that stands for two rows is among them: nothing is known of it.
  expect(found.unserved).toEqual({ rows: 501, of: rows });
  expect((await compare('part', { served, whole: [] })).unserved).toEqual({ rows: 0, of: 0 });
});

test('logged features are compared where the scored files are gone, the others are not', async () => {
  const log = await chunk('log', 'SELECT i::BIGINT AS id, 0.5::DOUBLE AS a, 1 AS score FROM range(2000) t(i)');
  const found = await compare('log', { served: [{ ...log, features: ['a'] }] });
  expect(feature(found, 'a')).toMatchObject({ rows, mismatches: rows });
  expect(feature(found, 'n')).toMatchObject({ rows: 0, mismatches: 0 });
});

test('what a transform makes of one chunk is what was served', async () => {
  // An average over all rows that the model sees at once: of a chunk at scoring, of the partition at training.
  const transform = 'SELECT id, avg(a) OVER () AS a, n, channel, mail FROM features';
  const whole = await bench.parquet(
    'avg-trained.parquet',
    `SELECT '2026-01-01' AS partition, * REPLACE (avg(a) OVER () AS a) FROM (${select()})`,
  );
  const served = [
    await chunk('avg-0', select('', 0, 1_000), { transform }),
    await chunk('avg-1', select('', 1_000), { transform }),
  ];
  const found = await compare('avg', { trained: whole, served });
  expect(found.features.map(({ mismatches }) => mismatches)).toEqual([rows, 0, 0, 0]);
});

test('other partitions and other keys never overlap', async () => {
  const other = await chunk('other', select('REPLACE (id + 5000 AS id)'));
  expect(await compare('keys', { served: [other] })).toMatchObject({ drawn: rows, paired: 0 });
  const later = { ...other, partition: '2026-02-01' };
  expect(await compare('time', { served: [later], whole: ['2026-02-01'] })).toMatchObject({ drawn: 0, paired: 0 });
});
