/**
 * What a worker process asks an engine child to do. Jobs are small JSON documents; rows travel in files inside the job's
 * scratch folder. Every path is absolute and inside that folder (or an input folder the pool made readable).
 */
import type { Contract, ContractColumn } from '../domain/contract.ts';
import type { ScorerComparison, ScorerRecord } from '../domain/model-version.ts';
import type { Signature } from '../domain/signature.ts';
import type { ModelSummary } from '../onnx/read.ts';

export type FileFormat = 'parquet' | 'csv' | 'json';

/** A range of row groups of one Parquet file: [from, to); the whole file when omitted. */
export interface InputRange {
  readonly path: string;
  readonly rowGroups?: readonly [from: number, to: number];
  /** Default `parquet`; `json` is JSON lines. Row groups exist in Parquet only. */
  readonly format?: FileFormat;
  /** Columns that are not in the file but in its name (hive partitions): name → value, added as text. */
  readonly constants?: Readonly<Record<string, string>>;
}

export interface ModelToScore {
  readonly version: number;
  readonly onnx: string;
  readonly signature: Signature;
  readonly scorer: 'auto' | 'onnxruntime';
  /** What `auto` was found to mean for the version, if anybody has looked. */
  readonly recorded?: ScorerRecord | undefined;
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
  /** `predictions` leaves out `model_version` and `scored_at`, where there is no version. Default `all`. */
  readonly outputForm?: 'all' | 'predictions';
  /** Path of the baseline document; null skips the profile. */
  readonly baseline: string | null;
  readonly sliceColumns: readonly string[];
  /** Name of the data set in the profile. */
  readonly dataset?: string;
  /** Folder for results: predictions.parquet, shadow-v<n>.parquet, quarantine.parquet, profile.json. */
  readonly outputFolder: string;
  /** Rows per model call; 2,048 (one vector of DuckDB) is best on a CPU, and where a GPU starts to look for its best. */
  readonly batchRows: number;
  readonly device: 'require' | 'prefer' | 'off';
  /** Which provider `device` means. Default `cuda`; `webgpu` is experimental. */
  readonly provider?: GpuProvider;
}

export type GpuProvider = 'cuda' | 'webgpu';

/** How many rows broke one rule of the contract. */
export interface RuleCount {
  /** `<column>.min`, `<column>.max`, `<column>.null`, `<column>.unseen`, `<column>.type`, or the id of a row rule. */
  readonly id: string;
  readonly onFail: 'warn' | 'quarantine' | 'block';
  readonly rows: number;
  readonly bad: number;
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
  /** What decided between compiled trees and ONNX Runtime, where both were tried. */
  readonly compared?: ScorerComparison | null;
  /** Execution provider → number of graph nodes it ran. */
  readonly providers: Readonly<Record<string, number>>;
  /** The operators of each provider, where they were observed in a run. */
  readonly operators?: Readonly<Record<string, readonly string[]>>;
  /** Rows per call where the model runs on a thread of its own. */
  readonly batchRows?: number;
}

export interface ChunkReceipt {
  readonly rowsRead: number;
  readonly rowsScored: number;
  readonly rowsQuarantined: number;
  /** Rows of every rule of the contract that can be judged row by row. A broken `block` rule does not stop the chunk. */
  readonly rules: readonly RuleCount[];
  /** Columns of the predictions, in order, with DuckDB's type names. */
  readonly columns: readonly ColumnInfo[];
  readonly predictions: WrittenFile | null;
  readonly shadows: readonly (WrittenFile & { readonly version: number })[];
  readonly quarantine: WrittenFile | null;
  /** Path of the profile document, or null. */
  readonly profile: string | null;
  readonly scorers: readonly ScorerUsed[];
  readonly seconds: number;
  readonly cpuSeconds: number;
}

export interface ColumnInfo {
  readonly name: string;
  /** DuckDB's name of the type, e.g. `BIGINT`, `FLOAT`, `VARCHAR`, `TIMESTAMP WITH TIME ZONE`. */
  readonly type: string;
}

/** Looks at files without reading their rows (CSV and JSON lines are read once to count). */
export interface InspectJob {
  readonly files: readonly { readonly path: string; readonly format?: FileFormat }[];
  /** Brotli pages are refused unless allowed: their decoder is the slowest by far and a favourite of bombs. */
  readonly allowBrotli?: boolean;
  /** Also read the bytes and give their SHA-256. */
  readonly digests?: boolean;
  /** Also say where the column chunks of Parquet lie. */
  readonly columnChunks?: boolean;
}

/** The bytes [from, to) of a file that hold one column of one row group. */
export interface ColumnChunk {
  readonly rowGroup: number;
  /** Name at the top level: all parts of a nested column have the same. */
  readonly column: string;
  readonly from: number;
  readonly to: number;
}

export interface FileInspection {
  readonly path: string;
  readonly format: FileFormat;
  readonly bytes: number;
  readonly rows: number;
  /** Rows of each row group; one entry for other formats. */
  readonly rowGroups: readonly number[];
  readonly columns: readonly ColumnInfo[];
  readonly codecs: readonly string[];
  readonly sha256: string | null;
  readonly columnChunks?: readonly ColumnChunk[];
}

export interface Inspection {
  readonly files: readonly FileInspection[];
  readonly rows: number;
  /** Columns of all files together, in order of first appearance; a type that differs between files is DuckDB's union. */
  readonly columns: readonly ColumnInfo[];
}

export interface LabelSource {
  readonly files: readonly InputRange[];
  readonly keys: readonly string[];
  readonly column: string;
  /** Binary tasks: the value that counts as positive. Null for regression and multiclass. */
  readonly positive: string | null;
  /** Keep the labels of some rows only, chosen by their keys; null keeps all. */
  readonly only: RowShare | null;
  /** Column with the inverse sampling probability of a label; null or absent when all rows count alike. */
  readonly weight?: string | null;
}

/** The columns of a training set that labels bring. */
export interface LabelColumns {
  readonly column: string;
  readonly positive: string | null;
  /** How many rows each stands for; null or absent when all rows count alike. */
  readonly weight?: string | null;
}

/** One side of a split of rows by a hash of their keys: the same rows whenever, and wherever, they are read. */
export interface RowShare {
  readonly side: 'train' | 'holdout';
  /** Share of the rows that are held out, 0 to 1. */
  readonly share: number;
  readonly seed: number;
}

/** One partition's features and the labels that belong to them. */
export interface LabelledPartition {
  readonly partition: string;
  readonly inputs: readonly InputRange[];
  readonly rows: number;
  /** Further tables of the transform: name → files. */
  readonly tables: Readonly<Record<string, readonly string[]>>;
  readonly labels: LabelSource;
}

/** Scores labelled rows with one or several models (the challenger and the champion) for an evaluation. */
export interface EvaluateJob {
  readonly partitions: readonly LabelledPartition[];
  readonly transform: string | null;
  readonly contract: Contract;
  readonly models: readonly { readonly version: number; readonly onnx: string; readonly signature: Signature }[];
  readonly sliceColumns: readonly string[];
  readonly outputFolder: string;
  readonly batchRows: number;
}

/**
 * Rows of an evaluation as little-endian arrays in files, all of the same length and order; `readEvaluation` reads them.
 * Scores are `width` numbers per row: the positive class's probability, the probability of each class, or the targets.
 */
export interface Evaluation {
  readonly rows: number;
  /** Rows that were scored but have no label. */
  readonly rowsUnlabelled: number;
  readonly rowsQuarantined: number;
  /** Float64: 1 and 0 (binary), index of the class or -1 when unknown (multiclass), the value (regression). */
  readonly labels: string;
  /** Float64 weights of sampled labels; null when all rows count alike. */
  readonly weights: string | null;
  readonly scores: readonly { readonly version: number; readonly width: number; readonly path: string }[];
  /** Int32 index into `values`; -1 is NULL. */
  readonly slices: readonly { readonly column: string; readonly values: readonly string[]; readonly path: string }[];
  /** Int32 index into `partitions` of the job. */
  readonly partitions: string;
  readonly scorers: readonly ScorerUsed[];
}

/** Turns a user's file into daily partitions of Parquet: `<outputFolder>/date=<partition>/data.parquet`. */
export interface ImportTableJob {
  readonly files: readonly string[];
  readonly format: FileFormat;
  /** A date or timestamp column that gives the partition, or one partition for all rows. */
  readonly partitionBy: { readonly column: string } | { readonly constant: string };
  readonly outputFolder: string;
  /** Types to use instead of the inferred ones: column → DuckDB type. */
  readonly types?: Readonly<Record<string, string>>;
  /** Texts that mean NULL in CSV. Default: empty, NA, NULL, null, N/A. */
  readonly nullTexts?: readonly string[];
  /** Columns to keep, in order; all when omitted. */
  readonly columns?: readonly string[];
  /** Name of a BIGINT column to add: the row's number in the files, from 1; the key of rows that have none. */
  readonly rowNumber?: string;
}

export interface ImportReceipt {
  readonly rows: number;
  readonly columns: readonly ColumnInfo[];
  readonly partitions: readonly (WrittenFile & { readonly partition: string })[];
}

/** Builds a training set: transform and contract rules per partition, joined with the labels, as one Parquet file. */
export interface MaterialiseJob {
  readonly partitions: readonly (Omit<LabelledPartition, 'labels'> & { readonly labels: LabelSource | null })[];
  readonly transform: string | null;
  readonly contract: Contract;
  readonly outputFolder: string;
}

/** `training.parquet`: `partition`, the keys, the contract's columns, and label and weight under their own names. */
export interface TrainingSet {
  readonly file: WrittenFile;
  readonly columns: readonly ColumnInfo[];
  readonly rowsRead: number;
  readonly rowsUnlabelled: number;
  readonly rowsQuarantined: number;
  readonly rules: readonly RuleCount[];
}

/** A small SELECT over files, for people and for rules; refused when it reads anything that is not declared. */
export interface QueryJob {
  readonly sql: string;
  /** Relation name → files; a path alone is a Parquet file. */
  readonly tables: Readonly<Record<string, readonly (string | InputRange)[]>>;
  /** More rows than this are an error; default 10,000. */
  readonly rowsMax?: number;
}

/** Answered one after the other, in their order; the first that fails ends the job. */
export interface QueriesJob {
  readonly queries: readonly QueryJob[];
}

export interface QueryResult {
  readonly columns: readonly ColumnInfo[];
  /** JSON values; 64-bit integers beyond 2^53, decimals and times are text. */
  readonly rows: readonly (readonly unknown[])[];
}

/** Reads a model file for the first time: checks it, strips ZipMap, and says which columns feed it. */
export interface PrepareModelJob {
  readonly onnx: string;
  /** Feature columns, in file order. */
  readonly columns: readonly string[];
  /** Where a changed model (without ZipMap) is written, as `model.onnx`. */
  readonly outputFolder: string;
}

export interface PreparedModel {
  /** The file to score with: the given one, or the changed copy. */
  readonly onnx: string;
  readonly signature: Signature;
  readonly summary: ModelSummary;
}

/** Freezes the edges of a baseline from reference rows (the training set). */
export interface BaselineJob {
  readonly files: readonly string[];
  /** Of all files; default `parquet`. */
  readonly format?: FileFormat;
  readonly columns: readonly string[];
  readonly number: number;
  readonly reason: string;
  /** `probability` fixes the score histogram on the grid i/1000; null has none. */
  readonly score: { readonly kind: 'probability' } | null;
  readonly outputFolder: string;
}

export interface BaselineOutput {
  /** Path of the baseline document. */
  readonly baseline: string;
}

/** Counts files on the edges of a baseline. Keys are not looked at: rows of many partitions repeat them. */
export interface ProfileJob {
  readonly files: readonly string[];
  readonly columns: readonly string[];
  readonly personal: readonly string[];
  /** Binary label: histograms are kept by it as well. */
  readonly label?: { readonly column: string; readonly positive: string };
  /** Path of the baseline document; its bytes have the digest that the profile names. */
  readonly baseline: string;
  readonly dataset: string;
  readonly kind: 'reference' | 'window' | 'train' | 'test';
  readonly asOf: string;
  readonly eventTime: string | null;
  readonly knownAt: string | null;
  readonly outputFolder: string;
}

export interface ProfileOutput {
  /** Path of the profile document. */
  readonly profile: string;
}

/** Trains a built-in model on a training set. */
export interface TrainJob {
  /** `training.parquet` of `materialise`. Rows without a label are left out. */
  readonly file: string;
  /** Rows the model never learns from: metrics, permutation importance and golden rows then come from them. */
  readonly holdout?: string;
  readonly task: Signature['task'];
  /** Every class of a multiclass task; those of the training rows, sorted, when omitted. */
  readonly classes?: readonly string[];
  readonly label: LabelColumns;
  readonly features: readonly ContractColumn[];
  readonly trainer: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly seed: number;
  readonly threads: number;
  /** Becomes metadata of the model file. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly outputFolder: string;
}

/** Encoded inputs by column and the trainer's own answers, row-major; null is NaN. */
export interface GoldenRows {
  readonly inputs: readonly (readonly (number | null)[])[];
  readonly outputs: readonly number[];
}

/** In the output folder: model.onnx, signature.json, metrics.json, importance.json and golden.parquet. */
export interface TrainedFiles {
  readonly onnx: string;
  readonly signature: Signature;
  readonly golden: GoldenRows;
  readonly importance: Readonly<Record<string, number>>;
  readonly metrics: Readonly<Record<string, number | null>>;
  readonly notes: readonly string[];
  readonly rows: number;
  /** What weighted rows are worth, (Σw)²/Σw²; null where all rows count alike. */
  readonly effectiveRows: number | null;
}
