/**
 * Labels of which nearly all come within three days of a horizon of seven: once six cohorts were seen to the end, cohorts are
 * judged after three days, and again when the horizon is over.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import type { Evidence } from '../../src/domain/evidence.ts';
import { workflowId } from '../../src/domain/ids.ts';
import { addDays } from '../../src/domain/time.ts';
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
const limits = { timeout: 300_000 };

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-early-'));
  await makeWorld(root);
  project = makeLateProject(root, 'project', 'monitor: { windows: 1d, quality: { min_rows: 100 } }\n');
  const file = join(project.folder, 'models', `${model}.yaml`);
  writeFileSync(file, readFileSync(file, 'utf8').replace('horizon: 7d', 'horizon: 7d, known_at: labelled_at'));
  // 98 of a hundred labels are in after three days, the others on the last.
  const days = 'CASE WHEN row % 100 < 98 THEN row % 4 ELSE 7 END';
  for (let day = 1; day <= 31; day++) {
    await rewriteLabels(
      project,
      dayOf(day),
      `date::TIMESTAMP + INTERVAL 1 DAY + (${days}) * INTERVAL 1 DAY AS labelled_at`,
    );
  }
  almanac = await openAlmanac(project, { log: () => {}, ui: false });
  connection = await Connection.connect(almanac.server.target.connection);
  client = new Client({ connection });
  await trainAndApprove(client, project, dayOf(27));
  for (let day = 10; day <= 30; day++) await scorePartition(client, dayOf(day));
}, 600_000);
afterAll(async () => {
  await connection?.close();
  await almanac?.close();
  await rm(root, { recursive: true, force: true });
});

function dayOf(day: number): string {
  return addDays('2024-12-31', day);
}

/** The measured quality that monitoring this day added. */
async function monitored(day: number): Promise<readonly Evidence[]> {
  const partition = dayOf(day);
  const catalog = catalogOf(project);
  const before = (await catalog.evidenceList(model, { kind: 'quality' })).length;
  const run = await start<MonitorResult>(client, 'monitorModel', workflowId.monitor(model, partition), {
    model,
    partition,
  });
  await run.result();
  const added = (await catalog.evidenceList(model, { kind: 'quality' })).slice(before);
  const found = await Promise.all(added.map(({ digest }) => catalog.evidence(digest)));
  return found.filter(({ subject }) => subject['labels'] !== undefined);
}

function partitionsOf(found: readonly Evidence[]): readonly (string | undefined)[] {
  return found.map(({ subject }) => subject['partition']);
}

function checkOf(evidence: Evidence | undefined, name: string) {
  return evidence?.checks.find(({ check }) => check === name);
}

test('the horizon is the rule until six cohorts were seen to their end', limits, async () => {
  for (let day = 17; day <= 22; day++) expect(partitionsOf(await monitored(day))).toEqual([dayOf(day - 7)]);
});

test('then a cohort is judged as soon as nearly all of its labels are in, and says how many', limits, async () => {
  const found = await monitored(23);
  expect(partitionsOf(found)).toEqual([dayOf(16), dayOf(20)]);
  const [due, early] = found;
  expect(checkOf(due, 'label_coverage')).toMatchObject({ status: 'pass', value: 1, details: {} });
  expect(checkOf(early, 'label_coverage')).toMatchObject({
    status: 'pass',
    value: 0.98,
    details: { arrived: { value: 0.98, interval: [0.98, 0.98], wanted: 0.95, cohorts: 6 } },
    reason: expect.stringMatching(
      /after 4 of 7 days it has 98\.0 % .* of the labels that 6 earlier cohorts ended with/,
    ),
  });
  expect(checkOf(early, 'quality')).toMatchObject({ rows: 980, details: { mature: true } });
  expect(checkOf(early, 'label_arrival')).toMatchObject({ status: 'pass' });
});

test(
  'cohorts between the two rules wait for the horizon; the early one is judged again, as a revision',
  limits,
  async () => {
    expect(partitionsOf(await monitored(24))).toEqual([dayOf(17), dayOf(21)]);
    expect(partitionsOf(await monitored(25))).toEqual([dayOf(18), dayOf(22)]);
    expect(partitionsOf(await monitored(26))).toEqual([dayOf(19), dayOf(23)]);
    const found = await monitored(27);
    expect(partitionsOf(found)).toEqual([dayOf(20), dayOf(24)]);
    const [again] = found;
    expect(checkOf(again, 'label_coverage')).toMatchObject({ value: 1, details: {} });
    expect(checkOf(again, 'label_arrival')).toMatchObject({ status: 'pass', value: 1 });
    expect(checkOf(again, 'label_revision')).toMatchObject({
      rows: 1_000,
      details: { rowsBefore: 980 },
      reason: expect.stringContaining('980 labelled rows are 1000 now'),
    });
  },
);

test('a cohort whose labels stay out is not judged before its time', limits, async () => {
  await rewriteLabels(
    project,
    dayOf(25),
    'CASE WHEN row % 10 = 0 THEN labelled_at + INTERVAL 9 DAY ELSE labelled_at END AS labelled_at',
  );
  expect(partitionsOf(await monitored(28))).toEqual([dayOf(21)]);
  expect(partitionsOf(await monitored(29))).toEqual([dayOf(22), dayOf(26)]);
});
