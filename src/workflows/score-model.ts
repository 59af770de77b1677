import { ActivityFailure, ApplicationFailure } from '@temporalio/common';
import { CancellationScope, isCancellation } from '@temporalio/workflow';
import { workflowId } from '../domain/ids.ts';
import { inParallel } from '../domain/in-parallel.ts';
import { firstRequest } from '../domain/job.ts';
import { endOfPartition } from '../domain/time.ts';
import { delegate, nominalPartition, nominalTime } from './business-id.ts';
import type { ScoreInput, ScoreResult } from './inputs.ts';
import { control, data, scoring } from './proxies.ts';
import { trackStage } from './stage.ts';

/** Activities of one job: six events each keep its history well under 4,096, whatever the size of the partition. */
const batchesMax = 500;
const windowDefault = 8;

/** Scores one partition: plan, chunks in a bounded window, audit, and one commit that makes all of it visible or nothing. */
export async function scoreModel(input: ScoreInput): Promise<ScoreResult> {
  const { model } = input;
  const partition = input.partition ?? nominalPartition();
  const asOf = input.asOf ?? endOfPartition(partition) ?? nominalTime();
  const stage = trackStage({ model, partition });
  const request = input.request ?? firstRequest;
  const generation = input.generation ?? (await control.requestGeneration({ model, partition, request }));
  const job = { model, partition, generation };
  const delegated = await delegate('scoreModel', workflowId.score(model, partition, generation), {
    ...input,
    ...job,
    asOf,
  });
  if (delegated !== null) return delegated;

  let planDigest: string | null = null;
  try {
    stage.enter('planning', { partition, generation, asOf });
    const plan = await data.planScoring({ ...job, asOf });
    planDigest = plan.plan;

    const batches = Math.min(plan.chunks, batchesMax);
    stage.enter('scoring', { rows: plan.rows, chunks: plan.chunks, versions: plan.versions.join(', ') });
    const scored = await inParallel(Array(batches).keys(), input.window ?? windowDefault, index =>
      scoring.scoreChunks({ plan: plan.plan, ...batchRange(plan.chunks, batches, index) }),
    );

    stage.enter('auditing');
    const audited = await data.auditJob({ plan: plan.plan, receipts: scored.map(batch => batch.receipts) });
    if (audited.kind === 'blocked') {
      const { reasons, digest } = audited.evidence;
      stage.enter('blocked by the data', { evidence: digest }, reasons.join('; '));
      return { kind: 'blocked', reasons };
    }
    const committed = await data.commitJob({ plan: plan.plan, manifest: audited.manifest });
    if (committed.kind === 'fenced') {
      stage.enter('fenced', {}, committed.reason);
      return { kind: 'fenced', reasons: [committed.reason] };
    }

    await control.announceJob({ model, partition, versions: committed.versions });
    if (plan.monitorAfterScore) {
      const monitor = { type: 'monitorModel', workflowId: workflowId.monitor(model, partition) } as const;
      await control.startWorkflow({ ...monitor, input: { model, partition } });
    }
    stage.enter('committed', { tableVersion: committed.tableVersion, rowsCommitted: committed.rows });
    const { rows, tableVersion, versions } = committed;
    return { kind: 'committed', rows, tableVersion, versions };
  } catch (error) {
    const outcome = isCancellation(error) ? 'cancelled' : 'failed';
    const reason = rootMessage(error);
    stage.enter(outcome, {}, reason);
    await CancellationScope.nonCancellable(() =>
      control.recordJobFailure({ ...job, plan: planDigest, outcome, reason }),
    );
    throw error;
  }
}

/** Chunks [from, to) of one of `batches` batches, as even as can be. */
function batchRange(chunks: number, batches: number, index: number): { from: number; to: number } {
  return { from: Math.floor((index * chunks) / batches), to: Math.floor(((index + 1) * chunks) / batches) };
}

function rootMessage(error: unknown): string {
  if (error instanceof ActivityFailure && error.cause !== undefined) return rootMessage(error.cause);
  if (error instanceof ApplicationFailure) return error.message;
  return error instanceof Error ? error.message : String(error);
}
