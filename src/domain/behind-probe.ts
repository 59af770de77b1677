/**
 * The trigger `behind_probe`: would a training pay? Each cohort was compared, on its own rows, with what a training before it
 * would have given (`checks/probe.ts`). One cohort tells a large loss from noise, a small one shows only in several, so sums
 * over spans of the newest cohorts are looked at.
 */

/** One cohort: how far the version that served it was ahead of newer rows; negative is behind. */
export interface ProbedCohort {
  readonly value: number;
  /** Two-sided, 99 %. */
  readonly low: number;
  readonly high: number;
  /** Whether the champion of today served it, and not one before. */
  readonly own: boolean;
}

export interface ProbeAnswer {
  readonly state: 'fired' | 'quiet' | 'unknown';
  readonly reason: string;
}

interface Loss {
  readonly cohorts: number;
  /** Of quality, added up over the cohorts. */
  readonly total: number;
  readonly error: number;
}

/** Cohorts that are added up. The champion's own are few, and what it lost long ago no training brings back. */
const ownSpans = [1, 2, 4, 8];
const spans = [1, 2, 4, 8, 16];
/** Standard errors from end to end of a 99 % interval. */
const intervalErrors = 2 * 2.5758;
/** One-sided normal quantile of 1 − 0.01/5: of a hundred looks at five spans each, one may be wrong where nothing changes. */
const provenErrors = 2.878;
/** The same of 95 %. */
const ownErrors = 1.645;

/**
 * Fires when two things hold. Newer rows help, with 99 % certainty over one of the spans, whoever served them: what became
 * known about a predecessor need not be proved again. And the champion itself has, over one of its own spans, with 95 %
 * certainty lost to newer rows, in sum more than `margin`: what a training is worth. One cohort may be enough: its probe
 * learned only from rows before it, so a change that puts the probe ahead has lasted longer than the cohort.
 *
 * @param cohorts in the order of their windows
 */
export function judgeBehindProbe(margin: number, cohorts: readonly ProbedCohort[]): ProbeAnswer {
  const own = lossesOf(
    cohorts.filter(cohort => cohort.own),
    ownSpans,
  );
  const worst = mostCertain(own.filter(({ total }) => total > margin)) ?? mostCertain(own);
  if (worst === null) return { state: 'unknown', reason: 'no cohort was compared with a probe yet' };
  const size = text(Math.abs(worst.total));
  const stand = worst.total < 0 ? `is ${size} ahead of` : `has lost ${size} to`;
  const found = `the champion ${stand} a model of newer rows, added up over ${count(worst)}`;
  const proof = mostCertain(lossesOf(cohorts, spans));
  const isMaterial = worst.total > margin && errorsOf(worst) > ownErrors;
  if (isMaterial && proof !== null && errorsOf(proof) > provenErrors) {
    const least = proof.total - provenErrors * proof.error;
    return {
      state: 'fired',
      reason: `${found}, ${text(margin)} allowed; newer rows help, by at least ${text(least)} over ${count(proof)} with 99 % confidence`,
    };
  }
  return { state: 'quiet', reason: `${found}; more than ${text(margin)} and certainty are needed` };
}

function lossesOf(cohorts: readonly ProbedCohort[], lengths: readonly number[]): readonly Loss[] {
  if (cohorts.length === 0) return [];
  const possible = new Set(lengths.map(length => Math.min(length, cohorts.length)));
  return [...possible].map(length => {
    const newest = cohorts.slice(-length);
    const variance = newest.reduce((sum, { low, high }) => sum + ((high - low) / intervalErrors) ** 2, 0);
    return {
      cohorts: length,
      total: newest.reduce((sum, { value }) => sum - value, 0),
      error: Math.sqrt(variance),
    };
  });
}

function mostCertain(losses: readonly Loss[]): Loss | null {
  return losses.toSorted((left, right) => errorsOf(right) - errorsOf(left))[0] ?? null;
}

function errorsOf({ total, error }: Loss): number {
  return error > 0 ? total / error : 0;
}

function count({ cohorts }: Loss): string {
  return cohorts === 1 ? 'the newest cohort' : `the newest ${cohorts} cohorts`;
}

function text(value: number): string {
  return value.toFixed(3);
}
