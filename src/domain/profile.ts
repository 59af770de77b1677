/**
 * A profile: exact counts on bin edges frozen by the reference, per column, plus keys, freshness and label-conditional
 * counts. Mergeable: profile(A + B) = merge(profile A, profile B). It holds no rows.
 */

/** Frozen edges of one numeric column; content-addressed, shared by every later profile of the column. */
export interface NumericEdges {
  readonly kind: 'numeric';
  /**
   * Ascending finite edges e0 < … < em. Bin 0 is (-inf, e0], bin i is (e(i-1), e(i)], the last bin is (em, inf): m + 2 bins.
   * The first and last are guard bins. A point bin for value v is the pair (v⁻, v].
   */
  readonly edges: readonly number[];
  /** Shift for the moments: sums are of (x - pivot). */
  readonly pivot: number;
  /** Tukey fences of the reference. */
  readonly fences: readonly [low: number, high: number] | null;
  /** Declared or learned sentinel values counted apart (-1, 999, …). */
  readonly sentinels: readonly number[];
}
export interface CategoryEdges {
  readonly kind: 'category';
  /** Known values, most frequent first, capped at 10,000; the rest of the reference is `other`. */
  readonly vocabulary: readonly string[];
  /** Values seen exactly once in the reference: Good–Turing's estimate of what may be unseen later is singletons / n. */
  readonly singletons?: number;
}
export type ColumnEdges = NumericEdges | CategoryEdges;

export interface Baseline {
  readonly schema: 'baseline/1';
  readonly columns: Readonly<Record<string, ColumnEdges>>;
  /** Ascending edges of the score histogram: the fixed grid i/1000 for binary tasks, quantiles otherwise. */
  readonly score: readonly number[] | null;
  /** Number of the baseline of this model; a re-baselining is a new number with a reason. */
  readonly number: number;
  readonly reason: string;
}

export interface NumericProfile {
  readonly kind: 'numeric';
  readonly type: string;
  readonly n: number;
  readonly nulls: number;
  readonly nan: number;
  readonly positiveInfinity: number;
  readonly negativeInfinity: number;
  /** Sentinel value (as text) → count. */
  readonly sentinels: Readonly<Record<string, number>>;
  /** Over finite values; null when there are none. */
  readonly min: number | null;
  readonly max: number | null;
  readonly pivot: number;
  /** Sums of (x - pivot)^k over finite values, compensated; k = 1..4. A sum that overflowed is ±1.797e308. */
  readonly s1: number;
  readonly s2: number;
  readonly s3: number;
  readonly s4: number;
  /** edges.length + 1 counts of finite values (see NumericEdges). */
  readonly histogram: readonly number[];
}
export interface CategoryProfile {
  readonly kind: 'category';
  readonly type: string;
  readonly n: number;
  readonly nulls: number;
  readonly empty: number;
  /** Counts in the order of the baseline's vocabulary. */
  readonly counts: readonly number[];
  /** Values outside the vocabulary. */
  readonly unseen: number;
  /** Up to 20 most frequent unseen values (never for personal data). */
  readonly unseenTop: readonly (readonly [value: string, count: number])[];
  readonly length: { readonly min: number; readonly max: number; readonly sum: number } | null;
}
export interface TimeProfile {
  readonly kind: 'time';
  readonly type: string;
  readonly n: number;
  readonly nulls: number;
  /** Infinite timestamps, and instants beyond the years a date can hold; not in `min`, `max` and `days`. */
  readonly infinite?: number;
  /** ISO UTC text. */
  readonly min: string | null;
  readonly max: string | null;
  /** Rows per UTC day, ISO date → count. */
  readonly days: Readonly<Record<string, number>>;
}
export type ColumnProfile = NumericProfile | CategoryProfile | TimeProfile;

/** Score histogram by label; bins as in NumericEdges over Baseline.score. */
export interface ScoreProfile {
  readonly n: number;
  readonly positives: readonly number[];
  readonly negatives: readonly number[];
  readonly unlabelled: readonly number[];
  /** Sum of scores per bin, all rows. */
  readonly sum: readonly number[];
  readonly logLossSum: number;
  readonly brierSum: number;
}

export interface Profile {
  readonly schema: 'profile/1';
  readonly dataset: string;
  readonly kind: 'reference' | 'window' | 'serving' | 'train' | 'test';
  readonly window: { readonly from: string; readonly to: string } | null;
  /** `column=value` of a declared slice, or null for all rows. */
  readonly slice: string | null;
  readonly engine: string;
  /** SHA-256 of the baseline document whose edges were used. */
  readonly baseline: string;
  readonly rows: number;
  readonly columns: Readonly<Record<string, ColumnProfile>>;
  readonly keys: { readonly columns: readonly string[]; readonly duplicates: number; readonly exact: boolean } | null;
  readonly time: { readonly maxEvent: string | null; readonly maxKnownAt: string | null; readonly futureRows: number };
  /**
   * Label-conditional histograms: column → counts for positive and negative rows, in the order of the column's own counts;
   * a numeric column has NULL and NaN in one more entry at the end, a category has unseen and NULL in two more.
   */
  readonly byLabel: Readonly<
    Record<string, { readonly positives: readonly number[]; readonly negatives: readonly number[] }>
  > | null;
  readonly score: ScoreProfile | null;
  readonly rules: readonly { readonly id: string; readonly n: number; readonly bad: number }[];
  /** Profiles of declared slices, same shape without further slices. */
  readonly slices: readonly Profile[];
}
