/**
 * What people, schedules and other workflows give to a workflow, and what it answers. Inputs carry ids, never commands,
 * paths or SQL: what runs stands in the model definition.
 */

export interface TrainInput {
  readonly model: string;
  /** Date or time (ISO, UTC): only partitions before that day and labels mature by then are used. Default: the nominal time. */
  readonly asOf?: string;
  /** Who or what asked: `user:ana`, `schedule:…`, `decision:<digest>`. */
  readonly trigger?: string;
}
export interface PromoteInput {
  readonly model: string;
  readonly version: number;
  /** Under four eyes this person may not approve. Default: who started the training. */
  readonly requestedBy?: string;
}
export interface ScoreInput {
  readonly model: string;
  /** Default: the day before the nominal time. */
  readonly partition?: string;
  /** Default: the generation of `request`. */
  readonly generation?: number;
  /** The same request gets the same generation; another one the next. Default `first`: a partition is scored once. */
  readonly request?: string;
  /** Written as `scored_at`. Default: the end of the partition. */
  readonly asOf?: string;
  /** Chunks in flight. Default 8. */
  readonly window?: number;
}
export interface MonitorInput {
  readonly model: string;
  /** Default: the day before the nominal time. */
  readonly partition?: string;
}
export interface BackfillInput {
  readonly model: string;
  /** Name of this backfill; part of its workflow id. Default: the nominal time. */
  readonly id?: string;
  /** First and last partition, both included. */
  readonly from: string;
  readonly to: string;
  readonly order?: 'oldest_first' | 'newest_first';
  /** Partitions scored at once; the Signal `setParallelism` changes it. Default 2. */
  readonly parallelism?: number;
  /** Stops after this many failed partitions. Default 3. */
  readonly failuresMax?: number;
  /** Set by continue-as-new only. */
  readonly progress?: BackfillProgress;
}
/** An interface between an old run and perhaps newer code, hence the version. */
export interface BackfillProgress {
  readonly schema: 'backfill/1';
  readonly plan: string;
  readonly next: number;
  readonly committed: number;
  readonly failed: readonly string[];
  readonly parallelism: number;
  readonly paused: boolean;
}
export interface RollbackInput {
  readonly model: string;
  readonly requestedBy?: string;
  readonly reason?: string;
  /** Number of the deployment log's entry this rollback writes. Default: the next one. */
  readonly entry?: number;
  /** What happens to partitions the withdrawn version scored. Default `list`. */
  readonly affected?: 'list' | 'rescore';
}
export interface RetainInput {
  readonly model: string;
  /** Default: the date of the nominal time. */
  readonly date?: string;
}

/** A run under any other id than the business id answers with the run that does the work. */
export interface Delegated {
  readonly kind: 'delegated';
  readonly workflowId: string;
  /** False when this run started it. */
  readonly found: boolean;
}

export type TrainResult =
  | Delegated
  | {
      readonly kind: 'qualified';
      readonly version: number;
      readonly promotion: string;
      readonly evidence: readonly string[];
    }
  | { readonly kind: 'not_qualified'; readonly version: number; readonly reasons: readonly string[] }
  | { readonly kind: 'blocked'; readonly evidence: string; readonly reasons: readonly string[] };
export type PromoteResult =
  | Delegated
  | { readonly kind: 'promoted'; readonly version: number; readonly approvedBy: readonly string[] }
  | {
      readonly kind: 'held' | 'rejected' | 'expired' | 'superseded' | 'failed' | 'rolled_back';
      readonly version: number;
      readonly reason: string;
    };
export type ScoreResult =
  | Delegated
  | {
      readonly kind: 'committed';
      readonly rows: number;
      readonly tableVersion: number;
      readonly versions: readonly number[];
    }
  | { readonly kind: 'blocked' | 'fenced'; readonly reasons: readonly string[] };
export type MonitorResult =
  | Delegated
  | {
      readonly kind: 'decided';
      readonly conclusion: string;
      readonly reason: string;
      readonly evidence: readonly string[];
      /** Id of the training it started, or null. */
      readonly training: string | null;
    };
export type BackfillResult =
  | Delegated
  | {
      readonly kind: 'finished' | 'stopped';
      readonly committed: number;
      readonly failed: readonly string[];
      readonly remaining: number;
    };
export type RollbackResult =
  | Delegated
  | {
      readonly kind: 'rolled_back';
      readonly champion: number;
      readonly withdrawn: number;
      /** Digest of the list of affected partitions, how many they are, and the backfill that scores them again. */
      readonly affected: string;
      readonly affectedCount: number;
      readonly backfill: string | null;
    }
  | { readonly kind: 'refused'; readonly reason: string };
export type RetainResult =
  | Delegated
  | { readonly kind: 'retained'; readonly deletedFiles: number; readonly deletedBytes: number };
