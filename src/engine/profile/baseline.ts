/**
 * Builds the baseline: bin edges and vocabularies frozen from the reference. The edges need not be exact quantiles (the
 * mass of each bin is counted exactly later), but they must not change from run to run, so everything here is
 * deterministic: exact quantiles of a sample chosen by row number, ties broken by value, rounding to 12 digits.
 */
import type { Baseline, CategoryEdges, ColumnEdges, NumericEdges } from '../../domain/profile.ts';
import type { DuckDbSession } from '../duckdb.ts';
import { identifier } from '../sql.ts';
import { profileArguments } from './columns.ts';
import { nextDown, roundTo12Digits } from './floats.ts';

export interface BuildBaselineOptions {
  /** The reference rows, as a SELECT. */
  readonly relation: string;
  /** Columns to take; default all that a profile can hold. */
  readonly columns?: readonly string[];
  readonly number: number;
  readonly reason: string;
  /** Declared sentinel values per column, counted apart. */
  readonly sentinels?: Readonly<Record<string, readonly number[]>>;
  /** `probability` fixes the score histogram on the grid i/1000; otherwise the name of a column of scores, or none. */
  readonly score?: { readonly kind: 'probability' } | { readonly kind: 'column'; readonly name: string } | null;
}

const SAMPLE_ROWS = 1_000_000;
const VOCABULARY_MAX = 10_000;
/** A number with at most this many distinct values gets a bin for each. */
const DISCRETE_MAX = 50;
/** A value with at least this share of the rows gets a bin of its own. */
const POINT_SHARE = 0.01;
const COLUMNS_PER_QUERY = 50;
/** Values that stand for "unknown" in many sources; learned as sentinels when they end the range and are frequent. */
const USUAL_SENTINELS = new Set([-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999, 999999, 9999999]);
const PERCENTS = Array.from({ length: 99 }, (_, i) => (i + 1) / 100);
const SCORE_GRID = Array.from({ length: 1001 }, (_, i) => i / 1000);

export async function buildBaseline(session: DuckDbSession, options: BuildBaselineOptions): Promise<Baseline> {
  const wanted = options.columns === undefined ? null : new Set(options.columns);
  const described = (await session.describe(options.relation)).filter(
    ({ name }) => wanted === null || wanted.has(name),
  );
  const known = profileArguments(described, new Set());
  const names = (kind: string): string[] => known.flatMap(({ column }) => (column.kind === kind ? [column.name] : []));
  const columns = new Map<string, ColumnEdges>();
  const numeric = names('numeric');
  for (let from = 0; from < numeric.length; from += COLUMNS_PER_QUERY) {
    const batch = numeric.slice(from, from + COLUMNS_PER_QUERY);
    for (const [name, edges] of await numericEdges(session, options, batch)) columns.set(name, edges);
  }
  for (const name of names('category')) columns.set(name, await vocabularyOf(session, options.relation, name));
  return {
    schema: 'baseline/1',
    columns: Object.fromEntries(columns),
    score: await scoreEdges(session, options),
    number: options.number,
    reason: options.reason,
  };
}

interface Summary {
  readonly min: number | null;
  readonly max: number | null;
  readonly percentiles: readonly number[];
  /** 25 %, 75 %, 0.1 % and 99.9 %. */
  readonly spread: readonly number[];
  /** Frequent values of the sample, or all of them when there are few, ascending. */
  readonly points: readonly number[];
  readonly discrete: boolean;
}

async function numericEdges(
  session: DuckDbSession,
  options: BuildBaselineOptions,
  names: readonly string[],
): Promise<Map<string, NumericEdges>> {
  const selected = names.map((name, i) => `CAST(${identifier(name)} AS DOUBLE) AS c${i}`).join(', ');
  const finite = `SELECT ${names.map((_, i) => `CASE WHEN isfinite(c${i}) THEN c${i} END AS c${i}`).join(', ')}`;
  const rows = `SELECT ${selected}, row_number() OVER () AS row FROM (${options.relation})`;
  const extremes = names.map((_, i) => `min(c${i}) AS min${i}, max(c${i}) AS max${i}`).join(', ');
  const [whole] = await session.rows(`SELECT count(*) AS n, ${extremes} FROM (${finite} FROM (${rows}))`);
  const total = Number(whole?.['n'] ?? 0);
  // Fibonacci hashing spreads consecutive row numbers evenly; the same rows are chosen every time.
  const limit = total <= SAMPLE_ROWS ? 2 ** 32 : Math.floor((SAMPLE_ROWS / total) * 2 ** 32);
  const chosen = `WHERE (row * 2654435769) % 4294967296 < ${limit}`;
  await session.run(
    `CREATE OR REPLACE TEMP TABLE almanac_sample AS ${finite} FROM (SELECT * FROM (${rows}) ${chosen})`,
  );
  try {
    const quantiles = [...PERCENTS, 0.25, 0.75, 0.001, 0.999].join(', ');
    const lists = names.map((_, i) => `quantile_cont(c${i}, [${quantiles}]) AS q${i}`).join(', ');
    const [sampled] = await session.rows(`SELECT ${lists} FROM almanac_sample`);
    const result = new Map<string, NumericEdges>();
    for (const [i, name] of names.entries()) {
      const found = numbersOf(sampled?.[`q${i}`]);
      const summary: Summary = {
        min: numberOf(whole?.[`min${i}`]),
        max: numberOf(whole?.[`max${i}`]),
        percentiles: found.slice(0, PERCENTS.length),
        spread: found.slice(PERCENTS.length),
        ...(await frequentValues(session, `c${i}`)),
      };
      result.set(name, edgesOf(summary, options.sentinels?.[name] ?? []));
    }
    return result;
  } finally {
    await session.run('DROP TABLE almanac_sample');
  }
}

async function frequentValues(session: DuckDbSession, column: string): Promise<Pick<Summary, 'points' | 'discrete'>> {
  const rows = await session.rows(
    `WITH groups AS (SELECT ${column} AS value, count(*) AS n FROM almanac_sample WHERE ${column} IS NOT NULL GROUP BY 1), ` +
      `totals AS (SELECT count(*) AS different, sum(n) AS total FROM groups) ` +
      `SELECT value, different FROM groups, totals WHERE different <= ${DISCRETE_MAX} OR n >= ${POINT_SHARE} * total ` +
      `ORDER BY value`,
  );
  const discrete = rows.length > 0 && Number(rows[0]?.['different']) <= DISCRETE_MAX;
  return { points: rows.map(row => Number(row['value'])), discrete };
}

/** Edges from a summary: points as pairs (v⁻, v], then min⁻, percentiles, fences and max for continuous columns. */
export function edgesOf(summary: Summary, declared: readonly number[]): NumericEdges {
  const { min, max, points } = summary;
  if (min === null || max === null) return { kind: 'numeric', edges: [], pivot: 0, fences: null, sentinels: declared };
  const fences = fencesOf(summary);
  const pairs = points.flatMap(value => [nextDown(value), value]);
  const continuous = [nextDown(min), ...summary.percentiles.map(roundTo12Digits), ...(fences ?? []), max];
  const edges = [...new Set(summary.discrete ? pairs : [...pairs, ...continuous])].filter(Number.isFinite);
  const learned = summary.discrete
    ? []
    : points.filter(value => USUAL_SENTINELS.has(value) && (value === min || value === max));
  return {
    kind: 'numeric',
    edges: edges.sort((a, b) => a - b),
    pivot: roundTo12Digits(summary.percentiles[49] ?? min),
    fences,
    sentinels: [...new Set([...declared, ...learned])].sort((a, b) => a - b),
  };
}

/** Tukey's fences; with IQR 0 the 0.1 % and 99.9 % quantiles; none when those are equal too. */
function fencesOf({ spread }: Summary): [low: number, high: number] | null {
  const [q1 = 0, q3 = 0, low = 0, high = 0] = spread;
  const range = q3 - q1;
  const [from, to] = range > 0 ? [q1 - 1.5 * range, q3 + 1.5 * range] : [low, high];
  return to > from && Number.isFinite(from) && Number.isFinite(to)
    ? [roundTo12Digits(from), roundTo12Digits(to)]
    : null;
}

async function vocabularyOf(session: DuckDbSession, relation: string, name: string): Promise<CategoryEdges> {
  const column = identifier(name);
  const groups =
    `SELECT CAST(${column} AS VARCHAR) AS value, count(*) AS n FROM (${relation}) ` +
    `WHERE ${column} IS NOT NULL GROUP BY 1`;
  const rows = await session.rows(
    `WITH groups AS (${groups}) SELECT value, (SELECT count(*) FROM groups WHERE n = 1) AS singletons ` +
      `FROM groups ORDER BY n DESC, value LIMIT ${VOCABULARY_MAX}`,
  );
  const singletons = Number(rows[0]?.['singletons'] ?? 0);
  return { kind: 'category', vocabulary: rows.map(row => String(row['value'])), singletons };
}

async function scoreEdges(session: DuckDbSession, options: BuildBaselineOptions): Promise<readonly number[] | null> {
  const { score } = options;
  if (score == null) return null;
  if (score.kind === 'probability') return SCORE_GRID;
  const edges = await numericEdges(session, options, [score.name]);
  return edges.get(score.name)?.edges ?? null;
}

function numbersOf(value: unknown): number[] {
  return Array.isArray(value) ? value.map(Number) : [];
}

function numberOf(value: unknown): number | null {
  return value === null || value === undefined ? null : Number(value);
}
