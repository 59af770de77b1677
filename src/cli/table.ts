/** `almanac table history|read|export`: the table of predictions without any Delta reader. */
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { readDefinition } from '../config/model-definition.ts';
import type { EnginePool } from '../engine/pool.ts';
import { openStore } from '../storage/open.ts';
import { systemPorts } from '../storage/ports.ts';
import { fetchTableFile } from '../storage/table/fetch-file.ts';
import { PredictionsTable, type TableSnapshot } from '../storage/table/predictions-table.ts';
import { withEngine } from './engine.ts';
import { CommandFailure, exitCode, note, show, tableLines } from './output.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';

export interface TableOptions extends ProjectOptions {
  readonly limit?: string;
  /** Version of the table; default the newest. */
  readonly version?: string;
  /** ISO time: the last version written by then. */
  readonly asOf?: string;
  readonly partition?: string;
}

function openTable(model: string, options: ProjectOptions) {
  const project = projectOf(options);
  const store = openStore(project.store, project.s3);
  const table = new PredictionsTable(systemPorts(store), readDefinition(project.folder, model).score.output);
  return { store, table };
}

export async function history(model: string, options: TableOptions): Promise<void> {
  const { table } = openTable(model, options);
  const commits = (await table.history()).slice(-Number(options.limit ?? 50));
  const entries = commits.map(({ version, timestamp, decision }) => ({
    version,
    time: new Date(timestamp).toISOString(),
    ...decision,
  }));
  show(options.json, { model, table: table.root, history: entries }, document =>
    tableLines(
      ['version', 'time', 'what', 'partition', 'generation', 'replaces', 'rows'],
      document.history.map(entry => [
        entry.version,
        entry.time.slice(0, 19).replace('T', ' '),
        entry.kind,
        'partition' in entry ? entry.partition : null,
        'generation' in entry ? entry.generation : null,
        'replaces' in entry ? entry.replaces : null,
        'rows' in entry ? entry.rows : null,
      ]),
    ),
  );
}

/** Prints rows; `--json` one document with all of them. */
export async function read(model: string, options: TableOptions): Promise<void> {
  await withFiles(model, options, async ({ engine, files, snapshot }) => {
    const limit = Number(options.limit ?? 20);
    const { columns, rows } = await engine.run(
      'query',
      { sql: `SELECT * FROM predictions LIMIT ${limit}`, tables: { predictions: files }, rowsMax: limit },
      { deadlineMs: 600_000 },
    );
    const names = columns.map(column => column.name);
    show(options.json, { model, version: snapshot.version, columns: names, rows }, document =>
      tableLines(
        document.columns,
        document.rows.map(row =>
          row.map(cell => (typeof cell === 'number' ? cell : cell === null ? null : String(cell))),
        ),
      ),
    );
  });
}

/** Copies the part files of a version into a folder, one `partition=<p>/` each; the folder appears whole or not at all. */
export async function exportTable(model: string, folder: string, options: TableOptions): Promise<void> {
  const target = resolve(folder);
  if (existsSync(target)) throw new CommandFailure(`${folder} exists already; name a new folder`, exitCode.usage);
  const { store, table } = openTable(model, options);
  const { snapshot, files } = await select(table, options);
  const staging = `${target}.exporting-${process.pid}`;
  try {
    for (const [index, file] of files.entries()) {
      const path = join(staging, file.path);
      await mkdir(dirname(path), { recursive: true });
      await fetchTableFile({ store, root: table.root, file, path });
      note(`exported ${index + 1} of ${files.length} files`);
    }
    const manifest = { model, table: table.root, version: snapshot.version, files };
    await mkdir(staging, { recursive: true });
    await writeFile(join(staging, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    await rename(staging, target);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  const rows = files.reduce((sum, file) => sum + file.rows, 0);
  const summary = { model, version: snapshot.version, files: files.length, rows, folder };
  show(options.json, summary, () => [`${rows.toLocaleString('en')} rows of version ${snapshot.version} in ${folder}`]);
}

async function select(table: PredictionsTable, options: TableOptions) {
  const snapshot = await table.snapshot({
    ...(options.version === undefined ? {} : { version: Number(options.version) }),
    ...(options.asOf === undefined ? {} : { asOf: options.asOf }),
  });
  const files = snapshot.files.filter(file => options.partition === undefined || file.partition === options.partition);
  if (files.length === 0) {
    const partitions = [...new Set(snapshot.files.map(file => file.partition))];
    const range = partitions.length === 0 ? 'the table is empty' : `there are ${partitions[0]} to ${partitions.at(-1)}`;
    throw new CommandFailure(`${table.root}: no rows for partition ${options.partition ?? '(any)'}: ${range}`);
  }
  return { snapshot, files };
}

async function withFiles(
  model: string,
  options: TableOptions,
  use: (of: { engine: EnginePool; files: readonly string[]; snapshot: TableSnapshot }) => Promise<void>,
): Promise<void> {
  const { store, table } = openTable(model, options);
  const { snapshot, files } = await select(table, options);
  await withEngine('table', async ({ engine, scratch }) => {
    const paths: string[] = [];
    // Enough files for the rows asked for, no more.
    let rows = 0;
    for (const [index, file] of files.entries()) {
      if (rows >= Number(options.limit ?? 20)) break;
      const path = join(scratch, `${index}.parquet`);
      await fetchTableFile({ store, root: table.root, file, path });
      paths.push(path);
      rows += file.rows;
    }
    await use({ engine, files: paths, snapshot });
  });
}
