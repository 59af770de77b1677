/** A model definition: what a user declares in `models/<name>.yaml`, parsed and with every default filled in. */
import type { AlertSpecification } from './alert.ts';
import type { Contract } from './contract.ts';

export type Task = 'binary' | 'multiclass' | 'regression';

export interface InputTable {
  readonly format: 'parquet' | 'csv' | 'json' | 'delta';
  /**
   * Glob relative to the project, or `s3://bucket/key` with globs, with `{date}` where the partition goes. Of a Delta table
   * its folder and the column it is partitioned by: `data/orders/day={date}`.
   */
  readonly path: string;
}

export interface LabelTable extends InputTable {
  readonly keys: readonly string[];
  readonly column: string;
  /** The value that counts as positive (binary). */
  readonly positive: string;
  /** Days until a label is mature. */
  readonly horizonDays: number;
  /** Column with the time at which a label became known; null or absent when nobody says. */
  readonly knownAt?: string | null;
  /** Share of the labels that a cohort will end with, from which on it is judged; absent is `matureShare`, 1 waits for all. */
  readonly matureShare?: number;
  /** Column with the inverse sampling probability of each label, when only a sample of the rows is labelled. */
  readonly weight?: string | null;
}

export type TrainerChoice =
  | {
      readonly kind: 'builtin';
      readonly name: 'logistic' | 'gbdt';
      readonly parameters: Readonly<Record<string, unknown>>;
    }
  | {
      readonly kind: 'command';
      readonly argv: readonly string[];
      readonly parameters: Readonly<Record<string, unknown>>;
    };

export type RolloutStep =
  | { readonly kind: 'direct' }
  | { readonly kind: 'shadow'; readonly partitions: number }
  | { readonly kind: 'canary'; readonly share: number; readonly partitions: number }
  | { readonly kind: 'ab'; readonly share: number; readonly partitions: number }
  | { readonly kind: 'blue_green' };

export type RetrainTrigger =
  | { readonly kind: 'quality_below' }
  /** The champion has lost more than the margin, added up over its newest cohorts, to what newer rows would have given. */
  | { readonly kind: 'behind_probe'; readonly margin: number }
  | { readonly kind: 'drift_with_loss' }
  | { readonly kind: 'drift' }
  /** All features together: the rows can be told from those learned from, persistently. */
  | { readonly kind: 'multivariate_drift' }
  | { readonly kind: 'age'; readonly days: number };

export interface SkewPolicy {
  /** Training rows that are looked up among the served ones, drawn by the hash of their keys. */
  readonly rows: number;
  /** Largest share of rows in which a feature may differ. */
  readonly mismatch: number;
  /** Of decimal numbers, relative to the trained value. */
  readonly tolerance: number;
}

export const defaultSkewPolicy: SkewPolicy = { rows: 10_000, mismatch: 0.001, tolerance: 1e-4 };

export interface MultivariatePolicy {
  /** Of the window and of the training set at most. */
  readonly rows: number;
  /** AUC of a classifier between the two from which it warns. */
  readonly limit: number;
}

/** A single feature with a PSI of 0.2 is told apart with an AUC of 0.625: the severity that is worth an alert. */
export const defaultMultivariatePolicy: MultivariatePolicy = { rows: 5_000, limit: 0.625 };

export interface ModelDefinition {
  readonly schema: 'definition/1';
  readonly model: string;
  readonly task: Task;
  readonly data: {
    readonly features: InputTable;
    readonly labels: LabelTable | null;
    /** Further declared tables a transform may join, by the name it uses. */
    readonly tables: Readonly<Record<string, InputTable>>;
    /** DuckDB SQL over `features` (and the further tables); null is `SELECT * FROM features`. */
    readonly transform: string | null;
  };
  readonly contract: Contract;
  readonly train: {
    readonly trainer: TrainerChoice;
    readonly windowDays: number;
    /** The last days of the window are held out … */
    readonly holdoutDays: number;
    /** … or, for data with few days or none, this share of all rows by a hash of their keys (then `holdoutDays` is 0). */
    readonly holdoutShare: number | null;
    /**
     * Least days from the last day learned from to the first day held out, so that no training label lies in the held-out
     * days; default the label horizon. Absent in definitions from before there was a purge.
     */
    readonly purgeDays?: number;
    readonly seed: number;
  };
  readonly evaluate: {
    readonly metric: string;
    readonly min: number | null;
    readonly champion: { readonly nonInferiorBy: number; readonly confidence: number };
    /** Categorical columns whose slices are guarded. */
    readonly slices: readonly string[];
    readonly minSliceRows: number;
  };
  readonly ci: {
    readonly p99MsPer1kRows: number | null;
    readonly sizeMb: number | null;
    readonly robustness: readonly ('missing' | 'outliers' | 'unseen')[];
  };
  readonly promote: {
    /** `group:<name>` or a person; empty means anyone listed in almanac.yaml. */
    readonly approvers: readonly string[];
    readonly approvals: number;
    /** The person who started the training may not approve it. */
    readonly fourEyes: boolean;
    readonly expiresDays: number;
    readonly remindDays: number;
    readonly rollout: readonly RolloutStep[];
  };
  readonly score: {
    /** Folder of the predictions table, relative to the store. */
    readonly output: string;
    readonly passThrough: readonly string[];
    readonly chunkRows: number;
    readonly device: 'require' | 'prefer' | 'off';
    readonly scorer: 'auto' | 'onnxruntime';
  };
  readonly monitor: {
    readonly windowDays: number;
    readonly drift: {
      readonly metric: 'psi';
      readonly warn: number;
      readonly alert: number;
      readonly persistence: { readonly k: number; readonly n: number };
      readonly minRows: number;
    };
    readonly quality: { readonly metric: string; readonly min: number | null; readonly minRows: number };
    /** Row by row, what was learned from against what was served; null is off, absent the default. */
    readonly skew?: SkewPolicy | null;
    /** All features together; null is off, absent the default. */
    readonly multivariate?: MultivariatePolicy | null;
    readonly alerts?: readonly AlertSpecification[];
  };
  readonly retrain: {
    readonly when: readonly RetrainTrigger[];
    readonly cooldownDays: number;
    readonly budget: { readonly runs: number; readonly days: number };
    readonly minNewLabels: number;
  };
  readonly schedules: {
    /** UTC calendar times; null is not scheduled. */
    readonly score: { readonly hour: number; readonly minute: number } | null;
    readonly monitor: 'after_score' | { readonly hour: number; readonly minute: number } | null;
    readonly retrain: { readonly weekday: number; readonly hour: number; readonly minute: number } | null;
    readonly retain: { readonly hour: number; readonly minute: number } | null;
  };
  readonly retain: { readonly supersededDays: number; readonly minGenerations: number };
}
