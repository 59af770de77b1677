/** McNemar's test of two classifiers' decisions on the same rows: b rows only the first has right, c only the second. */
import { type Measured, measured, undefinedBecause } from './measured.ts';
import { chiSquaredTail, log10ChiSquaredTail, logBinomialLowerTail } from './special.ts';

export interface McNemar {
  readonly method: 'exact' | 'chi-squared';
  /** min(b, c) for the exact test, χ² otherwise. */
  readonly statistic: number;
  readonly p: number;
  readonly log10P: number;
}

/** Exact for b + c ≤ 25, else χ² with continuity correction. */
export function mcnemar(b: number, c: number): Measured<McNemar> {
  return b + c <= 25 ? mcnemarExact(b, c) : mcnemarChiSquared(b, c);
}

/** Two-sided binomial test of min(b, c) among b + c fair throws. No discordant rows: p = 1. */
export function mcnemarExact(b: number, c: number): Measured<McNemar> {
  const problem = problemOf(b, c);
  if (problem !== null) return undefinedBecause(problem);
  const statistic = Math.min(b, c);
  const logP = b === c ? 0 : Math.min(0, Math.LN2 + logBinomialLowerTail(statistic, b + c, 0.5));
  return measured({ method: 'exact', statistic, p: Math.exp(logP), log10P: logP / Math.LN10 });
}

/** (|b − c| − 1)²/(b + c), or without the 1. */
export function mcnemarChiSquared(
  b: number,
  c: number,
  correction: 'continuity' | 'none' = 'continuity',
): Measured<McNemar> {
  const problem = problemOf(b, c);
  if (problem !== null) return undefinedBecause(problem);
  if (b + c === 0) return undefinedBecause('no discordant rows');
  const gap = Math.abs(b - c) - (correction === 'continuity' ? 1 : 0);
  const statistic = (gap * gap) / (b + c);
  return measured({
    method: 'chi-squared',
    statistic,
    p: chiSquaredTail(statistic, 1),
    log10P: log10ChiSquaredTail(statistic, 1),
  });
}

function problemOf(b: number, c: number): string | null {
  return b >= 0 && c >= 0 && Number.isFinite(b + c) ? null : `discordant counts ${b} and ${c}`;
}
