/** A snapshot: an immutable set of input files of some partitions, pinned by digest. */

export interface SnapshotFile {
  /** Object name in the store, or path relative to the project for inputs that stay where they are. */
  readonly path: string;
  readonly partition: string;
  readonly bytes: number;
  /** SHA-256 of the bytes, hexadecimal. */
  readonly sha256: string;
  readonly rows: number;
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
