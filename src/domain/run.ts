/** A run: one training, with all that is needed to explain it or to repeat it. */

export interface Run {
  readonly schema: 'run/1';
  /** Unique within the model: the workflow id of the training (`train/<model>/<asOf>`). */
  readonly id: string;
  readonly model: string;
  readonly asOf: string;
  readonly status: 'succeeded' | 'failed';
  /** Why it was started: `schedule`, `user:ana`, or the digest of a decision. */
  readonly trigger: string;
  readonly startedAt: string;
  readonly endedAt: string;
  readonly code: { readonly commit: string | null; readonly dirty: boolean };
  /** Digest of the model definition. */
  readonly definition: string;
  /** Digests of the snapshots: `features`, `labels`, … */
  readonly snapshots: Readonly<Record<string, string>>;
  readonly trainer: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly seed: number;
  /** Runtime, libraries and device: name → version. */
  readonly environment: Readonly<Record<string, string>>;
  readonly rows: { readonly train: number; readonly holdout: number };
  /** By which column of the labels the rows counted, and what the training rows are worth; absent where all count alike. */
  readonly weights?: { readonly column: string; readonly effectiveRows: number };
  readonly metrics: Readonly<Record<string, number | null>>;
  /** Further files kept with the run: name → artifact digest. */
  readonly artifacts: Readonly<Record<string, string>>;
  /** Artifact digest of the log; null when there is none. */
  readonly log: string | null;
  /** What went wrong; null when it succeeded. */
  readonly failure: string | null;
}
