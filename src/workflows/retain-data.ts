import { workflowId } from '../domain/ids.ts';
import { dateOf } from '../domain/time.ts';
import { delegate, nominalTime } from './business-id.ts';
import type { RetainInput, RetainResult } from './inputs.ts';
import { control, data } from './proxies.ts';
import { trackStage } from './stage.ts';

/** Deletes files of superseded generations whose time is over, and files that no attempt will ever decide about. */
export async function retainData(input: RetainInput): Promise<RetainResult> {
  const { model } = input;
  const date = input.date ?? dateOf(nominalTime());
  const stage = trackStage({ model });
  const delegated = await delegate('retainData', workflowId.retain(model, date), { model, date });
  if (delegated !== null) return delegated;

  stage.enter('deleting superseded files', { date });
  const { definition } = await control.pinDefinition({ model });
  const retained = await data.retainPredictions({ definition, date });
  stage.enter('done', { ...retained });
  return { kind: 'retained', ...retained };
}
