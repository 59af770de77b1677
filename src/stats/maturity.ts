/**
 * How labels ripen: the share of rows that have their label by age. Young cohorts are cut off at the day they are looked at
 * (censored on the right), so the share is a life table: F(a) = 1 − Π_{j ≤ a} (1 − d_j / n_j) with d_j labels that arrived
 * on day j among the n_j rows without one, in cohorts seen to that age (Kaplan and Meier 1958, in whole days). Without
 * censoring it is the plain share of all rows.
 */
import { standardDeviation } from './moments.ts';

export interface ArrivalCounts {
  readonly rows: number;
  /** Whole days from the prediction to the last look; what came later is not known. */
  readonly observedDays: number;
  /** Labels by the day on which they arrived, ascending: day 0 is known with the prediction, day a within a days of it. */
  readonly arrived: readonly (readonly [ageDays: number, labels: number])[];
}

export interface MaturityPoint {
  readonly ageDays: number;
  readonly share: number;
  /** Cohorts that were seen to this age. */
  readonly cohorts: number;
  /** Standard deviation of their own shares at this age: rows of one cohort are late together. Null for fewer than two. */
  readonly deviation: number | null;
}

/** One point for every day from 0 to the oldest age seen; empty without rows. Never falls, stays within 0 and 1. */
export function maturityCurve(cohorts: readonly ArrivalCounts[]): readonly MaturityPoint[] {
  const known = cohorts.filter(({ rows }) => rows > 0).map(counts => ({ ...counts, byAge: new Map(counts.arrived) }));
  const oldest = Math.max(-1, ...known.map(({ observedDays }) => observedDays));
  const soFar = known.map(() => 0);
  const points: MaturityPoint[] = [];
  let without = 1;
  for (let ageDays = 0; ageDays <= oldest; ageDays++) {
    let atRisk = 0;
    let arrived = 0;
    const shares: number[] = [];
    known.forEach(({ rows, observedDays, byAge }, index) => {
      if (observedDays < ageDays) return;
      const before = soFar[index]!;
      // More labels than rows are a fault of the data; they cannot make a share above 1.
      const now = Math.min(byAge.get(ageDays) ?? 0, rows - before);
      atRisk += rows - before;
      arrived += now;
      soFar[index] = before + now;
      shares.push((before + now) / rows);
    });
    if (atRisk > 0) without *= 1 - arrived / atRisk;
    const deviation = standardDeviation(shares).value;
    points.push({ ageDays, share: 1 - without, cohorts: shares.length, deviation });
  }
  return points;
}

/** Labels that had arrived by an age. */
export function arrivedBy({ rows, arrived }: ArrivalCounts, ageDays: number): number {
  let labels = 0;
  for (const [age, count] of arrived) if (age <= ageDays) labels += count;
  return Math.min(labels, rows);
}
