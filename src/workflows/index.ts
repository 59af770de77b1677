/** The workflow types, under the names that `temporal workflow start --type` takes. Nothing else may be exported here. */
export { backfill } from './backfill.ts';
export { monitorModel } from './monitor-model.ts';
export { promoteModel } from './promote-model.ts';
export { retainData } from './retain-data.ts';
export { rollbackModel } from './rollback-model.ts';
export { scoreModel } from './score-model.ts';
export { trainModel } from './train-model.ts';
