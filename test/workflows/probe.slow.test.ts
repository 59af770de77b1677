/** Monitoring with the trigger `behind_probe`: a small model is trained for the comparison, and the decision says what it found. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { expect, test } from 'vitest';
import { openAlmanac } from '../../src/cli/up.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type { MonitorResult, ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import { approveTrained, catalogOf, makeLateProject, makeWorld, model, start } from '../support/late-project.ts';

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
    const asOf = '2025-01-31';
    await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
    await approveTrained(client, project, asOf);
    const scored = ['2025-01-31', '2025-02-08'];
    for (const partition of scored) {
      const id = workflowId.score(model, partition, 1);
      const job = await start<ScoreResult>(client, 'scoreModel', id, { model, partition, generation: 1 });
      expect(await job.result()).toMatchObject({ kind: 'committed' });
    }
    const partition = '2025-02-08';
    const run = await start<MonitorResult>(client, 'monitorModel', workflowId.monitor(model, partition), {
      model,
      partition,
    });
    expect(await run.result()).toMatchObject({ kind: 'decided', conclusion: 'nothing' });

    const catalog = catalogOf(project);
    const recorded = await catalog.evidenceList(model, { kind: 'quality' });
    const entry = recorded.find(({ subject }) => subject.partition === asOf);
    const evidence = await catalog.evidence(entry?.digest ?? '');
    expect(evidence.subject).toMatchObject({ partition: asOf, version: '1' });
    const compared = evidence.checks.find(({ check }) => check === 'behind_probe');
    // The world of this test does not change: a model of a few more days is no better than the champion.
    expect(compared).toMatchObject({ status: 'pass', rows: 1_000, limit: -0.02 });
    expect(compared?.reason).toMatch(
      /^auc 0\.\d+ against 0\.\d+ of a small model of 2025-01-11 to 2025-01-30 on the same 1000 rows/,
    );
    const [decision] = await catalog.decisions(model);
    expect(decision?.considered).toEqual([
      { trigger: 'behind_probe', state: 'quiet', reason: expect.stringContaining('on average of 1 cohort') },
    ]);
  } finally {
    await connection.close();
    await almanac.close();
    await rm(root, { recursive: true, force: true });
  }
});
