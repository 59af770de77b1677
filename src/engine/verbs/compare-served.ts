/**
 * Pairs served rows with the training rows of the same partition and keys, a sample by the hash of the keys, and counts per
 * feature where they differ. Both sides are drawn by the same hash, so no row has to be looked up in all of the others.
 */
import type { ComparedFeature, MismatchSpread, ServedComparison } from '../../checks/skew.ts';
import { type ContractColumn, featureColumns } from '../../domain/contract.ts';
import { DuckDbSession } from '../duckdb.ts';
import type { CompareServedJob } from '../served-job.ts';
import { drawServed, servedColumns } from '../served-rows.ts';
import { identifier, literal, pathLiteral, rowShareSql } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

/** Features counted in one statement. */
const batch = 50;
/** Features that examples are given of, the worst first, and how many rows must share a pair of values to be one. */
const shownFeatures = 10;
const shownPairs = 3;
const sharedByRows = 10;

export async function run(job: CompareServedJob, context: VerbContext): Promise<ServedComparison> {
  const session = await DuckDbSession.open({
    files: [job.trained],
    folders: [],
    limits: context,
  });
  try {
    const inPartitions = `partition IN (${[...new Set(job.served.map(one => one.partition))].map(literal).join(', ')})`;
    const trained = `SELECT * FROM read_parquet(${pathLiteral(job.trained)}) WHERE ${inPartitions}`;
    const [all] = await session.rows(`SELECT count(*) AS n FROM (${trained})`);
    const share = Math.min(1, job.sampleRows / Math.max(1, Number(all?.['n'])));
    const keys = ['partition', ...job.contract.keys];
    const sample = rowShareSql({ side: 'holdout', share, seed: job.seed }, keys);
    const pieces = await drawServed({ ...job, chunks: job.served, where: sample }, context);
    await session.run(`CREATE TEMP TABLE trained AS ${uniqueRows(`(${trained}) WHERE ${sample}`, keys)}`);
    await session.run(
      `CREATE TEMP TABLE served AS ${uniqueRows(`read_parquet([${pieces.map(pathLiteral).join(', ')}], union_by_name = true)`, keys)}`,
    );
    const duplicates = await dropDuplicates(session, keys);
    const features = featureColumns(job.contract);
    await session.run(pairsSql(features, keys));
    return {
      ...(await countRows(session, job, keys)),
      duplicates,
      features: await countFeatures(session, job, features),
    };
  } finally {
    session.close();
  }
}

/** Rows with the number of rows that share their keys. */
function uniqueRows(rows: string, keys: readonly string[]): string {
  return `SELECT *, count(*) OVER (PARTITION BY ${keys.map(identifier).join(', ')}) AS almanac_alike FROM ${rows}`;
}

async function dropDuplicates(session: DuckDbSession, keys: readonly string[]): Promise<number> {
  const names = keys.map(identifier).join(', ');
  const doubled = (table: string) => `SELECT DISTINCT ${names} FROM ${table} WHERE almanac_alike > 1`;
  const [found] = await session.rows(`SELECT count(*) AS n FROM (${doubled('trained')} UNION ${doubled('served')})`);
  for (const table of ['trained', 'served']) await session.run(`DELETE FROM ${table} WHERE almanac_alike > 1`);
  return Number(found?.['n']);
}

async function countRows(session: DuckDbSession, { whole }: CompareServedJob, keys: readonly string[]) {
  const isWhole = whole.length === 0 ? 'FALSE' : `partition IN (${whole.map(literal).join(', ')})`;
  const using = keys.map(identifier).join(', ');
  const [counts] = await session.rows(
    `SELECT (SELECT count(*) FROM trained) AS drawn, (SELECT count(*) FROM pairs) AS paired,
      (SELECT count(*) FROM trained WHERE ${isWhole}) AS expected,
      (SELECT count(*) FROM trained ANTI JOIN served USING (${using}) WHERE ${isWhole}) AS unserved`,
  );
  const of = (name: string) => Number(counts?.[name]);
  return { drawn: of('drawn'), paired: of('paired'), unserved: { rows: of('unserved'), of: of('expected') } };
}

/** `pairs`: feature i as s<i> (served) and t<i> (trained), with k<i>, whether the served side has it at all. */
function pairsSql(features: readonly ContractColumn[], keys: readonly string[]): string {
  const using = keys.map(identifier).join(', ');
  const columns = features.flatMap((feature, index) => {
    const side = (table: string) => valueSql(feature, `${table}.${identifier(feature.name)}`);
    return [
      `${side('served')} AS s${index}`,
      `${side('trained')} AS t${index}`,
      `list_contains(served.${identifier(servedColumns)}, ${literal(feature.name)}) AS k${index}`,
    ];
  });
  return `CREATE TEMP TABLE pairs AS SELECT ${columns.join(', ')} FROM served JOIN trained USING (${using})`;
}

function isNumeric({ type }: ContractColumn): boolean {
  return type === 'float' || type === 'double' || type === 'int';
}

/** Numbers as doubles with NaN as NULL, anything else as text. */
function valueSql(feature: ContractColumn, column: string): string {
  return isNumeric(feature) ? `nullif(TRY_CAST(${column} AS DOUBLE), 'nan'::DOUBLE)` : `CAST(${column} AS VARCHAR)`;
}

function differsSql({ type }: ContractColumn, index: number, tolerance: number): string {
  const [s, t] = [`s${index}`, `t${index}`];
  const differs = `${s} IS DISTINCT FROM ${t}`;
  if (type !== 'float' && type !== 'double') return differs;
  // Near zero a relative tolerance is none; a hundredth of it stands in.
  const near = `isfinite(${t}) AND abs(${s} - ${t}) <= ${tolerance} * (0.01 + abs(${t}))`;
  return `${differs} AND NOT coalesce(${near}, FALSE)`;
}

async function countFeatures(
  session: DuckDbSession,
  job: CompareServedJob,
  features: readonly ContractColumn[],
): Promise<ComparedFeature[]> {
  const found: ComparedFeature[] = [];
  for (let from = 0; from < features.length; from += batch) {
    const some = features.slice(from, from + batch).map((feature, index) => ({ feature, index: from + index }));
    const [row = []] = await session.jsonRows(
      `SELECT ${some.map(({ feature, index }) => countsSql(feature, index, job.tolerance)).join(', ')} FROM pairs`,
    );
    some.forEach(({ feature }, at) => {
      found.push(comparedFeature(feature.name, row.slice(at * countsWidth, (at + 1) * countsWidth)));
    });
  }
  return await withExamples(session, job, features, found);
}

const countsWidth = 11;

/** Rows, mismatches, served as missing; then rows and three quantiles, of the ratio and of the difference. */
function countsSql(feature: ContractColumn, index: number, tolerance: number): string {
  const [s, t] = [`s${index}`, `t${index}`];
  const bad = `k${index} AND (${differsSql(feature, index, tolerance)})`;
  const counts = [`k${index}`, bad, `${bad} AND ${s} IS NULL`].map(rows => `count(*) FILTER (${rows})`);
  if (!isNumeric(feature)) return [...counts, ...Array.from({ length: countsWidth - 3 }, () => 'NULL')].join(', ');
  const both = `${bad} AND isfinite(${s}) AND isfinite(${t})`;
  const spread = (value: string, rows: string) => [
    `count(*) FILTER (${rows})`,
    ...[0.05, 0.5, 0.95].map(share => `quantile_cont(${value}, ${share}) FILTER (${rows})`),
  ];
  return [...counts, ...spread(`${s} / ${t}`, `${both} AND ${t} <> 0`), ...spread(`${s} - ${t}`, both)].join(', ');
}

function comparedFeature(name: string, row: readonly unknown[]): ComparedFeature {
  const at = (index: number) => Number(row[index]);
  const spread = (from: number): MismatchSpread | null =>
    row[from + 1] === null || row[from + 1] === undefined
      ? null
      : { rows: at(from), low: at(from + 1), median: at(from + 2), high: at(from + 3) };
  return {
    name,
    rows: at(0),
    mismatches: at(1),
    servedMissing: at(2),
    ratio: spread(3),
    difference: spread(7),
    examples: [],
  };
}

async function withExamples(
  session: DuckDbSession,
  { contract, tolerance }: CompareServedJob,
  features: readonly ContractColumn[],
  found: readonly ComparedFeature[],
): Promise<ComparedFeature[]> {
  const worst = found
    .map((one, index) => ({ ...one, index, column: features[index] }))
    .filter(({ name, column, mismatches }) => mismatches > 0 && column?.pii === false && !contract.keys.includes(name))
    .toSorted((left, right) => right.mismatches / right.rows - left.mismatches / left.rows)
    .slice(0, shownFeatures);
  const compared = [...found];
  for (const { index, column } of worst) {
    if (column === undefined) continue;
    const text = (side: string) => `coalesce(CAST(${side}${index} AS VARCHAR), 'NULL')`;
    const rows = await session.jsonRows(
      `SELECT ${text('s')}, ${text('t')}, count(*) FROM pairs WHERE k${index} AND (${differsSql(column, index, tolerance)})
        GROUP BY ALL HAVING count(*) >= ${sharedByRows} ORDER BY 3 DESC, 1, 2 LIMIT ${shownPairs}`,
    );
    const examples = rows.map(([served, trained, n]) => ({
      served: String(served),
      trained: String(trained),
      rows: Number(n),
    }));
    compared[index] = { ...found[index]!, examples };
  }
  return compared;
}
