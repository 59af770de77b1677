/** A training set (Parquet) as the typed arrays that a trainer learns from. */
import type { DuckDBVector } from '@duckdb/node-api';
import type { ContractColumn } from '../domain/contract.ts';
import type { Feature, Table } from '../trainers/trainer.ts';
import type { DuckDbSession } from './duckdb.ts';
import { EngineFault } from './fault.ts';
import type { TrainJob } from './job.ts';
import { identifier, literal, pathLiteral } from './sql.ts';

const numeric: ReadonlySet<string> = new Set(['float', 'double', 'int', 'bool']);
const categorical: ReadonlySet<string> = new Set(['category', 'text']);

export interface TrainingTable {
  readonly table: Table;
  /** Binary: [negative, positive]; multiclass: sorted; regression: []. */
  readonly classes: readonly string[];
}

/** Reads every feature and the label. Categories are sorted, so equal rows give equal codes in any order. */
export async function readTrainingTable(session: DuckDbSession, job: TrainJob): Promise<TrainingTable> {
  const relation = `read_parquet(${pathLiteral(job.file)})`;
  const usable = job.features.filter(column => numeric.has(column.type) || categorical.has(column.type));
  if (usable.length === 0) {
    throw new EngineFault(
      'bad_job',
      `no column can be learned from: features are ${job.features.map(({ name, type }) => `${name} (${type})`).join(', ')}`,
    );
  }
  const dictionaries = new Map<string, readonly string[]>();
  for (const { name, type } of usable) {
    if (categorical.has(type)) dictionaries.set(name, await distinct(session, relation, name));
  }
  const classes = await classesOf(session, relation, job);
  const [count] = await session.rows(`SELECT count(*) AS n FROM ${relation}`);
  const rows = Number(count?.['n'] ?? 0);

  const readers = usable.map(column => readerOf(column, rows, dictionaries.get(column.name)));
  const labels = new Float32Array(rows);
  const label = labelExpression(job, classes);
  const sql = `SELECT ${[...readers.map(({ expression }) => expression), `CAST(${label} AS FLOAT)`].join(', ')} FROM ${relation}`;
  const result = await session.connection.stream(sql);
  let at = 0;
  for (;;) {
    const chunk = await result.fetchChunk();
    if (chunk === null || chunk.rowCount === 0) break;
    for (const [index, reader] of readers.entries()) reader.take(chunk.getColumnVector(index), at, chunk.rowCount);
    const vector = chunk.getColumnVector(readers.length);
    for (let row = 0; row < chunk.rowCount; row += 1) labels[at + row] = Number(vector.getItem(row) ?? Number.NaN);
    at += chunk.rowCount;
  }
  // A stream that breaks off looks like one that ends.
  if (at !== rows) throw new EngineFault('bad_input', `${job.file}: ${at} of ${rows} rows could be read`);
  return { table: { rows, features: readers.map(({ feature }) => feature), labels }, classes };
}

interface Reader {
  readonly expression: string;
  readonly feature: Feature;
  take(vector: DuckDBVector, at: number, count: number): void;
}

function readerOf({ name }: ContractColumn, rows: number, categories: readonly string[] | undefined): Reader {
  if (categories === undefined) {
    const values = new Float32Array(rows);
    return {
      expression: `CAST(${identifier(name)} AS FLOAT)`,
      feature: { kind: 'number', name, values },
      take: (vector, at, count) => {
        for (let row = 0; row < count; row += 1) values[at + row] = Number(vector.getItem(row) ?? Number.NaN);
      },
    };
  }
  const codes = new Int32Array(rows);
  const position = new Map(categories.map((value, index) => [value, index]));
  return {
    expression: `CAST(${identifier(name)} AS VARCHAR)`,
    feature: { kind: 'category', name, codes, categories },
    take: (vector, at, count) => {
      for (let row = 0; row < count; row += 1) {
        const value = vector.getItem(row);
        codes[at + row] = value === null ? -1 : (position.get(String(value)) ?? categories.length);
      }
    },
  };
}

async function distinct(session: DuckDbSession, relation: string, column: string): Promise<readonly string[]> {
  const name = identifier(column);
  const rows = await session.rows(
    `SELECT DISTINCT CAST(${name} AS VARCHAR) AS v FROM ${relation} WHERE ${name} IS NOT NULL ORDER BY 1`,
  );
  return rows.map(row => String(row['v']));
}

async function classesOf(session: DuckDbSession, relation: string, job: TrainJob): Promise<readonly string[]> {
  if (job.task === 'regression') return [];
  const found = await distinct(session, relation, job.label.column);
  if (job.task === 'multiclass') return found;
  const positive = job.label.positive ?? '1';
  const negative = found.filter(value => value !== positive);
  if (!found.includes(positive) || negative.length === 0) {
    throw new EngineFault(
      'bad_input',
      `label ${job.label.column}: expected ${positive} and at least one other value, found ${found.slice(0, 10).join(', ') || 'none'}`,
    );
  }
  return [negative.length === 1 ? (negative[0] ?? '0') : 'other', positive];
}

function labelExpression(job: TrainJob, classes: readonly string[]): string {
  const column = identifier(job.label.column);
  if (job.task === 'regression') return column;
  const text = `CAST(${column} AS VARCHAR)`;
  if (job.task === 'binary') return `CAST(${text} = ${literal(classes[1] ?? '1')} AS INTEGER)`;
  return `list_position([${classes.map(literal).join(', ')}], ${text}) - 1`;
}
