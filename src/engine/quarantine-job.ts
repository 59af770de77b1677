/** Jobs about quarantined rows: their form in the table, and repairs laid over a partition. See `job.ts`. */
import type { ColumnInfo, FileFormat, WrittenFile } from './job.ts';

/** Gives the quarantine file of a chunk the form of the quarantine table: keys, rule, reason, and the row as JSON. */
export interface QuarantineJob {
  /** `quarantine.parquet` of a chunk. */
  readonly file: string;
  readonly keys: readonly string[];
  /** Columns with personal data: they stay out of the row. */
  readonly personal: readonly string[];
  readonly outputFolder: string;
}

export interface QuarantineOutput {
  readonly file: WrittenFile;
  readonly columns: readonly ColumnInfo[];
}

/** Lays repairs, in order, over the files of a partition. */
export interface RepairJob {
  readonly inputs: readonly { readonly path: string; readonly format?: FileFormat }[];
  /** Keys and changed columns, one row per key. */
  readonly repairs: readonly { readonly path: string; readonly format?: FileFormat }[];
  readonly keys: readonly string[];
  /** Part files of the quarantine table: keys outside them are refused. Absent: any key of the partition may be repaired. */
  readonly quarantined?: readonly string[];
  readonly outputFolder: string;
}

export interface RepairOutput {
  /** Whole files in place of the inputs that had repaired rows. */
  readonly files: readonly RepairedInput[];
  /** Repaired keys. */
  readonly repaired: number;
}

export interface RepairedInput {
  /** Which of the job's inputs it replaces. */
  readonly index: number;
  readonly file: WrittenFile;
  readonly rowGroups: readonly number[];
}
