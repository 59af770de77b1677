/** The tables that definitions declare: which partitions they have, which files, and those files on this machine. */
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join, resolve } from 'node:path';
import type { InputTable } from '../domain/definition.ts';
import type { SnapshotFile } from '../domain/snapshot.ts';
import { EngineFault } from '../engine/fault.ts';
import type { FileFormat } from '../engine/job.ts';
import type { EnginePool } from '../engine/pool.ts';
import { openStore, type StoreOptions } from '../storage/open.ts';
import { BucketPlace } from './bucket-place.ts';
import { listDeltaPartitions, readCheckpointBy, readDeltaInput } from './delta.ts';
import { LocalPlace } from './local-place.ts';
import { expressionOf, type Place, type PlacedFile } from './place.ts';
import { fetchColumns, fetchFooter, type RemoteObject, replaced } from './sparse.ts';

/** A file of a partition, before anybody has looked into it. */
export interface TableFile extends PlacedFile {
  readonly partition: string;
  /** Columns that are not in the file: partition values of a Delta table. */
  readonly constants?: Readonly<Record<string, string>>;
  /** The version of the Delta table that the file belongs to. */
  readonly tableVersion?: number;
}

/** What will be read of a Parquet file; by default everything. */
export interface PartOfFile {
  readonly rowGroups?: readonly [from: number, to: number];
  /** By the column's name at the top level. */
  readonly wantsColumn?: (name: string) => boolean;
}

export interface InputTablesOptions {
  /** The project, which paths are relative to. */
  readonly folder: string;
  /** Where buckets are served. */
  readonly s3: StoreOptions;
  readonly engine: Pick<EnginePool, 'run'>;
}

const queryMs = 30 * 60_000;

export class InputTables {
  readonly #folder: string;
  readonly #s3: StoreOptions;
  readonly #engine: Pick<EnginePool, 'run'>;
  readonly #local: LocalPlace;
  readonly #buckets = new Map<string, BucketPlace>();

  constructor({ folder, s3, engine }: InputTablesOptions) {
    this.#folder = folder;
    this.#s3 = s3;
    this.#engine = engine;
    this.#local = new LocalPlace(folder);
  }

  /** Partitions for which the table has files, in order. A table without `{date}` has none. */
  async partitions(table: InputTable): Promise<readonly string[]> {
    if (!table.path.includes('{date}')) return [];
    const place = this.#placeOf(table.path);
    if (table.format === 'delta') {
      const { folder, column } = deltaPath(table);
      return await listDeltaPartitions(place, folder, column, this.#deltaOptions(place));
    }
    const expression = expressionOf(table.path, { group: '{date}' });
    const files = await place.match(table.path.replaceAll('{date}', '*'));
    return [...new Set(files.flatMap(({ path }) => expression.exec(path)?.[1] ?? []))].sort();
  }

  /** Files of these partitions, one partition after the other; of a table without `{date}` all its files for each. */
  async files(table: InputTable, partitions: readonly string[]): Promise<readonly TableFile[]> {
    const place = this.#placeOf(table.path);
    if (table.format === 'delta') return await this.#deltaFiles(place, table, partitions);
    const files: TableFile[] = [];
    for (const partition of partitions) {
      const found = await place.match(table.path.replaceAll('{date}', partition));
      files.push(...found.map(file => ({ ...file, partition })));
    }
    return files;
  }

  /** What is there now under the path of a pinned file; null when nothing is. */
  async stat(path: string): Promise<PlacedFile | null> {
    return await this.#placeOf(path).stat(path);
  }

  /**
   * Where the file lies on this machine. An object of a bucket is brought into the folder first, which the caller removes;
   * of Parquet only the wanted part, in a file with holes.
   */
  async fetch(
    file: Pick<SnapshotFile, 'path' | 'bytes' | 'etag'>,
    { folder, format, part, signal }: { folder: string; format: FileFormat; part?: PartOfFile; signal?: AbortSignal },
  ): Promise<string> {
    const object = this.#objectOf(file);
    if (object === null) return resolve(this.#folder, file.path);
    const name = JSON.stringify([file.path, object.etag, part?.rowGroups ?? null, part?.wantsColumn !== undefined]);
    return await onceIn(folder, name, extname(file.path), async target => {
      if (format === 'parquet' && part !== undefined) {
        const chunks = await this.#columnChunks(file, folder, signal);
        const [from, to] = part.rowGroups ?? [0, Number.POSITIVE_INFINITY];
        const wants = part.wantsColumn ?? (() => true);
        const isWanted = ({ rowGroup, column }: (typeof chunks)[number]) =>
          rowGroup >= from && rowGroup < to && wants(column);
        return await fetchColumns(object, chunks, isWanted, target, signal);
      }
      const options = { ifMatch: object.etag, digest: 'none', ...(signal === undefined ? {} : { signal }) } as const;
      const answer = await object.store.download(object.key, target, options);
      if (answer.kind === 'unknown') throw new Error(`${file.path}: ${answer.cause}`);
      if (answer.kind !== 'found') {
        throw replaced(file.path, answer.kind === 'changed' ? answer.detail : 'no object');
      }
    });
  }

  /** Enough of the file to inspect it: of a Parquet object the footer alone. */
  async fetchFooter(
    file: Pick<SnapshotFile, 'path' | 'bytes' | 'etag'>,
    { folder, format, signal }: { folder: string; format: FileFormat; signal?: AbortSignal },
  ): Promise<string> {
    const object = this.#objectOf(file);
    if (object === null || format !== 'parquet') {
      return await this.fetch(file, { folder, format, ...(signal === undefined ? {} : { signal }) });
    }
    const name = JSON.stringify([file.path, object.etag, 'footer']);
    return await onceIn(folder, name, '.parquet', target => fetchFooter(object, target, signal));
  }

  async #columnChunks(file: Pick<SnapshotFile, 'path' | 'bytes' | 'etag'>, folder: string, signal?: AbortSignal) {
    const path = await this.fetchFooter(file, {
      folder,
      format: 'parquet',
      ...(signal === undefined ? {} : { signal }),
    });
    const { files } = await this.#engine.run(
      'inspect',
      { files: [{ path }], columnChunks: true },
      { deadlineMs: queryMs, ...(signal === undefined ? {} : { signal }) },
    );
    return files[0]?.columnChunks ?? [];
  }

  async #deltaFiles(place: Place, table: InputTable, partitions: readonly string[]): Promise<readonly TableFile[]> {
    const { folder, column } = deltaPath(table);
    const { files, version: tableVersion } = await readDeltaInput(place, folder, {
      ...this.#deltaOptions(place),
      partition: { column, values: partitions },
    });
    const found = await Promise.all(
      files.map(async ({ path, constants }) => {
        const there = await place.stat(path);
        if (there === null)
          throw new EngineFault('bad_input', `${path}: it was there and is gone; try again`, { path });
        return { ...there, constants, partition: constants[column] ?? '', tableVersion };
      }),
    );
    return partitions.flatMap(partition => found.filter(file => file.partition === partition));
  }

  #deltaOptions(place: Place) {
    return {
      readCheckpoint: async (paths: readonly string[]): Promise<readonly unknown[]> => {
        const folder = await mkdtemp(join(tmpdir(), 'almanac-checkpoint-'));
        try {
          const checkpoint = await Promise.all(paths.map(path => this.#fetchNow(place, path, folder)));
          return await readCheckpointBy(this.#engine, checkpoint);
        } finally {
          await rm(folder, { recursive: true, force: true });
        }
      },
    };
  }

  async #fetchNow(place: Place, path: string, folder: string): Promise<string> {
    const found = await place.stat(path);
    if (found === null) throw new EngineFault('bad_input', `${path}: it was there and is gone; try again`, { path });
    const { bytes, etag } = found;
    return await this.fetch({ path, bytes, ...(etag === null ? {} : { etag }) }, { folder, format: 'parquet' });
  }

  #placeOf(path: string): Place {
    return this.#bucketOf(path) ?? this.#local;
  }

  #bucketOf(path: string): BucketPlace | null {
    const bucket = /^s3:\/\/([^/]+)\//.exec(path)?.[1];
    if (bucket === undefined) return null;
    const known = this.#buckets.get(bucket) ?? new BucketPlace(bucket, openStore(`s3://${bucket}`, this.#s3));
    this.#buckets.set(bucket, known);
    return known;
  }

  #objectOf({ path, bytes, etag }: Pick<SnapshotFile, 'path' | 'bytes' | 'etag'>): RemoteObject | null {
    const bucket = this.#bucketOf(path);
    if (bucket === null) return null;
    if (etag === undefined) throw new Error(`${path}: an object of a bucket is pinned by its ETag`);
    return { store: bucket.store, key: bucket.keyOf(path), path, bytes, etag };
  }
}

/** A file of this name, made once: it appears whole, and whoever comes later finds it. */
async function onceIn(
  folder: string,
  name: string,
  extension: string,
  make: (target: string) => Promise<void>,
): Promise<string> {
  const path = join(folder, `${createHash('sha256').update(name).digest('hex').slice(0, 32)}${extension}`);
  const isThere = await access(path).then(
    () => true,
    () => false,
  );
  if (isThere) return path;
  await mkdir(folder, { recursive: true });
  const arriving = `${path}.${process.hrtime.bigint()}${extension}`;
  try {
    await make(arriving);
    await rename(arriving, path);
  } finally {
    await rm(arriving, { force: true });
  }
  return path;
}

/** `data/orders/day={date}` → the table in `data/orders`, partitioned by `day`. */
function deltaPath({ path }: InputTable): { readonly folder: string; readonly column: string } {
  const parts = /^(.+)\/([^/=]+)=\{date\}$/.exec(path);
  if (parts?.[1] !== undefined && parts[2] !== undefined) return { folder: parts[1], column: parts[2] };
  throw new EngineFault(
    'bad_job',
    `${path}: of a Delta table the path is its folder and the column it is partitioned by, as in data/orders/day={date}`,
    { path },
  );
}
