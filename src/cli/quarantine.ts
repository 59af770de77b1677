/** `almanac quarantine list|replay`: the rows that broke a rule, and how repaired ones come back. */
import { createHash } from 'node:crypto';
import { extname, join, resolve } from 'node:path';
import { readDefinition } from '../config/model-definition.ts';
import type { Project } from '../config/project.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import { type Repair, repairRequest } from '../domain/quarantine.ts';
import type { SnapshotFile } from '../domain/snapshot.ts';
import type { EnginePool } from '../engine/pool.ts';
import { Catalog } from '../storage/catalog.ts';
import { keys } from '../storage/keys.ts';
import { openStore } from '../storage/open.ts';
import { systemPorts } from '../storage/ports.ts';
import { fetchTableFile } from '../storage/table/fetch-file.ts';
import { PredictionsTable } from '../storage/table/predictions-table.ts';
import { withEngine } from './engine.ts';
import { CommandFailure, exitCode, note, show, tableLines } from './output.ts';
import { ProjectTables } from './partitions.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';
import { type StartOptions, score } from './start.ts';

const deadlineMs = 600_000;

export interface ListOptions extends ProjectOptions {
  /** Shows the rows of this partition. */
  readonly partition?: string;
  readonly limit?: string;
}

interface HeldPartition {
  readonly model: string;
  readonly partition: string;
  readonly generation: number;
  readonly rows: number;
  /** How the job of this generation ended: `committed` without these rows, or `blocked` because of them. */
  readonly job: string;
  readonly rules: readonly { readonly rule: string; readonly rows: number; readonly example: string }[];
}

/** Partitions with quarantined rows by rule; with `--partition` the rows themselves. */
export async function list(model: string | undefined, options: ListOptions): Promise<void> {
  const desk = openDesk(options);
  const models = model === undefined ? (await desk.catalog.models()).map(entry => entry.model) : [model];
  await withEngine('quarantine', async ({ engine, scratch }) => {
    if (options.partition !== undefined) {
      if (models.length !== 1) throw new CommandFailure('--partition needs the name of a model', exitCode.usage);
      return await listRows(desk, { engine, scratch, model: models[0]!, partition: options.partition, options });
    }
    const held: HeldPartition[] = [];
    for (const name of models) held.push(...(await heldPartitions(desk, { engine, scratch, model: name })));
    show(options.json, { partitions: held }, document =>
      tableLines(
        ['model', 'partition', 'generation', 'job', 'rows', 'rule', 'of them', 'for example'],
        document.partitions.flatMap(one =>
          one.rules.map(({ rule, rows, example }) => [
            one.model,
            one.partition,
            one.generation,
            one.job,
            one.rows,
            rule,
            rows,
            example,
          ]),
        ),
      ),
    );
  });
}

interface Desk {
  readonly project: Project;
  readonly catalog: Catalog;
  tableOf(model: string): PredictionsTable;
  /** Part files of a model's quarantine as local files. */
  fetch(table: PredictionsTable, partition: string, folder: string): Promise<readonly string[]>;
}

function openDesk(options: ProjectOptions): Desk {
  const project = projectOf(options);
  const store = openStore(project.store, project.s3);
  const ports = systemPorts(store);
  return {
    project,
    catalog: new Catalog(ports),
    tableOf: model => new PredictionsTable(ports, keys.quarantine(model)),
    async fetch(table, partition, folder) {
      const files = (await table.state()).current(partition)?.files ?? [];
      const paths: string[] = [];
      for (const file of files) {
        const path = join(folder, `${createHash('sha256').update(file.path).digest('hex')}.parquet`);
        await fetchTableFile({ store, root: table.root, file, path });
        paths.push(path);
      }
      return paths;
    },
  };
}

async function heldPartitions(
  { catalog, tableOf, fetch }: Desk,
  { engine, scratch, model }: { readonly engine: EnginePool; readonly scratch: string; readonly model: string },
): Promise<readonly HeldPartition[]> {
  const table = tableOf(model);
  // Nothing was ever quarantined: there is no table yet.
  if ((await table.state()).version < 0) return [];
  const jobs = await catalog.jobs(model);
  const held: HeldPartition[] = [];
  for (const { partition, generation, rows } of (await table.snapshot()).generations) {
    const quarantined = await fetch(table, partition, scratch);
    if (quarantined.length === 0) continue;
    const counted = await engine.run(
      'query',
      {
        sql: `SELECT almanac_rule, count(*), min(almanac_reason) FROM q GROUP BY almanac_rule ORDER BY 2 DESC, 1`,
        tables: { q: quarantined },
      },
      { deadlineMs },
    );
    const job = jobs.find(one => one.partition === partition && one.generation === generation);
    held.push({
      model,
      partition,
      generation,
      rows,
      job: job?.ended?.outcome ?? 'running',
      rules: counted.rows.map(([rule, count, example]) => ({
        rule: String(rule),
        rows: Number(count),
        example: String(example),
      })),
    });
  }
  return held;
}

async function listRows(
  desk: Desk,
  of: {
    readonly engine: EnginePool;
    readonly scratch: string;
    readonly model: string;
    readonly partition: string;
    readonly options: ListOptions;
  },
): Promise<void> {
  const { engine, scratch, model, partition, options } = of;
  const table = desk.tableOf(model);
  const quarantined = await desk.fetch(table, partition, scratch);
  const limit = Number(options.limit ?? 50);
  const found =
    quarantined.length === 0
      ? { columns: [], rows: [] }
      : await engine.run(
          'query',
          { sql: `SELECT * FROM q LIMIT ${limit}`, tables: { q: quarantined }, rowsMax: limit },
          { deadlineMs },
        );
  const columns = found.columns.map(({ name }) => name);
  const rows = found.rows.map(row =>
    Object.fromEntries(
      columns.map((name, index) => [name, name === 'almanac_row' ? JSON.parse(String(row[index])) : row[index]]),
    ),
  );
  show(options.json, { model, partition, rows }, () =>
    tableLines(
      columns,
      found.rows.map(row => row.map(cell => (typeof cell === 'number' ? cell : String(cell)))),
    ),
  );
}

export interface ReplayOptions extends StartOptions {
  readonly partition: string;
  /** Keys and repaired columns; without it the partition's own files were repaired. */
  readonly file?: string;
}

/** Scores the partition again with what was repaired, as its next generation; the same repair twice is one generation. */
export async function replay(model: string, options: ReplayOptions): Promise<void> {
  const desk = openDesk(options);
  const definition = readDefinition(desk.project.folder, model);
  const request = await withEngine('quarantine', ({ engine, scratch }) => {
    const of = { engine, scratch, model, definition, partition: options.partition };
    return options.file === undefined
      ? requestOfFiles(desk, of)
      : requestOfRepair(desk, { ...of, file: resolve(options.file) });
  });
  await score(model, { ...options, request });
}

interface Replayed {
  readonly engine: EnginePool;
  readonly scratch: string;
  readonly model: string;
  readonly definition: ModelDefinition;
  readonly partition: string;
}

/** The partition's files as they are now name the request, so that starting twice over the same files is one job. */
async function requestOfFiles({ project, catalog }: Desk, replayed: Replayed): Promise<string> {
  const { engine, scratch, model, definition, partition } = replayed;
  const tables = new ProjectTables({ project, engine, scratch });
  const found = await tables.inputs(definition.data.features, partition);
  const { files } = await engine.run('inspect', { files: found, digests: true }, { deadlineMs });
  const listed = await tables.files(definition.data.features, partition);
  const digests = files.map(({ sha256 }, index) => listed[index]?.etag ?? sha256);
  const last = (await catalog.jobs(model)).findLast(job => job.partition === partition && job.ended?.plan != null);
  const plan = last?.ended?.plan;
  const { inputs } =
    plan == null
      ? { inputs: [] }
      : await catalog.documents.get<{ readonly inputs: readonly SnapshotFile[] }>('plan', plan);
  if (inputs.length > 0 && inputs.every(({ etag, sha256 }, index) => (etag ?? sha256) === digests[index])) {
    throw new CommandFailure(
      `partition ${partition}: its files are those that generation ${last?.generation} was made from; ` +
        'repair them first, or name a file with the repaired rows: --file FILE',
      exitCode.gate,
    );
  }
  return `replay:${createHash('sha256').update(digests.join()).digest('hex')}`;
}

/** Tries the repair on the partition here, so that a mistake is told before anything is recorded; then stores it. */
async function requestOfRepair(desk: Desk, replayed: Replayed & { readonly file: string }): Promise<string> {
  const { project, catalog } = desk;
  const { engine, scratch, model, definition, partition, file } = replayed;
  const { keys: names } = definition.contract;
  if (names.length === 0)
    throw new CommandFailure(`${model} declares no keys: repair the partition's own files instead`, exitCode.usage);
  const quarantined = await desk.fetch(desk.tableOf(model), partition, scratch);
  if (quarantined.length === 0)
    throw new CommandFailure(`${model}: no row of partition ${partition} is in quarantine`, exitCode.usage);
  const format = formatOfFile(file);
  const tables = new ProjectTables({ project, engine, scratch });
  const tried = await engine.run(
    'repair',
    {
      inputs: await tables.inputs(definition.data.features, partition),
      repairs: [{ path: file, format }],
      keys: names,
      quarantined,
      outputFolder: scratch,
    },
    { deadlineMs },
  );
  note(`${tried.repaired} quarantined rows are repaired`);
  const repair: Repair = {
    schema: 'repair/1',
    model,
    partition,
    artifact: await catalog.putArtifact(file),
    format,
    rows: tried.repaired,
    repairedBy: project.environment.user,
  };
  return repairRequest(await catalog.documents.put('repair', repair));
}

const formats: Readonly<Record<string, Repair['format']>> = {
  '.parquet': 'parquet',
  '.csv': 'csv',
  '.json': 'json',
  '.jsonl': 'json',
  '.ndjson': 'json',
};

function formatOfFile(file: string): Repair['format'] {
  const format = formats[extname(file).toLowerCase()];
  if (format !== undefined) return format;
  throw new CommandFailure(`${file}: expected ${Object.keys(formats).join(', ')}`, exitCode.usage);
}
