/** Training data is judged for facts from after the prediction before anything learns from it. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import type { CheckResult } from '../../src/domain/evidence.ts';
import { workflowId } from '../../src/domain/ids.ts';
import { addDays } from '../../src/domain/time.ts';
import type { TrainResult } from '../../src/workflows/inputs.ts';
import { catalogOf, makeLateProject, makeWorld, model, start } from '../support/late-project.ts';

let root: string;
let project: Project;
let almanac: RunningAlmanac;
let connection: Connection;
let client: Client;

/** Balances of a table of their own, so that a late backfill of it changes what a training row would have looked like. */
const transform = `SELECT f.* EXCLUDE (balance), b.balance FROM features f LEFT JOIN balances b USING (customer_id)`;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-leakage-'));
  await makeWorld(root);
  project = makeLateProject(root, 'project');
  const file = join(project.folder, 'models', `${model}.yaml`);
  mkdirSync(join(project.folder, 'sql'), { recursive: true });
  writeFileSync(join(project.folder, 'sql/features.sql'), transform);
  const tables =
    '  tables: { balances: { path: "data/balances/date={date}/*.parquet" } }\n  transform: sql/features.sql\ncontract:';
  const windowed = '{ name: logins_30d, window: { length: 30d, ends: loaded_at }';
  const text = readFileSync(file, 'utf8').replace('contract:', tables);
  writeFileSync(file, text.replace('{ name: logins_30d', windowed));
  await sql(`COPY (SELECT customer_id, balance, loaded_at, date FROM read_parquet('${project.folder}/data/features/*/*.parquet', hive_partitioning = true))
    TO '${project.folder}/data/balances' (FORMAT parquet, PARTITION_BY (date))`);
  almanac = await openAlmanac(project, { log: () => {}, ui: false });
  connection = await Connection.connect(almanac.server.target.connection);
  client = new Client({ connection });
}, 300_000);
afterAll(async () => {
  await connection?.close();
  await almanac?.close();
  await rm(root, { recursive: true, force: true });
});

async function sql(...statements: string[]): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:');
  const session = await instance.connect();
  for (const statement of statements) await session.run(statement);
  session.closeSync();
  instance.closeSync();
}

async function rewrite(path: string, select: string): Promise<void> {
  await rewriteAll([path], select);
}

async function rewriteAll(paths: readonly string[], select: string): Promise<void> {
  const from = (path: string) => `SELECT ${select} FROM read_parquet('${path}', hive_partitioning = false)`;
  await sql(...paths.map(path => `COPY (${from(path)}) TO '${path}.new' (FORMAT parquet)`));
  for (const path of paths) await rename(`${path}.new`, path);
}

async function train(asOf: string): Promise<{ result: TrainResult; checks: readonly CheckResult[] }> {
  const run = await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
  const result = await run.result();
  const entry = (await catalogOf(project).evidenceList(model, { kind: 'leakage' })).at(-1);
  return { result, checks: (await catalogOf(project).evidence(entry?.digest ?? '')).checks };
}

const limits = { timeout: 300_000 };
const found = (checks: readonly CheckResult[], name: string) => checks.find(({ check }) => check === name);

test('clean data passes every test of time and split, with a gap as long as labels take', limits, async () => {
  const { result, checks } = await train('2025-02-05');
  expect(result.kind).toBe('qualified');
  for (const name of ['leakage_event_time', 'leakage_known_at', 'leakage_as_of', 'split_overlap', 'shared_keys']) {
    expect(found(checks, name), name).toMatchObject({ status: 'pass', value: 0 });
  }
  expect(found(checks, 'leakage_as_of')?.rows).toBe(5_000);
  expect(found(checks, 'split_gap')).toMatchObject({ status: 'pass', value: 7, limit: 7 });
  expect(found(checks, 'leakage_random_split')).toMatchObject({ status: 'pass', limit: 0.05 });
  expect(found(checks, 'leakage_random_split')?.rows).toBeGreaterThan(1_000);
  const later = checks.filter(({ check }) => check === 'leakage_lead_lag');
  expect(later.filter(({ status }) => status === 'warn' || status === 'error')).toEqual([]);
  expect(found(checks, 'leakage_aggregation')).toMatchObject({ status: 'pass', column: 'logins_30d', value: 0 });
  const labels = checks.filter(({ check }) => check === 'label_leakage');
  expect(labels.map(({ column }) => column)).toContain('balance');
  expect(labels.every(({ status, value }) => status !== 'insufficient' && (value ?? 0) < 0.95)).toBe(true);
});

test(
  'a feature of a table that was backfilled later is proof of leakage, and blocks the training',
  limits,
  async () => {
    for (let day = 3; day <= 9; day++) {
      const path = join(project.folder, `data/balances/date=2025-01-0${day}/data_0.parquet`);
      await rewrite(path, '* REPLACE (loaded_at + INTERVAL 9 DAY AS loaded_at)');
    }
    const { result, checks } = await train('2025-02-06');
    expect(result).toMatchObject({
      kind: 'blocked',
      reasons: [expect.stringMatching(/T5: \d+ of 5000 sampled rows had another/)],
    });
    // The features themselves came in time: only recomputing them shows it.
    expect(found(checks, 'leakage_known_at')).toMatchObject({ status: 'pass' });
  },
);

test('rows that became known too late block the training as well', limits, async () => {
  const day = join(project.folder, 'data/features/date=2025-01-05/data_0.parquet');
  await rewrite(day, `* REPLACE (loaded_at + INTERVAL 3 DAY AS loaded_at)`);
  const { result, checks } = await train('2025-02-07');
  expect(result.kind).toBe('blocked');
  expect(found(checks, 'leakage_known_at')?.reason).toMatch(
    /T2: 1000 rows .* became known only after .* by up to 49 hours/,
  );
  expect(found(checks, 'leakage_aggregation')).toMatchObject({
    status: 'fail',
    reason: expect.stringMatching(
      /T8: the 30 days that logins_30d is made of end at loaded_at, in 1000 rows .* 49 hours/,
    ),
  });
});

test('customers who return every day are no leak over time; their categories are followed too', limits, async () => {
  const days = Array.from({ length: 40 }, (_, day) => addDays('2025-01-01', day));
  const pathsOf = (table: string) => days.map(day => join(project.folder, `data/${table}/date=${day}/data_0.parquet`));
  await rewriteAll(
    ['features', 'labels', 'balances'].flatMap(pathsOf),
    '* REPLACE (row_number() OVER () AS customer_id)',
  );
  const { checks } = await train('2025-02-08');
  expect(found(checks, 'shared_entities')).toMatchObject({
    status: 'not_applicable',
    value: 1,
    reason: expect.stringContaining('who returns is predicted again in production'),
  });
  const followed = checks.filter(({ check }) => check === 'leakage_lead_lag');
  expect(followed.map(({ column, status }) => [column, status])).toContainEqual(['channel', 'pass']);
  expect(followed.find(({ column }) => column === 'channel')?.details['measure']).toBe("Cramér's V");
});
