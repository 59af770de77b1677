import { workflowId } from '../domain/ids.ts';
import { delegate, nominalPartition } from './business-id.ts';
import type { MonitorInput, MonitorResult } from './inputs.ts';
import { control, data } from './proxies.ts';
import { trackStage } from './stage.ts';

/** Judges drift of a scored partition and the quality of those whose labels are mature by now, decides, and retrains if it must. */
export async function monitorModel(input: MonitorInput): Promise<MonitorResult> {
  const { model } = input;
  const partition = input.partition ?? nominalPartition();
  const stage = trackStage({ model, partition });
  const delegated = await delegate('monitorModel', workflowId.monitor(model, partition), { model, partition });
  if (delegated !== null) return delegated;

  stage.enter('judging drift', { partition });
  const { definition } = await control.pinDefinition({ model });
  const drift = await data.judgeDrift({ model, partition, definition });

  stage.enter('judging quality');
  const quality = await data.judgeQuality({ model, partition, definition });

  const evidence = [...drift, ...quality].map(one => one.digest);
  const decision = await data.decideRetraining({ model, partition, definition, evidence });
  const facts = { decision: decision.conclusion, reason: decision.reason };
  if (decision.conclusion === 'rollback') {
    const entry = await control.nextDeploymentEntry({ model });
    const rollback = { model, entry, requestedBy: 'almanac', reason: decision.reason };
    await control.startWorkflow({
      type: 'rollbackModel',
      workflowId: workflowId.rollback(model, entry),
      input: rollback,
    });
  }
  if (decision.conclusion !== 'retrain') {
    stage.enter('decided', facts);
    return { kind: 'decided', conclusion: decision.conclusion, reason: decision.reason, evidence, training: null };
  }
  const training = workflowId.train(model, decision.asOf);
  const trainInput = { model, asOf: decision.asOf, trigger: `decision:${decision.decision}` };
  await control.startWorkflow({ type: 'trainModel', workflowId: training, input: trainInput });
  stage.enter('decided', { ...facts, training });
  return { kind: 'decided', conclusion: 'retrain', reason: decision.reason, evidence, training };
}
