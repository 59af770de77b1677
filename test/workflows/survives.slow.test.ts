/**
 * Real processes, killed with -9: a worker while it trains, a worker while it scores, and the server with its database. The
 * loop must end with the same predictions as an undisturbed one, in every column, each row once.
 */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { generateWorld } from '../../examples/late-payment/generate.ts';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import { openProject } from '../../src/config/project.ts';
import { taskQueue, workflowId } from '../../src/domain/ids.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { Catalog } from '../../src/storage/catalog.ts';
import { openStore } from '../../src/storage/open.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { PredictionsTable } from '../../src/storage/table/predictions-table.ts';
import type { ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import type { Status } from '../../src/workflows/stage.ts';
import { until } from '../support/temporal.ts';

const model = 'late';
const asOf = '2025-02-09';
const scoredDays = ['2025-02-07', '2025-02-08', '2025-02-09'];

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
evaluate: { metric: auc, min: 0.55 }
promote: { approvals: 1, expires: 7d, rollout: [direct] }
score: { chunk_rows: 200 }
`;

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-survives-'));
  const world = {
    folder: join(root, 'world'),
    firstDay: '2025-01-01',
    dayCount: 40,
    invoicesPerDay: 1_000,
    seed: 7,
    shift: false,
  };
  await generateWorld(world);
});
afterAll(async () => await rm(root, { recursive: true, force: true }));

interface Disturbance {
  /** Called while the model trains and while days are scored. */
  training(almanac: RunningAlmanac): Promise<void>;
  scoring(almanac: RunningAlmanac): Promise<void>;
}

const calm: Disturbance = { training: async () => {}, scoring: async () => {} };
const kills: Disturbance = {
  training: async almanac => killWorker(almanac, 'training'),
  scoring: async almanac => {
    killWorker(almanac, 'scoring');
    const server = almanac.server.pid();
    process.kill(server ?? 0, 'SIGKILL');
    await until(() => almanac.server.pid() !== server);
    killWorker(almanac, 'control');
  },
};

function killWorker(almanac: RunningAlmanac, role: string): void {
  const found = almanac.workers?.list().find(({ roles }) => roles.some(name => name === role));
  if (found === undefined) throw new Error(`no worker has role ${role}`);
  process.kill(found.pid, 'SIGKILL');
}

/** Trains, approves and scores three days; gives every row of the table, by key. */
async function runLoop(name: string, disturbance: Disturbance): Promise<readonly (readonly unknown[])[]> {
  const folder = join(root, name);
  mkdirSync(join(folder, 'models'), { recursive: true });
  cpSync(join(root, 'world'), join(folder, 'data'), { recursive: true });
  writeFileSync(join(folder, 'models', `${model}.yaml`), definition);
  writeFileSync(join(folder, 'almanac.yaml'), 'people: { ana: [risk] }\n');
  const project = openProject(folder);
  const almanac = await openAlmanac(project, { log: () => {}, ui: false });
  const connection = await Connection.connect(almanac.server.target.connection);
  try {
    const client = new Client({ connection });
    const start = <Result>(type: string, id: string, input: object) =>
      client.workflow.start<(input: object) => Promise<Result>>(type, {
        taskQueue: taskQueue.control,
        workflowId: id,
        args: [input],
      });
    const stageOf = async (id: string) => {
      const status = await client.workflow
        .getHandle(id)
        .query<Status>('status')
        .catch(() => null);
      return status?.stage ?? null;
    };

    const training = await start<TrainResult>('trainModel', workflowId.train(model, asOf), { model, asOf });
    await until(async () => (await stageOf(training.workflowId)) === 'training', 120_000);
    await disturbance.training(almanac);
    const trained = await training.result();
    if (trained.kind !== 'qualified') throw new Error(JSON.stringify(trained));

    const catalog = new Catalog(systemPorts(openStore(project.store)));
    await until(async () => (await catalog.promotions(model)).length === 1);
    const [promotion] = await catalog.promotions(model);
    const claim = {
      promotion: promotion?.promotion,
      subjectDigest: promotion?.subjectDigest,
      decision: 'approve',
      approver: 'ana',
    };
    const promoting = client.workflow.getHandle(trained.promotion);
    await promoting.signal('decide', claim);
    expect(await promoting.result()).toMatchObject({ kind: 'promoted' });

    const jobs = await Promise.all(
      scoredDays.map(partition =>
        start<ScoreResult>('scoreModel', workflowId.score(model, partition, 1), { model, partition, generation: 1 }),
      ),
    );
    await sleep(400);
    await disturbance.scoring(almanac);
    for (const job of jobs) expect(await resultOf(client, job.workflowId)).toMatchObject({ kind: 'committed' });
    expect((await catalog.versions(model)).length).toBe(1);
    return await rowsOf(folder);
  } finally {
    await connection.close();
    await almanac.close();
  }
}

/** The server may be away while somebody waits for a result. */
async function resultOf(client: Client, id: string): Promise<unknown> {
  const deadline = Date.now() + 120_000;
  for (;;) {
    try {
      return await client.workflow.getHandle(id).result();
    } catch (error) {
      if (Date.now() > deadline || (error instanceof Error && error.name === 'WorkflowFailedError')) throw error;
      await sleep(500);
    }
  }
}

async function rowsOf(folder: string): Promise<readonly (readonly unknown[])[]> {
  const project = openProject(folder);
  const table = new PredictionsTable(systemPorts(openStore(project.store)), `predictions/${model}`);
  const { files } = await table.snapshot();
  const engine = new EnginePool({ size: 1, scratch: join(folder, 'scratch') });
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

test('a loop whose workers and server were killed ends with the same predictions', { timeout: 600_000 }, async () => {
  const expected = await runLoop('calm', calm);
  const found = await runLoop('killed', kills);
  expect(expected.length).toBeGreaterThan(1_000);
  expect(found.length).toBe(expected.length);
  expect(found).toEqual(expected);
});
