/** The checks: profiles and recorded evidence in, check results out. Pure; nothing here touches rows, files or clocks. */
export type { VolumeWindow } from './arrival.ts';
export { classifyChange, followSubject } from './change.ts';
export { judgeSeparation, type Separation } from './domain-classifier.ts';
export {
  checkDrift,
  checkPredictionDrift,
  type DriftInput,
  type DriftLimits,
  type DriftWindow,
  driftValues,
} from './drift.ts';
export {
  compareWithTruth,
  type EstimateInput,
  type EstimateReference,
  estimateQualityOf,
  estimateReferenceIn,
  isEstimatedMetric,
  judgeEstimateReference,
  scoresOfProfile,
  unknownShareOf,
} from './estimate.ts';
export { type EvaluationInput, judgeChallenger } from './evaluation.ts';
export { type FollowOptions, followIncidents } from './follow.ts';
export { type CohortArrivals, judgeArrivals, judgeWindowArrival, recordedArrivals } from './label-arrival.ts';
export { checkLabelLeakage, checkSplit, checkTemporalLeakage, type SplitFacts, type TemporalFacts } from './leakage.ts';
export { judgeProbe, type ProbeInput } from './probe.ts';
export { aucOfHistogram, judgeQuality, type QualityInput } from './quality.ts';
export { byUrgency, checkResult } from './result.ts';
export { directionOf, isQualityMetric, measureQuality, type QualityMetric, qualityMetric } from './score-quality.ts';
export { checkDistributionSkew, checkRowSkew, type ServedComparison, type SkewLimits } from './skew.ts';
export { type ValidationInput, validateData } from './validation.ts';
