/** Late labels: cohorts by prediction date and model version, and when a cohort has ripened enough to be judged. */

import type { Evidence } from './evidence.ts';
import { daysBetween, isDate } from './time.ts';

/** One cohort as it is known at one as-of time. A later look is a new document, never a correction of an old one. */
export interface LabelCohort {
  /** Prediction date, ISO. */
  readonly partition: string;
  /** Rows that were scored and may get a label. */
  readonly scored: number;
  readonly labelled: number;
}

/** A cohort counts as mature with 95 % of the labels that cohorts of its kind end up with. */
export const matureShare = 0.95;

export type Maturity =
  | { readonly kind: 'mature'; readonly coverage: number; readonly reason: string }
  | { readonly kind: 'immature'; readonly coverage: number; readonly reason: string };

/**
 * Mature is a cohort older than the label horizon, or one that reached 95 % of the share at which earlier cohorts ended.
 * A young cohort is biased, not merely small: what is reported first is rarely typical.
 */
export function maturityOf(input: {
  readonly cohort: LabelCohort;
  readonly asOf: string;
  readonly horizonDays: number;
  /** Final shares of earlier, complete cohorts. */
  readonly finalShares: readonly number[];
}): Maturity {
  const { cohort, asOf, horizonDays, finalShares } = input;
  const coverage = cohort.scored === 0 ? 0 : cohort.labelled / cohort.scored;
  const ageDays = (Date.parse(asOf) - Date.parse(cohort.partition)) / 86_400_000;
  if (ageDays >= horizonDays) {
    return {
      kind: 'mature',
      coverage,
      reason: `${cohort.partition} is ${ageDays.toFixed(0)} days old, labels take ${horizonDays}`,
    };
  }
  const usual = finalShares.length < 3 ? null : [...finalShares].sort((a, b) => a - b)[finalShares.length >> 1]!;
  if (usual !== null && coverage >= matureShare * usual) {
    return {
      kind: 'mature',
      coverage,
      reason: `${cohort.partition} has ${(100 * coverage).toFixed(0)} % of its labels, earlier cohorts end at ${(100 * usual).toFixed(0)} %`,
    };
  }
  return {
    kind: 'immature',
    coverage,
    reason: `${cohort.partition} is ${ageDays.toFixed(1)} days old, labels take ${horizonDays}: ${(100 * coverage).toFixed(0)} % are in`,
  };
}

/** Looks that a young cohort gets before its labels are mature. */
const youngLooks = 4;

/**
 * Ages in days at which a cohort is asked whether its labels come as usual: four, spread over the horizon, so that each
 * cohort is looked at a few times while something can still be done, and a day of monitoring reads four partitions more.
 */
export function agesOfYoung(horizonDays: number): readonly number[] {
  const ages = Array.from({ length: youngLooks }, (_, index) =>
    Math.round((horizonDays * (index + 1)) / (youngLooks + 1)),
  );
  return [...new Set(ages)].filter(age => age >= 1 && age < horizonDays);
}

/**
 * Labelled rows after this partition, from quality evidence: what a training could learn that the champion's makers have not
 * seen. Windows that overlap are counted once, versions of one window add up, and a window that begins before the partition
 * counts by its days after it. A lower bound: windows that nobody monitored are not in it.
 */
export function labelledRowsSince(evidence: readonly Evidence[], since: string): number {
  const newest = new Map<string, Evidence>();
  for (const item of evidence) {
    const { window, version } = item.subject;
    if (window !== undefined && labelledRows(item) !== null) newest.set(`${window}/${version}`, item);
  }
  const windows = [...newest.values()]
    .map(item => {
      const [first = '', last = ''] = (item.subject['window'] ?? '').split(' ');
      return { first, last, rows: (labelledRows(item) ?? 0) * shareAfter(since, first, last) };
    })
    .toSorted((left, right) => (left.last < right.last ? 1 : -1));
  let total = 0;
  let [from, to] = ['\uffff', ''];
  for (const { first, last, rows } of windows) {
    const isSame = first === from && last === to;
    if (!isSame && last >= from) continue;
    [from, to] = [first, last];
    total += rows;
  }
  return Math.round(total);
}

function shareAfter(since: string, first: string, last: string): number {
  if (first > since) return 1;
  if (last <= since || !isDate(first) || !isDate(last) || !isDate(since)) return 0;
  return daysBetween(since, last) / (daysBetween(first, last) + 1);
}

function labelledRows({ checks }: Evidence): number | null {
  return checks.find(({ check }) => check === 'quality')?.rows ?? null;
}
