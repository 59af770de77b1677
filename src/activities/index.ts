/** All activities of Almanac; which of them a worker offers is decided by its roles. */
import { createBackfill } from './backfill.ts';
import { createControl } from './control.ts';
import { createEvaluation } from './evaluation.ts';
import { withFailures } from './failures.ts';
import { createMonitoring } from './monitoring.ts';
import { createPromotion } from './promotion.ts';
import { createRetention } from './retention.ts';
import { createScoring } from './scoring.ts';
import type { Services } from './services.ts';
import { createSnapshots } from './snapshot.ts';
import { createTraining } from './training.ts';
import { createTrials } from './trial.ts';
import type { Activities } from './types.ts';
import { createValidation } from './validation.ts';

export function createActivities(services: Services): Activities {
  return withFailures<Activities>({
    ...createControl(services),
    ...createPromotion(services),
    ...createScoring(services),
    ...createBackfill(services),
    ...createSnapshots(services),
    ...createValidation(services),
    ...createMonitoring(services),
    ...createRetention(services),
    ...createTraining(services),
    ...createEvaluation(services),
    ...createTrials(services),
  });
}
