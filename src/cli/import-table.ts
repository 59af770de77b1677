/** `almanac init --from FILE` and `almanac import FILE`: a user's file becomes daily Parquet partitions of the project. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, extname, join, resolve } from 'node:path';
import { type ColumnFacts, guessKey, guessLabel, inferDefinition, isTime } from '../config/infer-definition.ts';
import { listModels, readDefinition } from '../config/model-definition.ts';
import { unknownName } from '../domain/nearest.ts';
import type { ColumnInfo, FileFormat, ImportReceipt } from '../engine/job.ts';
import type { EnginePool } from '../engine/pool.ts';
import { identifier } from '../engine/sql.ts';
import { withEngine } from './engine.ts';
import { CommandFailure, exitCode, note, print } from './output.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';

const deadlineMs = 3_600_000;
/** The key of rows that have none: their number in the file. */
const rowNumber = 'row_number';

export interface InitOptions extends ProjectOptions {
  readonly from: string;
  readonly label?: string;
  readonly key?: string;
  readonly time?: string;
  readonly model?: string;
}

export async function init(options: InitOptions): Promise<void> {
  const folder = resolve(options.project ?? '.');
  const source = existingFile(options.from);
  const model = options.model ?? modelName(source);
  const definitionPath = join(folder, 'models', `${model}.yaml`);
  if (existsSync(definitionPath)) {
    throw new CommandFailure(`models/${model}.yaml exists already; name another with --model NAME`, exitCode.usage);
  }
  await withImporter(async engine => {
    const format = formatOf(source);
    const inspection = await engine.run('inspect', { files: [{ path: source, format }] }, { deadlineMs });
    if (inspection.columns.length === 0 || inspection.rows === 0) {
      const found = `found ${inspection.rows} rows of ${inspection.columns.length} columns`;
      throw new CommandFailure(`${options.from}: no usable table: expected a header and at least one row, ${found}`);
    }
    const timeColumn = chooseTime(options, inspection.columns);
    const target = join(folder, 'data', model);
    const needsKey = options.key === undefined;
    const receipt = await importInto(engine, {
      source,
      format,
      target,
      timeColumn,
      ...(needsKey ? { rowNumber } : {}),
    });
    const facts = await describeColumns(engine, receipt);
    const given = facts.filter(column => column.name !== rowNumber);
    const key = options.key === undefined ? (guessKey(given) ?? rowNumber) : named('--key', options.key, given);
    const label = options.label === undefined ? guessLabel(given) : named('--label', options.label, given);
    if (label === null) {
      throw new CommandFailure(
        `${options.from}: no column looks like a label; name it with --label (columns: ${given.map(({ name }) => name).join(', ')})`,
        exitCode.usage,
      );
    }
    const inferred = inferDefinition({
      model,
      source: basename(source),
      path: `data/${model}/date={date}/*.parquet`,
      days: daysBetween(receipt),
      columns: key === rowNumber ? facts : given,
      keys: [key],
      label,
      timeColumn,
    });
    mkdirSync(join(folder, 'models'), { recursive: true });
    writeFileSync(definitionPath, inferred.text, { flag: 'wx' });
    writeOnce(join(folder, 'almanac.yaml'), projectText);
    writeOnce(join(folder, '.gitignore'), '.almanac/\n');
    const summary = {
      model,
      task: inferred.task,
      label,
      keys: [key],
      timeColumn,
      rows: receipt.rows,
      partitions: receipt.partitions.length,
      definition: `models/${model}.yaml`,
    };
    if (options.json === true) print(JSON.stringify(summary));
    else {
      print(
        `${receipt.rows.toLocaleString('en')} rows in ${receipt.partitions.length} partitions under data/${model}/`,
      );
      print(`models/${model}.yaml: ${inferred.task}, label ${label}, key ${key}, time ${timeColumn ?? '(none)'}`);
      print(`next: almanac validate ${model} && almanac up`);
    }
  });
}

export interface ImportOptions extends ProjectOptions {
  readonly model?: string;
}

/** Adds the rows of further files; a day that is already there is refused, nothing is overwritten. */
export async function importFiles(files: readonly string[], options: ImportOptions): Promise<void> {
  const project = projectOf(options);
  const models = listModels(project.folder);
  const model = options.model ?? (models.length === 1 ? models[0] : undefined);
  if (model === undefined) {
    throw new CommandFailure(`which model? name it with --model (known: ${models.join(', ')})`, exitCode.usage);
  }
  const definition = readDefinition(project.folder, model);
  await withImporter(async engine => {
    for (const file of files) {
      const source = existingFile(file);
      const receipt = await importInto(engine, {
        source,
        format: formatOf(source),
        target: join(project.folder, 'data', model),
        timeColumn: definition.contract.eventTime,
        ...(definition.contract.keys.includes(rowNumber) ? { rowNumber } : {}),
      });
      note(`${file}: ${receipt.rows.toLocaleString('en')} rows in ${receipt.partitions.length} partitions`);
      if (options.json === true)
        print(JSON.stringify({ file, rows: receipt.rows, partitions: receipt.partitions.length }));
    }
  });
}

interface ImportRequest {
  readonly source: string;
  readonly format: FileFormat;
  readonly target: string;
  readonly timeColumn: string | null;
  readonly rowNumber?: string;
}

/** Imports into a folder beside the target, then moves each new day in by one rename. */
async function importInto(engine: EnginePool, request: ImportRequest): Promise<ImportReceipt> {
  const staging = `${request.target}.importing-${process.pid}`;
  mkdirSync(staging, { recursive: true });
  try {
    const receipt = await engine.run(
      'import-table',
      {
        files: [request.source],
        format: request.format,
        partitionBy:
          request.timeColumn === null
            ? { constant: new Date().toISOString().slice(0, 10) }
            : { column: request.timeColumn },
        outputFolder: staging,
        ...(request.rowNumber === undefined ? {} : { rowNumber: request.rowNumber }),
      },
      {
        deadlineMs,
        onProgress: ({ done, total, unit }) => note(`importing: ${done} of ${total ?? '?'} ${unit}`),
      },
    );
    mkdirSync(request.target, { recursive: true });
    const days = readdirSync(staging);
    const taken = days.filter(day => existsSync(join(request.target, day)));
    if (taken.length > 0) {
      const shown = taken.slice(0, 3).map(day => day.replace('date=', ''));
      throw new CommandFailure(
        `${basename(request.source)}: ${taken.length} of its ${days.length} days are imported already (${shown.join(', ')}${taken.length > 3 ? ', …' : ''}); nothing was changed. Remove those folders first to replace them`,
      );
    }
    for (const day of days) await rename(join(staging, day), join(request.target, day));
    const moved = receipt.partitions.map(part => ({ ...part, path: part.path.replace(staging, request.target) }));
    return { ...receipt, partitions: moved };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Counts per column over the imported Parquet: exact, one scan. */
async function describeColumns(engine: EnginePool, receipt: ImportReceipt): Promise<readonly ColumnFacts[]> {
  const tables = { t: receipt.partitions.map(({ path }) => path) };
  const facts: ColumnFacts[] = [];
  for (const { name, type } of receipt.columns) {
    const column = identifier(name);
    const isNumber = !isTime(type) && !/^(VARCHAR|BOOLEAN|BLOB|UUID)/.test(type);
    const counts = await engine.run(
      'query',
      {
        sql: `SELECT count(*), count(*) - count(${column}), count(DISTINCT ${column}), ${isNumber ? `min(${column})::DOUBLE` : 'NULL'} FROM t`,
        tables,
      },
      { deadlineMs },
    );
    const [rows, nulls, distinct, min] = (counts.rows[0] ?? []).map(value => (value === null ? null : Number(value)));
    const top = await engine.run(
      'query',
      {
        sql: `SELECT ${column}::VARCHAR, count(*) FROM t WHERE ${column} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20`,
        tables,
      },
      { deadlineMs },
    );
    facts.push({
      name,
      type,
      rows: rows ?? 0,
      nulls: nulls ?? 0,
      distinct: distinct ?? 0,
      min: min ?? null,
      values: top.rows.map(([value, count]) => ({ value: String(value), rows: Number(count) })),
    });
  }
  return facts;
}

function chooseTime(options: InitOptions, columns: readonly ColumnInfo[]): string | null {
  if (options.time !== undefined) {
    const names = columns.map(column => column.name);
    if (!names.includes(options.time)) {
      throw new CommandFailure(`--time: ${unknownName('column', options.time, names)}`, exitCode.usage);
    }
    return options.time;
  }
  return columns.find(column => isTime(column.type))?.name ?? null;
}

function named(option: string, name: string, columns: readonly ColumnFacts[]): string {
  const names = columns.map(column => column.name);
  if (names.includes(name)) return name;
  throw new CommandFailure(`${option}: ${unknownName('column', name, names)}`, exitCode.usage);
}

/** Days from the first to the last partition, both counted. */
function daysBetween(receipt: ImportReceipt): number {
  const days = receipt.partitions.map(({ partition }) => Date.parse(`${partition}T00:00:00Z`)).sort((a, b) => a - b);
  return Math.round(((days.at(-1) ?? 0) - (days[0] ?? 0)) / 86_400_000) + 1;
}

function withImporter(use: (engine: EnginePool) => Promise<void>): Promise<void> {
  return withEngine('import', ({ engine }) => use(engine), {
    size: Math.min(2, availableParallelism()),
    memoryMb: 4_096,
  });
}

function existingFile(path: string): string {
  const absolute = resolve(path);
  if (!existsSync(absolute)) throw new CommandFailure(`${path}: no such file`, exitCode.usage);
  return absolute;
}

function formatOf(path: string): FileFormat {
  const extension = extname(path.replace(/\.gz$/, '')).toLowerCase();
  if (extension === '.parquet') return 'parquet';
  return extension === '.json' || extension === '.jsonl' || extension === '.ndjson' ? 'json' : 'csv';
}

/** A file name as a model name: lower case, dashes. */
function modelName(path: string): string {
  const name = basename(path)
    .replace(/\..*$/, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '');
  return name === '' ? 'model' : name;
}

function writeOnce(path: string, text: string): void {
  if (!existsSync(path)) writeFileSync(path, text);
}

const projectText = `# The project: where its store is and who its people are.
store: .almanac/store          # a folder, or s3://bucket/prefix (then also endpoint: and region: if it is not AWS)
people: {}                     # ana: [risk]; empty: the operating-system user may approve
`;
