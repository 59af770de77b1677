/** When the rows of a partition are predicted: what must be known by then, and what may not be. */
import type { ModelDefinition } from './definition.ts';
import { endOfPartition } from './time.ts';

/**
 * When rows of a partition were predicted at the earliest: when the partition is complete, or at the declared time of day
 * after it. Null for partitions that are no dates.
 */
export function predictionTimeOf({ schedules }: ModelDefinition, partition: string): string | null {
  const end = endOfPartition(partition);
  if (end === null || schedules.score === null) return end;
  const { hour, minute } = schedules.score;
  return new Date(Date.parse(end) + (hour * 60 + minute) * 60_000).toISOString();
}
