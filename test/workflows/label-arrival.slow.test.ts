/**
 * Labels that come over a week, and weigh: what is usual is learned from earlier cohorts, a cohort that falls behind is
 * named, and a sample of labels is judged by its weights.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { evidenceLines } from '../../src/cli/show.ts';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import type { CheckResult, Evidence, EvidenceKind } from '../../src/domain/evidence.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type { MonitorResult } from '../../src/workflows/inputs.ts';
import {
  catalogOf,
  makeLateProject,
  makeWorld,
  model,
  rewriteLabels,
  scorePartition,
  start,
  trainAndApprove,
} from '../support/late-project.ts';

let root: string;
let project: Project;
let almanac: RunningAlmanac;
let connection: Connection;
let client: Client;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-arrival-'));
  await makeWorld(root);
  project = makeLateProject(root, 'project', 'monitor: { windows: 1d, quality: { min_rows: 100 } }\n');
  const file = join(project.folder, 'models', `${model}.yaml`);
  writeFileSync(
    file,
    readFileSync(file, 'utf8').replace('horizon: 7d', 'horizon: 7d, known_at: labelled_at, weight: stands_for'),
  );
  // A tenth of the labels is there at once, the others come evenly over six days and a half.
  const arrival = 'date::TIMESTAMP + INTERVAL 1 DAY + (row % 10) * INTERVAL 15 HOUR AS labelled_at';
  for (let day = 1; day <= 31; day++) {
    await rewriteLabels(project, dayOf(day), `${arrival}, CASE WHEN row % 2 = 0 THEN 2.0 ELSE 6.0 END AS stands_for`);
  }
  // Labels of one day stop coming after a day and a quarter, those of another do not come at all.
  await rewriteLabels(project, dayOf(24), 'labelled_at, stands_for', 'row % 10 < 3');
  await rm(labelsOf(dayOf(28)));
  almanac = await openAlmanac(project, { log: () => {}, ui: false });
  connection = await Connection.connect(almanac.server.target.connection);
  client = new Client({ connection });
  await trainAndApprove(client, project, dayOf(31));
  for (let day = 20; day <= 31; day++) await scorePartition(client, dayOf(day));
  await scorePartition(client, '2025-02-01');
}, 600_000);
afterAll(async () => {
  await connection?.close();
  await almanac?.close();
  await rm(root, { recursive: true, force: true });
});

function dayOf(day: number): string {
  return `2025-01-${String(day).padStart(2, '0')}`;
}

function labelsOf(partition: string): string {
  return join(project.folder, `data/labels/date=${partition}`, 'data_0.parquet');
}

async function monitored(partition: string, kind: EvidenceKind): Promise<Evidence> {
  const id = workflowId.monitor(model, partition);
  const run = await start<MonitorResult>(client, 'monitorModel', id, { model, partition });
  await run.result();
  const entries = await catalogOf(project).evidenceList(model, { kind });
  return await catalogOf(project).evidence(entries.at(-1)?.digest ?? '');
}

function arrivals({ checks }: Evidence): readonly CheckResult[] {
  return checks.filter(({ check }) => check === 'label_arrival');
}

const limits = { timeout: 300_000 };

test('the first cohorts tell what is usual', limits, async () => {
  const first = await monitored(dayOf(27), 'labels');
  expect(first.subject).toEqual({ partition: dayOf(27), window: `${dayOf(20)} ${dayOf(20)}` });
  expect(arrivals(first).map(({ slice, value }) => [slice, value])).toEqual([
    [dayOf(20), 1],
    [dayOf(26), 0.2],
    // It will stay there, but nobody knows yet that more should be in.
    [dayOf(24), 0.3],
    [dayOf(23), 0.7],
    [dayOf(21), 1],
  ]);
  await monitored(dayOf(28), 'labels');
  await monitored(dayOf(29), 'labels');
  const quality = await monitored(dayOf(30), 'quality');
  expect(quality.subject['partition']).toBe(dayOf(23));
  expect(arrivals(quality)).toMatchObject([{ status: 'pass', slice: null, value: 1, details: { expected: 1 } }]);
});

test('a cohort whose labels stopped, and one without any, are named; people see the curve', limits, async () => {
  const labels = await monitored(dayOf(31), 'labels');
  expect(labels.verdict).toBe('warn');
  const late = arrivals(labels).filter(({ status }) => status === 'warn');
  expect(late.map(({ slice }) => slice)).toEqual([dayOf(24), dayOf(28)]);
  expect(late[0]?.reason).toMatch(
    /^30\.0 % of 1000 rows have a label after 7 days; 100\.0 % is usual then, given a day .*: as many as usual after 1 day/,
  );
  expect(late[1]?.reason).toMatch(/^0\.0 % of 1000 rows have a label after 3 days/);
  expect(evidenceLines(labels).join('\n')).toMatch(/labels by age: ▁.*█ [\d.]+ % after 7 days/);

  const entries = await catalogOf(project).evidenceList(model, { kind: 'quality' });
  const judged = entries.findLast(({ subject }) => subject['partition'] === dayOf(24));
  const quality = await catalogOf(project).evidence(judged?.digest ?? '');
  expect(arrivals(quality)).toMatchObject([{ status: 'warn', value: 0.3, rows: 1_000 }]);
});

test('a sample of labels is judged by its weights, at training and afterwards', limits, async () => {
  const catalog = catalogOf(project);
  const [run] = await catalog.searchRuns({ model, limit: 1 });
  expect(run?.weights).toEqual({
    column: 'stands_for',
    effectiveRows: expect.closeTo(0.8 * (run?.rows.train ?? 0), -1),
  });
  const [evaluation] = await catalog.evidenceList(model, { kind: 'evaluation' });
  const auc = (await catalog.evidence(evaluation?.digest ?? '')).checks.find(({ check }) => check === 'auc');
  expect(auc).toMatchObject({ details: { sample: 'weighted' }, interval: [expect.any(Number), expect.any(Number)] });
  const [leakage] = await catalog.evidenceList(model, { kind: 'leakage' });
  const known = (await catalog.evidence(leakage?.digest ?? '')).checks.find(
    ({ check }) => check === 'leakage_label_known_at',
  );
  expect(known).toMatchObject({ status: 'pass', value: 0 });
  const entries = await catalog.evidenceList(model, { kind: 'quality' });
  const judged = entries.find(({ subject }) => subject['partition'] === dayOf(20));
  const { checks } = await catalog.evidence(judged?.digest ?? '');
  // (2 + 6)² / (2² + 6²) = 1.6 of 2 rows.
  expect(checks.find(({ check }) => check === 'quality')).toMatchObject({
    rows: 1_000,
    details: { sample: 'weighted', effectiveRows: expect.closeTo(800, 6), population: 4_000 },
    reason: expect.stringContaining('on 1000 labelled rows, a weighted sample worth 800 rows of equal weight'),
  });
});

test('a weight that is none is named with its column and file', limits, async () => {
  await rewriteLabels(project, dayOf(25), 'labelled_at, CASE WHEN row < 3 THEN 0 ELSE stands_for END AS stands_for');
  const failure = await monitored('2025-02-01', 'quality').catch((error: unknown) => error);
  const texts: string[] = [];
  for (let error: unknown = failure; error instanceof Error; error = error.cause) texts.push(error.message);
  expect(texts.join('\n')).toMatch(
    /column stands_for of data\/labels\/date=2025-01-25\/data_0\.parquet: 3 of 1000 labelled rows have no usable weight/,
  );
});
