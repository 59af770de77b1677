/** All activities of Almanac; which of them a worker offers is decided by its roles. */
import { createBackfill } from './backfill.ts';
import { createControl } from './control.ts';
import { withFailures } from './failures.ts';
import { createMonitoring } from './monitoring.ts';
import { createPromotion } from './promotion.ts';
import { createRetention } from './retention.ts';
import { createScoring } from './scoring.ts';
import type { Services } from './services.ts';
import { createSnapshots } from './snapshot.ts';

export function createActivities(services: Services) {
  return withFailures({
    ...createControl(services),
    ...createPromotion(services),
    ...createScoring(services),
    ...createBackfill(services),
    ...createSnapshots(services),
    ...createMonitoring(services),
    ...createRetention(services),
  });
}
