/**
 * A Delta table as input, at one version: the log says which files belong to it, the folder does not (it also holds files
 * that were replaced, and those of commits that never happened). Only what a reader of version 1 understands is read; what
 * would give other rows (deletion vectors, mapped columns) is refused by name.
 */
import { fileURLToPath } from 'node:url';
import { EngineFault } from '../engine/fault.ts';
import type { EnginePool } from '../engine/pool.ts';
import type { Place, PlacedFile } from './place.ts';

export interface DeltaFile {
  readonly path: string;
  readonly bytes: number;
  /** Values of the partition columns, which are not in the file; those that are NULL are left out. */
  readonly constants: Readonly<Record<string, string>>;
}

export interface DeltaInput {
  readonly version: number;
  /** Sorted by path. */
  readonly files: readonly DeltaFile[];
}

export interface DeltaInputOptions {
  /** Default: the newest. */
  readonly version?: number;
  /** Partition column → the value wanted; default all files. */
  readonly partition?: { readonly column: string; readonly values: readonly string[] };
  /** Rows of checkpoint files (Parquet) as actions; asked for only when the log before them is gone. */
  readonly readCheckpoint: (paths: readonly string[]) => Promise<readonly unknown[]>;
}

const checkpointMs = 30 * 60_000;
/** Files of a table, one row each in its checkpoint. */
const checkpointRowsMax = 10_000_000;

/** Rows of checkpoint files on this machine, as actions. */
export async function readCheckpointBy(
  engine: Pick<EnginePool, 'run'>,
  paths: readonly string[],
): Promise<readonly unknown[]> {
  const sql = 'SELECT to_json(c) FROM checkpoint c';
  const query = { sql, tables: { checkpoint: paths }, rowsMax: checkpointRowsMax };
  const { rows } = await engine.run('query', query, { deadlineMs: checkpointMs });
  return rows.map((row): unknown => JSON.parse(String(row[0])));
}

export async function isDeltaTable(place: Place, folder: string): Promise<boolean> {
  return (await place.match(below(folder, '_delta_log/*'))).length > 0;
}

/**
 * Files of the table in this folder of the place (`''` is the place itself), as they are now: what is gone or has another
 * length than the log says is refused.
 *
 * @throws EngineFault `bad_input` that names table and version.
 */
export async function readDeltaInput(place: Place, folder: string, options: DeltaInputOptions): Promise<DeltaInput> {
  const { version, snapshot } = await readSnapshot(place, folder, options);
  const files = snapshot.files(folder, options.partition);
  for (const file of files) snapshot.assertThere(file, await place.stat(file.path));
  if (files.length === 0 && options.partition === undefined) {
    throw refused(folder, `it has no files at version ${version}`);
  }
  return { version, files };
}

/** The different values of a partition column, in order. */
export async function listDeltaPartitions(
  place: Place,
  folder: string,
  column: string,
  options: Pick<DeltaInputOptions, 'readCheckpoint'>,
): Promise<readonly string[]> {
  const { version, snapshot } = await readSnapshot(place, folder, options);
  const files = snapshot.files(folder);
  const values = files.flatMap(({ constants }) => constants[column] ?? []);
  if (values.length < files.length) {
    throw refused(folder, `it has files without a value of the partition column ${column} at version ${version}`);
  }
  return [...new Set(values)].sort();
}

async function readSnapshot(
  place: Place,
  folder: string,
  options: DeltaInputOptions,
): Promise<{ readonly version: number; readonly snapshot: Snapshot }> {
  const log = await listLog(place, folder);
  const newest = log.commits.at(-1) ?? log.checkpoints.at(-1)?.version;
  if (newest === undefined) throw refused(folder, 'its log has no entry');
  const version = options.version ?? newest;
  if (version > newest) throw refused(folder, `version ${version} is wanted, the newest is ${newest}`);
  const snapshot = new Snapshot(`${folder} at version ${version}`);
  for (const action of await actionsUpTo(place, folder, log, { ...options, version })) snapshot.apply(action);
  return { version, snapshot };
}

interface Log {
  /** Ascending. */
  readonly commits: readonly number[];
  readonly checkpoints: readonly { readonly version: number; readonly paths: readonly string[] }[];
}

async function listLog(place: Place, folder: string): Promise<Log> {
  const commits: number[] = [];
  const parts = new Map<number, { paths: string[]; wanted: number }>();
  for (const { path } of await place.match(below(folder, '_delta_log/*'))) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const commit = /^(\d{20})\.json$/.exec(name);
    if (commit !== null) commits.push(Number(commit[1]));
    const checkpoint = /^(\d{20})\.checkpoint(?:\.\d{10}\.(\d{10}))?\.parquet$/.exec(name);
    if (checkpoint === null) continue;
    const version = Number(checkpoint[1]);
    const known = parts.get(version) ?? { paths: [], wanted: Number(checkpoint[2] ?? 1) };
    known.paths.push(path);
    parts.set(version, known);
  }
  const complete = [...parts].filter(([, { paths, wanted }]) => paths.length === wanted);
  return { commits, checkpoints: complete.map(([version, { paths }]) => ({ version, paths })) };
}

/** From the first entry where the log is whole, else from the newest checkpoint before the version. */
async function actionsUpTo(
  place: Place,
  folder: string,
  { commits, checkpoints }: Log,
  { version, readCheckpoint }: DeltaInputOptions & { readonly version: number },
): Promise<readonly unknown[]> {
  const known = new Set(commits);
  const lacksFrom = (from: number) => {
    for (let entry = from; entry <= version; entry++) if (!known.has(entry)) return entry;
    return null;
  };
  const checkpoint = lacksFrom(0) === null ? undefined : checkpoints.findLast(found => found.version <= version);
  const first = checkpoint === undefined ? 0 : checkpoint.version + 1;
  const lacking = lacksFrom(first);
  if (lacking !== null) throw refused(folder, `version ${version} cannot be read: entry ${lacking} of its log is gone`);
  const actions: unknown[] = checkpoint === undefined ? [] : [...(await readCheckpoint(checkpoint.paths))];
  for (let entry = first; entry <= version; entry++) {
    const text = await place.text(below(folder, `_delta_log/${String(entry).padStart(20, '0')}.json`));
    for (const line of text.split('\n')) if (line.trim() !== '') actions.push(parse(folder, entry, line));
  }
  return actions;
}

function parse(folder: string, entry: number, line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw refused(folder, `entry ${entry} of its log is damaged: ${String(error)}`);
  }
}

/** Reader features that change nothing for rows that are read whole. */
const HARMLESS: ReadonlySet<string> = new Set([
  'timestampNtz',
  'vacuumProtocolCheck',
  'v2Checkpoint',
  // Judged by what the table does with them.
  'columnMapping',
  'deletionVectors',
]);

class Snapshot {
  readonly #name: string;
  readonly #added = new Map<string, object>();

  constructor(name: string) {
    this.#name = name;
  }

  apply(action: unknown): void {
    const add = member(action, 'add');
    const remove = member(action, 'remove');
    if (add instanceof Object) this.#added.set(String(member(add, 'path')), add);
    if (remove instanceof Object) this.#added.delete(String(member(remove, 'path')));
    this.#assertReadable(member(action, 'protocol'), member(action, 'metaData'));
  }

  files(folder: string, partition?: DeltaInputOptions['partition']): readonly DeltaFile[] {
    const files: DeltaFile[] = [];
    for (const [name, add] of [...this.#added].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const constants = partitionValues(member(add, 'partitionValues'));
      if (partition !== undefined && !partition.values.includes(constants[partition.column] ?? '')) continue;
      if (member(add, 'deletionVector') instanceof Object) {
        throw refused(this.#name, `${name} has deleted rows (a deletion vector); let its writer purge them first`);
      }
      files.push({ path: this.#pathOf(folder, name), bytes: Number(member(add, 'size')), constants });
    }
    return files;
  }

  assertThere({ path, bytes }: DeltaFile, found: PlacedFile | null): void {
    if (found === null) throw refused(this.#name, `its file ${path} is gone; was the table vacuumed?`);
    if (found.bytes !== bytes) throw refused(this.#name, `${path} has ${found.bytes} bytes, the log says ${bytes}`);
  }

  /** Paths in the log are URLs: relative to the table, or whole. */
  #pathOf(folder: string, name: string): string {
    if (name.startsWith('file:')) return fileURLToPath(name);
    const bucket = /^s3:\/\/[^/]+\//.exec(folder)?.[0];
    if (bucket !== undefined && name.startsWith(bucket)) return decodeURIComponent(name);
    if (/^[a-z][a-z0-9+.-]*:/i.test(name))
      throw refused(this.#name, `its file ${name} lies elsewhere; copy the table here`);
    return name.startsWith('/') ? decodeURIComponent(name) : below(folder, decodeURIComponent(name));
  }

  #assertReadable(protocol: unknown, metaData: unknown): void {
    const features = member(protocol, 'readerFeatures');
    const unknown = Array.isArray(features) ? features.map(String).filter(feature => !HARMLESS.has(feature)) : [];
    if (unknown.length > 0) throw refused(this.#name, `it needs a reader of ${unknown.join(', ')}`);
    const version = Number(member(protocol, 'minReaderVersion') ?? 1);
    if (version > 3) throw refused(this.#name, `it needs a reader of version ${version}`);
    const mapping = member(member(metaData, 'configuration'), 'delta.columnMapping.mode');
    if (typeof mapping === 'string' && mapping !== 'none') {
      throw refused(this.#name, `its columns are mapped by ${mapping}; rewrite it without column mapping`);
    }
  }
}

function partitionValues(values: unknown): Readonly<Record<string, string>> {
  const entries = values instanceof Object ? Object.entries(values) : [];
  return Object.fromEntries(
    entries.flatMap(([name, value]) => (typeof value === 'string' && value !== '' ? [[name, value]] : [])),
  );
}

function below(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}

function member(value: unknown, name: string): unknown {
  return value instanceof Object ? Reflect.get(value, name) : undefined;
}

function refused(table: string, why: string): EngineFault {
  return new EngineFault('bad_input', `Delta table ${table}: ${why}`, { table });
}
