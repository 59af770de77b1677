/** A job about one subject: which files hold rows of it, and the same files without them. See `job.ts`. */
import type { WrittenFile } from './job.ts';

export interface EraseJob {
  /** Parquet files. */
  readonly files: readonly string[];
  /** Key column → value as text; a row is the subject's when all of them agree. */
  readonly key: Readonly<Record<string, string>>;
  /** Where the files without the subject's rows are written; null only counts. */
  readonly outputFolder: string | null;
}

export interface EraseOutput {
  /** In the order of the job's files. */
  readonly files: readonly {
    /** Rows of the subject; 0 as well when the file lacks a key column, for then no row can be told to be the subject's. */
    readonly hits: number;
    /** The file without them, also when there were none; null when no row is left, or nothing is written. */
    readonly kept: WrittenFile | null;
  }[];
}
