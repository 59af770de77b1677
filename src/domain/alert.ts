/**
 * Alerts: what a model's owner wants to hear of. A specification says what is normal and who says so, when to warn, when it
 * is over, whose it is and what to do; an alert without an owner or an action is noise with a schedule.
 */
import type { CheckResult, Evidence } from './evidence.ts';

/** What Almanac does by itself while an alert is open; `open_retraining` and `rollback` wait for `critical`. */
export type AlertAutomation = 'none' | 'hold_promotion' | 'block_training' | 'open_retraining' | 'rollback';

export interface AlertSpecification {
  readonly id: string;
  readonly scope: 'dataset' | 'model' | 'feature' | 'slice';
  /** Name of a check in evidence of drift, skew or quality; of a feature or slice `check:name`. */
  readonly metric: string;
  /** A window with fewer rows says nothing. */
  readonly minRows: number;
  readonly normal: { readonly low: number; readonly high: number; readonly source: string };
  readonly warn: number;
  readonly critical: number;
  /** Whether a value above or below the limits is bad. */
  readonly direction: 'above' | 'below';
  /** Opens when `k` of the last `n` windows are at or beyond `warn`, the last one among them. */
  readonly persistence: { readonly k: number; readonly n: number };
  /** Closes when a value is at `exit` or on its good side. */
  readonly exit: number;
  /** Windows after closing in which it does not open again. */
  readonly cooldownWindows: number;
  readonly owner: string;
  readonly action: { readonly runbook: string; readonly automation: AlertAutomation };
}

export interface AlertState {
  readonly id: string;
  /** `unknown`: no window had enough rows yet. */
  readonly state: 'ok' | 'warn' | 'critical' | 'unknown';
  /** First of the windows that opened it; null while it is not open. */
  readonly since: string | null;
  /** Of the newest window that counts. */
  readonly value: number | null;
  readonly reason: string;
  readonly owner: string;
  readonly action: AlertSpecification['action'];
}

/** What in a specification cannot be meant, each in a sentence. */
export function alertProblems(alert: AlertSpecification): readonly string[] {
  const sign = signOf(alert);
  const { id, normal, warn, critical, exit, persistence, scope, metric } = alert;
  const wantsName = scope === 'feature' || scope === 'slice';
  const problems = [
    normal.low > normal.high && `normal.low ${normal.low} lies above normal.high ${normal.high}`,
    sign * (critical - warn) < 0 && `critical ${critical} is milder than warn ${warn}`,
    sign * (warn - exit) < 0 && `exit ${exit} lies beyond warn ${warn}: it would close at once`,
    (sign > 0 ? warn < normal.high : warn > normal.low) && `warn ${warn} lies inside normal, ${rangeText(normal)}`,
    persistence.k > persistence.n && `persistence ${persistence.k} of ${persistence.n} cannot be met`,
    wantsName !== metric.includes(':') &&
      `metric ${metric}: of scope ${scope} it is ${wantsName ? `check:${scope}` : 'a check alone'}`,
  ];
  return problems.filter(problem => problem !== false).map(problem => `alert ${id}: ${problem}`);
}

/** The alert over all windows of the evidence, in order; pure, so a replay opens and closes it at the same windows. */
export function followAlert(alert: AlertSpecification, evidence: readonly Evidence[]): AlertState {
  const sign = signOf(alert);
  const { k, n } = alert.persistence;
  const recent: { window: string; isBad: boolean }[] = [];
  let since: string | null = null;
  let quiet = Number.POSITIVE_INFINITY;
  let last: Reading | null = null;
  for (const reading of readings(alert, evidence)) {
    last = reading;
    quiet += 1;
    const isBad = sign * (reading.value - alert.warn) >= 0;
    recent.push({ window: reading.window, isBad });
    if (recent.length > n) recent.shift();
    if (since !== null) {
      if (sign * (reading.value - alert.exit) > 0) continue;
      since = null;
      quiet = 0;
      recent.length = 0;
    } else if (isBad && quiet > alert.cooldownWindows) {
      const bad = recent.filter(one => one.isBad);
      if (bad.length >= k) since = bad[0]?.window ?? reading.window;
    }
  }
  const isCritical = last !== null && sign * (last.value - alert.critical) >= 0;
  const state = last === null ? 'unknown' : since === null ? 'ok' : isCritical ? 'critical' : 'warn';
  const { id, owner, action } = alert;
  return { id, state, since, value: last?.value ?? null, reason: reasonOf(alert, state, since, last), owner, action };
}

interface Reading {
  readonly window: string;
  readonly value: number;
}

/** One value per window, in order; later evidence about a window replaces earlier one. */
function readings({ metric, minRows }: AlertSpecification, evidence: readonly Evidence[]): readonly Reading[] {
  const [name, of = null] = [metric.split(':')[0], metric.includes(':') ? metric.slice(metric.indexOf(':') + 1) : null];
  const isMeant = ({ check, column, slice }: CheckResult) =>
    check === name && (of === null ? column === null && slice === null : column === of || slice === of);
  const newest = new Map<string, { asOf: string; value: number }>();
  for (const { subject, asOf, checks } of evidence) {
    const window = subject['partition'] ?? asOf;
    const found = checks.find(isMeant);
    if (found === undefined || found.value === null || found.status === 'insufficient') continue;
    if (found.rows !== null && found.rows < minRows) continue;
    const known = newest.get(window);
    if (known === undefined || known.asOf <= asOf) newest.set(window, { asOf, value: found.value });
  }
  return [...newest]
    .map(([window, { value }]) => ({ window, value }))
    .toSorted((a, b) => (a.window < b.window ? -1 : 1));
}

function reasonOf(alert: AlertSpecification, state: AlertState['state'], since: string | null, last: Reading | null) {
  const { id, metric, normal, warn, critical, owner, action } = alert;
  if (last === null) return `alert ${id}: no window has a value of ${metric} from at least ${alert.minRows} rows`;
  const found = `${metric} is ${text(last.value)} in ${last.window}, normal is ${rangeText(normal)} (${normal.source})`;
  if (since === null) return `alert ${id} is quiet: ${found}`;
  const limit = state === 'critical' ? critical : warn;
  return `alert ${id} is ${state} since ${since}: ${found}, limit ${text(limit)}; ${owner}: ${action.runbook}`;
}

function signOf({ direction }: AlertSpecification): 1 | -1 {
  return direction === 'above' ? 1 : -1;
}

function rangeText({ low, high }: AlertSpecification['normal']): string {
  return `${text(low)} to ${text(high)}`;
}

function text(value: number): string {
  return String(Number(value.toPrecision(4)));
}
