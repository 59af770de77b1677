/**
 * Real processes, killed with -9: a worker while it trains, a worker while it scores, and the server with its database. The
 * loop must end with the same predictions as an undisturbed one, in every column, each row once.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type { ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import type { Status } from '../../src/workflows/stage.ts';
import {
  approveTrained,
  catalogOf,
  makeLateProject,
  makeWorld,
  model,
  rowsOf,
  start,
} from '../support/late-project.ts';
import { until } from '../support/temporal.ts';

const asOf = '2025-02-09';
const scoredDays = ['2025-02-07', '2025-02-08', '2025-02-09'];

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-survives-'));
  await makeWorld(root);
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
  const project = makeLateProject(root, name);
  const almanac = await openAlmanac(project, { log: () => {}, ui: false });
  const connection = await Connection.connect(almanac.server.target.connection);
  try {
    const client = new Client({ connection });
    const stageOf = async (id: string) => {
      const status = await client.workflow
        .getHandle(id)
        .query<Status>('status')
        .catch(() => null);
      return status?.stage ?? null;
    };

    const training = await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
    await until(async () => (await stageOf(training.workflowId)) === 'training', 120_000);
    await disturbance.training(almanac);
    await approveTrained(client, project, asOf);

    const jobs = await Promise.all(
      scoredDays.map(partition =>
        start<ScoreResult>(client, 'scoreModel', workflowId.score(model, partition, 1), {
          model,
          partition,
          generation: 1,
        }),
      ),
    );
    await sleep(400);
    await disturbance.scoring(almanac);
    for (const job of jobs) expect(await resultOf(client, job.workflowId)).toMatchObject({ kind: 'committed' });
    expect((await catalogOf(project).versions(model)).length).toBe(1);
    return await rowsOf(project);
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

test('a loop whose workers and server were killed ends with the same predictions', { timeout: 600_000 }, async () => {
  const expected = await runLoop('calm', calm);
  const found = await runLoop('killed', kills);
  expect(expected.length).toBeGreaterThan(1_000);
  expect(found.length).toBe(expected.length);
  expect(found).toEqual(expected);
});
