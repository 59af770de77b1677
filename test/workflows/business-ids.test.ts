/** Business ids are the locks: however often and by whom something is asked for, it happens once. */
import { ScheduleOverlapPolicy } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createControl } from '../../src/activities/control.ts';
import type { Services } from '../../src/activities/services.ts';
import type { Activities } from '../../src/activities/types.ts';
import { taskQueue } from '../../src/domain/ids.ts';
import type { ScoreResult } from '../../src/workflows/inputs.ts';
import { openTestTemporal, recordHistory, type TestTemporal, until } from '../support/temporal.ts';

let temporal: TestTemporal;
beforeAll(async () => {
  temporal = await openTestTemporal();
});
afterAll(async () => await temporal?.close());

/** Scoring whose parts do nothing, with the real start of workflows. */
function scoring(chunks: number) {
  const scored: number[] = [];
  let inFlight = 0;
  let most = 0;
  // `startWorkflow` needs the client alone.
  const { startWorkflow } = createControl({ client: temporal.client } as Services);
  const activities: Partial<Activities> = {
    startWorkflow,
    requestGeneration: async () => 1,
    planScoring: async () => ({ plan: 'p', chunks, rows: chunks, versions: [1], monitorAfterScore: false }),
    scoreChunks: async ({ from, to }) => {
      inFlight += 1;
      most = Math.max(most, inFlight);
      await new Promise(resolve => setTimeout(resolve, 5));
      inFlight -= 1;
      for (let chunk = from; chunk < to; chunk += 1) scored.push(chunk);
      return { receipts: 'r', rows: to - from };
    },
    auditJob: async () => ({
      kind: 'complete',
      manifest: 'm',
      rows: chunks,
      evidence: { digest: 'e', kind: 'data_validation', verdict: 'pass', reasons: [] },
    }),
    commitJob: async () => ({ kind: 'committed', tableVersion: 0, rows: chunks, versions: [1] }),
    announceJob: async () => {},
  };
  return { scored, most: () => most, activities };
}

test('one tick of a schedule fired twice and a start by hand are one job', async () => {
  const { activities, scored } = scoring(3);
  await temporal.withWorkers(activities, async () => {
    const { client } = temporal;
    const schedule = await client.schedule.create({
      scheduleId: 'almanac/churn/score',
      spec: { calendars: [{ hour: 2, minute: 0 }] },
      action: {
        type: 'startWorkflow',
        workflowType: 'scoreModel',
        workflowId: 'schedule/churn',
        taskQueue: taskQueue.control,
        args: [{ model: 'churn' }],
      },
      state: { paused: true },
    });
    const tick = {
      start: new Date('2026-03-02T01:59:30Z'),
      end: new Date('2026-03-02T02:00:30Z'),
      overlap: ScheduleOverlapPolicy.ALLOW_ALL,
    };
    await schedule.backfill([tick]);
    await schedule.backfill([tick]);
    const byHand = await client.workflow.execute<(input: object) => Promise<ScoreResult>>('scoreModel', {
      taskQueue: taskQueue.control,
      workflowId: 'by-hand',
      args: [{ model: 'churn', partition: '2026-03-01' }],
    });
    expect(byHand).toMatchObject({ kind: 'delegated', workflowId: 'score/churn/2026-03-01/g1' });
    const job = client.workflow.getHandle('score/churn/2026-03-01/g1');
    expect(await job.result()).toMatchObject({ kind: 'committed', rows: 3 });
    await recordHistory(temporal, job.workflowId, 'score-three-chunks');
    await recordHistory(temporal, 'by-hand', 'score-delegated');
    const query = "WorkflowType = 'scoreModel' AND ExecutionStatus = 'Completed'";
    // Two ticks (the server may fold them into one), the start by hand, and the one job.
    await until(async () => (await client.workflow.count(query)).count >= 3);
  });
  expect(scored.sort()).toEqual([0, 1, 2]);
});

test('a job of many chunks keeps its window and its history small', async () => {
  const { activities, scored, most } = scoring(5_000);
  await temporal.withWorkers(activities, async () => {
    const handle = await temporal.client.workflow.start('scoreModel', {
      taskQueue: taskQueue.control,
      workflowId: 'score/churn/2026-03-05/g1',
      args: [{ model: 'churn', partition: '2026-03-05', generation: 1, window: 4 }],
    });
    await handle.result();
    const { events } = await handle.fetchHistory();
    expect(events?.length ?? 0).toBeLessThan(4_096);
  });
  expect(scored).toHaveLength(5_000);
  expect(new Set(scored).size).toBe(5_000);
  expect(most()).toBeLessThanOrEqual(4);
});
