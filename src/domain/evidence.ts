/** Evidence: one judged fact with its checks; the only thing gates, approvals and decisions look at. */

export type Verdict = 'pass' | 'warn' | 'fail' | 'insufficient';
export type CheckStatus = Verdict | 'not_applicable' | 'error';
export type EvidenceKind =
  | 'data_validation'
  | 'model_ci'
  | 'evaluation'
  | 'canary'
  | 'shadow'
  | 'drift'
  | 'skew'
  | 'multivariate'
  | 'quality'
  | 'labels'
  | 'leakage';

export interface CheckResult {
  /** Name of the check, from the list in `checks/`. */
  readonly check: string;
  readonly status: CheckStatus;
  /** Blocking: a failure fails the evidence. Required: an `insufficient` makes the evidence insufficient. Advisory: warns at most. */
  readonly weight: 'blocking' | 'required' | 'advisory';
  readonly column: string | null;
  readonly slice: string | null;
  /** The measured value; null is undefined, and `reason` says why. */
  readonly value: number | null;
  readonly limit: number | null;
  readonly interval: readonly [low: number, high: number] | null;
  /** Rows the value was computed from. */
  readonly rows: number;
  /** One sentence a person can act on: what, expected, found. */
  readonly reason: string;
  /** Where the limit came from: `material floor`, `noise floor`, `mean + 3 sd of 12 windows`, `declared`. */
  readonly limitSource: string | null;
  /** On one scale for all drift checks: PSI equivalents. */
  readonly severity: number | null;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface Evidence {
  readonly schema: 'evidence/1';
  readonly kind: EvidenceKind;
  readonly model: string;
  /** What was judged: digests or names (`snapshot`, `version`, `partition`, …). */
  readonly subject: Readonly<Record<string, string>>;
  readonly baseline: string | null;
  readonly asOf: string;
  readonly checks: readonly CheckResult[];
  readonly verdict: Verdict;
  readonly reasons: readonly string[];
}

/**
 * Fold of design section 2: fail if a blocking check failed or erred, else insufficient if a required check is
 * insufficient, else warn if any warns, fails or errs, else pass; `not_applicable` never counts; nothing applicable is
 * insufficient.
 */
export function foldVerdict(checks: readonly CheckResult[]): Verdict {
  const applicable = checks.filter(check => check.status !== 'not_applicable');
  if (applicable.length === 0) return 'insufficient';
  const bad = (check: CheckResult) => check.status === 'fail' || check.status === 'error';
  // A required check that fails also blocks: "required" adds the demand for enough data to "blocking".
  if (applicable.some(check => check.weight !== 'advisory' && bad(check))) return 'fail';
  if (applicable.some(check => check.weight === 'required' && check.status === 'insufficient')) return 'insufficient';
  if (applicable.some(check => check.status === 'warn' || bad(check))) return 'warn';
  return applicable.some(check => check.status === 'pass') ? 'pass' : 'insufficient';
}

/** The window evidence is about: its partition, else its as-of time. */
export function windowOf(evidence: Evidence): string {
  return evidence.subject['partition'] ?? evidence.asOf;
}

/** One piece of evidence per window, the latest by as-of time, in window order. */
export function latestPerWindow(evidence: readonly Evidence[]): readonly Evidence[] {
  const newest = new Map<string, Evidence>();
  for (const item of evidence) {
    const known = newest.get(windowOf(item));
    if (known === undefined || known.asOf <= item.asOf) newest.set(windowOf(item), item);
  }
  return [...newest.values()].toSorted((left, right) => (windowOf(left) < windowOf(right) ? -1 : 1));
}
