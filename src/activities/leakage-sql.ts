/** SQL of the facts about leakage; each statement answers one row of counts. */
import { type Contract, type ContractColumn, featureColumns } from '../domain/contract.ts';
import type { QueryJob, QueryResult } from '../engine/job.ts';
import { identifier } from '../engine/sql.ts';

/** Runs these statements, each over the files of its tables. */
export interface Queries {
  one(sql: string, tables: QueryJob['tables']): Promise<QueryResult>;
  /** Together they take a fraction of the time. */
  each(queries: readonly QueryJob[]): Promise<readonly QueryResult[]>;
}

/** Rows, then for event time and known-at: rows after the time of prediction, and the longest lead in hours. */
export function timesSql({ eventTime, knownAt }: Contract, time: string): string {
  const late = (column: string | null) => {
    if (column === null) return '0, 0';
    const seconds = `(epoch(CAST(${identifier(column)} AS TIMESTAMP)) - ${epochOf(time)})`;
    return `count(*) FILTER (${seconds} > 0), max(${seconds}) / 3600`;
  };
  return `SELECT count(*), ${late(eventTime)}, ${late(knownAt)} FROM features`;
}

/** Labels, and those of them that became known after the time. */
export function labelsKnownSql(label: string, knownAt: string, time: string): string {
  const isLate = `epoch(CAST(${identifier(knownAt)} AS TIMESTAMP)) > ${epochOf(time)}`;
  return `SELECT count(*), count(*) FILTER (${isLate}) FROM labels WHERE ${identifier(label)} IS NOT NULL`;
}

function epochOf(time: string): string {
  return String(Date.parse(time) / 1000);
}

/**
 * Rows compared, then for each feature the rows whose value differs when the sources in `cut` end at `time`. The sources are
 * there as `source_<name>`; the transform reads them under their own names. A row that was not there yet differs everywhere.
 */
export function asOfSql(input: {
  readonly contract: Contract;
  readonly transform: string | null;
  readonly sources: readonly string[];
  readonly cut: readonly string[];
  readonly time: string;
  /** Predicate over the keys. */
  readonly sample: string;
}): string {
  const { contract, transform, sources, cut, time, sample } = input;
  const known = identifier(contract.knownAt ?? '');
  const rowsOf = (isCut: boolean) => {
    const tables = sources.map(name => {
      const ends = isCut && cut.includes(name) ? ` WHERE epoch(CAST(${known} AS TIMESTAMP)) <= ${epochOf(time)}` : '';
      return `${identifier(name)} AS (SELECT * FROM ${identifier(`source_${name}`)}${ends})`;
    });
    const select = transform?.trim().replace(/;\s*$/, '') ?? 'SELECT * FROM features';
    return `SELECT * FROM (WITH ${tables.join(', ')} SELECT * FROM (${select})) WHERE ${sample}`;
  };
  const using = contract.keys
    .map(key => `a.${identifier(key)} IS NOT DISTINCT FROM b.${identifier(key)}`)
    .join(' AND ');
  const differs = featureColumns(contract).map(column => `count(*) FILTER (${differsSql(column)})`);
  return (
    `SELECT ${['count(*)', ...differs].join(', ')} FROM (${rowsOf(false)}) a ` +
    `LEFT JOIN (${rowsOf(true)}) b ON ${using === '' ? 'FALSE' : using}`
  );
}

/** Rows, then for each column that ends a window: rows that end after the time, the longest lead in hours, and rows without an end. */
export function windowEndsSql(relation: string, ends: readonly string[], time: string): string {
  const items = ends.flatMap(name => {
    const column = identifier(name);
    const end = `CASE WHEN typeof(${column}) = 'DATE' THEN CAST(${column} AS TIMESTAMP) + INTERVAL 1 DAY ELSE CAST(${column} AS TIMESTAMP) END`;
    const seconds = `(epoch(${end}) - ${epochOf(time)})`;
    return [
      `count(*) FILTER (${seconds} > 0)`,
      `coalesce(max(${seconds}) / 3600, 0)`,
      `count(*) FILTER (${column} IS NULL)`,
    ];
  });
  return `SELECT ${['count(*)', ...items].join(', ')} FROM ${relation}`;
}

/** Sums taken in another order may differ in their last digits. */
function differsSql({ name, type }: ContractColumn): string {
  const [a, b] = [`a.${identifier(name)}`, `b.${identifier(name)}`];
  const isDistinct = `${a} IS DISTINCT FROM ${b}`;
  if (type !== 'float' && type !== 'double') return isDistinct;
  return `${isDistinct} AND NOT coalesce(abs(${a} - ${b}) <= 1e-9 * greatest(abs(${a}), abs(${b})), FALSE)`;
}

/**
 * Rows of training and held-out set; held-out rows with a key (of the same partition) or an entity that training has;
 * training rows that repeat the features of another; held-out rows with the features of a training row, and of those the
 * ones with another label. Numbers are compared to six significant digits, NULL equals NULL.
 */
export function duplicatesSql(contract: Contract, label: string): string {
  const features = featureColumns(contract).map(tupleItem).join(', ');
  const entity = contract.keys.map(identifier).join(', ');
  const side = (table: string) =>
    `SELECT hash(${features}) AS tuple, hash(partition${entity === '' ? '' : `, ${entity}`}) AS key, ` +
    `hash(${entity === '' ? 'NULL' : entity}) AS entity, CAST(${identifier(label)} AS VARCHAR) AS label FROM ${table}`;
  const shared = (column: string) =>
    entity === '' ? '0' : `(SELECT count(*) FROM test WHERE ${column} IN (SELECT ${column} FROM train))`;
  return (
    `WITH train AS (${side('training')}), test AS (${side('held_out')}), ` +
    `known AS (SELECT tuple, count(*) AS n, min(label) AS least, max(label) AS most FROM train GROUP BY tuple) ` +
    `SELECT (SELECT count(*) FROM train), (SELECT count(*) FROM test), ${shared('key')}, ${shared('entity')}, ` +
    `(SELECT coalesce(sum(n - 1), 0) FROM known), (SELECT count(*) FROM test JOIN known USING (tuple)), ` +
    `(SELECT count(*) FROM test JOIN known USING (tuple) WHERE test.label <> known.least OR test.label <> known.most)`
  );
}

function tupleItem({ name, type }: ContractColumn): string {
  const column = identifier(name);
  if (type !== 'float' && type !== 'double') return column;
  const digits = `CAST(5 - floor(log10(abs(${column}))) AS INTEGER)`;
  return `CASE WHEN ${column} IS NULL OR NOT isfinite(${column}) OR ${column} = 0 THEN ${column} ELSE round(CAST(${column} AS DOUBLE), ${digits}) END`;
}
