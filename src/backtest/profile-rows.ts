/** Baseline and profiles of rows in memory, in the documents and with the bin rules that production uses. */
import type {
  Baseline,
  CategoryEdges,
  CategoryProfile,
  ColumnEdges,
  ColumnProfile,
  NumericEdges,
  NumericProfile,
  Profile,
} from '../domain/profile.ts';
import { histogram } from '../stats/histogram.ts';
import { quantileOfSorted } from '../stats/moments.ts';
import type { History, HistoryColumn } from './table.ts';

const fineBins = 100;
const vocabularyMax = 10_000;

type CategoryColumn = Extract<HistoryColumn, { kind: 'category' }>;

/** Freezes edges at the percentiles of the rows, a point bin for every value that holds 1 % of them, and Tukey's fences. */
export function freezeBaseline(history: History, reason: string): Baseline {
  const columns: Record<string, ColumnEdges> = {};
  for (const column of history.columns)
    columns[column.name] = column.kind === 'number' ? freezeColumn(column.values) : freezeVocabulary(column);
  return {
    schema: 'baseline/1',
    columns,
    score: Array.from({ length: 1001 }, (_, index) => index / 1000),
    number: 1,
    reason,
  };
}

function freezeColumn(values: Float32Array): NumericEdges {
  const ascending = values.filter(Number.isFinite).sort();
  const edges = new Set<number>();
  let previous = Number.NaN;
  for (let index = 0; index <= fineBins; index++) {
    const edge = quantileOfSorted(ascending, index / fineBins).value;
    if (edge === null) continue;
    edges.add(edge);
    // Two percentiles alike: the value holds a hundredth of the rows and gets a bin of its own.
    if (edge === previous) edges.add(nextBelow(edge));
    previous = edge;
  }
  const low = quantileOfSorted(ascending, 0.25).value;
  const high = quantileOfSorted(ascending, 0.75).value;
  const fences =
    low === null || high === null || low === high
      ? null
      : ([low - 1.5 * (high - low), high + 1.5 * (high - low)] as const);
  if (fences !== null) for (const fence of fences) edges.add(fence);
  return {
    kind: 'numeric',
    edges: [...edges].sort((left, right) => left - right),
    pivot: quantileOfSorted(ascending, 0.5).value ?? 0,
    fences,
    sentinels: [],
  };
}

/** Values by frequency, and how many were seen once: Good and Turing's estimate of what is still to come. */
function freezeVocabulary({ codes, categories }: CategoryColumn): CategoryEdges {
  const counts = countCodes(codes, categories.length);
  const seen = categories
    .map((value, code) => ({ value, n: counts[code] ?? 0 }))
    .filter(({ n }) => n > 0)
    .toSorted((left, right) => right.n - left.n || (left.value < right.value ? -1 : 1))
    .slice(0, vocabularyMax);
  return {
    kind: 'category',
    vocabulary: seen.map(({ value }) => value),
    singletons: seen.filter(({ n }) => n === 1).length,
  };
}

function countCodes(codes: Int32Array, categories: number): Float64Array {
  const counts = new Float64Array(categories);
  for (const code of codes) if (code >= 0) counts[code]! += 1;
  return counts;
}

/** The float32 below: column values are float32, so nothing lies between. */
function nextBelow(value: number): number {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, value);
  if (value === 0) return -1.401298464324817e-45;
  bits.setInt32(0, bits.getInt32(0) + (value > 0 ? -1 : 1));
  return bits.getFloat32(0);
}

export interface ProfileRowsOptions {
  readonly baseline: Baseline;
  readonly kind: Profile['kind'];
  /** ISO dates of the window. */
  readonly window: { readonly from: string; readonly to: string } | null;
  /** Scores of the rows; null leaves the score profile out. */
  readonly scores: Float32Array | null;
}

export function profileRows(history: History, options: ProfileRowsOptions): Profile {
  const { baseline, kind, window, scores } = options;
  const columns: Record<string, ColumnProfile> = {};
  for (const column of history.columns) {
    const edges = baseline.columns[column.name];
    if (edges?.kind === 'numeric' && column.kind === 'number')
      columns[column.name] = profileColumn(column.values, edges);
    else if (edges?.kind === 'category' && column.kind === 'category')
      columns[column.name] = profileCategories(column, edges);
  }
  return {
    schema: 'profile/1',
    dataset: 'backtest',
    kind,
    window,
    slice: null,
    engine: 'backtest',
    baseline: `${baseline.number}: ${baseline.reason}`,
    rows: history.labels.length,
    columns,
    keys: null,
    time: { maxEvent: window?.to ?? null, maxKnownAt: null, futureRows: 0 },
    byLabel: null,
    score: scores === null || baseline.score === null ? null : profileScores(scores, history.labels, baseline.score),
    rules: [],
    slices: [],
  };
}

function profileColumn(values: Float32Array, edges: NumericEdges): NumericProfile {
  const count = (test: (value: number) => boolean) => values.reduce((total, value) => total + (test(value) ? 1 : 0), 0);
  const finite = values.filter(Number.isFinite);
  let [s1, s2, s3, s4, min, max] = [0, 0, 0, 0, Infinity, -Infinity];
  for (const value of finite) {
    const shifted = value - edges.pivot;
    s1 += shifted;
    s2 += shifted ** 2;
    s3 += shifted ** 3;
    s4 += shifted ** 4;
    min = Math.min(min, value);
    max = Math.max(max, value);
  }
  return {
    kind: 'numeric',
    type: 'FLOAT',
    n: values.length,
    nulls: 0,
    nan: count(Number.isNaN),
    positiveInfinity: count(value => value === Infinity),
    negativeInfinity: count(value => value === -Infinity),
    sentinels: {},
    min: finite.length === 0 ? null : min,
    max: finite.length === 0 ? null : max,
    pivot: edges.pivot,
    s1,
    s2,
    s3,
    s4,
    histogram: histogram(finite, edges.edges),
  };
}

function profileCategories({ codes, categories }: CategoryColumn, edges: CategoryEdges): CategoryProfile {
  const all = countCodes(codes, categories.length);
  const byValue = new Map(categories.map((value, code) => [value, all[code] ?? 0]));
  const counts = edges.vocabulary.map(value => byValue.get(value) ?? 0);
  const known = new Set(edges.vocabulary);
  const strangers = [...byValue].filter(([value, n]) => n > 0 && !known.has(value)).sort((a, b) => b[1] - a[1]);
  return {
    kind: 'category',
    type: 'VARCHAR',
    n: codes.length,
    nulls: codes.reduce((total, code) => total + (code < 0 ? 1 : 0), 0),
    empty: byValue.get('') ?? 0,
    counts,
    unseen: strangers.reduce((total, [, n]) => total + n, 0),
    unseenTop: strangers.slice(0, 20),
    length: null,
  };
}

function profileScores(
  scores: Float32Array,
  labels: Float32Array,
  edges: readonly number[],
): NonNullable<Profile['score']> {
  const of = (label: number) =>
    histogram(
      scores.filter((_, row) => labels[row] === label),
      edges,
    );
  const positives = of(1);
  const negatives = of(0);
  let [logLossSum, brierSum, total] = [0, 0, 0];
  scores.forEach((score, row) => {
    const p = Math.min(1 - 1e-15, Math.max(1e-15, score));
    logLossSum -= labels[row] === 1 ? Math.log(p) : Math.log(1 - p);
    brierSum += (score - labels[row]!) ** 2;
    total += score;
  });
  // Only the sum over all rows is used here; one bin holds it.
  const sum = positives.map((_, bin) => (bin === 0 ? total : 0));
  return { n: scores.length, positives, negatives, unlabelled: positives.map(() => 0), sum, logLossSum, brierSum };
}
