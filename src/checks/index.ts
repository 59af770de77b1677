/** The checks: profiles and recorded evidence in, check results out. Pure; nothing here touches rows, files or clocks. */
export type { VolumeWindow } from './arrival.ts';
export { classifyChange, followSubject } from './change.ts';
export {
  checkDrift,
  checkPredictionDrift,
  type DriftInput,
  type DriftLimits,
  type DriftWindow,
  driftValues,
} from './drift.ts';
export { type FollowOptions, followIncidents } from './follow.ts';
export { byUrgency, checkResult } from './result.ts';
export { type ValidationInput, validateData } from './validation.ts';
