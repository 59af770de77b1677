/**
 * Builds the baseline: bin edges and vocabularies frozen from the reference. The edges need not be exact quantiles (the
 * mass of each bin is counted exactly later), but they must not change from run to run, so everything here is
 * deterministic: exact quantiles of a sample chosen by row number, ties broken by value, rounding to 12 digits.
 */
import type { Baseline, CategoryEdges, ColumnEdges, NumericEdges } from '../../domain/profile.ts';
import type { DuckDbSession } from '../duckdb.ts';
import { identifier } from '../sql.ts';
import { type ProfileArgument, profileArguments } from './columns.ts';
import { nextDown, roundTo12Digits } from './floats.ts';
import { type ColumnSample, quantileOfSorted, sampleColumns } from './sample.ts';

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

/** Ranks of a sample of this size have a standard error of 0.1 % of the rows at most: a tenth of a bin. */
const SAMPLE_ROWS = 250_000;
const VOCABULARY_MAX = 10_000;
/** A number with at most this many distinct values gets a bin for each. */
const DISCRETE_MAX = 50;
/** A value with at least this share of the rows gets a bin of its own. */
const POINT_SHARE = 0.01;
/** Columns whose samples are in memory at once: 100 MB. */
const COLUMNS_PER_SCAN = 50;
/** Values that stand for "unknown" in many sources; learned as sentinels when they end the range and are frequent. */
const USUAL_SENTINELS = new Set([-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999, 999999, 9999999]);
const PERCENTS = Array.from({ length: 99 }, (_, i) => (i + 1) / 100);
const SPREAD = [0.25, 0.75, 0.001, 0.999];
const SCORE_GRID = Array.from({ length: 1001 }, (_, i) => i / 1000);

export async function buildBaseline(session: DuckDbSession, options: BuildBaselineOptions): Promise<Baseline> {
  const wanted = options.columns === undefined ? null : new Set(options.columns);
  const described = (await session.describe(options.relation)).filter(
    ({ name }) => wanted === null || wanted.has(name),
  );
  const known = profileArguments(described, new Set());
  const ofKind = (kind: string) => known.filter(({ column }) => column.kind === kind);
  const columns = new Map<string, ColumnEdges>(await numericEdges(session, options, ofKind('numeric')));
  for (const { column } of ofKind('category')) {
    columns.set(column.name, await vocabularyOf(session, options.relation, column.name));
  }
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
  columns: readonly ProfileArgument[],
): Promise<Map<string, NumericEdges>> {
  const result = new Map<string, NumericEdges>();
  for (let from = 0; from < columns.length; from += COLUMNS_PER_SCAN) {
    const batch = columns.slice(from, from + COLUMNS_PER_SCAN);
    const samples = await sampleColumns(session, options.relation, { columns: batch, rowsMax: SAMPLE_ROWS });
    for (const [i, { column }] of batch.entries()) {
      result.set(column.name, edgesOf(summaryOf(samples[i]!), options.sentinels?.[column.name] ?? []));
    }
  }
  return result;
}

function summaryOf({ min, max, values }: ColumnSample): Summary {
  const quantiles = (list: readonly number[]): number[] =>
    values.length === 0 ? [] : list.map(q => quantileOfSorted(values, q));
  return { min, max, percentiles: quantiles(PERCENTS), spread: quantiles(SPREAD), ...frequentValues(values) };
}

/** All values when there are few, otherwise those with a share of their own. */
function frequentValues(values: Float64Array): Pick<Summary, 'points' | 'discrete'> {
  const all: number[] = [];
  const frequent: number[] = [];
  let different = 0;
  for (let from = 0, to = 0; from < values.length; from = to) {
    const value = values[from]!;
    while (to < values.length && values[to] === value) to++;
    if (++different <= DISCRETE_MAX) all.push(value);
    if (to - from >= POINT_SHARE * values.length) frequent.push(value);
  }
  const discrete = different > 0 && different <= DISCRETE_MAX;
  return { points: discrete ? all : frequent, discrete };
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
  const described = (await session.describe(options.relation)).filter(({ name }) => name === score.name);
  const edges = await numericEdges(session, options, profileArguments(described, new Set()));
  return edges.get(score.name)?.edges ?? null;
}
