/** A snapshot: an immutable set of input files of some partitions, pinned by digest. */

export interface SnapshotFile {
  /** Object name in the store; or, for inputs that stay where they are, relative to the project or `s3://bucket/key`. */
  readonly path: string;
  readonly partition: string;
  readonly bytes: number;
  /** SHA-256 of the bytes, hexadecimal. Null for objects of a bucket, which are pinned by their ETag: hashing would mean fetching. */
  readonly sha256: string | null;
  readonly etag?: string;
  readonly rows: number;
  /** Columns that are not in the file: partition values of a Delta table. */
  readonly constants?: Readonly<Record<string, string>>;
  /** The version of the Delta table that was read. */
  readonly tableVersion?: number;
}

export interface Snapshot {
  readonly schema: 'snapshot/1';
  readonly model: string;
  readonly kind: 'features' | 'labels';
  readonly asOf: string;
  readonly partitions: readonly string[];
  readonly files: readonly SnapshotFile[];
  readonly rows: number;
  /** Files of the tables that the transform joins; absent when it joins none. Partition '' belongs to every partition. */
  readonly tables?: Readonly<Record<string, readonly SnapshotFile[]>>;
}
