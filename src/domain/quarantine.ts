/** Quarantine: rows that broke a rule, kept apart until somebody repairs them, and the repairs that bring them back. */
import type { Job } from './job.ts';

/** What the table of quarantined rows adds to the keys: which rule, why, and the whole row as JSON. */
export const quarantineColumns = ['almanac_rule', 'almanac_reason', 'almanac_row'] as const;

/** Corrected values of quarantined rows, by key. Kind `repair`. */
export interface Repair {
  readonly schema: 'repair/1';
  readonly model: string;
  readonly partition: string;
  /** Digest of the file: the keys and the columns that changed. */
  readonly artifact: string;
  readonly format: 'parquet' | 'csv' | 'json';
  readonly rows: number;
  readonly repairedBy: string;
}

const prefix = 'repair:';

/** A repair asks for the next generation of its partition; the same file asked twice is the same generation. */
export function repairRequest(digest: string): string {
  return `${prefix}${digest}`;
}

/**
 * Digests of the repairs that a generation of a partition is made with, oldest first: its own and all earlier ones, so that a
 * later score of the partition does not lose them. One whose job failed or was cancelled is left out until it is asked again.
 */
export function repairsFor(
  jobs: readonly Job[],
  { partition, generation }: { readonly partition: string; readonly generation: number },
): readonly string[] {
  return jobs
    .filter(job => job.partition === partition && job.generation <= generation && job.request.startsWith(prefix))
    .filter(job => job.generation === generation || !['failed', 'cancelled', undefined].includes(job.ended?.outcome))
    .toSorted((left, right) => left.generation - right.generation)
    .map(job => job.request.slice(prefix.length));
}
