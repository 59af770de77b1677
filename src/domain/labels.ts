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

/** A cohort counts as mature with this share of the labels that earlier cohorts ended with, unless the definition says another. */
export const matureShare = 0.95;

/** With which share of its rows labelled a cohort ends: as earlier ones did, and the bounds for one more. */
export interface UsualEnd {
  readonly share: number;
  readonly low: number;
  readonly high: number;
  /** Earlier cohorts that it is known from. */
  readonly cohorts: number;
}

/** Which share of the labels that a cohort will end with it has; the interval is that of its end. */
export interface ArrivedShare {
  readonly value: number;
  readonly interval: readonly [low: number, high: number];
  readonly wanted: number;
  readonly cohorts: number;
}

export interface Maturity {
  readonly kind: 'mature' | 'immature';
  /** Share of the scored rows that have a label. */
  readonly coverage: number;
  /** Null where the horizon decided, or nothing else could. */
  readonly arrived: ArrivedShare | null;
  readonly reason: string;
}

/**
 * Mature is a cohort older than the label horizon, or one that surely has the wanted share of the labels that it will end
 * with, as far as earlier cohorts tell. A young cohort is biased, not merely small: what is reported first is rarely typical.
 */
export function maturityOf(input: {
  readonly cohort: LabelCohort;
  readonly asOf: string;
  readonly horizonDays: number;
  /** Null where nobody knows: the horizon decides. */
  readonly end: UsualEnd | null;
  readonly wanted: number;
}): Maturity {
  const { cohort, asOf, horizonDays, end, wanted } = input;
  const { partition } = cohort;
  const coverage = cohort.scored === 0 ? 0 : cohort.labelled / cohort.scored;
  const ageDays = (Date.parse(asOf) - Date.parse(partition)) / 86_400_000;
  if (ageDays >= horizonDays) {
    const reason = `${partition} is ${ageDays.toFixed(0)} days old, labels take ${horizonDays}`;
    return { kind: 'mature', coverage, arrived: null, reason };
  }
  if (end === null) {
    const reason = `${partition} is ${ageDays.toFixed(1)} days old, labels take ${horizonDays}: ${percent(coverage)} are in`;
    return { kind: 'immature', coverage, arrived: null, reason };
  }
  const arrived = arrivedShare(coverage, end, wanted);
  const [low, high] = arrived.interval;
  const isMature = low >= wanted;
  const reason =
    `after ${ageDays.toFixed(0)} of ${horizonDays} days it has ${percent(arrived.value)} (${percent(low)} to ${percent(high)}) of the labels ` +
    `that ${end.cohorts} earlier cohorts ended with, at least ${percent(wanted)} wanted${isMature ? '' : ' for sure'}`;
  return { kind: isMature ? 'mature' : 'immature', coverage, arrived, reason };
}

/** Of the labels that a cohort with this coverage will end with. */
export function arrivedShare(coverage: number, end: UsualEnd, wanted: number): ArrivedShare {
  const of = (whole: number) => (coverage >= whole ? 1 : coverage / whole);
  return { value: of(end.share), interval: [of(end.high), of(end.low)], wanted, cohorts: end.cohorts };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
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
