import { ApplicationFailure } from '@temporalio/common';
import { workflowId } from '../domain/ids.ts';
import { delegate, nominalTime, nominalTrigger } from './business-id.ts';
import type { TrainInput, TrainResult } from './inputs.ts';
import { control, data, training } from './proxies.ts';
import { trackStage } from './stage.ts';

/**
 * Freezes a snapshot, profiles and validates it, trains, records the run, registers the version, judges it against the
 * champion, and asks for its promotion when it qualifies.
 */
export async function trainModel(input: TrainInput): Promise<TrainResult> {
  const { model } = input;
  const asOf = input.asOf ?? nominalTime();
  const trigger = input.trigger ?? nominalTrigger();
  const run = workflowId.train(model, asOf);
  const stage = trackStage({ model });
  const delegated = await delegate('trainModel', run, { model, asOf, trigger });
  if (delegated !== null) return delegated;

  // What the training is about, pinned once.
  stage.enter('freezing the snapshot', { asOf, trigger });
  const { definition } = await control.pinDefinition({ model });
  const plan = { model, definition, asOf, run, trigger };
  const snapshot = await data.freezeSnapshot(plan);

  // The data is judged before anything learns from it.
  stage.enter('validating the data', {
    rows: snapshot.rows,
    train: rangeText(snapshot.train),
    holdout: rangeText(snapshot.holdout),
  });
  const trainingData = await data.buildTrainingData({ ...plan, snapshot });
  const validation = await data.validateTrainingData({ ...plan, snapshot, data: trainingData });
  if (validation.verdict === 'fail') {
    stage.enter('blocked by the data', {}, `read evidence ${validation.digest}: ${validation.reasons.join('; ')}`);
    return { kind: 'blocked', evidence: validation.digest, reasons: validation.reasons };
  }

  stage.enter('training', { trainingRows: trainingData.rows });
  const trained = await training.trainVersion({ ...plan, snapshot, data: trainingData });

  stage.enter('judging the version', { version: trained.version, bundle: trained.bundle });
  const evidence = await training.qualifyVersion({ ...plan, snapshot, version: trained.version });
  const failed = evidence.filter(one => one.verdict === 'fail' || one.verdict === 'insufficient');
  if (failed.length > 0) {
    const reasons = failed.flatMap(one => one.reasons.map(reason => `${one.kind}: ${reason}`));
    stage.enter('not qualified', {}, reasons.join('; '));
    return { kind: 'not_qualified', version: trained.version, reasons };
  }

  const promotion = workflowId.promote(model, trained.version);
  const requestedBy = trigger.startsWith('user:') ? trigger.slice('user:'.length) : trigger;
  const request = { model, version: trained.version, requestedBy };
  await control.startWorkflow({ type: 'promoteModel', workflowId: promotion, input: request });
  stage.enter('waiting for promotion', { promotion }, `decide on ${promotion}`);
  return { kind: 'qualified', version: trained.version, promotion, evidence: evidence.map(one => one.digest) };
}

function rangeText(range: { from: string; to: string; partitions: number }): string {
  if (range.partitions === 0) throw ApplicationFailure.nonRetryable('a snapshot has an empty range', 'EmptyRange');
  return `${range.from} to ${range.to} (${range.partitions} partitions)`;
}
