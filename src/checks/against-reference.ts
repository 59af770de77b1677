/** What changed against the reference without being drift of shape: missing values, outliers, new categories. */
import type { Contract, ContractColumn } from '../domain/contract.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Baseline, NumericEdges, NumericProfile, Profile } from '../domain/profile.ts';
import { benjaminiHochberg } from '../stats/multiplicity.ts';
import { cohenH, goodTuringUnseenMass, twoProportionZ } from '../stats/proportions.ts';
import { newcombe, wilson } from './intervals.ts';
import { checkResult, type Finding, findingOrError, judgeColumns, percent, quoted } from './result.ts';
import { missingCount, sum } from './values.ts';

/** A change counts from this share of rows on, however significant: one percentage point. */
const materialPoints = 0.01;
/** False-discovery rate of the lists of changed columns (statistics A20). */
const falseDiscoveryRate = 0.01;
/** Reference rate of outliers must at least double before it is news. */
const outlierRatio = 2;
/** Unseen categories below this share never alarm. */
const unseenFloor = 0.001;

/** Missing share against the reference: at least one point, significant after Benjamini–Hochberg over the columns. */
export function checkMissingAgainstReference(contract: Contract, profile: Profile, reference: Profile): CheckResult[] {
  const measured = contract.columns.flatMap(column => {
    const now = missingCount(profile, column.name);
    const before = missingCount(reference, column.name);
    if (now === null || before === null || profile.rows === 0 || reference.rows === 0) return [];
    return [{ column, now, before, p: pOf(now, profile.rows, before, reference.rows) }];
  });
  const adjusted = benjaminiHochberg(measured.map(({ p }) => p));
  return measured.map(({ column, now, before }, index) => {
    const finding = findingOrError((): Finding => {
      const share = now / profile.rows;
      const usual = before / reference.rows;
      const q = adjusted[index] ?? 1;
      const changed = Math.abs(share - usual) >= materialPoints && q < falseDiscoveryRate;
      const h = cohenH(share, usual).value ?? 0;
      return {
        status: changedStatus(changed, h),
        value: share - usual,
        limit: materialPoints,
        limitSource: 'material floor',
        interval: newcombe(now, profile.rows, before, reference.rows),
        rows: profile.rows,
        reason: `${percent(share)} of ${column.name} missing, ${percent(usual)} in the reference`,
        details: { share, reference: usual, q, cohenH: h },
      };
    });
    return checkResult('missing_change', { column: column.name, ...finding });
  });
}

/** Rate beyond the reference's own Tukey fences, compared with the reference's own rate there: zero is never the norm. */
export function checkOutliers(
  contract: Contract,
  profile: Profile,
  reference: Profile,
  baseline: Baseline,
): CheckResult[] {
  return judgeColumns('outliers', contract.columns, column => {
    const now = profile.columns[column.name];
    const before = reference.columns[column.name];
    const edges = baseline.columns[column.name];
    if (now?.kind !== 'numeric' || before?.kind !== 'numeric' || edges?.kind !== 'numeric') return null;
    if (edges.fences === null) {
      return {
        status: 'not_applicable',
        rows: profile.rows,
        reason: `${column.name} has no spread in the reference, so it has no fences`,
      };
    }
    return judgeOutliers(column, now, before, edges, edges.fences);
  });
}

/**
 * Categories outside the vocabulary. A long tail always brings some: without any change their expected share is f1/N
 * (Good–Turing, f1 = values the reference holds exactly once), so the limit is learned from it.
 */
export function checkUnseen(contract: Contract, profile: Profile, reference: Profile): CheckResult[] {
  return judgeColumns('unseen', contract.columns, column => {
    const now = profile.columns[column.name];
    const before = reference.columns[column.name];
    if (now?.kind !== 'category' || before?.kind !== 'category') return null;
    const rows = profile.rows - now.nulls;
    if (rows === 0) return { status: 'insufficient', reason: `${column.name} is missing in every row` };
    const share = now.unseen / rows;
    const { limit, source } = unseenLimit(column, before, reference.rows - before.nulls);
    const base = {
      value: share,
      limit,
      limitSource: source,
      rows,
      interval: wilson(now.unseen, rows),
      details: column.pii ? { unseen: now.unseen } : { unseen: now.unseen, top: now.unseenTop },
    };
    if (share <= limit)
      return { ...base, status: 'pass', reason: `${percent(share)} unseen values, ${percent(limit)} expected` };
    const examples = column.pii
      ? ''
      : `, such as ${now.unseenTop
          .slice(0, 3)
          .map(([value]) => quoted(value))
          .join(', ')}`;
    const fate = column.unseen === 'other' ? 'the model scores them as `other`' : 'the contract forbids them';
    const reason = `${now.unseen} rows (${percent(share)}) of ${column.name} hold values the training data never had${examples}; ${fate}`;
    if (column.unseen === 'fail' && column.onFail === 'block')
      return { ...base, status: 'fail', weight: 'blocking', reason };
    return { ...base, status: 'warn', reason };
  });
}

function judgeOutliers(
  column: ContractColumn,
  now: NumericProfile,
  before: NumericProfile,
  edges: NumericEdges,
  fences: readonly [low: number, high: number],
): Finding {
  const rows = sum(now.histogram);
  const referenceRows = sum(before.histogram);
  if (rows === 0 || referenceRows === 0) {
    return { status: 'insufficient', rows, reason: `${column.name} has no finite values to compare` };
  }
  const outside = countOutside(now.histogram, edges.edges, fences);
  const usual = countOutside(before.histogram, edges.edges, fences);
  const share = outside / rows;
  const usualShare = usual / referenceRows;
  const p = pOf(outside, rows, usual, referenceRows);
  // Twice a rate of zero is zero, hence the half-point floor.
  const limit = Math.max(outlierRatio * usualShare, usualShare + materialPoints / 2);
  const changed = share > limit && (p ?? 1) < falseDiscoveryRate;
  return {
    status: changed ? 'warn' : 'pass',
    value: share,
    limit,
    limitSource: `${outlierRatio} × the reference's rate at its own fences`,
    interval: wilson(outside, rows),
    rows,
    reason: `${percent(share)} of ${column.name} lie beyond the reference's fences, ${percent(usualShare)} did in the reference`,
    details: { p, fences: column.pii ? null : fences },
  };
}

/** Rows in bins wholly beyond the fences; exact when the fences are edges, which the baseline sees to. */
function countOutside(
  histogram: readonly number[],
  edges: readonly number[],
  fences: readonly [number, number],
): number {
  let outside = 0;
  histogram.forEach((count, bin) => {
    const low = edges[bin - 1] ?? Number.NEGATIVE_INFINITY;
    const high = edges[bin] ?? Number.POSITIVE_INFINITY;
    // Bins are (low, high]: a bin that ends on the lower fence counts as outside but for the fence value itself.
    if (high <= fences[0] || low >= fences[1]) outside += count;
  });
  return outside;
}

function unseenLimit(
  column: ContractColumn,
  before: { readonly counts: readonly number[]; readonly unseen: number },
  referenceRows: number,
): { readonly limit: number; readonly source: string } {
  if (column.unseen === 'fail' && column.values !== null) return { limit: 0, source: 'declared' };
  if (referenceRows === 0) return { limit: unseenFloor, source: 'material floor' };
  const singles = before.counts.filter(count => count === 1).length;
  const goodTuring = 3 * (goodTuringUnseenMass(singles, referenceRows).value ?? 0);
  // The reference's own values beyond the capped vocabulary are outside it again next time.
  const beyondCap = before.unseen === 0 ? 0 : (wilson(before.unseen, referenceRows)?.[1] ?? 0);
  if (beyondCap >= goodTuring && beyondCap > unseenFloor)
    return { limit: beyondCap, source: 'share beyond the vocabulary in the reference' };
  if (goodTuring > unseenFloor) return { limit: goodTuring, source: '3 × Good–Turing unseen mass of the reference' };
  return { limit: unseenFloor, source: 'material floor' };
}

/** A medium effect (Cohen's h 0.5: 0 % to 6 %, or 20 % to 43 %) is more than a warning. */
function changedStatus(changed: boolean, h: number): Finding['status'] {
  if (!changed) return 'pass';
  return Math.abs(h) >= 0.5 ? 'fail' : 'warn';
}

function pOf(now: number, rows: number, before: number, referenceRows: number): number | null {
  return twoProportionZ({ count: now, n: rows }, { count: before, n: referenceRows }).value?.p ?? null;
}
