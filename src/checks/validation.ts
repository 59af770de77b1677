/** Data validation: every check that a contract, a reference and the accepted past allow, in one list. */
import type { Contract } from '../domain/contract.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Baseline, Profile } from '../domain/profile.ts';
import { checkMissingAgainstReference, checkOutliers, checkUnseen } from './against-reference.ts';
import { checkFreshness, checkFutureRows, checkKeys, checkRules, checkVolume, type VolumeWindow } from './arrival.ts';
import { checkSchema, checkTimeZones, checkTypes } from './schema.ts';
import { checkAllowedValues, checkFinite, checkMissing, checkRanges, checkUnique } from './values.ts';

export interface ValidationInput {
  readonly contract: Contract;
  readonly profile: Profile;
  /** The profile of the training snapshot on the same baseline; null before the first training. */
  readonly reference: Profile | null;
  readonly baseline: Baseline | null;
  /** Earlier windows; only the accepted ones teach. */
  readonly history: readonly VolumeWindow[];
  /** Nominal time of the run, ISO UTC. */
  readonly asOf: string;
  /** Declared largest age of the newest event; null learns it from the history. */
  readonly maxAgeHours?: number | null;
}

/**
 * Judges a table by its profile. Never throws for what the data holds: a check that fails itself answers `error` for its
 * column. Without a reference the comparisons with it are left out, not passed.
 */
export function validateData(input: ValidationInput): CheckResult[] {
  const { contract, profile, reference, baseline, history, asOf } = input;
  const comparable = reference !== null && reference.baseline === profile.baseline ? reference : null;
  return [
    ...checkSchema(contract, profile),
    ...checkTypes(contract, profile),
    ...checkTimeZones(contract, profile),
    ...checkRanges(contract, profile, baseline),
    ...checkFinite(contract, profile),
    ...checkMissing(contract, profile),
    ...checkUnique(contract, profile),
    ...checkAllowedValues(contract, profile, baseline),
    ...checkKeys(contract, profile),
    ...checkRules(contract, profile),
    ...checkFreshness(contract, profile, history, asOf, input.maxAgeHours ?? null),
    ...checkFutureRows(contract, profile),
    ...checkVolume(profile, history),
    ...(reference === null ? [] : checkMissingAgainstReference(contract, profile, reference)),
    ...(comparable === null ? [] : checkUnseen(contract, profile, comparable)),
    ...(comparable === null || baseline === null ? [] : checkOutliers(contract, profile, comparable, baseline)),
  ];
}
