/** Scored partitions: the newest job of each, what it was planned with, and which of them make up a monitored window. */
import type { Job } from '../domain/job.ts';
import { addDays, isDate } from '../domain/time.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import type { Services } from './services.ts';

/** The newest committed generation of each partition. */
export function newestJobs(jobs: readonly Job[]): ReadonlyMap<string, Job> {
  const newest = new Map<string, Job>();
  for (const job of jobs) {
    if (job.ended?.outcome !== 'committed') continue;
    if ((newest.get(job.partition)?.generation ?? 0) < job.generation) newest.set(job.partition, job);
  }
  return newest;
}

export async function planOf(services: Services, job: Job): Promise<ScoringPlan> {
  return await services.catalog.documents.get<ScoringPlan>('plan', job.ended?.plan ?? '');
}

/** The scored partitions of the window of this many days that ends with `last`; partitions that are no dates are counted. */
export function partitionsOfWindow(scored: readonly string[], last: string, days: number): readonly string[] {
  const earlier = scored.filter(partition => partition <= last).sort();
  return isDate(last)
    ? earlier.filter(partition => isDate(partition) && partition > addDays(last, -days))
    : earlier.slice(-days);
}
