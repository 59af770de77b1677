/**
 * A Delta table as input, at one version: the log says which files belong to it, the folder does not (it also holds files
 * that were replaced, and those of commits that never happened). Only what a reader of version 1 understands is read; what
 * would give other rows (deletion vectors, mapped columns) is refused by name.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EngineFault } from './fault.ts';
import type { InputFile } from './input-files.ts';

export interface DeltaInput {
  readonly version: number;
  /** Sorted by path; partition values are `constants`, those that are NULL are left out. */
  readonly files: readonly InputFile[];
}

export interface DeltaInputOptions {
  /** Default: the newest. */
  readonly version?: number;
  /** Rows of checkpoint files (Parquet) as actions; asked for only when the log before them is gone. */
  readonly readCheckpoint: (paths: readonly string[]) => Promise<readonly unknown[]>;
}

export async function isDeltaTable(folder: string): Promise<boolean> {
  return (await stat(join(folder, '_delta_log')).catch(() => null))?.isDirectory() === true;
}

/** @throws EngineFault `bad_input` that names table and version. */
export async function readDeltaInput(folder: string, options: DeltaInputOptions): Promise<DeltaInput> {
  const log = await listLog(join(folder, '_delta_log'));
  const newest = log.commits.at(-1) ?? log.checkpoints.at(-1)?.version;
  if (newest === undefined) throw refused(folder, 'its log has no entry');
  const version = options.version ?? newest;
  if (version > newest) throw refused(folder, `version ${version} is wanted, the newest is ${newest}`);
  const snapshot = new Snapshot(`${folder} at version ${version}`);
  for (const action of await actionsUpTo(folder, log, version, options)) snapshot.apply(action);
  const files = await snapshot.files(folder);
  if (files.length === 0) throw refused(folder, `it has no files at version ${version}`);
  return { version, files };
}

interface Log {
  readonly folder: string;
  /** Ascending. */
  readonly commits: readonly number[];
  readonly checkpoints: readonly { readonly version: number; readonly paths: readonly string[] }[];
}

async function listLog(folder: string): Promise<Log> {
  const commits: number[] = [];
  const parts = new Map<number, { paths: string[]; wanted: number }>();
  for (const name of (await readdir(folder)).sort()) {
    const commit = /^(\d{20})\.json$/.exec(name);
    if (commit !== null) commits.push(Number(commit[1]));
    const checkpoint = /^(\d{20})\.checkpoint(?:\.\d{10}\.(\d{10}))?\.parquet$/.exec(name);
    if (checkpoint === null) continue;
    const version = Number(checkpoint[1]);
    const known = parts.get(version) ?? { paths: [], wanted: Number(checkpoint[2] ?? 1) };
    known.paths.push(join(folder, name));
    parts.set(version, known);
  }
  const complete = [...parts].filter(([, { paths, wanted }]) => paths.length === wanted);
  return { folder, commits, checkpoints: complete.map(([version, { paths }]) => ({ version, paths })) };
}

/** From the first entry where the log is whole, else from the newest checkpoint before the version. */
async function actionsUpTo(
  folder: string,
  { folder: logFolder, commits, checkpoints }: Log,
  version: number,
  { readCheckpoint }: DeltaInputOptions,
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
    const text = await readFile(join(logFolder, `${String(entry).padStart(20, '0')}.json`), 'utf8');
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

  async files(folder: string): Promise<readonly InputFile[]> {
    const files: InputFile[] = [];
    for (const [name, add] of [...this.#added].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (member(add, 'deletionVector') instanceof Object) {
        throw refused(this.#name, `${name} has deleted rows (a deletion vector); let its writer purge them first`);
      }
      const path = this.#pathOf(folder, name);
      const found = await stat(path).catch(() => null);
      const bytes = Number(member(add, 'size'));
      if (found === null) throw refused(this.#name, `its file ${path} is gone; was the table vacuumed?`);
      if (found.size !== bytes) throw refused(this.#name, `${path} has ${found.size} bytes, the log says ${bytes}`);
      files.push({ path, format: 'parquet', constants: partitionValues(member(add, 'partitionValues')) });
    }
    return files;
  }

  /** Paths in the log are URLs: relative to the table, or whole. */
  #pathOf(folder: string, name: string): string {
    if (name.startsWith('file:')) return fileURLToPath(name);
    if (/^[a-z][a-z0-9+.-]*:/i.test(name))
      throw refused(this.#name, `its file ${name} lies elsewhere; copy the table here`);
    return name.startsWith('/') ? decodeURIComponent(name) : join(folder, decodeURIComponent(name));
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

function member(value: unknown, name: string): unknown {
  return value instanceof Object ? Reflect.get(value, name) : undefined;
}

function refused(table: string, why: string): EngineFault {
  return new EngineFault('bad_input', `Delta table ${table}: ${why}`, { table });
}
