/** Training rows against served rows, drawn from real files. */
import { mkdir } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Contract } from '../../src/domain/contract.ts';
import { run } from '../../src/engine/verbs/tell-apart.ts';
import { Bench, column, contractOf } from './support/fixtures.ts';

let bench: Bench;
const columns = ['a', 'b', 'channel', 'is_new'];
const contract = contractOf([
  column('a', { type: 'double' }),
  column('b', { type: 'int' }),
  column('channel', { type: 'category' }),
  column('is_new', { type: 'bool' }),
]);

beforeAll(async () => {
  bench = await Bench.create();
});
afterAll(() => bench.close());

/** `b` follows `a` by as much as `dependence` says; each of them is uniform whatever it is. */
function rowsSql(from: number, rows: number, dependence: number, changed = ''): string {
  const u = (salt: string) => `(md5_number_lower(i || '${salt}') % 1000)`;
  return `SELECT * ${changed} FROM (SELECT i::BIGINT AS id, ${u('a')}::DOUBLE AS a,
    CAST(CASE WHEN ${u('d')} < ${dependence * 1000} THEN ${u('a')} ELSE ${u('b')} END AS INT) AS b,
    'c' || ${u('c')} % 3 AS channel, ${u('n')} < 500 AS is_new FROM range(${from}, ${from + rows}) t(i))`;
}

async function compare(name: string, served: string, rows: number, of: Contract = contract, sample = 2_000) {
  const scratch = bench.path(name);
  await mkdir(scratch, { recursive: true });
  const past = `SELECT '2026-01-01' AS partition, * FROM (${rowsSql(0, 4_000, 0)})`;
  const trained = await bench.parquet(`${name}-trained.parquet`, past);
  const path = await bench.parquet(`${name}-served.parquet`, served);
  const chunk = { partition: '2026-02-01', inputs: [{ path }], rows, tables: {}, transform: null, features: columns };
  const context = { progress: () => {}, scratch, memoryMb: 1024, signal: new AbortController().signal };
  return await run({ trained, served: [chunk], contract: of, columns, rows: sample, seed: 1 }, context);
}

test('other rows of the same world cannot be told apart', async () => {
  const found = await compare('same', rowsSql(10_000, 3_000, 0), 3_000);
  expect(found.auc).toBeGreaterThan(0.47);
  expect(found.auc).toBeLessThan(0.53);
  expect(found.columns).toBe(4);
});

test('a dependence of two columns that look the same as ever is found', async () => {
  const found = await compare('joint', rowsSql(10_000, 3_000, 0.8), 3_000);
  expect(found.auc).toBeGreaterThan(0.625);
  expect(
    found.top
      .slice(0, 2)
      .map(({ name }) => name)
      .toSorted(),
  ).toEqual(['a', 'b']);
});

test('a bounded number of rows is drawn, by the hash of keys, or of the values where there are none', async () => {
  const found = await compare('few', rowsSql(10_000, 3_000, 0), 3_000, contract, 400);
  expect(found.rows).toBe(400);
  expect(found.of.reference).toBeLessThan(600);
  expect(found.of.current).toBeLessThan(600);
  const keyless = await compare('keyless', rowsSql(10_000, 3_000, 0), 3_000, { ...contract, keys: [] }, 400);
  expect(keyless.rows).toBe(400);
});

test.each([
  ['all NULL', 'REPLACE (NULL::DOUBLE AS a)', 0.9],
  ['infinite', `REPLACE ('inf'::DOUBLE AS a)`, 0.9],
  ['1e308', 'REPLACE (1e308 AS a)', 0.9],
  ['constant', 'REPLACE (500.0 AS a)', 0.9],
  ['of 3,000 values never seen', `REPLACE ('<b>' || id AS channel)`, 0.9],
])('a column that is %s is no trouble', async (name, changed, auc) => {
  expect((await compare(name, rowsSql(10_000, 3_000, 0, changed), 3_000)).auc).toBeGreaterThan(auc);
});

test('too few rows give no answer', async () => {
  expect(await compare('tiny', rowsSql(10_000, 50, 0), 50)).toMatchObject({ rows: 50, auc: null });
});
