/** A version in the shadow: it answers the champion's rows, and how far its answers are from the champion's decides. */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { expect, test } from 'vitest';
import { openAlmanac } from '../../src/cli/up.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type { ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import { approveTrained, catalogOf, makeLateProject, makeWorld, model, start } from '../support/late-project.ts';

test('a trial compares the answers of champion and shadow on the same rows', { timeout: 600_000 }, async () => {
  const root = await mkdtemp(join(tmpdir(), 'almanac-shadow-'));
  await makeWorld(root);
  const project = makeLateProject(root, 'project');
  const file = join(project.folder, 'models', `${model}.yaml`);
  const yaml = readFileSync(file, 'utf8').replace('rollout: [direct]', 'rollout: [{ shadow: 1 }]');
  writeFileSync(file, yaml);
  const almanac = await openAlmanac(project, { log: () => {}, ui: false });
  const connection = await Connection.connect(almanac.server.target.connection);
  try {
    const client = new Client({ connection });
    await start<TrainResult>(client, 'trainModel', workflowId.train(model, '2025-01-31'), {
      model,
      asOf: '2025-01-31',
    });
    await approveTrained(client, project, '2025-01-31');
    const asOf = '2025-02-07';
    await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
    const promoted = approveTrained(client, project, asOf);
    const catalog = catalogOf(project);
    while ((await catalog.deployment(model)).shadow === null) await new Promise(done => setTimeout(done, 200));
    const partition = '2025-02-08';
    const id = workflowId.score(model, partition, 1);
    const job = await start<ScoreResult>(client, 'scoreModel', id, { model, partition, generation: 1 });
    expect(await job.result()).toMatchObject({ kind: 'committed', versions: [1, 2] });
    expect(await promoted).toBe(2);

    const { scorer } = await catalog.version(model, 1);
    expect(scorer).toMatchObject({ scorer: 'trees', reason: expect.stringMatching(/compared with ONNX Runtime/) });
    expect(scorer!.compared!.rows).toBeGreaterThan(1_024);
    expect(scorer!.compared!.largestDifference).toBeLessThanOrEqual(scorer!.compared!.tolerance);

    const [entry] = await catalog.evidenceList(model, { kind: 'shadow' });
    const { checks } = await catalog.evidence(entry?.digest ?? '');
    const found = (name: string) => checks.find(({ check }) => check === name);
    expect(found('trial_rows')).toMatchObject({ status: 'pass', value: 0, rows: 1_000 });
    expect(found('trial_distribution')).toMatchObject({ status: 'pass', rows: 1_000 });
    expect(found('trial_distribution')?.details['heldOut']).toBeGreaterThan(0);
    expect(found('trial_distribution')?.reason).toMatch(
      /on the held-out rows\); \d+(\.\d+)? % of the decisions are others/,
    );
  } finally {
    await connection.close();
    await almanac.close();
    await rm(root, { recursive: true, force: true });
  }
});
