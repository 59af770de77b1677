/** Monitoring with the trigger `behind_probe`: two models are trained for the comparison, and the decision says what it found. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { expect, test } from 'vitest';
import { openAlmanac } from '../../src/cli/up.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type { MonitorResult } from '../../src/workflows/inputs.ts';
import {
  catalogOf,
  makeLateProject,
  makeWorld,
  model,
  scorePartition,
  start,
  trainAndApprove,
} from '../support/late-project.ts';

const policy = `monitor: { windows: 1d, quality: { min_rows: 100 } }
retrain: { when: [behind_probe], cooldown: 7d }
`;

test('a cohort is compared with a probe, and the evidence and the decision say how it stands', {
  timeout: 600_000,
}, async () => {
  const root = await mkdtemp(join(tmpdir(), 'almanac-probe-'));
  await makeWorld(root);
  const project = makeLateProject(root, 'project', policy);
  const almanac = await openAlmanac(project, { log: () => {}, ui: false });
  const connection = await Connection.connect(almanac.server.target.connection);
  try {
    const client = new Client({ connection });
    await trainAndApprove(client, project, '2025-01-27');
    for (const partition of ['2025-01-27', '2025-01-31', '2025-02-04', '2025-02-08'])
      await scorePartition(client, partition);
    // The labels of the first day and of the second are known by then.
    for (const partition of ['2025-02-04', '2025-02-08']) {
      const id = workflowId.monitor(model, partition);
      const run = await start<MonitorResult>(client, 'monitorModel', id, { model, partition });
      expect(await run.result()).toMatchObject({ kind: 'decided', conclusion: 'nothing' });
    }

    const catalog = catalogOf(project);
    const recorded = await catalog.evidenceList(model, { kind: 'quality' });
    const comparedOn = async (partition: string) => {
      const entry = recorded.find(({ subject }) => subject.partition === partition);
      const evidence = await catalog.evidence(entry?.digest ?? '');
      expect(evidence.subject).toMatchObject({ partition, version: '1' });
      return evidence.checks.find(({ check }) => check === 'behind_probe');
    };
    // Labels take a week, a week is held out, and another lies between the two.
    expect(await comparedOn('2025-01-27')).toMatchObject({
      status: 'not_applicable',
      reason: 'a training before 2025-01-27 would have learned from what v1 did: 2025-01-01 to 2025-01-06',
    });
    // The world of this test does not change: four days more do not put a probe ahead.
    const compared = await comparedOn('2025-01-31');
    expect(compared).toMatchObject({ status: 'pass', rows: 1_000, limit: -0.02 });
    expect(compared?.reason).toMatch(
      /^auc 0\.\d+ of a model of what v1 learned from \(2025-01-01 to 2025-01-06\) against 0\.\d+ of one of 2025-01-01 to 2025-01-10 on the same 1000 rows/,
    );
    const decisions = await catalog.decisions(model);
    expect(decisions.find(({ partition }) => partition === '2025-02-08')?.considered).toEqual([
      { trigger: 'behind_probe', state: 'quiet', reason: expect.stringContaining('over the newest cohort') },
    ]);
  } finally {
    await connection.close();
    await almanac.close();
    await rm(root, { recursive: true, force: true });
  }
});
