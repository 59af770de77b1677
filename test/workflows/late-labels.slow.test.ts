/** Labels come late: quality is estimated until they do, compared with the truth then, and judged again when they are revised. */
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import type { CheckResult, Evidence } from '../../src/domain/evidence.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type { MonitorResult, TrainResult } from '../../src/workflows/inputs.ts';
import {
  catalogOf,
  makeLateProject,
  makeWorld,
  model,
  scorePartition,
  start,
  trainAndApprove,
} from '../support/late-project.ts';

const first = '2025-01-31';
const second = '2025-02-02';
/** An alert that any real model raises, so that what follows from it can be seen. */
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
      action: { runbook: wake up, automation: hold_promotion }
retrain: { when: [quality_below], cooldown: 7d }
`;
let root: string;
let project: Project;
let almanac: RunningAlmanac;
let connection: Connection;
let client: Client;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-late-'));
  await makeWorld(root);
  project = makeLateProject(root, 'project', extra);
  almanac = await openAlmanac(project, { log: () => {}, ui: false });
  connection = await Connection.connect(almanac.server.target.connection);
  client = new Client({ connection });
  await trainAndApprove(client, project, first);
  for (const partition of [first, second, '2025-02-07', '2025-02-09']) await scorePartition(client, partition);
}, 600_000);
afterAll(async () => {
  await connection?.close();
  await almanac?.close();
  await rm(root, { recursive: true, force: true });
});

async function monitored(partition: string): Promise<readonly Evidence[]> {
  const before = new Set((await catalogOf(project).evidenceList(model)).map(({ digest }) => digest));
  const id = workflowId.monitor(model, partition);
  const run = await start<MonitorResult>(client, 'monitorModel', id, { model, partition });
  await run.result();
  const entries = await catalogOf(project).evidenceList(model, { kind: 'quality' });
  const fresh = entries.filter(({ digest }) => !before.has(digest));
  return await Promise.all(fresh.map(({ digest }) => catalogOf(project).evidence(digest)));
}

function checkOf(evidence: Evidence | undefined, name: string): CheckResult | undefined {
  return evidence?.checks.find(({ check }) => check === name);
}

const limits = { timeout: 300_000 };
let estimated: CheckResult | undefined;

test('the evaluation leaves what an estimate needs', limits, async () => {
  const [entry] = await catalogOf(project).evidenceList(model, { kind: 'evaluation' });
  const reference = checkOf(await catalogOf(project).evidence(entry?.digest ?? ''), 'estimate_reference');
  expect(reference?.status).toBe('pass');
  expect(reference?.details['deviations']).toMatchObject({ auc: expect.any(Number), accuracy: expect.any(Number) });
});

test('before its labels a window has an estimate with a band', limits, async () => {
  const found = await monitored(first);
  expect(found.map(({ subject }) => subject)).toEqual([
    { partition: first, version: '1', window: `${first} ${first}` },
  ]);
  estimated = checkOf(found[0], 'estimated_quality');
  expect(estimated).toMatchObject({ status: 'pass', rows: 1_000, details: { method: 'CBPE', metric: 'auc' } });
  expect(estimated?.value).toBeGreaterThan(0.55);
  expect(estimated?.interval?.[0]).toBeLessThan(estimated?.value ?? 0);
});

test('when the labels are mature the estimate is compared with them', limits, async () => {
  const found = await monitored('2025-02-07');
  const cohort = found.find(({ subject }) => subject['partition'] === first);
  const truth = checkOf(cohort, 'quality');
  expect(checkOf(cohort, 'estimate_against_truth')).toMatchObject({
    status: 'pass',
    rows: 1_000,
    value: (truth?.value ?? 0) - (estimated?.value ?? 0),
    details: { estimate: estimated?.value, band: estimated?.interval, realised: truth?.value },
  });
  expect(checkOf(cohort, 'label_coverage')).toMatchObject({ status: 'pass', value: 1 });
  // The day itself has no labels yet.
  expect(found.map(({ subject }) => subject['partition'])).toEqual(['2025-02-07', first]);
});

test(
  'an alert opens with the first cohort that breaks it, is told with each decision, and holds promotions',
  limits,
  async () => {
    const [before, decision] = (await catalogOf(project).decisions(model)).slice(-2);
    expect(before?.alerts).toMatchObject([{ id: 'not-perfect', state: 'unknown', since: null }]);
    expect(decision?.alerts).toMatchObject([{ id: 'not-perfect', state: 'critical', since: first, owner: 'ana' }]);
    expect(decision?.reasons.at(-1)).toMatch(/^alert not-perfect is critical since 2025-01-31: .* ana: wake up$/);

    const asOf = '2025-02-08';
    const training = await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
    const trained = await training.result();
    if (trained.kind !== 'qualified') throw new Error(`v2 did not qualify: ${JSON.stringify(trained)}`);
    expect(await client.workflow.getHandle(trained.promotion).result()).toMatchObject({
      kind: 'held',
      reason: expect.stringMatching(/alert not-perfect is critical/),
    });
  },
);

test('labels that change later give new evidence beside the old', limits, async () => {
  const path = join(project.folder, `data/labels/date=${first}`, 'data_0.parquet');
  const instance = await DuckDBInstance.create(':memory:');
  const sql = await instance.connect();
  // The late payers among the first rows turn out to be punctual; the last rows lose their labels.
  await sql.run(`COPY (SELECT * REPLACE (CASE WHEN file_row_number < 200 THEN 0 ELSE late END AS late)
    FROM read_parquet('${path}', file_row_number = true) WHERE file_row_number < 900) TO '${path}.new' (FORMAT parquet)`);
  sql.closeSync();
  instance.closeSync();
  await rename(`${path}.new`, path);

  const found = await monitored('2025-02-09');
  expect(found.map(({ subject }) => subject['partition'])).toEqual(['2025-02-09', second, first]);
  const revised = found.at(-1);
  expect(checkOf(revised, 'label_revision')?.reason).toMatch(/1000 labelled rows are 900 now/);
  expect(checkOf(revised, 'label_coverage')?.value).toBe(0.9);
  expect(checkOf(revised, 'label_selection')).toMatchObject({ rows: 900 });
  const all = await catalogOf(project).evidenceList(model, { kind: 'quality' });
  expect(all.filter(({ subject }) => subject['partition'] === first)).toHaveLength(3);
});
