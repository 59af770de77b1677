/**
 * The workflow types, under the names that `temporal workflow start --type` takes. Nothing else may be exported here. One
 * that fails does so with the reason itself, and its page says it.
 */
import { backfill as backfillSteps } from './backfill.ts';
import { monitorModel as monitorModelSteps } from './monitor-model.ts';
import { promoteModel as promoteModelSteps } from './promote-model.ts';
import { retainData as retainDataSteps } from './retain-data.ts';
import { rollbackModel as rollbackModelSteps } from './rollback-model.ts';
import { scoreModel as scoreModelSteps } from './score-model.ts';
import { explained } from './stage.ts';
import { trainModel as trainModelSteps } from './train-model.ts';

export const backfill = explained(backfillSteps);
export const monitorModel = explained(monitorModelSteps);
export const promoteModel = explained(promoteModelSteps);
export const retainData = explained(retainDataSteps);
export const rollbackModel = explained(rollbackModelSteps);
export const scoreModel = explained(scoreModelSteps);
export const trainModel = explained(trainModelSteps);
