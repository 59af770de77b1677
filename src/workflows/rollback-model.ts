import { workflowId } from '../domain/ids.ts';
import { delegate } from './business-id.ts';
import type { RollbackInput, RollbackResult } from './inputs.ts';
import { control } from './proxies.ts';
import { trackStage } from './stage.ts';

/** Restores the champion before the present one, and lists (or scores again) the partitions the withdrawn version scored. */
export async function rollbackModel(input: RollbackInput): Promise<RollbackResult> {
  const { model } = input;
  const stage = trackStage({ model });
  const entry = input.entry ?? (await control.nextDeploymentEntry({ model }));
  const rollback = workflowId.rollback(model, entry);
  const delegated = await delegate('rollbackModel', rollback, { ...input, entry });
  if (delegated !== null) return delegated;

  stage.enter('rolling back');
  const requestedBy = input.requestedBy ?? 'unknown';
  const outcome = await control.rollBack({
    model,
    rollback,
    requestedBy,
    reason: input.reason ?? 'rollback was asked for',
  });
  if (outcome.kind === 'refused') {
    stage.enter('refused', {}, outcome.reason);
    return outcome;
  }
  const { champion, withdrawn } = outcome;
  const affected = await control.listAffected({ model, version: withdrawn });
  let backfill: string | null = null;
  if (input.affected === 'rescore' && affected.from !== null && affected.to !== null) {
    const id = `rollback-${entry}`;
    backfill = workflowId.backfill(model, id);
    const range = { model, id, from: affected.from, to: affected.to };
    await control.startWorkflow({ type: 'backfill', workflowId: backfill, input: range });
  }
  const next =
    affected.count === 0 || backfill !== null
      ? null
      : `score the ${affected.count} affected partitions again with a backfill from ${affected.from} to ${affected.to}`;
  stage.enter('rolled back', { champion, withdrawn, affected: affected.count, backfill }, next);
  return { kind: 'rolled_back', champion, withdrawn, affected: affected.list, affectedCount: affected.count, backfill };
}
