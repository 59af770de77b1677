/** Jobs that hold served rows against the rows a version learned from. Only numbers about all of them leave the child. */
import type { Contract } from '../domain/contract.ts';
import type { InputRange } from './job.ts';

/** Rows as scoring was given them: one chunk of a job with its transform, for the transform sees one chunk at a time. */
export interface ServedChunk {
  readonly partition: string;
  readonly inputs: readonly InputRange[];
  readonly rows: number;
  /** Further tables of the transform: name → files. */
  readonly tables: Readonly<Record<string, readonly string[]>>;
  readonly transform: string | null;
  /** Features that these rows have; the others are not compared in them. */
  readonly features: readonly string[];
}

/** Compares the features of served rows with those of the training rows of the same partition and keys. */
export interface CompareServedJob {
  /** `training.parquet` of `materialise`. */
  readonly trained: string;
  readonly served: readonly ServedChunk[];
  /** Partitions whose chunks are all in `served`: only there can a row turn out never to have been served. */
  readonly whole: readonly string[];
  readonly contract: Contract;
  /** Keys are drawn by their hash so that about as many rows are compared. */
  readonly sampleRows: number;
  readonly seed: number;
  /** Numbers that differ by less, relative to the trained value, are equal; integers are compared exactly. */
  readonly tolerance: number;
}

/** How well the rows of a window can be told from the training rows, by these columns together. */
export interface TellApartJob {
  readonly trained: string;
  readonly served: readonly ServedChunk[];
  readonly contract: Contract;
  /** Features to look at. */
  readonly columns: readonly string[];
  /** Of each side at most. */
  readonly rows: number;
  readonly seed: number;
}
