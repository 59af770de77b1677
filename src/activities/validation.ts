/** Judging a training set before anything learns from it: against its contract, and for facts from after the prediction. */
import { validateData } from '../checks/validation.ts';
import { recordEvidence } from './evidence.ts';
import { leakageChecks } from './leakage.ts';
import { beating, type Work } from './long.ts';
import type { Services } from './services.ts';
import { instantOf } from './snapshot.ts';
import type { DataActivities, EvidenceSummary, FrozenSnapshot, TrainingData, TrainingPlan } from './types.ts';

export function createValidation(services: Services): Pick<DataActivities, 'validateTrainingData'> {
  return {
    validateTrainingData: input => beating(work => validateTrainingData(services, input, work)),
  };
}

/** The training set against its contract, then for leakage; the evidence that blocks, or else that of the contract. */
async function validateTrainingData(
  services: Services,
  input: TrainingPlan & { snapshot: FrozenSnapshot; data: TrainingData },
  work: Work,
): Promise<EvidenceSummary> {
  const { catalog } = services;
  const { model, asOf, run, snapshot, data } = input;
  const { contract: declared } = await catalog.definition(input.definition);
  // A training set joins many partitions: its keys repeat from day to day, and its times are the partitions' own.
  const contract = { ...declared, keys: [], eventTime: null, knownAt: null };
  const time = instantOf(asOf);
  const about = {
    model,
    subject: { run, snapshot: snapshot.features },
    baseline: data.baseline,
    asOf: time,
  };
  const checks = validateData({
    contract,
    profile: await catalog.profile(data.profile),
    reference: null,
    baseline: await catalog.baseline(data.baseline),
    history: [],
    asOf: time,
  });
  const validated = await recordEvidence(services, { kind: 'data_validation', ...about, checks });
  const leaks = await leakageChecks(services, input, work);
  const leakage = await recordEvidence(services, { kind: 'leakage', ...about, checks: leaks });
  return validated.verdict !== 'fail' && leakage.verdict === 'fail' ? leakage : validated;
}
