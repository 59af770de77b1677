import {
  allHandlersFinished,
  CancellationScope,
  condition,
  defineSignal,
  defineUpdate,
  isCancellation,
  setHandler,
} from '@temporalio/workflow';
import type { OpenedPromotion } from '../activities/types.ts';
import {
  type ApprovalClaim,
  type ApprovalOutcome,
  type ApprovalState,
  approvalOutcome,
  brokenRule,
  decideApproval,
  type JudgedClaim,
  openApproval,
  parseClaim,
} from '../domain/approval.ts';
import { workflowId } from '../domain/ids.ts';
import type { PromotionOutcome } from '../domain/promotion.ts';
import { describeStep, type PlannedStep } from '../domain/rollout.ts';
import { delegate } from './business-id.ts';
import { approvalCard } from './card.ts';
import type { PromoteInput, PromoteResult } from './inputs.ts';
import { control, data } from './proxies.ts';
import { type StageTracker, trackStage } from './stage.ts';

/** For the CLI, which needs no worker to be up. A claim that breaks a rule is recorded as ignored, with the rule. */
export const decideSignal = defineSignal<[claim: unknown]>('decide');
/** For our own commands and pages: a claim that breaks a rule is refused and leaves no trace. */
export const decideUpdate = defineUpdate<ApprovalOutcome, [claim: unknown]>('decide');
/** A doorbell: a job with this version was committed. What counts is read from the catalog. */
export const scoredSignal = defineSignal('scored');

const msPerDay = 86_400_000;
/** A doorbell can be lost; the catalog is looked at this often anyway. */
const watchEveryMs = 3_600_000;
/** The last part of the time to decide in which reminders become escalations. */
const escalationShare = 0.25;

/** Waits for approvals bound to the evidence, rolls the version out step by step, and withdraws it by itself when a trial fails. */
export async function promoteModel(input: PromoteInput): Promise<PromoteResult> {
  const { model, version } = input;
  const promotion = workflowId.promote(model, version);
  const stage = trackStage({ model, version });
  const desk = openDesk(stage);
  let jobsSeen = 0;
  setHandler(scoredSignal, () => {
    jobsSeen += 1;
  });
  const delegated = await delegate('promoteModel', promotion, { ...input });
  if (delegated !== null) return delegated;

  // Gates first: a version that may not be promoted never asks anybody.
  stage.enter('checking gates', { promotion });
  const opened = await control.openPromotion({ model, version, promotion, requestedBy: input.requestedBy ?? null });
  const end = async (outcome: PromotionOutcome, reason: string) => {
    await control.endPromotion({ model, promotion, outcome, reason });
    await condition(allHandlersFinished);
    stage.enter(outcome, { reason });
  };
  if (opened.held.length > 0) {
    const reason = opened.held.join('; ');
    await end('failed', reason);
    return { kind: 'held', version, reason };
  }

  try {
    const outcome = await awaitApprovals(model, desk, opened, stage);
    if (outcome.kind === 'rejected') {
      const reason = `rejected by ${outcome.by}${outcome.comment === '' ? '' : `: ${outcome.comment}`}`;
      await end('rejected', reason);
      return { kind: 'rejected', version, reason };
    }
    if (outcome.kind === 'waiting') {
      const reason = `no decision until ${opened.expiresAt}: ${outcome.missing} of ${opened.gate.approvals} approvals were missing`;
      await end('expired', reason);
      return { kind: 'expired', version, reason };
    }

    // Approved: one step after the other, each verified against the log at the moment it is made.
    for (const planned of opened.rollout) {
      stage.enter(`rolling out: ${describeStep(planned.step)}`, { approvedBy: outcome.by.join(', ') });
      const step = { model, version, promotion, subjectDigest: opened.gate.subjectDigest, planned, outcome };
      const applied = await control.applyRolloutStep({ ...step, expectedChampion: opened.champion });
      if (applied.kind === 'refused') {
        await end(applied.outcome, applied.reason);
        return { kind: applied.outcome, version, reason: applied.reason };
      }
      if (planned.partitions === 0) continue;
      const failure = await watchTrial(input, planned, applied.entry, () => jobsSeen);
      if (failure !== null) {
        await control.endTrial({ model, promotion, reason: failure });
        await end('rolled_back', failure);
        return { kind: 'rolled_back', version, reason: failure };
      }
    }
    const by = outcome.by.length === 0 ? 'no approval was needed' : `approved by ${outcome.by.join(', ')}`;
    await end('promoted', by);
    return { kind: 'promoted', version, approvedBy: outcome.by };
  } catch (error) {
    if (!isCancellation(error)) throw error;
    // A cancelled promotion leaves nothing on trial.
    await CancellationScope.nonCancellable(async () => {
      await control.endTrial({ model, promotion, reason: 'the promotion was cancelled' });
      await end('failed', 'the promotion was cancelled');
    });
    throw error;
  }
}

/** Takes claims from the first moment on; those that come before the gate is open wait for it. */
interface Desk {
  open(opened: OpenedPromotion): void;
  readonly outcome: () => ApprovalOutcome;
  /** Judged claims that are not in the promotion log yet. */
  readonly unrecorded: JudgedClaim[];
}

function openDesk(stage: StageTracker): Desk {
  let opened: OpenedPromotion | null = null;
  let approval: ApprovalState | null = null;
  const early: ApprovalClaim[] = [];
  const unrecorded: JudgedClaim[] = [];

  const take = (claim: ApprovalClaim) => {
    if (approval === null || opened === null) {
      early.push(claim);
      return;
    }
    const before = approval;
    const { state, judged } = decideApproval(before, claim);
    approval = state;
    if (state.claims.length > before.claims.length) unrecorded.push(judged);
    stage.show(approvalCard(opened, approval));
  };
  const takeMalformed = (problem: string) => {
    const gate = approval?.gate;
    const claim = { promotion: gate?.promotion ?? '', subjectDigest: '', decision: 'reject', approver: '?' } as const;
    unrecorded.push({ ...claim, comment: '', ignored: `not a decision: ${problem}` });
  };

  setHandler(
    decideSignal,
    value => {
      const claim = parseClaim(value);
      if ('problem' in claim) takeMalformed(claim.problem);
      else take(claim);
    },
    { description: 'Approve or reject: {promotion, subjectDigest, decision, approver, comment}' },
  );
  setHandler(
    decideUpdate,
    value => {
      const claim = parseClaim(value);
      if (!('problem' in claim)) take(claim);
      return approval === null ? { kind: 'waiting', missing: 0 } : approvalOutcome(approval);
    },
    {
      description: 'As the signal, but a broken rule is answered at once',
      validator: value => {
        const claim = parseClaim(value);
        if ('problem' in claim) throw new Error(claim.problem);
        if (approval === null) throw new Error('the gates are still being checked: try again in a moment');
        const broken = brokenRule(approval, claim);
        if (broken !== null) throw new Error(broken);
      },
    },
  );
  return {
    open: promotion => {
      opened = promotion;
      approval = openApproval(promotion.gate);
      stage.show(approvalCard(promotion, approval));
      for (const claim of early.splice(0)) take(claim);
    },
    outcome: () => (approval === null ? { kind: 'waiting', missing: 0 } : approvalOutcome(approval)),
    unrecorded,
  };
}

/** Until enough have approved, one has rejected, or time is over; reminders on the way. */
async function awaitApprovals(
  model: string,
  desk: Desk,
  opened: OpenedPromotion,
  stage: StageTracker,
): Promise<ApprovalOutcome> {
  const { promotion } = opened.gate;
  const expiresMs = Date.parse(opened.expiresAt);
  const startedMs = Date.now();
  const escalateMs = expiresMs - (expiresMs - startedMs) * escalationShare;
  let remindMs = startedMs + opened.remindDays * msPerDay;
  desk.open(opened);
  stage.enter('awaiting approval', { promotion, expires: opened.expiresAt }, 'approve or reject, as shown below');
  stage.deadline(opened.expiresAt);
  for (;;) {
    for (const claim of desk.unrecorded.splice(0)) await control.recordApproval({ model, claim });
    if (desk.unrecorded.length > 0) continue;
    const outcome = desk.outcome();
    if (outcome.kind !== 'waiting' || Date.now() >= expiresMs) return outcome;
    const wakeMs = Math.max(1, Math.min(expiresMs, remindMs) - Date.now());
    const isWoken = () => desk.unrecorded.length > 0 || desk.outcome().kind !== 'waiting';
    if (await condition(isWoken, wakeMs)) continue;
    if (Date.now() < expiresMs) {
      const reminder = Date.now() >= escalateMs ? 'escalation' : 'reminder';
      await control.remindApprovers({ model, promotion, stage: reminder, waitingFor: outcome.missing });
      remindMs += opened.remindDays * msPerDay;
    }
  }
}

/** Null when the trial ended well, else why it did not. */
async function watchTrial(
  input: PromoteInput,
  planned: PlannedStep,
  sinceEntry: number,
  jobsSeen: () => number,
): Promise<string | null> {
  const { model, version } = input;
  const promotion = workflowId.promote(model, version);
  for (;;) {
    const seen = jobsSeen();
    const watch = await data.watchTrial({ model, version, planned, sinceEntry });
    if (watch.kind === 'waiting') {
      await condition(() => jobsSeen() > seen, watchEveryMs);
      continue;
    }
    const evidence = watch.evidence.map(one => one.digest);
    const { index, step } = planned;
    await control.recordTrial({ model, promotion, index, step, outcome: watch.kind, evidence });
    return watch.kind === 'failed' ? watch.reason : null;
  }
}
