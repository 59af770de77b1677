/** Promotions on a real server; the catalog behind the activities is a stand-in with the real types. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Activities, OpenedPromotion } from '../../src/activities/types.ts';
import type { JudgedClaim } from '../../src/domain/approval.ts';
import type { RolloutStep } from '../../src/domain/definition.ts';
import { noDeployment } from '../../src/domain/deployment.ts';
import { taskQueue, workflowId } from '../../src/domain/ids.ts';
import { planRollout } from '../../src/domain/rollout.ts';
import type { PromoteResult } from '../../src/workflows/inputs.ts';
import { openTestTemporal, recordHistory, type TestTemporal, until } from '../support/temporal.ts';

let temporal: TestTemporal;
beforeAll(async () => {
  temporal = await openTestTemporal();
});
afterAll(async () => await temporal?.close());

const digest = 'd'.repeat(64);

interface Desk {
  readonly recorded: JudgedClaim[];
  readonly ended: string[];
  readonly applied: number[];
  readonly reminders: string[];
  readonly activities: Partial<Activities>;
}

function openDesk(
  version: number,
  options: { expiresInMs?: number; rollout?: readonly RolloutStep[]; trial?: 'passed' | 'failed' } = {},
): Desk {
  const promotion = workflowId.promote('churn', version);
  const served = { version, bundle: 'b' };
  const before =
    options.rollout === undefined ? noDeployment : { ...noDeployment, champion: { version: 1, bundle: 'a' } };
  const opened: OpenedPromotion = {
    gate: {
      promotion,
      subjectDigest: digest,
      requestedBy: 'ana',
      approvers: ['group:risk'],
      approvals: 1,
      fourEyes: true,
      people: { ana: ['risk'], ben: ['risk'] },
    },
    held: [],
    evidence: [],
    rows: [{ what: 'auc', challenger: '0.81', champion: '0.78', limit: '0.7', verdict: 'pass' }],
    champion: before.champion?.version ?? null,
    served,
    rollout: planRollout(options.rollout ?? [], served, before),
    expiresAt: new Date(Date.now() + (options.expiresInMs ?? 3_600_000)).toISOString(),
    remindDays: 1,
    command: 'temporal',
  };
  const recorded: JudgedClaim[] = [];
  const ended: string[] = [];
  const applied: number[] = [];
  const reminders: string[] = [];
  const activities: Partial<Activities> = {
    openPromotion: async () => opened,
    recordApproval: async ({ claim }) => void recorded.push(claim),
    remindApprovers: async ({ stage }) => void reminders.push(stage),
    applyRolloutStep: async ({ planned }) => {
      applied.push(planned.index);
      return { kind: 'applied', entry: applied.length - 1, state: before };
    },
    watchTrial: async () => ({ kind: options.trial ?? 'passed', evidence: [], reason: 'the shadow fails' }),
    recordTrial: async () => {},
    endTrial: async ({ reason }) => void ended.push(`trial: ${reason}`),
    endPromotion: async ({ outcome, reason }) => void ended.push(`${outcome}: ${reason}`),
  };
  return { recorded, ended, applied, reminders, activities };
}

const start = (version: number) =>
  temporal.client.workflow.start<(input: object) => Promise<PromoteResult>>('promoteModel', {
    taskQueue: taskQueue.control,
    workflowId: workflowId.promote('churn', version),
    args: [{ model: 'churn', version }],
  });
const claim = (version: number, approver: string, decision: 'approve' | 'reject' = 'approve') => ({
  promotion: workflowId.promote('churn', version),
  subjectDigest: digest,
  decision,
  approver,
  comment: 'looked at it',
});

test('a signal by the CLI promotes; one that breaks a rule is recorded with the rule', async () => {
  const desk = openDesk(11);
  await temporal.withWorkers(desk.activities, async () => {
    const handle = await start(11);
    await handle.signal('decide', claim(11, 'zoe'));
    await handle.signal('decide', { nonsense: true });
    const { executable, target } = temporal.server;
    const argv = ['workflow', 'signal', '--address', target.address, '--workflow-id', handle.workflowId];
    await promisify(execFile)(executable ?? 'temporal', [
      ...argv,
      '--name',
      'decide',
      '--input',
      JSON.stringify(claim(11, 'ben')),
    ]);
    expect(await handle.result()).toEqual({ kind: 'promoted', version: 11, approvedBy: ['ben'] });
    await recordHistory(temporal, handle.workflowId, 'promote-approved-by-signal');
  });
  const rules = desk.recorded.map(({ approver, ignored }) => [approver, ignored]);
  expect(rules).toContainEqual(['ben', null]);
  expect(rules).toContainEqual(['zoe', expect.stringMatching(/not among the people/)]);
  expect(rules).toContainEqual(['?', expect.stringMatching(/not a decision/)]);
  expect(desk.applied).toEqual([0]);
  expect(desk.ended).toEqual(['promoted: approved by ben']);
});

test('an update that breaks a rule is refused with the rule and leaves nothing in the history', async () => {
  const desk = openDesk(12);
  await temporal.withWorkers(desk.activities, async () => {
    const handle = await start(12);
    await until(async () => (await handle.query<{ stage: string }>('status')).stage === 'awaiting approval');
    const refused = handle.executeUpdate('decide', { args: [claim(12, 'ana')] });
    await expect(refused).rejects.toThrow(WorkflowUpdateFailedError);
    const outcome = await handle.executeUpdate('decide', { args: [claim(12, 'ben', 'reject')] });
    expect(outcome).toEqual({ kind: 'rejected', by: 'ben', comment: 'looked at it' });
    expect(await handle.result()).toMatchObject({ kind: 'rejected', reason: 'rejected by ben: looked at it' });
    await recordHistory(temporal, handle.workflowId, 'promote-rejected-by-update');
    const { events } = await handle.fetchHistory();
    expect(events?.filter(event => event.workflowExecutionUpdateAcceptedEventAttributes)).toHaveLength(1);
  });
  expect(desk.recorded.map(({ approver }) => approver)).toEqual(['ben']);
  expect(desk.applied).toEqual([]);
});

test('nobody decides: it expires', async () => {
  const desk = openDesk(13, { expiresInMs: 1_500 });
  await temporal.withWorkers(desk.activities, async () => {
    const handle = await start(13);
    expect(await handle.result()).toMatchObject({ kind: 'expired' });
    await recordHistory(temporal, handle.workflowId, 'promote-expired');
  });
  expect(desk.ended[0]).toMatch(/^expired: no decision until .* 1 of 1 approvals were missing/);
});

test('the page shows the evidence and the exact line to paste', async () => {
  const desk = openDesk(14);
  await temporal.withWorkers(desk.activities, async () => {
    const handle = await start(14);
    await until(async () => (await handle.query<{ stage: string }>('status')).stage === 'awaiting approval');
    const metadata = await handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata');
    const page = metadata.currentDetails ?? '';
    expect(page).toContain('| auc | 0.81 | 0.78 | 0.7 | pass |');
    const input = JSON.stringify({ ...claim(14, 'YOU'), comment: '' });
    expect(page).toContain(
      `temporal workflow signal --workflow-id '${handle.workflowId}' --name decide --input '${input}'`,
    );
    await handle.signal('decide', claim(14, 'ben'));
    await handle.result();
  });
});

test('a trial that fails withdraws the version by itself', async () => {
  const desk = openDesk(15, { rollout: [{ kind: 'shadow', partitions: 2 }], trial: 'failed' });
  await temporal.withWorkers(desk.activities, async () => {
    const handle = await start(15);
    await handle.signal('decide', claim(15, 'ben'));
    expect(await handle.result()).toMatchObject({ kind: 'rolled_back', reason: 'the shadow fails' });
    await recordHistory(temporal, handle.workflowId, 'promote-trial-failed');
  });
  expect(desk.applied).toEqual([0]);
  expect(desk.ended).toEqual(['trial: the shadow fails', 'rolled_back: the shadow fails']);
});

test('shadow, then champion', async () => {
  const desk = openDesk(16, { rollout: [{ kind: 'shadow', partitions: 2 }] });
  await temporal.withWorkers(desk.activities, async () => {
    const handle = await start(16);
    await handle.signal('decide', claim(16, 'ben'));
    expect(await handle.result()).toMatchObject({ kind: 'promoted' });
    await recordHistory(temporal, handle.workflowId, 'promote-shadow-then-champion');
  });
  expect(desk.applied).toEqual([0, 1]);
});
