/** A job: the scoring of one partition, `(model, partition, generation)`; a re-score is the next generation. */

export type JobEvent =
  /** A generation number was given out. */
  | {
      readonly kind: 'requested';
      readonly partition: string;
      readonly generation: number;
      /** What asked for it; the same request gets the same generation however often it asks. */
      readonly request: string;
    }
  | {
      readonly kind: 'ended';
      readonly partition: string;
      readonly generation: number;
      readonly outcome: JobOutcome;
      /** Digest of the plan; null when it failed before there was one. */
      readonly plan: string | null;
      /** Digest of what was published; absent unless committed, and in logs from before it was kept. */
      readonly manifest?: string;
      /** Version of the predictions table; null unless committed. */
      readonly tableVersion: number | null;
      readonly rows: number;
      readonly modelVersions: readonly number[];
      /** Digests of the profiles of inputs and predictions. */
      readonly profiles: readonly string[];
      readonly reason: string;
    };

export type JobOutcome = 'committed' | 'fenced' | 'failed' | 'blocked' | 'cancelled';

export interface Job {
  readonly partition: string;
  readonly generation: number;
  readonly request: string;
  /** Null while it runs. */
  readonly ended: Extract<JobEvent, { kind: 'ended' }> | null;
}

/** All jobs of a model in the order they were requested; a later end of the same job replaces the former. */
export function foldJobs(events: readonly JobEvent[]): readonly Job[] {
  const jobs = new Map<string, Job>();
  for (const event of events) {
    const name = `${event.partition}/g${event.generation}`;
    const { partition, generation } = event;
    const before = jobs.get(name) ?? { partition, generation, request: '', ended: null };
    jobs.set(name, event.kind === 'requested' ? { ...before, request: event.request } : { ...before, ended: event });
  }
  return [...jobs.values()];
}

/** The request of a partition that is to be scored once, whoever asks. */
export const firstRequest = 'first';

/** The generation this request has, or the next one of its partition. `decided` is the highest the table knows. */
export function generationFor(
  events: readonly JobEvent[],
  asked: { readonly partition: string; readonly request: string; readonly decided: number },
): { readonly generation: number; readonly isNew: boolean } {
  let highest = asked.decided;
  for (const event of events) {
    if (event.partition !== asked.partition) continue;
    if (event.kind === 'requested' && event.request === asked.request)
      return { generation: event.generation, isNew: false };
    highest = Math.max(highest, event.generation);
  }
  // Scored under an explicit generation, or before this log began: the partition has its first score already.
  if (asked.request === firstRequest && highest > 0) return { generation: highest, isNew: false };
  return { generation: highest + 1, isNew: true };
}
