/** Draws rows of the training set and of the served chunks by the hash of their keys, and has a classifier tell them apart. */
import type { Separation } from '../../checks/domain-classifier.ts';
import type { ContractColumn } from '../../domain/contract.ts';
import type { Feature } from '../../trainers/trainer.ts';
import { tellApart } from '../domain-classifier.ts';
import { DuckDbSession } from '../duckdb.ts';
import type { TellApartJob } from '../served-job.ts';
import { drawServed } from '../served-rows.ts';
import { identifier, pathLiteral, rowShareSql } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

/** Values of a category that the classifier sees; rarer ones are alike to it. */
const categoriesMax = 20;
/** A hash draws a little more or less than wanted; what is too much is left out again. */
const spare = 1.2;
const largestSingle = 3.4028234663852886e38;

export async function run(job: TellApartJob, context: VerbContext): Promise<Separation> {
  const { contract, trained, served, seed } = job;
  const columns = job.columns.flatMap(name => contract.columns.filter(column => column.name === name));
  const session = await DuckDbSession.open({
    files: [trained],
    folders: [],
    limits: context,
  });
  try {
    // Without keys the rows are drawn by what they hold.
    const drawnBy = ['partition', ...(contract.keys.length > 0 ? contract.keys : job.columns)];
    const drawn = (of: number) =>
      rowShareSql({ side: 'holdout', share: Math.min(1, (spare * job.rows) / Math.max(1, of)), seed }, drawnBy);
    const [all] = await session.rows(`SELECT count(*) AS n FROM read_parquet(${pathLiteral(trained)})`);
    const rows = served.reduce((sum, chunk) => sum + chunk.rows, 0);
    const pieces = await drawServed({ chunks: served, contract, where: drawn(rows) }, context);
    const values = ['NULL AS nothing', ...columns.map((column, index) => `${valueSql(column)} AS v${index}`)].join(
      ', ',
    );
    await session.run(
      `CREATE TEMP TABLE reference AS SELECT ${values} FROM read_parquet(${pathLiteral(trained)})
        WHERE ${drawn(Number(all?.['n']))}`,
    );
    await session.run(
      `CREATE TEMP TABLE present AS SELECT ${values}
        FROM read_parquet([${pieces.map(pathLiteral).join(', ')}], union_by_name = true)`,
    );
    const features: Feature[] = [];
    let [reference, current] = [0, 0];
    for (const [index, column] of columns.entries()) {
      const [before, now] = [await valuesOf(session, 'reference', index), await valuesOf(session, 'present', index)];
      [reference, current] = [before.length, now.length];
      features.push(featureOf(column, [...before, ...now]));
    }
    return await tellApart({ features, reference, current, rowsMax: job.rows, seed });
  } finally {
    session.close();
  }
}

function isCategory({ type }: ContractColumn): boolean {
  return type === 'category' || type === 'text' || type === 'bool';
}

function valueSql(column: ContractColumn): string {
  return `${isCategory(column) ? 'CAST' : 'TRY_CAST'}(${identifier(column.name)} AS ${isCategory(column) ? 'VARCHAR' : 'DOUBLE'})`;
}

async function valuesOf(session: DuckDbSession, table: string, index: number): Promise<unknown[]> {
  const columns = (await session.connection.runAndReadAll(`SELECT v${index} FROM ${table}`)).getColumnsJS();
  return columns[0] ?? [];
}

function featureOf(column: ContractColumn, values: readonly unknown[]): Feature {
  const { name } = column;
  if (!isCategory(column)) {
    return { kind: 'number', name, values: Float32Array.from(values, singleOf) };
  }
  const counts = new Map<string, number>();
  for (const value of values) if (value !== null) counts.set(String(value), (counts.get(String(value)) ?? 0) + 1);
  const categories = [...counts]
    .toSorted(([one, n], [other, m]) => m - n || (one < other ? -1 : 1))
    .slice(0, categoriesMax)
    .map(([category]) => category);
  const codes = new Map(categories.map((category, code) => [category, code]));
  const codeOf = (value: unknown) => (value === null ? -1 : (codes.get(String(value)) ?? categories.length));
  return { kind: 'category', name, codes: Int32Array.from(values, codeOf), categories };
}

/** Missing is NaN; infinite and too large values are as large as can be. */
function singleOf(value: unknown): number {
  if (typeof value !== 'number') return Number.NaN;
  return Math.min(largestSingle, Math.max(-largestSingle, value));
}
