/**
 * Judging a cohort before its horizon. Earlier cohorts that were seen to the end say which share of their rows has a label
 * then, and how much that varies; a cohort that has enough of these labels need not wait for the last ones.
 */
import type { UsualEnd } from '../domain/labels.ts';
import { maturityCurve } from '../stats/maturity.ts';
import { mean, standardDeviation } from '../stats/moments.ts';
import { studentQuantile } from '../stats/special.ts';
import { type CohortArrivals, isDated, labelsFound } from './label-arrival.ts';

/** With fewer complete cohorts their spread is not known well enough to promise an end. */
const cohortsMin = 6;
/** One-sided: the end of one cohort in twenty may lie beyond either bound. */
const confidence = 0.95;
/** Newest cohorts whose labels are counted at a look: files may bring the last labels some days later than the curve says. */
const looks = 4;

/**
 * With which share of its rows labelled the next cohort will end: the mean of earlier ones and its prediction interval,
 * mean ± t(k − 1) s √(1 + 1/k). Null for fewer than six complete cohorts: the horizon stays the rule.
 */
export function usualEnd(earlier: readonly CohortArrivals[], horizonDays: number): UsualEnd | null {
  const shares = complete(earlier, horizonDays).map(cohort => labelsFound(cohort) / cohort.rows);
  const share = mean(shares).value;
  const spread = standardDeviation(shares).value;
  if (shares.length < cohortsMin || share === null || share === 0 || spread === null) return null;
  const half = studentQuantile(confidence, shares.length - 1) * spread * Math.sqrt(1 + 1 / shares.length);
  return { share, low: Math.max(0, share - half), high: Math.min(1, share + half), cohorts: shares.length };
}

/**
 * Ages in whole days at which cohorts may have the wanted share of their labels, the youngest first: from where the maturity
 * curve reaches it even if this cohort should end with more labels than usual. Empty where that takes the whole horizon.
 */
export function earlyAges(
  earlier: readonly CohortArrivals[],
  end: UsualEnd,
  { horizonDays, wanted }: { readonly horizonDays: number; readonly wanted: number },
): readonly number[] {
  const curve = maturityCurve(complete(earlier, horizonDays));
  const first = curve.find(({ share }) => share >= wanted * end.high);
  if (first === undefined) return [];
  // A day of age 0 is judged when it ends, and one a day short of the horizon is due anyway.
  const ages = Array.from({ length: looks }, (_, index) => Math.max(1, first.ageDays) + index);
  return ages.filter(age => age < horizonDays - 1);
}

function complete(earlier: readonly CohortArrivals[], horizonDays: number): readonly CohortArrivals[] {
  return earlier.filter(one => one.observedDays >= horizonDays && one.rows > 0 && isDated(one));
}
