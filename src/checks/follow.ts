/** From recorded drift evidence to incidents: one series of observations per column, and one for the predictions. */
import { type CheckResult, type Evidence, latestPerWindow, windowOf } from '../domain/evidence.ts';
import {
  type Cause,
  defaultPersistence,
  type Observation,
  type Persistence,
  type SubjectState,
} from '../domain/incident.ts';
import { followSubject } from './change.ts';

export interface FollowOptions {
  readonly persistence?: Partial<Persistence>;
  /** Window start → declared event (`Black Friday`). */
  readonly calendar?: Readonly<Record<string, string>>;
}

/**
 * Follows every subject of the drift evidence (columns by name, the predictions as `score`). Evidence against another
 * baseline than the newest is left out: its severities measure the distance from a model that is gone.
 */
export function followIncidents(evidence: readonly Evidence[], options: FollowOptions = {}): readonly SubjectState[] {
  const persistence = { ...defaultPersistence, ...options.persistence };
  const drift = latestPerWindow(evidence.filter(({ kind }) => kind === 'drift'));
  const baseline = drift.at(-1)?.baseline ?? null;
  const series = new Map<string, Observation[]>();
  for (const item of drift) {
    if (item.baseline !== baseline) continue;
    for (const check of item.checks) {
      const subject = subjectOf(check);
      if (subject === null) continue;
      const observation = observe(check, windowOf(item), options.calendar?.[windowOf(item)] ?? null);
      const known = series.get(subject);
      if (known === undefined) series.set(subject, [observation]);
      else known.push(observation);
    }
  }
  return [...series].map(([subject, observations]) => followSubject(subject, observations, persistence));
}

function subjectOf(check: CheckResult): string | null {
  if (check.slice !== null) return null;
  if (check.check === 'drift') return check.column;
  return check.check === 'prediction_drift' ? 'score' : null;
}

function observe(check: CheckResult, window: string, calendar: string | null): Observation {
  const { shares, concentration } = check.details;
  return {
    window,
    severity: check.severity,
    limit: check.limit ?? Number.POSITIVE_INFINITY,
    breach: check.status === 'warn' || check.status === 'fail',
    rows: check.rows,
    shares: isShares(shares) ? shares : null,
    cause: readCause(check.details['cause']),
    concentration: typeof concentration === 'number' ? concentration : 0,
    calendar,
  };
}

function isShares(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every(share => typeof share === 'number');
}

function readCause(value: unknown): Cause | null {
  return isCause(value) ? value : null;
}

function isCause(value: unknown): value is Cause {
  return typeof value === 'object' && value !== null && 'signature' in value && 'bug' in value && 'text' in value;
}
