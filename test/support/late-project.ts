/** A small project with real data, for tests that run the whole loop in real processes. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { generateWorld } from '../../examples/late-payment/generate.ts';
import { openProject, type Project } from '../../src/config/project.ts';
import { taskQueue, workflowId } from '../../src/domain/ids.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { Catalog } from '../../src/storage/catalog.ts';
import { openStore } from '../../src/storage/open.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { PredictionsTable } from '../../src/storage/table/predictions-table.ts';
import type { ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import { until } from './until.ts';

export const model = 'late';

const definition = `model: ${model}
task: binary
data:
  features: { path: "data/features/date={date}/*.parquet", keys: [customer_id], event_time: as_of, known_at: loaded_at }
  labels: { path: "data/labels/date={date}/*.parquet", column: late, positive: 1, horizon: 7d }
contract:
  columns:
    - { name: logins_30d, type: int, min: 0 }
    - { name: balance, type: double }
    - { name: invoice_amount, type: double }
    - { name: payment_delay_avg, type: double, nulls: { max: 0.2, as: nan } }
    - { name: channel, type: category, unseen: other }
train: { trainer: { builtin: gbdt, trees: 150 }, window: 20d, holdout: 7d, seed: 7 }
evaluate: { metric: auc, min: 0.55, champion: { non_inferior_by: 0.01, confidence: 0.95 } }
promote: { approvals: 1, expires: 7d, rollout: [direct] }
score: { chunk_rows: 200 }
`;

/** Forty days from 2025-01-01, a thousand rows a day, features and labels in `<root>/world`. */
export async function makeWorld(root: string): Promise<void> {
  const world = { folder: join(root, 'world'), firstDay: '2025-01-01', dayCount: 40, invoicesPerDay: 1_000, seed: 7 };
  await generateWorld({ ...world, shift: false });
}

/** A project with all days of the world; `extra` is appended to the definition. */
export function makeLateProject(root: string, name: string, extra = ''): Project {
  const folder = join(root, name);
  mkdirSync(join(folder, 'models'), { recursive: true });
  cpSync(join(root, 'world'), join(folder, 'data'), { recursive: true });
  writeFileSync(join(folder, 'models', `${model}.yaml`), `${definition}${extra}`);
  writeFileSync(join(folder, 'almanac.yaml'), 'people: { ana: [risk] }\n');
  return openProject(folder);
}

/** The labels of a day with other columns behind key and label; `date` and `row`, the row's number, may be used. */
export async function rewriteLabels(
  project: Project,
  partition: string,
  columns: string,
  where = 'TRUE',
): Promise<void> {
  const path = join(project.folder, `data/labels/date=${partition}`, 'data_0.parquet');
  const instance = await DuckDBInstance.create(':memory:');
  const sql = await instance.connect();
  await sql.run(`COPY (SELECT customer_id, late, ${columns}
    FROM (SELECT *, DATE '${partition}' AS date, file_row_number AS row FROM read_parquet('${path}', file_row_number = true))
    WHERE ${where}) TO '${path}.new' (FORMAT parquet)`);
  sql.closeSync();
  instance.closeSync();
  await rename(`${path}.new`, path);
}

export function catalogOf(project: Project): Catalog {
  return new Catalog(systemPorts(openStore(project.store)));
}

export function tableOf(project: Project): PredictionsTable {
  return new PredictionsTable(systemPorts(openStore(project.store)), `predictions/${model}`);
}

/** Every row of the predictions table, every column, by partition and key. */
export async function rowsOf(project: Project): Promise<readonly (readonly unknown[])[]> {
  const table = tableOf(project);
  const { files } = await table.snapshot();
  const engine = new EnginePool({ size: 1, scratch: join(project.stateFolder, 'test-scratch') });
  try {
    const rows = await engine.run(
      'query',
      {
        sql: 'SELECT * FROM predictions ORDER BY scored_at, customer_id',
        tables: { predictions: files.map(({ path }) => join(project.store, table.root, path)) },
        rowsMax: 100_000,
      },
      { deadlineMs: 60_000 },
    );
    return rows.rows;
  } finally {
    await engine.close();
  }
}

export async function start<Result>(
  client: Client,
  type: string,
  id: string,
  input: object,
): Promise<WorkflowHandle<(input: object) => Promise<Result>>> {
  const options = { taskQueue: taskQueue.control, workflowId: id, args: [input] as [object] };
  return await client.workflow.start<(input: object) => Promise<Result>>(type, options);
}

/** Waits for a training and approves what it asks for, by the signal a person would send. */
export async function approveTrained(client: Client, project: Project, asOf: string): Promise<number> {
  const trained: TrainResult = await client.workflow.getHandle(workflowId.train(model, asOf)).result();
  if (trained.kind !== 'qualified') throw new Error(`training as of ${asOf}: ${JSON.stringify(trained)}`);
  const catalog = catalogOf(project);
  const find = async () => (await catalog.promotions(model)).find(({ promotion }) => promotion === trained.promotion);
  await until(async () => (await find()) !== undefined);
  const subjectDigest = (await find())?.subjectDigest;
  const handle = client.workflow.getHandle(trained.promotion);
  await handle.signal('decide', { promotion: trained.promotion, subjectDigest, decision: 'approve', approver: 'ana' });
  const outcome = (await handle.result()) as { readonly kind?: unknown };
  assert.equal(outcome.kind, 'promoted');
  return trained.version;
}

/** Trains as of a day and approves the version. */
export async function trainAndApprove(client: Client, project: Project, asOf: string): Promise<number> {
  await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
  return await approveTrained(client, project, asOf);
}

/** Scores a partition for the first time, to its commit. */
export async function scorePartition(client: Client, partition: string): Promise<void> {
  const generation = 1;
  const id = workflowId.score(model, partition, generation);
  const job = await start<ScoreResult>(client, 'scoreModel', id, { model, partition, generation });
  const result = await job.result();
  assert.equal(result.kind, 'committed', `${partition}: ${JSON.stringify(result)}`);
}
