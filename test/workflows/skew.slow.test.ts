/** What a version learned from against what is served, row by row and all columns together, on a real server. */
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import type { CheckResult, Evidence, EvidenceKind } from '../../src/domain/evidence.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type { MonitorResult, ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import { approveTrained, catalogOf, makeLateProject, makeWorld, model, start } from '../support/late-project.ts';

const asOf = '2025-01-31';
const extra = `monitor: { quality: { min_rows: 100 }, skew: { rows: 5000 } }
retrain: { when: [quality_below] }
`;
let root: string;
let project: Project;
let almanac: RunningAlmanac;
let connection: Connection;
let client: Client;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-skew-'));
  await makeWorld(root);
  project = makeLateProject(root, 'project', extra);
  const definition = join(project.folder, 'models', `${model}.yaml`);
  const text = await readFile(definition, 'utf8');
  await writeFile(definition, text.replace('chunk_rows: 200', 'chunk_rows: 200, pass_through: [balance]'));
  almanac = await openAlmanac(project, { log: () => {}, ui: false });
  connection = await Connection.connect(almanac.server.target.connection);
  client = new Client({ connection });
  await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
  await approveTrained(client, project, asOf);
}, 600_000);
afterAll(async () => {
  await connection?.close();
  await almanac?.close();
  await rm(root, { recursive: true, force: true });
});

async function score(partition: string, generation = 1): Promise<void> {
  const id = workflowId.score(model, partition, generation);
  const job = await start<ScoreResult>(client, 'scoreModel', id, { model, partition, generation });
  expect(await job.result()).toMatchObject({ kind: 'committed' });
}

/** Evidence that monitoring this partition added. */
async function monitored(partition: string, kind: EvidenceKind = 'skew'): Promise<readonly Evidence[]> {
  const catalog = catalogOf(project);
  const before = new Set((await catalog.evidenceList(model)).map(({ digest }) => digest));
  const id = workflowId.monitor(model, partition);
  const run = await start<MonitorResult>(client, 'monitorModel', id, { model, partition });
  expect(await run.result()).toMatchObject({ kind: 'decided' });
  const entries = await catalog.evidenceList(model, { kind });
  return await Promise.all(
    entries.filter(({ digest }) => !before.has(digest)).map(({ digest }) => catalog.evidence(digest)),
  );
}

async function replaceFeatures(partition: string, replaced: string): Promise<void> {
  await rewriteFeatures(partition, `SELECT * REPLACE (${replaced}) FROM features`);
}

async function rewriteFeatures(partition: string, select: string): Promise<void> {
  const path = join(project.folder, `data/features/date=${partition}`, 'data_0.parquet');
  const instance = await DuckDBInstance.create(':memory:');
  const sql = await instance.connect();
  await sql.run(`COPY (WITH features AS (FROM read_parquet('${path}')) ${select}) TO '${path}.new' (FORMAT parquet)`);
  sql.closeSync();
  instance.closeSync();
  await rename(`${path}.new`, path);
}

function rowSkew(evidence: Evidence | undefined, column: string): CheckResult | undefined {
  return evidence?.checks.find(check => check.check === 'row_skew' && check.column === column);
}

const limits = { timeout: 300_000 };

test(
  'while nothing of the training set was served there is nothing to compare, and it is said once',
  limits,
  async () => {
    await score('2025-01-31');
    await score('2025-02-01');
    const [first, ...more] = await monitored('2025-01-31');
    expect(more).toEqual([]);
    const [rows, ...distribution] = first?.checks ?? [];
    expect(rows).toMatchObject({
      check: 'row_skew',
      status: 'not_applicable',
      reason: 'no partition that v1 learned from was scored with its transform',
    });
    // The first window of the version: its columns are spread as in the training set.
    expect(new Set(distribution.map(({ check }) => check))).toEqual(new Set(['distribution_skew']));
    expect(distribution.find(({ column }) => column === 'balance')).toMatchObject({ status: 'pass', rows: 1_000 });
    expect(await monitored('2025-02-01')).toEqual([]);
  },
);

test('a day that was learned from is served as it was learned', limits, async () => {
  await score('2025-01-08');
  const [found] = await monitored('2025-01-08');
  expect(found?.subject).toEqual({ partition: '2025-01-08', version: '1', compared: '2025-01-08/g1' });
  expect(found?.verdict).toBe('pass');
  expect(found?.checks.find(({ check }) => check === 'skew_keys')).toMatchObject({
    status: 'pass',
    value: 0,
    rows: 1_000,
  });
  expect(rowSkew(found, 'balance')).toMatchObject({ status: 'pass', value: 0, rows: 1_000 });
});

test('a day that is served in another unit fails, by name', limits, async () => {
  await replaceFeatures('2025-01-09', 'balance * 100 AS balance');
  await score('2025-01-09');
  const [found] = await monitored('2025-01-09');
  expect(found?.subject['compared']).toBe('2025-01-09/g1 2025-01-08/g1');
  expect(found?.verdict).toBe('fail');
  expect(found?.reasons[0]).toMatch(
    /^balance differs in \d+ of 2000 rows .*: served 100 times the trained value: a unit$/,
  );
  expect(rowSkew(found, 'channel')?.status).toBe('pass');
});

test('where the scored files were replaced since, the logged feature is still compared', limits, async () => {
  await replaceFeatures('2025-01-10', 'balance + 7 AS balance, invoice_amount * 2 AS invoice_amount');
  await score('2025-01-10');
  // Now the file is as it was at training again, or nearly: what was served is known from the predictions alone.
  await replaceFeatures('2025-01-10', 'balance - 7 AS balance');
  const [found] = await monitored('2025-01-10');
  expect(rowSkew(found, 'balance')).toMatchObject({ status: 'fail', rows: 3_000 });
  // Of the day whose files are gone nothing else is known.
  expect(rowSkew(found, 'invoice_amount')).toMatchObject({ status: 'pass', rows: 2_000 });
});

test('columns that look as ever one by one are told apart together, and nothing retrains for it', limits, async () => {
  await score('2025-02-02');
  const [calm] = await monitored('2025-02-02', 'multivariate');
  expect(calm?.subject).toEqual({ partition: '2025-02-02', version: '1', window: '2025-02-02 2025-02-02' });
  expect(calm?.checks).toMatchObject([{ check: 'multivariate_drift', status: 'pass', rows: 2_000 }]);

  // The same balances, given to the rows in the order of their invoices.
  await rewriteFeatures(
    '2025-02-03',
    `SELECT a.* EXCLUDE (place, balance), b.balance
      FROM (SELECT *, row_number() OVER (ORDER BY invoice_amount, customer_id) AS place FROM features) a
      JOIN (SELECT balance, row_number() OVER (ORDER BY balance, customer_id) AS place FROM features) b USING (place)`,
  );
  await score('2025-02-03');
  const [apart] = await monitored('2025-02-03', 'multivariate');
  expect(apart?.verdict).toBe('warn');
  expect(apart?.reasons[0]).toMatch(
    /AUC of 0\.\d+, 0\.625 is the limit; it looks at (balance, invoice_amount|invoice_amount, balance)/,
  );
  const [drift] = (await catalogOf(project).evidenceList(model, { kind: 'drift' })).slice(-1);
  const { checks } = await catalogOf(project).evidence(drift?.digest ?? '');
  expect(checks.filter(({ check }) => check === 'drift').map(({ status }) => status)).not.toContain('warn');
  expect((await catalogOf(project).decisions(model)).at(-1)).toMatchObject({
    partition: '2025-02-03',
    action: 'nothing',
  });
});

test('no value of a key stands in any of it', async () => {
  const catalog = catalogOf(project);
  const entries = await catalog.evidenceList(model, { kind: 'skew' });
  const evidence = await Promise.all(entries.map(({ digest }) => catalog.evidence(digest)));
  expect(evidence).toHaveLength(4);
  for (const { checks } of evidence)
    for (const { column, details } of checks) {
      expect(column).not.toBe('customer_id');
      expect(JSON.stringify(details)).not.toMatch(/customer/);
    }
});
