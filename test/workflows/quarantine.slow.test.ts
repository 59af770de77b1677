/** Quarantine from end to end, in real processes, through the command: set aside, listed, repaired, brought back once. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import { workflowId } from '../../src/domain/ids.ts';
import { sha256 } from '../../src/storage/digest.ts';
import { keys } from '../../src/storage/keys.ts';
import { openStore } from '../../src/storage/open.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { checkpointEvery } from '../../src/storage/table/checkpoint.ts';
import { PredictionsTable } from '../../src/storage/table/predictions-table.ts';
import type { TrainResult } from '../../src/workflows/inputs.ts';
import {
  approveTrained,
  catalogOf,
  makeLateProject,
  makeWorld,
  model,
  start,
  tableOf,
} from '../support/late-project.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const loader = import.meta.resolve('tsx');
const fewBroken = '2025-02-06';
const manyBroken = '2025-02-07';
const lastBroken = '2025-02-08';
let root: string;
let project: Project;
let almanac: RunningAlmanac;
let connection: Connection;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-quarantine-'));
  await makeWorld(root);
  project = makeLateProject(root, 'project');
  const path = join(project.folder, 'models', `${model}.yaml`);
  const definition = (await readFile(path, 'utf8'))
    .replace('contract:\n', 'contract:\n  quarantine_budget: 0.01\n')
    .replace(
      '{ name: invoice_amount, type: double }',
      '{ name: invoice_amount, type: double, min: 0, on_fail: quarantine }',
    );
  await writeFile(path, definition);
  almanac = await openAlmanac(project, { log: () => {}, ui: false });
  connection = await Connection.connect(almanac.server.target.connection);
  const client = new Client({ connection });
  const asOf = '2025-02-06';
  await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
  await approveTrained(client, project, asOf);
}, 600_000);
afterAll(async () => {
  await connection?.close();
  await almanac?.close();
  await rm(root, { recursive: true, force: true });
});

/** Answer of the command, whatever its exit code. */
async function run(...argv: string[]): Promise<{ code: number; document: unknown; message: string }> {
  const options = { cwd: project.folder, maxBuffer: 1e8 };
  const ended = await promisify(execFile)(
    process.execPath,
    ['--import', loader, main, ...argv, '--json'],
    options,
  ).then(
    done => ({ code: 0, ...done }),
    failed => failed as { code: number; stdout: string; stderr: string },
  );
  const document: unknown = ended.stdout.trim() === '' ? null : JSON.parse(ended.stdout);
  return { code: ended.code, document, message: ended.stderr };
}

async function fileOf(partition: string): Promise<string> {
  const folder = join(project.folder, `data/features/date=${partition}`);
  const [name] = await readdir(folder);
  return join(folder, name ?? '');
}

/** Rewrites the partition's file through a SELECT over it. */
async function rewrite(partition: string, replace: string): Promise<void> {
  const file = await fileOf(partition);
  const database = await (await DuckDBInstance.create()).connect();
  await database.run(
    `CREATE TABLE t AS SELECT * REPLACE (${replace}) FROM read_parquet('${file}') ORDER BY customer_id`,
  );
  await database.run(`COPY t TO '${file}' (FORMAT parquet)`);
  database.closeSync();
}

async function keysOf(partition: string): Promise<readonly number[]> {
  const file = await fileOf(partition);
  const database = await (await DuckDBInstance.create()).connect();
  const found = await database.runAndReadAll(`SELECT customer_id FROM read_parquet('${file}') ORDER BY customer_id`);
  database.closeSync();
  return found.getRows().map(([key]) => Number(key));
}

async function published(partition: string) {
  const { generations, files } = await tableOf(project).snapshot();
  const generation = generations.find(one => one.partition === partition);
  return generation === undefined
    ? null
    : { generation: generation.generation, rows: generation.rows, files: files.length };
}

test('few broken rows: the others are published, these are listed, repaired, and come back exactly once', {
  timeout: 600_000,
}, async () => {
  const broken = (await keysOf(fewBroken)).slice(0, 6);
  await rewrite(fewBroken, `if(customer_id IN (${broken.join()}), -1, invoice_amount) AS invoice_amount`);
  expect((await run('score', model, '--partition', fewBroken)).document).toMatchObject({
    kind: 'committed',
    rows: 994,
  });
  const rule = { rule: 'invoice_amount.min', rows: 6, example: 'invoice_amount = -1 is below the minimum 0' };
  expect((await run('quarantine', 'list')).document).toEqual({
    partitions: [{ model, partition: fewBroken, generation: 1, rows: 6, job: 'committed', rules: [rule] }],
  });
  const rows = await run('quarantine', 'list', model, '--partition', fewBroken);
  expect(rows.document).toMatchObject({
    rows: broken.map(id => ({ customer_id: String(id), almanac_row: { customer_id: id, invoice_amount: -1 } })),
  });

  const wrong = join(project.folder, 'wrong.csv');
  await writeFile(wrong, `customer_id,invoice_amount\n${(await keysOf(fewBroken)).at(-1)},50\n`);
  const refused = await run('quarantine', 'replay', model, '--partition', fewBroken, '--file', wrong);
  expect(refused.code).not.toBe(0);
  expect(refused.message).toContain('not in quarantine');

  const repaired = join(project.folder, 'repaired.csv');
  await writeFile(repaired, ['customer_id,invoice_amount', ...broken.map(id => `${id},50`), ''].join('\n'));
  const replay = ['quarantine', 'replay', model, '--partition', fewBroken, '--file', repaired];
  expect((await run(...replay)).document).toMatchObject({ kind: 'committed', rows: 1_000 });
  expect(await published(fewBroken)).toMatchObject({ generation: 2, rows: 1_000 });
  expect((await run('quarantine', 'list')).document).toEqual({ partitions: [] });

  // The rows are no longer held: there is nothing to replay, and nothing happens.
  expect(await run(...replay)).toMatchObject({ code: 2 });
  expect(await published(fewBroken)).toMatchObject({ generation: 2, rows: 1_000 });

  // A later score of the partition keeps the repair.
  await run('score', model, '--partition', fewBroken, '--again');
  expect(await published(fewBroken)).toMatchObject({ generation: 3, rows: 1_000 });
  const visible = await run('table', 'read', model, '--partition', fewBroken, '--limit', '2000');
  const { rows: read } = visible.document as { rows: readonly (readonly unknown[])[] };
  expect(new Set(read.map(([key]) => String(key))).size).toBe(1_000);
});

test('too many broken rows: the partition is blocked, says why, and is published once its file is repaired', {
  timeout: 600_000,
}, async () => {
  await rewrite(manyBroken, 'if(customer_id % 30 = 0, -1, invoice_amount) AS invoice_amount');
  const blocked = await run('score', model, '--partition', manyBroken);
  expect(blocked.code).toBe(3);
  expect(blocked.message).toMatch(/\d+ of 1000 rows went to quarantine, 1 % are allowed \(invoice_amount\.min: \d+\)/);
  expect(await published(manyBroken)).toBeNull();
  expect((await run('quarantine', 'list', model)).document).toMatchObject({
    partitions: [{ partition: manyBroken, generation: 1, job: 'blocked', rules: [{ rule: 'invoice_amount.min' }] }],
  });

  const unchanged = await run('quarantine', 'replay', model, '--partition', manyBroken);
  expect(unchanged.code).toBe(3);
  expect(unchanged.message).toContain('repair them first');

  await rewrite(manyBroken, 'abs(invoice_amount) AS invoice_amount');
  expect((await run('quarantine', 'replay', model, '--partition', manyBroken)).document).toMatchObject({
    kind: 'committed',
    rows: 1_000,
  });
  expect(await published(manyBroken)).toMatchObject({ generation: 2, rows: 1_000 });
  expect((await run('quarantine', 'list')).document).toEqual({ partitions: [] });
  const jobs = await catalogOf(project).jobs(model);
  expect(jobs.filter(job => job.partition === manyBroken).map(job => job.ended?.outcome)).toEqual([
    'blocked',
    'committed',
  ]);
});

test('the hundredth commit leaves a checkpoint of the quarantine table for other Delta readers', {
  timeout: 600_000,
}, async () => {
  const table = new PredictionsTable(systemPorts(openStore(project.store)), keys.quarantine(model));
  const filler = { generation: 1, columns: [], files: [], asOf: '2024-01-01', workflowId: 'w', runId: 'r', attempt: 1 };
  for (let day = (await table.state()).version + 1; day < checkpointEvery; day += 1)
    await table.commit({ ...filler, partition: `day-${day}`, planDigest: sha256(String(day)) });
  const pointer = join(project.store, keys.deltaLastCheckpoint(table.root));
  expect(existsSync(pointer)).toBe(false);

  const [first] = await keysOf(lastBroken);
  await rewrite(lastBroken, `if(customer_id = ${first}, -1, invoice_amount) AS invoice_amount`);
  expect((await run('score', model, '--partition', lastBroken)).document).toMatchObject({ rows: 999 });
  expect(JSON.parse(await readFile(pointer, 'utf8'))).toMatchObject({ version: checkpointEvery });
  const file = join(project.store, keys.deltaCheckpoint(table.root, checkpointEvery));
  const database = await (await DuckDBInstance.create()).connect();
  const adds = await database.runAndReadAll(`SELECT add.path FROM read_parquet('${file}') WHERE add IS NOT NULL`);
  database.closeSync();
  expect(adds.getRows().filter(([path]) => String(path).startsWith(`partition=${lastBroken}/`))).toHaveLength(1);
});
