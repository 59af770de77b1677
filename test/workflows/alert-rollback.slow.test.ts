/** A critical alert that asks for it takes the champion back, by the rollback a person would start. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type { MonitorResult, ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import { approveTrained, catalogOf, makeLateProject, makeWorld, model, start } from '../support/late-project.ts';

/** Raised by any real model with mature labels. Every challenger that is not clearly worse qualifies. */
const extra = `monitor:
  windows: 1d
  quality: { min_rows: 100 }
  alerts:
    - id: not-perfect
      scope: model
      metric: quality
      min_rows: 100
      normal: { low: 0.99, high: 1, source: a dream }
      warn: 0.98
      critical: 0.97
      direction: below
      persistence: 1 of 1
      exit: 0.985
      cooldown: 0
      owner: ana
      action: { runbook: wake up, automation: rollback }
`;
let root: string;
let project: Project;
let almanac: RunningAlmanac;
let connection: Connection;
let client: Client;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-alert-'));
  await makeWorld(root);
  project = makeLateProject(root, 'project', extra);
  almanac = await openAlmanac(project, { log: () => {}, ui: false });
  connection = await Connection.connect(almanac.server.target.connection);
  client = new Client({ connection });
}, 300_000);
afterAll(async () => {
  await connection?.close();
  await almanac?.close();
  await rm(root, { recursive: true, force: true });
});

async function score(partition: string): Promise<void> {
  const id = workflowId.score(model, partition, 1);
  const job = await start<ScoreResult>(client, 'scoreModel', id, { model, partition, generation: 1 });
  expect(await job.result()).toMatchObject({ kind: 'committed' });
}

async function monitor(partition: string): Promise<MonitorResult> {
  const run = await start<MonitorResult>(client, 'monitorModel', workflowId.monitor(model, partition), {
    model,
    partition,
  });
  return await run.result();
}

test('the champion whose alert is critical gives way to the one before', { timeout: 600_000 }, async () => {
  for (const asOf of ['2025-01-31', '2025-02-08']) {
    await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
    await approveTrained(client, project, asOf);
  }
  expect((await catalogOf(project).deployment(model)).champion?.version).toBe(2);
  for (const partition of ['2025-02-01', '2025-02-08']) await score(partition);

  const entry = (await catalogOf(project).deploymentHistory(model)).length;
  const decided = await monitor('2025-02-08');
  expect(decided).toMatchObject({ kind: 'decided', conclusion: 'rollback' });
  const rollback = client.workflow.getHandle(workflowId.rollback(model, entry));
  expect(await rollback.result()).toMatchObject({ kind: 'rolled_back', champion: 1, withdrawn: 2, affectedCount: 2 });
  const last = (await catalogOf(project).deploymentHistory(model)).at(-1)?.body;
  expect(last).toMatchObject({ action: { kind: 'roll_back' }, approvedBy: ['almanac'] });
  expect(last?.reason).toMatch(/alert not-perfect is critical since 2025-02-01/);
});
