/** The seven workflow types on one small project: each does its work on the store that the others left. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type {
  BackfillResult,
  MonitorResult,
  RetainResult,
  RollbackResult,
  ScoreResult,
  TrainResult,
} from '../../src/workflows/inputs.ts';
import {
  approveTrained,
  catalogOf,
  makeLateProject,
  makeWorld,
  model,
  start,
  tableOf,
} from '../support/late-project.ts';

const days = ['2025-02-06', '2025-02-07', '2025-02-08'];
let root: string;
let project: Project;
let almanac: RunningAlmanac;
let connection: Connection;
let client: Client;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-loop-'));
  await makeWorld(root);
  project = makeLateProject(root, 'project', 'retain: { superseded: 1d, min_generations: 1 }\n');
  almanac = await openAlmanac(project, { log: () => {}, ui: false });
  connection = await Connection.connect(almanac.server.target.connection);
  client = new Client({ connection });
});
afterAll(async () => {
  await connection?.close();
  await almanac?.close();
  await rm(root, { recursive: true, force: true });
});

const limits = { timeout: 300_000 };

test('trainModel and promoteModel: a version is trained, judged, approved and deployed', limits, async () => {
  const asOf = '2025-02-06';
  await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
  expect(await approveTrained(client, project, asOf)).toBe(1);
  const catalog = catalogOf(project);
  expect((await catalog.deployment(model)).champion?.version).toBe(1);
  const kinds = (await catalog.evidenceList(model)).map(({ kind }) => kind);
  expect(kinds).toEqual(expect.arrayContaining(['data_validation', 'model_ci', 'evaluation']));
  expect((await catalog.runs(model))[0]).toMatchObject({ id: 'train/late/2025-02-06', status: 'succeeded' });
});

test('scoreModel: each day becomes visible whole', limits, async () => {
  for (const partition of days) {
    const id = workflowId.score(model, partition, 1);
    const job = await start<ScoreResult>(client, 'scoreModel', id, { model, partition, generation: 1 });
    expect(await job.result()).toMatchObject({ kind: 'committed', versions: [1] });
  }
  const { generations } = await tableOf(project).snapshot();
  expect(generations.map(({ partition, generation }) => [partition, generation])).toEqual(days.map(day => [day, 1]));
});

test('monitorModel: judges drift and quality and records a decision', limits, async () => {
  const partition = '2025-02-08';
  const id = workflowId.monitor(model, partition);
  const run = await start<MonitorResult>(client, 'monitorModel', id, { model, partition });
  expect(await run.result()).toMatchObject({ kind: 'decided', training: null });
  const [decision] = await catalogOf(project).decisions(model);
  expect(decision).toMatchObject({ partition, action: 'nothing' });
});

test('backfill: scores three past partitions again, as their next generation', limits, async () => {
  const input = { model, id: 'again', from: days[0], to: days[2], parallelism: 2 };
  const run = await start<BackfillResult>(client, 'backfill', workflowId.backfill(model, 'again'), input);
  expect(await run.result()).toEqual({ kind: 'finished', committed: 3, failed: [], remaining: 0 });
  const { generations } = await tableOf(project).snapshot();
  expect(generations.map(({ generation }) => generation)).toEqual([2, 2, 2]);
});

test('rollbackModel: restores version 1 and lists the partitions that version 2 scored', limits, async () => {
  const asOf = '2025-02-08';
  await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
  expect(await approveTrained(client, project, asOf)).toBe(2);
  const partition = '2025-02-09';
  const id = workflowId.score(model, partition, 1);
  const job = await start<ScoreResult>(client, 'scoreModel', id, { model, partition, generation: 1 });
  expect(await job.result()).toMatchObject({ kind: 'committed', versions: [2] });

  const entry = (await catalogOf(project).deploymentHistory(model)).length;
  const input = { model, entry, requestedBy: 'ana', reason: 'complaints' };
  const run = await start<RollbackResult>(client, 'rollbackModel', workflowId.rollback(model, entry), input);
  expect(await run.result()).toMatchObject({ kind: 'rolled_back', champion: 1, withdrawn: 2, affectedCount: 1 });
  expect((await catalogOf(project).deployment(model)).champion?.version).toBe(1);
});

test('retainData: deletes the files of superseded generations and nothing else', limits, async () => {
  const before = await tableOf(project).snapshot();
  // Two days on, what was superseded today is older than the day it is kept.
  const date = new Date(Date.now() + 2 * 86_400_000).toISOString().slice(0, 10);
  const run = await start<RetainResult>(client, 'retainData', workflowId.retain(model, date), { model, date });
  const result = await run.result();
  expect(result.kind === 'retained' ? result.deletedFiles : 0).toBeGreaterThan(0);
  expect((await tableOf(project).snapshot()).files).toEqual(before.files);
  const again = await start<RetainResult>(client, 'retainData', 'retain-again', { model, date });
  expect(await again.result()).toMatchObject({
    kind: 'delegated',
    workflowId: workflowId.retain(model, date),
    found: true,
  });
});
