/**
 * Do the labels of a cohort come as the labels of earlier ones did? The maturity curve says which share of the rows has a
 * label by age; a cohort that lies below it has late or lost labels, and whatever is measured on the others may be biased.
 */
import type { CheckResult, Evidence } from '../domain/evidence.ts';
import { type ArrivalCounts, arrivedBy, type MaturityPoint, maturityCurve } from '../stats/maturity.ts';
import { wilson } from './intervals.ts';
import { checkResult, type Finding, judgeTable, percent } from './result.ts';

/** The labels of one partition as they are known at one look. */
export interface CohortArrivals extends ArrivalCounts {
  readonly partition: string;
  /** Labels without an arrival time; they cannot be put on the curve. */
  readonly undated: number;
}

/** Fewer earlier cohorts are an anecdote, no curve. */
const cohortsMin = 3;
/** From here on the cohorts' own spread is known well enough to be a limit. */
const spreadCohortsMin = 6;
/** A tenth of the labels that are usual by then. */
const materialShare = 0.1;
const deviations = 3;
/** When most of so many cohorts were late, that is how labels come now. */
const recentCohorts = 10;
/** A label may take so long from the moment it is known to the file that brings it: files come once a day. */
const deliveryDays = 1;
/** A cohort with a larger share of labels of unknown age says nothing about arrival. */
const undatedMax = 0.05;

/** `maturity_curve` of the cohorts, then `label_arrival` of each one judged, its slice being the partition. */
export function judgeArrivals(input: {
  readonly judged: readonly CohortArrivals[];
  /** Earlier looks, each partition once; what is judged as well is left out of the curve that it is judged by. */
  readonly earlier: readonly CohortArrivals[];
}): CheckResult[] {
  const { judged, earlier } = input;
  const names = new Set(judged.map(({ partition }) => partition));
  const reference = earlier.filter(({ partition }) => !names.has(partition));
  return [
    ...judgeTable('maturity_curve', () => describeCurve([...reference, ...judged])),
    ...judged.flatMap(cohort =>
      judgeTable('label_arrival', () => {
        const found = judgeArrival([cohort], reference);
        return { ...found, slice: cohort.partition, details: { ...found.details, ...cohort } };
      }),
    ),
  ];
}

/** `label_arrival` of a window as a whole: each partition is compared with the curve at its own age. */
export function judgeWindowArrival(
  window: readonly CohortArrivals[],
  earlier: readonly CohortArrivals[],
): readonly CheckResult[] {
  const names = new Set(window.map(({ partition }) => partition));
  const reference = earlier.filter(({ partition }) => !names.has(partition));
  return judgeTable('label_arrival', () => judgeArrival(window, reference));
}

/** The answer where nobody says when labels arrive. */
export function arrivalNotDeclared(): CheckResult {
  return checkResult('label_arrival', {
    status: 'not_applicable',
    reason: 'data.labels declares no known_at: when labels arrive is not known, so late and lost labels look alike',
  });
}

function describeCurve(cohorts: readonly CohortArrivals[]): Finding {
  const curve = maturityCurve(cohorts.filter(isDated));
  const last = curve.at(-1);
  const count = cohorts.filter(isDated).length;
  const rows = cohorts.reduce((total, cohort) => total + cohort.rows, 0);
  if (last === undefined || count < cohortsMin) {
    return { status: 'insufficient', rows, reason: `labels of ${count} cohorts; a curve needs ${cohortsMin}` };
  }
  const most = curve.find(({ share }) => share >= 0.95 * last.share) ?? last;
  return {
    status: 'pass',
    value: last.share,
    rows,
    details: { curve: curve.map(({ ageDays, share, cohorts: seen }) => [ageDays, rounded(share), seen]) },
    reason:
      `${percent(last.share)} of the rows of ${count} cohorts have a label after ${days(last.ageDays)}, ` +
      `95 % of those after ${days(most.ageDays)}`,
  };
}

function judgeArrival(cohorts: readonly CohortArrivals[], reference: readonly CohortArrivals[]): Finding {
  const rows = total(cohorts, ({ rows: count }) => count);
  const undated = total(cohorts, cohort => cohort.undated);
  const found = total(cohorts, cohort => arrivedBy(cohort, cohort.observedDays)) + undated;
  const oldest = Math.max(...cohorts.map(({ observedDays }) => observedDays));
  const coverage = rows === 0 ? 0 : found / rows;
  const base = { rows, value: rows === 0 ? null : coverage, interval: wilson(Math.min(found, rows), rows) };
  const text = `${percent(coverage)} of ${rows} rows have a label after ${days(oldest)}`;
  if (!cohorts.every(isDated)) {
    return { ...base, status: 'insufficient', reason: `${text}, ${undated} of them without a time of arrival` };
  }
  const curve = maturityCurve(reference.filter(isDated));
  const usual = cohorts.map(cohort => ({ cohort, point: curve[Math.max(0, cohort.observedDays - deliveryDays)] }));
  const seen = Math.min(...usual.map(({ point }) => point?.cohorts ?? 0));
  if (seen < cohortsMin || rows === 0) {
    return {
      ...base,
      status: 'insufficient',
      reason: `${text}; ${seen} earlier cohorts were seen to that age, ${cohortsMin} are needed to say what is usual`,
    };
  }
  const expected = total(usual, ({ cohort, point }) => (cohort.rows / rows) * (point?.share ?? 0));
  const { limit, limitSource } = lowestUsual({ expected, rows, points: usual.flatMap(one => one.point ?? []) });
  const isBelow = coverage < limit;
  const behind = isBelow ? `: ${shortfall(coverage, curve, oldest)}` : '';
  return {
    ...base,
    status: isBelow ? 'warn' : 'pass',
    limit,
    limitSource,
    details: { expected },
    reason: `${text}; ${percent(expected)} is usual then, given a day for delivery (${seen} earlier cohorts), ${percent(limit)} the least${behind}`,
  };
}

/** What is usual minus the widest of the three: what matters, what chance does to rows, and what cohorts do to each other. */
function lowestUsual({
  expected,
  rows,
  points,
}: {
  readonly expected: number;
  readonly rows: number;
  readonly points: readonly MaturityPoint[];
}): { readonly limit: number; readonly limitSource: string } {
  const seen = Math.min(...points.map(({ cohorts }) => cohorts));
  const spread = seen < spreadCohortsMin ? 0 : Math.max(0, ...points.map(({ deviation }) => deviation ?? 0));
  const margins = [
    { margin: materialShare * expected, limitSource: 'material floor' },
    { margin: deviations * Math.sqrt((expected * (1 - expected)) / rows), limitSource: 'noise floor' },
    { margin: deviations * spread, limitSource: `mean - ${deviations} sd of ${seen} cohorts` },
  ];
  const widest = margins.reduce((most, one) => (one.margin > most.margin ? one : most));
  return { limit: Math.max(0, expected - widest.margin), limitSource: widest.limitSource };
}

function shortfall(coverage: number, curve: readonly MaturityPoint[], ageDays: number): string {
  const like = curve.findLast(({ share }) => share <= coverage);
  const last = curve.at(-1);
  const isComplete = last !== undefined && (curve[ageDays]?.share ?? 0) >= 0.99 * last.share;
  const age = like === undefined ? 'fewer than usual on the first day' : `as many as usual after ${days(like.ageDays)}`;
  return `${age}, so ${isComplete ? 'labels are lost or very late' : 'labels are late or lost'}`;
}

/**
 * The cohorts that evidence of kind `labels` recorded, by partition; a later look at a partition replaces an earlier one.
 * Cohorts that were late then do not say what is usual, unless they have become the rule among the newest.
 */
export function recordedArrivals(evidence: readonly Evidence[]): readonly CohortArrivals[] {
  const newest = new Map<string, { readonly cohort: CohortArrivals; readonly isLate: boolean }>();
  for (const { checks } of evidence) {
    for (const { check, status, details } of checks) {
      if (check !== 'label_arrival' || !isCohort(details)) continue;
      const known = newest.get(details.partition);
      if (known !== undefined && known.cohort.observedDays > details.observedDays) continue;
      newest.set(details.partition, { cohort: details, isLate: status === 'warn' });
    }
  }
  const all = [...newest.values()].toSorted((a, b) => (a.cohort.partition < b.cohort.partition ? -1 : 1));
  const recent = all.slice(-recentCohorts);
  const isRule = recent.filter(({ isLate }) => isLate).length > recent.length / 2;
  return (isRule ? recent : all.filter(({ isLate }) => !isLate)).map(({ cohort }) => cohort);
}

function isCohort(details: unknown): details is CohortArrivals {
  return typeof details === 'object' && details !== null && 'partition' in details && 'arrived' in details;
}

/** The points of a recorded curve, for people. */
export function recordedCurve(check: Pick<CheckResult, 'details'>): readonly (readonly [number, number])[] {
  const { curve } = check.details;
  if (!Array.isArray(curve)) return [];
  return curve.map((point: readonly unknown[]) => [Number(point[0]), Number(point[1])] as const);
}

/** Whether nearly all labels say when they arrived. */
export function isDated({ arrived, undated }: CohortArrivals): boolean {
  return undated <= undatedMax * (undated + total(arrived, ([, labels]) => labels));
}

/** Labels at the age of the look, those of unknown arrival included. */
export function labelsFound(cohort: CohortArrivals): number {
  return Math.min(cohort.rows, arrivedBy(cohort, cohort.observedDays) + cohort.undated);
}

function total<Item>(items: readonly Item[], of: (item: Item) => number): number {
  return items.reduce((sum, item) => sum + of(item), 0);
}

function days(count: number): string {
  return count === 1 ? '1 day' : `${count} days`;
}

/** A curve in a document needs no more than a ten-thousandth. */
function rounded(share: number): number {
  return Math.round(share * 10_000) / 10_000;
}
