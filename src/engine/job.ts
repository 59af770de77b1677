/**
 * What a worker process asks an engine child to do. Jobs are small JSON documents; rows travel in files inside the job's
 * scratch folder. Every path is absolute and inside that folder (or an input folder the pool made readable).
 */
import type { Contract } from '../domain/contract.ts';
import type { Signature } from '../domain/signature.ts';

/** A range of row groups of one Parquet file: [from, to); the whole file when omitted. */
export interface InputRange {
  readonly path: string;
  readonly rowGroups?: readonly [from: number, to: number];
}

export interface ModelToScore {
  readonly version: number;
  readonly onnx: string;
  readonly signature: Signature;
  readonly scorer: 'auto' | 'onnxruntime';
  /** Served: its predictions are the output. Shadow: written to a file of its own. Share: served for a fraction of keys. */
  readonly part:
    | { readonly kind: 'champion' }
    | { readonly kind: 'shadow' }
    | { readonly kind: 'share'; readonly arm: 'canary' | 'ab'; readonly share: number; readonly salt: string };
}

export interface ScoreChunkJob {
  readonly inputs: readonly InputRange[];
  /** Expected rows of all inputs, from the plan; a difference is an error. */
  readonly rows: number;
  /** Further tables of the transform: name → files. */
  readonly tables: Readonly<Record<string, readonly string[]>>;
  readonly transform: string | null;
  readonly contract: Contract;
  /** Keys and pass-through columns, in output order. */
  readonly outputColumns: readonly string[];
  /** Non-empty when scoring; empty when only validating and profiling. */
  readonly models: readonly ModelToScore[];
  /** The job's as-of time (ISO UTC), written to every row. */
  readonly scoredAt: string;
  /** Path of the baseline document; null skips the profile. */
  readonly baseline: string | null;
  readonly sliceColumns: readonly string[];
  /** Folder for results: predictions.parquet, shadow-v<n>.parquet, quarantine.parquet, profile.json. */
  readonly outputFolder: string;
  readonly batchRows: number;
  readonly device: 'require' | 'prefer' | 'off';
}

export interface WrittenFile {
  readonly path: string;
  readonly rows: number;
  readonly bytes: number;
  readonly sha256: string;
}

export interface ScorerUsed {
  readonly version: number;
  readonly scorer: 'trees' | 'onnxruntime';
  readonly reason: string;
  /** Execution provider → number of graph nodes it ran. */
  readonly providers: Readonly<Record<string, number>>;
}

export interface ChunkReceipt {
  readonly rowsRead: number;
  readonly rowsScored: number;
  readonly rowsQuarantined: number;
  readonly predictions: WrittenFile | null;
  readonly shadows: readonly (WrittenFile & { readonly version: number })[];
  readonly quarantine: WrittenFile | null;
  /** Path of the profile document, or null. */
  readonly profile: string | null;
  readonly scorers: readonly ScorerUsed[];
  readonly seconds: number;
  readonly cpuSeconds: number;
}
