/**
 * Train–serve skew: the features a version learned from against what scoring was given, row by row for the same keys and
 * partitions, and by distribution in its first window. It is there from the first day and no retraining cures it. The rows are paired and counted in an engine child
 * (`engine/verbs/compare-served.ts`); here the counts are judged.
 */
import type { CheckResult } from '../domain/evidence.ts';
import { wilson } from './intervals.ts';
import { checkResult, type Finding, judgeColumns, judgeTable, percent, plain, quoted } from './result.ts';

/** Quantiles of the mismatching rows that have a number on both sides. */
export interface MismatchSpread {
  readonly rows: number;
  readonly low: number;
  readonly median: number;
  readonly high: number;
}

/** One feature over the paired rows. NaN counts as missing. */
export interface ComparedFeature {
  readonly name: string;
  readonly rows: number;
  readonly mismatches: number;
  /** Mismatches in which the served value is missing. */
  readonly servedMissing: number;
  /** Served / trained, and served − trained: 5 %, median and 95 %. Null without numbers. */
  readonly ratio: MismatchSpread | null;
  readonly difference: MismatchSpread | null;
  /** Pairs of values shared by so many rows that they say nothing about one of them; none of keys and personal data. */
  readonly examples: readonly { readonly served: string; readonly trained: string; readonly rows: number }[];
}

export interface ServedComparison {
  /** Rows drawn from the training set, and of those the ones found among the served rows. */
  readonly drawn: number;
  readonly paired: number;
  /** Rows drawn from partitions that were read whole, and of those the ones that nobody served. */
  readonly unserved: { readonly rows: number; readonly of: number };
  /** Keys that occur more than once on a side; they cannot be paired. */
  readonly duplicates: number;
  readonly features: readonly ComparedFeature[];
}

export interface SkewLimits {
  /** Largest share of rows in which a feature may differ. */
  readonly mismatch: number;
  /** Rows that tell such a share from none. */
  readonly rows: number;
}

/**
 * `row_skew` per feature: fails when the lower end of its mismatch share lies above the limit, and says what kind of mismatch
 * it is. `skew_keys` warns of training rows that were never served, and of keys that stand for several rows.
 */
export function checkRowSkew(compared: ServedComparison, limits: SkewLimits): CheckResult[] {
  const { drawn, paired } = compared;
  if (paired === 0) {
    const reason =
      drawn === 0
        ? 'no training row belongs to the compared partitions'
        : `none of ${drawn} training rows has the keys of a served row: keys and times never overlap`;
    return [checkResult('row_skew', { status: 'not_applicable', reason })];
  }
  return [
    ...judgeTable('skew_keys', () => judgeKeys(compared, limits)),
    ...judgeColumns('row_skew', compared.features, feature => judgeFeature(feature, limits)),
  ];
}

/**
 * `distribution_skew` of each column: drift in the first window that a version scores. What differs from what it learned from
 * on its first day is a pipeline's fault before it is the world's. Later windows are drift alone.
 */
export function checkDistributionSkew(firstWindow: readonly CheckResult[]): CheckResult[] {
  return firstWindow
    .filter(({ check }) => check === 'drift')
    .map(check => ({
      ...check,
      check: 'distribution_skew',
      weight: 'advisory',
      reason:
        check.status === 'warn' || check.status === 'fail'
          ? `${check.reason}; already in the first window it scores: compare how the feature is made before anyone retrains`
          : check.reason,
    }));
}

function judgeKeys({ unserved, duplicates, paired }: ServedComparison, limits: SkewLimits): Finding {
  const interval = wilson(unserved.rows, unserved.of);
  const isMissing = interval !== null && interval[0] > limits.mismatch;
  const doubled = duplicates === 0 ? '' : `; ${duplicates} keys occur more than once and could not be paired`;
  return {
    status: isMissing || duplicates > 0 ? 'warn' : 'pass',
    value: unserved.of === 0 ? null : unserved.rows / unserved.of,
    limit: limits.mismatch,
    limitSource: 'declared',
    interval,
    rows: paired,
    reason: `${paired} rows were paired; ${unserved.rows} of ${unserved.of} training rows were never served${doubled}`,
    details: { duplicates },
  };
}

function judgeFeature(feature: ComparedFeature, limits: SkewLimits): Finding {
  const { name, rows, mismatches, examples } = feature;
  const interval = wilson(mismatches, rows);
  if (interval === null)
    return {
      status: 'not_applicable',
      reason: `${name}: the files that were scored are gone and the feature is not among score.pass_through`,
    };
  const share = mismatches / rows;
  const cause = mismatches === 0 ? null : (causeOf(feature) ?? exampleText(feature));
  const base = {
    value: share,
    limit: limits.mismatch,
    limitSource: 'declared',
    interval,
    rows,
    weight: 'blocking' as const,
    details: { mismatches, examples },
  };
  const text = `${name} differs in ${mismatches} of ${rows} rows (${percent(share)})${cause === null ? '' : `: ${cause}`}`;
  if (interval[0] > limits.mismatch) return { ...base, status: 'fail', reason: text };
  if (interval[1] > limits.mismatch && rows < limits.rows && mismatches > 0)
    return { ...base, status: 'warn', reason: `${text}; ${limits.rows} rows would tell` };
  return { ...base, status: 'pass', reason: text };
}

/** One ratio is a unit, one difference an offset or a time zone. */
function causeOf({ mismatches, servedMissing, ratio, difference }: ComparedFeature): string | null {
  if (servedMissing >= 0.9 * mismatches) return 'served as missing';
  const factor = constantIn(ratio, mismatches);
  if (factor !== null && factor !== 1) return `served ${plain(factor)} times the trained value: a unit`;
  const offset = constantIn(difference, mismatches);
  if (offset === null) return null;
  return `served ${plain(Math.abs(offset))} ${offset < 0 ? 'below' : 'above'} the trained value: an offset or a time zone`;
}

/** The median when nine in ten of the mismatches have it. */
function constantIn(spread: MismatchSpread | null, mismatches: number): number | null {
  if (spread === null || spread.rows < 5 || spread.rows < 0.9 * mismatches) return null;
  const { low, median, high } = spread;
  const near = 1e-3 * Math.abs(median) + 1e-9;
  return median - low <= near && high - median <= near ? median : null;
}

function exampleText({ examples }: ComparedFeature): string | null {
  const [top] = examples;
  return top === undefined
    ? null
    : `most often ${quoted(top.served)} was served for ${quoted(top.trained)} (${top.rows} rows)`;
}
