/** Train-serve skew: by distribution, and row by row, what was served against what is recomputed for the same keys. */
import type { CheckResult } from '../domain/evidence.ts';
import type { Numbers } from '../stats/measured.ts';
import { median, quantile } from '../stats/moments.ts';
import { checkDrift, type DriftInput } from './drift.ts';
import { wilson } from './intervals.ts';
import { type Finding, judgeColumns, judgeTable, percent, plain } from './result.ts';

/** One feature of rows joined on key and prediction time. NULL is NaN for numbers and null for texts. */
export type PairedColumn =
  | { readonly kind: 'number'; readonly name: string; readonly served: Numbers; readonly recomputed: Numbers }
  | {
      readonly kind: 'category';
      readonly name: string;
      readonly served: readonly (string | null)[];
      readonly recomputed: readonly (string | null)[];
    };

export interface PairedRows {
  readonly columns: readonly PairedColumn[];
  readonly scores: { readonly served: Numbers; readonly recomputed: Numbers } | null;
  /** Keys found on one side only, and keys found more than once. */
  readonly onlyServed: number;
  readonly onlyRecomputed: number;
  readonly duplicates: number;
}

const mismatchMax = 0.001;
const scoreDifferenceMax = 1e-3;
const rowsWanted = 10_000;

/**
 * Skew of distributions: what the model was served (`profile`) against what it was trained on (`reference`), judged as drift
 * is, but under the name of skew: it is there from the first day and no retraining cures it.
 */
export function checkDistributionSkew(input: DriftInput): CheckResult[] {
  return checkDrift(input).flatMap(check =>
    check.check === 'drift' ? [{ ...check, check: 'distribution_skew' }] : [],
  );
}

/** Fails a feature when the lower end of its mismatch share lies above 0.1 %, and says what kind of mismatch it is. */
export function checkRowSkew(paired: PairedRows): CheckResult[] {
  return [
    ...judgeTable('skew_keys', () => judgeKeys(paired)),
    ...judgeColumns('row_skew', paired.columns, column =>
      column.kind === 'number' ? judgeNumbers(column) : judgeCategories(column),
    ),
    ...judgeTable('score_skew', () => judgeScores(paired)),
  ];
}

function judgeKeys({ onlyServed, onlyRecomputed, duplicates }: PairedRows): Finding {
  const bad = onlyServed + onlyRecomputed + duplicates;
  return {
    status: bad === 0 ? 'pass' : 'warn',
    value: bad,
    limit: 0,
    reason: `${onlyServed} keys were only served, ${onlyRecomputed} only recomputed, ${duplicates} occur more than once`,
  };
}

function judgeNumbers({ name, served, recomputed }: Extract<PairedColumn, { kind: 'number' }>): Finding {
  const rows = Math.min(served.length, recomputed.length);
  const ratios: number[] = [];
  const differences: number[] = [];
  let mismatches = 0;
  let nullsServed = 0;
  for (let row = 0; row < rows; row++) {
    const left = served[row]!;
    const right = recomputed[row]!;
    if (Number.isNaN(left) && Number.isNaN(right)) continue;
    if (left === right || Math.abs(left - right) <= 1e-6 + 1e-4 * Math.abs(right)) continue;
    mismatches++;
    if (Number.isNaN(left) || Number.isNaN(right)) {
      if (Number.isNaN(left)) nullsServed++;
      continue;
    }
    differences.push(left - right);
    if (right !== 0) ratios.push(left / right);
  }
  return judgeMismatches(
    name,
    rows,
    mismatches,
    attributeNumbers({ served, mismatches, nullsServed, ratios, differences }),
  );
}

function judgeCategories({ name, served, recomputed }: Extract<PairedColumn, { kind: 'category' }>): Finding {
  const rows = Math.min(served.length, recomputed.length);
  const pairs = new Map<string, number>();
  let mismatches = 0;
  for (let row = 0; row < rows; row++) {
    if (served[row] === recomputed[row]) continue;
    mismatches++;
    const pair = `${served[row] ?? 'NULL'} for ${recomputed[row] ?? 'NULL'}`;
    pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
  }
  const top = [...pairs].toSorted(([, left], [, right]) => right - left)[0];
  return judgeMismatches(
    name,
    rows,
    mismatches,
    top === undefined ? null : `most often ${JSON.stringify(top[0])} (${top[1]} rows)`,
  );
}

function judgeMismatches(name: string, rows: number, mismatches: number, cause: string | null): Finding {
  const interval = wilson(mismatches, rows);
  if (interval === null) return { status: 'insufficient', rows, reason: `${name}: no paired rows` };
  const base = {
    value: mismatches / rows,
    limit: mismatchMax,
    limitSource: 'material floor',
    interval,
    rows,
    weight: 'blocking' as const,
  };
  const text = `${name} differs in ${mismatches} of ${rows} rows (${percent(mismatches / rows)})${cause === null ? '' : `: ${cause}`}`;
  if (interval[0] > mismatchMax) return { ...base, status: 'fail', reason: text };
  if (interval[1] > mismatchMax && rows < rowsWanted && mismatches > 0)
    return { ...base, status: 'warn', reason: `${text}; ${rowsWanted} rows would tell` };
  return { ...base, status: 'pass', reason: text };
}

/** One ratio is a unit, one difference an offset or a time zone, one served value a default. */
function attributeNumbers(found: {
  readonly served: Numbers;
  readonly mismatches: number;
  readonly nullsServed: number;
  readonly ratios: readonly number[];
  readonly differences: readonly number[];
}): string | null {
  const { mismatches, nullsServed, ratios, differences } = found;
  if (mismatches === 0) return null;
  if (nullsServed >= 0.9 * mismatches) return 'served as missing';
  const constant = (values: readonly number[]) => {
    const middle = median(values).value;
    if (middle === null || values.length < 0.9 * mismatches || values.length < 5) return null;
    const near = values.filter(value => Math.abs(value - middle) <= 1e-3 * Math.abs(middle) + 1e-9).length;
    return near >= 0.9 * values.length ? middle : null;
  };
  const ratio = constant(ratios);
  if (ratio !== null && ratio !== 1) return `served ${plain(ratio)} times the recomputed value: a unit`;
  const difference = constant(differences);
  if (difference !== null) return `served ${plain(difference)} above the recomputed value: an offset or a time zone`;
  return null;
}

function judgeScores({ scores }: PairedRows): Finding | null {
  if (scores === null) return null;
  const rows = Math.min(scores.served.length, scores.recomputed.length);
  const differences = Float64Array.from({ length: rows }, (_, row) =>
    Math.abs(scores.served[row]! - scores.recomputed[row]!),
  );
  const high = quantile(differences, 0.99).value;
  if (high === null) return { status: 'insufficient', rows, reason: 'no paired scores' };
  return {
    status: high <= scoreDifferenceMax ? 'pass' : 'fail',
    weight: 'blocking',
    value: high,
    limit: scoreDifferenceMax,
    limitSource: 'material floor',
    rows,
    reason: `99 % of ${rows} scores differ by at most ${plain(high)}, ${scoreDifferenceMax} allowed`,
  };
}
