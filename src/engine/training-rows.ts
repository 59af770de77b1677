/**
 * Training rows from Parquet as typed columns, streamed: float32 numbers, and codes of a dictionary for categories. NULLs
 * follow the contract exactly as they do at scoring.
 */
import type { ContractColumn } from '../domain/contract.ts';
import type { Feature, Table } from '../trainers/trainer.ts';
import { ArgumentList } from './arguments.ts';
import type { DuckDbSession } from './duckdb.ts';
import { EngineFault } from './fault.ts';
import type { TrainJob } from './job.ts';
import { identifier, literal, readerCall } from './sql.ts';
import { Vectors } from './vectors.ts';

/** A category with more values than this is a key or free text, and no feature. */
const CATEGORIES_MAX = 100_000;

/** Everything that is learned from the training rows and needed to read the held-out ones alike. */
export interface RowReader {
  readonly classes: readonly string[];
  /** The columns that can be learned from, in the order of the contract. */
  readonly features: readonly ContractColumn[];
  /** Features, labels and weights of one file; rows in file order. */
  read(file: string): Promise<Table>;
}

export async function openRowReader(session: DuckDbSession, job: TrainJob): Promise<RowReader> {
  const features = job.features.filter(column => column.type !== 'timestamp' && column.type !== 'date');
  if (features.length === 0) {
    const found = job.features.map(({ name, type }) => `${name} (${type})`).join(', ') || 'none';
    throw new EngineFault('bad_job', `expected a numeric or category feature to learn from, found ${found}`, { found });
  }
  const train = readerCall('parquet', [job.file]);
  await assertColumns(session, job, features);
  const classes = await classesOf(session, job, train);
  const dictionaries = new Map<string, readonly string[]>();
  for (const [index, column] of features.entries()) {
    if (isCategory(column)) dictionaries.set(column.name, await createDictionary(session, job, train, column, index));
  }
  return { classes, features, read: file => readTable(session, { job, features, classes, dictionaries, file }) };
}

function isCategory(column: ContractColumn): boolean {
  return column.type === 'category' || column.type === 'text';
}

async function assertColumns(
  session: DuckDbSession,
  job: TrainJob,
  features: readonly ContractColumn[],
): Promise<void> {
  const columns = await session.describe(`SELECT * FROM ${readerCall('parquet', [job.file])}`);
  const found = columns.map(column => column.name);
  const { column, weight = null } = job.label;
  const names = [...features.map(({ name }) => name), column, ...(weight === null ? [] : [weight])];
  const missing = names.filter(name => !found.includes(name));
  if (missing.length > 0) {
    throw new EngineFault(
      'bad_input',
      `${job.file}: expected column(s) ${missing.join(', ')}, found ${found.join(', ')}`,
      { missing, found },
    );
  }
}

/** Binary: [negative, positive]; several negative values are `other` together. */
async function classesOf(session: DuckDbSession, job: TrainJob, train: string): Promise<readonly string[]> {
  const { task, label } = job;
  if (task === 'regression') return [];
  if (job.classes !== undefined && task === 'multiclass') return job.classes;
  const text = `CAST(${identifier(label.column)} AS VARCHAR)`;
  const rows = await session.rows(
    `SELECT DISTINCT ${text} AS v, ${isClass(text, label.positive ?? '1')} AS positive FROM ${train} WHERE v IS NOT NULL ORDER BY v`,
  );
  if (task === 'multiclass') return rows.map(row => String(row['v']));
  const negatives = rows.filter(row => row['positive'] !== true).map(row => String(row['v']));
  const positive = label.positive ?? '1';
  return [
    negatives.length === 1 ? (negatives[0] ?? '') : negatives.length === 0 ? `not ${positive}` : 'other',
    positive,
  ];
}

/** The distinct values, sorted, as an ENUM type, so that codes come out of DuckDB as integers. */
async function createDictionary(
  session: DuckDbSession,
  job: TrainJob,
  train: string,
  column: ContractColumn,
  index: number,
): Promise<readonly string[]> {
  const values = `SELECT DISTINCT ${categoryText(column)} AS v FROM ${train} WHERE ${labelled(job)} AND v IS NOT NULL`;
  const rows = await session.rows(`${values} ORDER BY v LIMIT ${CATEGORIES_MAX + 1}`);
  if (rows.length > CATEGORIES_MAX) {
    throw new EngineFault(
      'bad_input',
      `column ${column.name} has more than ${CATEGORIES_MAX} different values; give it role: ignore or group it in the transform`,
      { column: column.name },
    );
  }
  if (rows.length > 0) await session.run(`CREATE TYPE almanac_category_${index} AS ENUM (${values} ORDER BY v)`);
  return rows.map(row => String(row['v']));
}

interface ReadOptions {
  readonly job: TrainJob;
  readonly features: readonly ContractColumn[];
  readonly classes: readonly string[];
  readonly dictionaries: ReadonlyMap<string, readonly string[]>;
  readonly file: string;
}

async function readTable(session: DuckDbSession, options: ReadOptions): Promise<Table> {
  const { job, classes, dictionaries, file } = options;
  const relation = readerCall('parquet', [file]);
  const rows = await countRows(session, job, relation);
  const labels = new Float32Array(rows);
  const weight = job.label.weight ?? null;
  const weights = weight === null ? null : new Float64Array(rows);
  const features = options.features.map((column): Feature => {
    const categories = dictionaries.get(column.name);
    return categories === undefined
      ? { kind: 'number', name: column.name, values: new Float32Array(rows) }
      : { kind: 'category', name: column.name, codes: new Int32Array(rows), categories };
  });
  const numbers = new ArgumentList(await session.describe(`SELECT * FROM ${relation}`));
  const expressions = options.features.map((column, index) => {
    const categories = dictionaries.get(column.name);
    return categories === undefined ? numberSql(numbers, column) : codeSql(column, index, categories.length);
  });
  // The weight comes last, so that what comes before has the same place with and without it.
  const weighed = weight === null ? [] : [`CAST(${identifier(weight)} AS DOUBLE)`];
  const select = [labelSql(job, classes), ...expressions, ...weighed]
    .map((sql, index) => `${sql} AS c${index}`)
    .join(', ');

  // A stream that fails just ends, so the rows are counted against the count above.
  const result = await session.connection.stream(`SELECT ${select} FROM ${relation} WHERE ${labelled(job)}`);
  let done = 0;
  for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
    const vectors = new Vectors(chunk, 1 + features.length + weighed.length);
    if (done + vectors.rows > rows) break;
    labels.set(vectors.numbers(0), done);
    features.forEach((feature, index) => {
      if (feature.kind === 'category') {
        feature.codes.set(vectors.numbers(index + 1), done);
        return;
      }
      feature.values.set(vectors.numbers(index + 1), done);
      for (const row of vectors.nullRows(index + 1)) feature.values[done + row] = Number.NaN;
    });
    weights?.set(vectors.numbers(1 + features.length), done);
    done += vectors.rows;
  }
  if (done !== rows) {
    throw new EngineFault('bad_input', `${file}: ${rows} labelled rows expected, ${done} could be read`, { file });
  }
  return { rows, features, labels, weights };
}

async function countRows(session: DuckDbSession, job: TrainJob, relation: string): Promise<number> {
  const [found] = await session.rows(`SELECT count(*) AS n FROM ${relation} WHERE ${labelled(job)}`);
  return Number(found?.['n'] ?? 0);
}

/** The condition on rows that can be learned from. */
export function labelled(job: TrainJob): string {
  return `${identifier(job.label.column)} IS NOT NULL`;
}

/** DOUBLE; rounded to float32 on this side, as at scoring, so that large numbers become Infinity and not an error. */
function numberSql(numbers: ArgumentList, column: ContractColumn): string {
  // Refuses types that are no numbers with the message the scorer has for them.
  numbers.number(column.name);
  const value = `TRY_CAST(${identifier(column.name)} AS DOUBLE)`;
  const { as, default: replacement } = column.nulls;
  return as === 'default' && replacement !== null ? `coalesce(${value}, ${Number(replacement)}::DOUBLE)` : value;
}

function categoryText(column: ContractColumn): string {
  const text = `CAST(${identifier(column.name)} AS VARCHAR)`;
  const { as, default: replacement } = column.nulls;
  return as === 'default' && replacement !== null ? `coalesce(${text}, ${literal(String(replacement))})` : text;
}

function codeSql(column: ContractColumn, index: number, size: number): string {
  const text = categoryText(column);
  const code = size === 0 ? 'NULL' : `enum_code(TRY_CAST(${text} AS almanac_category_${index}))`;
  return `CAST(CASE WHEN ${text} IS NULL THEN -1 ELSE coalesce(${code}, ${size}) END AS INTEGER)`;
}

function labelSql({ task, label }: TrainJob, classes: readonly string[]): string {
  const column = identifier(label.column);
  if (task === 'regression') return `CAST(${column} AS DOUBLE)`;
  const text = `CAST(${column} AS VARCHAR)`;
  if (task === 'binary') return `CAST(${isClass(text, classes[1] ?? '1')} AS DOUBLE)`;
  const cases = classes.map((name, index) => `WHEN ${isClass(text, name)} THEN ${index}`);
  return `CAST(CASE ${cases.join(' ')} ELSE -1 END AS DOUBLE)`;
}

/** Texts are compared as written or as numbers, so that a positive `1` also finds 1.0. */
function isClass(text: string, value: string): string {
  const asNumbers = `TRY_CAST(${text} AS DOUBLE) = TRY_CAST(${literal(value)} AS DOUBLE)`;
  return `(${text} = ${literal(value)} OR coalesce(${asNumbers}, false))`;
}
