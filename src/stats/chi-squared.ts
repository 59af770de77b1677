/**
 * Chi-squared and G tests. Drift is always judged by the two-sample (homogeneity) test: goodness of fit against a
 * reference treats the reference as exact, inflates the statistic by 1 + M/N, and one new category makes it infinite.
 */
import { shares } from './histogram.ts';
import { andThen, lengthMismatch, type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';
import { chiSquaredTail, log10ChiSquaredTail } from './special.ts';

export interface ChiSquared {
  readonly statistic: number;
  readonly df: number;
  readonly p: number;
  readonly log10P: number;
}

function withTail(statistic: number, df: number): Measured<ChiSquared> {
  if (!Number.isFinite(statistic)) return undefinedBecause('an expected count is 0 where something was observed');
  // One category left: nothing can differ.
  if (df === 0) return measured({ statistic: 0, df: 0, p: 1, log10P: 0 });
  const value = Math.max(0, statistic);
  return measured({ statistic: value, df, p: chiSquaredTail(value, df), log10P: log10ChiSquaredTail(value, df) });
}

/** Pearson's goodness of fit Σ (O − E)²/E, df = K − 1. The expected counts are scaled to the observed total. */
export function chiSquaredGoodnessOfFit(observed: Numbers, expected: Numbers): Measured<ChiSquared> {
  return goodnessOfFit(observed, expected, (o, e) => (o === e ? 0 : (o - e) ** 2 / e));
}

/** Likelihood-ratio goodness of fit G = 2 Σ O ln(O/E), df = K − 1. */
export function gGoodnessOfFit(observed: Numbers, expected: Numbers): Measured<ChiSquared> {
  return goodnessOfFit(observed, expected, (o, e) => (o === 0 ? 0 : 2 * o * Math.log(o / e)));
}

function goodnessOfFit(
  observed: Numbers,
  expected: Numbers,
  term: (observed: number, expected: number) => number,
): Measured<ChiSquared> {
  const mismatch = lengthMismatch(observed, expected, 'observed and expected counts');
  if (mismatch !== null) return undefinedBecause(mismatch);
  return andThen(shares(expected), p => {
    const total = sum(observed);
    if (!(total > 0)) return undefinedBecause('nothing observed');
    const terms = p.map((share, i) => term(observed[i]!, share * total));
    return withTail(sum(terms), p.length - 1);
  });
}

/** Rows and columns that hold anything, with their sums. A row (sample) without counts has no distribution to compare. */
function marginsOf(
  table: readonly Numbers[],
): Measured<{ cells: number[][]; rows: number[]; columns: number[]; total: number }> {
  const width = table[0]?.length ?? 0;
  for (const row of table) {
    const mismatch = lengthMismatch(table[0]!, row, 'rows of the table');
    if (mismatch !== null) return undefinedBecause(mismatch);
    for (let j = 0; j < width; j++)
      if (!(row[j]! >= 0 && row[j]! < Infinity)) return undefinedBecause(`a count is ${row[j]}`);
  }
  const rows = table.map(sum);
  if (rows.length < 2) return undefinedBecause('fewer than two samples');
  if (rows.some(total => total === 0)) return undefinedBecause('a sample without rows');
  const kept = Array.from({ length: width }, (_, j) => j).filter(j => table.some(row => row[j]! > 0));
  const cells = table.map(row => kept.map(j => row[j]!));
  const columns = kept.map((_, j) => sum(cells.map(row => row[j]!)));
  return measured({ cells, rows, columns, total: sum(rows) });
}

export interface ContingencyOptions {
  /** Yates' continuity correction, for 2 × 2 tables only; its size never exceeds |O − E|. */
  readonly yates?: boolean;
  readonly statistic?: 'pearson' | 'g';
}

/**
 * Homogeneity of samples (rows) over categories (columns): E = row · column / total, df = (R − 1)(K − 1) over columns that
 * hold anything. The two-sample test is a table of two rows.
 */
export function chiSquaredContingency(
  table: readonly Numbers[],
  options: ContingencyOptions = {},
): Measured<ChiSquared> {
  return andThen(marginsOf(table), ({ cells, rows, columns, total }) => {
    const df = (rows.length - 1) * (columns.length - 1);
    const correct = options.yates === true && df === 1;
    const terms: number[] = [];
    for (let i = 0; i < rows.length; i++) {
      for (let j = 0; j < columns.length; j++) {
        const expected = (rows[i]! * columns[j]!) / total;
        const difference = expected - cells[i]![j]!;
        const observed = cells[i]![j]! + (correct ? Math.sign(difference) * Math.min(0.5, Math.abs(difference)) : 0);
        if (options.statistic === 'g') terms.push(observed === 0 ? 0 : 2 * observed * Math.log(observed / expected));
        else terms.push((observed - expected) ** 2 / expected);
      }
    }
    return withTail(sum(terms), df);
  });
}

/** Cramér's V = √(χ²/n / (min(R, K) − 1)). It shrinks when one sample is much larger: for drift use `balancedCramersV`. */
export function cramersV(
  table: readonly Numbers[],
  options: { biasCorrected?: boolean; yates?: boolean } = {},
): Measured {
  return andThen(marginsOf(table), ({ rows, columns, total }) =>
    andThen(chiSquaredContingency(table, { yates: options.yates ?? false }), ({ statistic }) => {
      const r = rows.length;
      const k = columns.length;
      if (k === 1) return measured(0);
      if (options.biasCorrected !== true)
        return measured(Math.min(1, Math.sqrt(statistic / total / (Math.min(r, k) - 1))));
      // Bergsma (2013).
      if (total <= 1) return undefinedBecause('the bias correction needs two rows');
      const phi = Math.max(0, statistic / total - ((k - 1) * (r - 1)) / (total - 1));
      const rCorrected = r - (r - 1) ** 2 / (total - 1);
      const kCorrected = k - (k - 1) ** 2 / (total - 1);
      const scale = Math.min(rCorrected, kCorrected) - 1;
      return scale > 0
        ? measured(Math.min(1, Math.sqrt(phi / scale)))
        : undefinedBecause('too few rows to correct for bias');
    }),
  );
}

/** Balanced Cramér's V = √(½ Σ (p − q)²/(p + q)), in [0, 1], free of both sample sizes. About √PSI / 2 for small change. */
export function balancedCramersV(reference: Numbers, current: Numbers): Measured {
  const mismatch = lengthMismatch(reference, current, 'the two histograms');
  if (mismatch !== null) return undefinedBecause(mismatch);
  return andThen(shares(reference), p =>
    andThen(shares(current), q => {
      let total = 0;
      for (let i = 0; i < p.length; i++) {
        if (p[i]! + q[i]! > 0) total += (p[i]! - q[i]!) ** 2 / (p[i]! + q[i]!);
      }
      return measured(Math.min(1, Math.sqrt(total / 2)));
    }),
  );
}

export interface RegroupRule {
  /** Cells with an expectation below this are small. */
  readonly expectedMin: number;
  /** Largest share of small cells allowed. */
  readonly smallShareMax: number;
  /** With two cells left every one must reach this (Cochran). */
  readonly expectedMinOfTwo: number;
}

export const COCHRAN: RegroupRule = { expectedMin: 5, smallShareMax: 0.2, expectedMinOfTwo: 10 };

/**
 * Merges the cells with the smallest expectations into one `rare` cell until Cochran's rule holds.
 * @returns groups of cell indices; fewer than two groups when the rule cannot be met.
 */
export function regroupSmallCells(expected: Numbers, rule: RegroupRule = COCHRAN): number[][] {
  const ascending = Array.from({ length: expected.length }, (_, i) => i).sort(
    (a, b) => expected[a]! - expected[b]! || a - b,
  );
  for (let merged = 1; merged <= ascending.length; merged++) {
    const groups = [ascending.slice(0, merged), ...ascending.slice(merged).map(i => [i])];
    const masses = groups.map(group => sum(group.map(i => expected[i]!)));
    const small = masses.filter(mass => mass < rule.expectedMin).length;
    const holds =
      groups.length === 2
        ? masses.every(mass => mass >= rule.expectedMinOfTwo)
        : small <= rule.smallShareMax * groups.length;
    if (holds && groups.length >= 2) return groups;
  }
  return [];
}

/** Goodness of fit after regrouping (Deequ): categories the expectation lacks are left out; count those as unseen. */
export function chiSquaredRegrouped(
  sample: Readonly<Record<string, number>>,
  expected: Readonly<Record<string, number>>,
  rule: RegroupRule = COCHRAN,
): Measured<ChiSquared> {
  const names = Object.keys(expected);
  const observed = names.map(name => (Object.hasOwn(sample, name) ? sample[name]! : 0));
  const total = sum(observed);
  return andThen(shares(Object.values(expected)), p => {
    if (!(total > 0)) return undefinedBecause('no observed value is among the expected categories');
    const scaled = p.map(share => share * total);
    const groups = regroupSmallCells(scaled, rule);
    if (groups.length < 2) return undefinedBecause('fewer than two categories have enough expected rows');
    const of = (values: readonly number[]): number[] => groups.map(group => sum(group.map(i => values[i]!)));
    return chiSquaredGoodnessOfFit(of(observed), of(scaled));
  });
}
