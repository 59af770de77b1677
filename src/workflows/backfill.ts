import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  allHandlersFinished,
  ChildWorkflowCancellationType,
  condition,
  continueAsNew,
  defineSignal,
  executeChild,
  isCancellation,
  ParentClosePolicy,
  setHandler,
  WorkflowIdReusePolicy,
  workflowInfo,
} from '@temporalio/workflow';
import { workflowId } from '../domain/ids.ts';
import { delegate, nominalTime } from './business-id.ts';
import type { BackfillInput, BackfillProgress, BackfillResult, ScoreInput, ScoreResult } from './inputs.ts';
import { control } from './proxies.ts';
import { trackStage } from './stage.ts';

export const setParallelismSignal = defineSignal<[parallelism: number]>('setParallelism');
export const pauseSignal = defineSignal('pause');
export const resumeSignal = defineSignal('resume');

const parallelismMax = 50;
const failuresMaxDefault = 3;
/** Names of partitions fetched from the plan at a time; the whole list stays in the store. */
const sliceSize = 100;
/** 1 is most urgent, 3 the default: scheduled work goes first. */
const priorityKey = 4;

/**
 * Scores many partitions again, each as its next generation: in order, a few at a time, adjustable while it runs. Stops
 * after too many failures, and continues as new between slices so that its history stays small.
 */
export async function backfill(input: BackfillInput): Promise<BackfillResult> {
  const { model } = input;
  const id = input.id ?? nominalTime();
  const stage = trackStage({ model });
  const controls = createControls(input);
  const delegated = await delegate('backfill', workflowId.backfill(model, id), { ...input, id });
  if (delegated !== null) return delegated;

  const range = { model, from: input.from, to: input.to, order: input.order ?? 'oldest_first' };
  const planned = await control.planBackfill(range);
  const failuresMax = input.failuresMax ?? failuresMaxDefault;
  const failed = [...(input.progress?.failed ?? [])];
  let committed = input.progress?.committed ?? 0;
  let next = input.progress?.next ?? 0;
  let running = 0;
  const mayStart = () => !controls.paused && running < controls.parallelism;
  const isStopped = () => failed.length >= failuresMax;

  const scoreOne = async (partition: string) => {
    try {
      const outcome = await scoreAgain(model, partition, `backfill:${id}`);
      if (outcome) committed += 1;
      else failed.push(partition);
    } catch (error) {
      // A cancellation ends the whole backfill at the next wait; a failed partition is counted, not thrown.
      if (!isCancellation(error)) failed.push(partition);
    } finally {
      running -= 1;
    }
  };

  while (next < planned.partitions && !isStopped()) {
    const slice = await control.backfillPartitions({ plan: planned.plan, from: next, count: sliceSize });
    for (const partition of slice) {
      await condition(() => mayStart() || isStopped());
      if (isStopped()) break;
      running += 1;
      next += 1;
      stage.enter('scoring', { next, partitions: planned.partitions, committed, failed: failed.length });
      void scoreOne(partition);
    }
    await condition(() => running === 0);
    if (workflowInfo().continueAsNewSuggested && next < planned.partitions && !isStopped()) {
      await condition(allHandlersFinished);
      const { parallelism, paused } = controls;
      const progress: BackfillProgress = {
        schema: 'backfill/1',
        plan: planned.plan,
        next,
        committed,
        failed,
        parallelism,
        paused,
      };
      await continueAsNew<typeof backfill>({ ...input, id, progress });
    }
  }
  await condition(() => running === 0);
  const kind = isStopped() ? 'stopped' : 'finished';
  stage.enter(kind, { next, committed, failed: failed.join(', ') });
  return { kind, committed, failed, remaining: planned.partitions - next };
}

/** What can be changed while it runs; carried over continue-as-new. */
function createControls(input: BackfillInput): { parallelism: number; paused: boolean } {
  const controls = {
    parallelism: clamp(input.progress?.parallelism ?? input.parallelism ?? 2),
    paused: input.progress?.paused ?? false,
  };
  setHandler(setParallelismSignal, parallelism => {
    if (Number.isFinite(parallelism)) controls.parallelism = clamp(parallelism);
  });
  setHandler(pauseSignal, () => {
    controls.paused = true;
  });
  setHandler(resumeSignal, () => {
    controls.paused = false;
  });
  return controls;
}

/** True when the partition is committed under this request, by this child or by an earlier one. */
async function scoreAgain(model: string, partition: string, request: string): Promise<boolean> {
  const generation = await control.requestGeneration({ model, partition, request });
  try {
    const result = await executeChild<(input: ScoreInput) => Promise<ScoreResult>>('scoreModel', {
      workflowId: workflowId.score(model, partition, generation),
      args: [{ model, partition, generation }],
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
      parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
      cancellationType: ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
      priority: { priorityKey },
    });
    return result.kind === 'committed';
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    return (await control.jobOutcome({ model, partition, generation })) === 'committed';
  }
}

function clamp(parallelism: number): number {
  return Math.max(1, Math.min(parallelismMax, Math.floor(parallelism)));
}
