/** All activities of Almanac; which of them a worker offers is decided by its roles. */
import { createBackfill } from './backfill.ts';
import { createControl } from './control.ts';
import { withFailures } from './failures.ts';
import { createPromotion } from './promotion.ts';
import { createScoring } from './scoring.ts';
import type { Services } from './services.ts';

export function createActivities(services: Services) {
  return withFailures({
    ...createControl(services),
    ...createPromotion(services),
    ...createScoring(services),
    ...createBackfill(services),
  });
}
