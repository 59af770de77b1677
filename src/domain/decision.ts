/**
 * The retraining decision: what the policy concludes from recorded evidence, and why. It is pure, so the same evidence gives
 * the same decision in production, in a replay and in a backtest; and it is recorded also when it concludes to do nothing.
 */
import { type AlertAutomation, type AlertState, followAlert } from './alert.ts';
import { judgeBehindProbe, type ProbedCohort } from './behind-probe.ts';
import type { ModelDefinition, RetrainTrigger } from './definition.ts';
import { type CheckResult, type Evidence, latestPerWindow, windowOf } from './evidence.ts';
import type { ChangeClass, SubjectState } from './incident.ts';

/**
 * `rollback`: a critical alert asks for the champion before. `hold`: something fired but nobody knows yet what happened, or it must not be
 * learned. `wait`: fired, but not now.
 */
export type DecisionAction = 'rollback' | 'retrain' | 'hold' | 'wait' | 'nothing';
/** `alert`: a critical alert that asks for a retraining. */
export type TriggerKind = RetrainTrigger['kind'] | 'alert';

export interface Considered {
  readonly trigger: TriggerKind;
  readonly state: 'fired' | 'quiet' | 'unknown';
  readonly reason: string;
}

export interface Decision {
  readonly schema: 'decision/1';
  readonly model: string;
  /** The newest monitored partition. */
  readonly partition: string;
  readonly asOf: string;
  readonly action: DecisionAction;
  /** The first declared trigger that fired. */
  readonly trigger: TriggerKind | null;
  /** Sentences; the first says what fired, or that nothing did. */
  readonly reasons: readonly string[];
  readonly considered: readonly Considered[];
  /** Of the definition's alerts, in its order. */
  readonly alerts?: readonly AlertState[];
  /** Windows a training must leave out: they hold a data bug or a passing event. */
  readonly excludedWindows: readonly string[];
  /** Digests of the evidence it was drawn from. */
  readonly evidence: readonly string[];
}

export interface DecisionInput {
  readonly definition: Pick<ModelDefinition, 'model' | 'monitor' | 'retrain'>;
  readonly partition: string;
  /** Nominal time of the decision, ISO UTC. */
  readonly asOf: string;
  /** Version number of the champion as text (`subject.version` of its evidence); null when nothing is deployed. */
  readonly champion: string | null;
  /** As-of time of the champion's training; null when unknown. */
  readonly trainedAt: string | null;
  /** Of kinds `drift`, `quality`, `multivariate` and `skew`; any order, later evidence about a window replaces earlier one. */
  readonly evidence: readonly Evidence[];
  /** Their digests, for the record. */
  readonly digests: readonly string[];
  /** What `followIncidents` made of the drift evidence. */
  readonly incidents: readonly SubjectState[];
  /** As-of times of earlier retrainings. */
  readonly retrainings: readonly string[];
  /** Workflow id of a training or promotion under way, or null. */
  readonly inFlight: string | null;
  /** Labelled rows newer than the champion's training; null when nobody counted. */
  readonly newLabels: number | null;
}

/** Classes a model must not learn: it would know the bug, the event or the season by heart. */
const neverLearned: readonly ChangeClass[] = ['data_bug', 'event_spike', 'seasonal'];
const dayMs = 86_400_000;

/** Never throws for what the evidence holds; the same input gives the same decision. */
export function decide(input: DecisionInput): Decision {
  const alerts = alertsOf(input);
  const considered = [
    ...input.definition.retrain.when.map(trigger => considerTrigger(trigger, input)),
    ...alerts.filter(asksFor('open_retraining')).map(considerAlert),
  ];
  const fired = considered.filter(({ state }) => state === 'fired');
  const first = fired[0];
  const excludedWindows = windowsToExclude(input);
  const conclude = (action: DecisionAction, reasons: readonly string[]): Decision => ({
    schema: 'decision/1',
    model: input.definition.model,
    partition: input.partition,
    asOf: input.asOf,
    action,
    trigger: first?.trigger ?? null,
    reasons: [
      ...reasons,
      ...openAlerts(alerts)
        .map(({ reason }) => reason)
        .filter(reason => !reasons.includes(reason)),
    ],
    considered,
    ...(alerts.length === 0 ? {} : { alerts }),
    excludedWindows,
    evidence: input.digests,
  });
  if (input.champion === null)
    return conclude('nothing', ['nothing, because no version is deployed: the first training is started by a person']);
  const withdrawn = alerts.filter(asksFor('rollback')).filter(({ state }) => state === 'critical');
  if (withdrawn.length > 0)
    return conclude(
      'rollback',
      withdrawn.map(({ reason }) => reason),
    );
  if (first === undefined) {
    const why = considered.map(({ reason }) => reason);
    return conclude('nothing', [
      `nothing, because ${why.length === 0 ? 'the definition names no trigger' : why.join('; ')}`,
    ]);
  }
  const causes = fired.map(({ reason }) => reason);
  const blocked = openAlerts(alerts).filter(asksFor('block_training'));
  const holds = [...blocked.map(({ reason }) => `hold, because ${reason}`), ...reasonsToHold(first, input)];
  if (holds.length > 0) return conclude('hold', [...causes, ...holds]);
  const waits = reasonsToWait(input);
  if (waits.length > 0) return conclude('wait', [...causes, ...waits]);
  return conclude('retrain', causes);
}

function considerTrigger(trigger: RetrainTrigger, input: DecisionInput): Considered {
  switch (trigger.kind) {
    case 'quality_below':
      return { trigger: trigger.kind, ...considerQuality(input) };
    case 'behind_probe':
      return { trigger: trigger.kind, ...judgeBehindProbe(trigger.margin, probedCohorts(input)) };
    case 'drift':
      return { trigger: trigger.kind, ...considerDrift(input) };
    case 'drift_with_loss':
      return { trigger: trigger.kind, ...considerDriftWithLoss(input) };
    case 'multivariate_drift':
      return { trigger: trigger.kind, ...considerMultivariate(input) };
    case 'age':
      return { trigger: trigger.kind, ...considerAge(trigger.days, input) };
  }
}

type Answer = Omit<Considered, 'trigger'>;

/** Alerts about the champion: what an earlier version did is over. */
function alertsOf({ definition, evidence, champion }: DecisionInput): readonly AlertState[] {
  const about = evidence.filter(item => isAbout(item, champion));
  return (definition.monitor.alerts ?? []).map(alert => followAlert(alert, about));
}

/** Those that are open now. */
export function openAlerts(alerts: readonly AlertState[]): readonly AlertState[] {
  return alerts.filter(({ since }) => since !== null);
}

export function asksFor(automation: AlertAutomation): (alert: AlertState) => boolean {
  return ({ action }) => action.automation === automation;
}

function considerAlert({ state, reason }: AlertState): Considered {
  return {
    trigger: 'alert',
    state: state === 'critical' ? 'fired' : state === 'unknown' ? 'unknown' : 'quiet',
    reason,
  };
}

/** Realised quality: k of the last n mature cohorts below the minimum, and their pooled upper bound below it as well. */
function considerQuality(input: DecisionInput): Answer {
  const min = input.definition.monitor.quality.min;
  if (min === null) return { state: 'unknown', reason: 'no minimum quality is declared' };
  const cohorts = qualityCohorts(input).slice(-input.definition.monitor.drift.persistence.n);
  const pooled = pool(cohorts);
  if (pooled === null) return { state: 'unknown', reason: 'no cohort has enough mature labels' };
  const { k } = input.definition.monitor.drift.persistence;
  const below = cohorts.filter(cohort => cohort.value < min);
  const recent = pool(below.slice(-k));
  const name = input.definition.monitor.quality.metric;
  const latestBelow = (cohorts.at(-1)?.value ?? min) < min;
  if (latestBelow && below.length >= k && recent !== null && recent.high < min) {
    return {
      state: 'fired',
      reason: `${name} ${text(recent.value)} in ${below.length} of the last ${cohorts.length} cohorts, at most ${text(recent.high)} with 95 % confidence, must be ${text(min)}`,
    };
  }
  const count =
    below.length === 0
      ? 'no cohort lies below'
      : `${below.length} of ${cohorts.length} cohorts lie below (${k} needed, with certainty)`;
  return {
    state: 'quiet',
    reason: `${name} is ${text(pooled.value)} (${text(pooled.low)} to ${text(pooled.high)}), at least ${text(min)} wanted: ${count}`,
  };
}

/** Persistent drift of any feature or of the predictions, whatever it did to quality. */
function considerDrift(input: DecisionInput): Answer {
  const open = input.incidents.filter(state => state.open !== null);
  if (input.incidents.length === 0) return { state: 'unknown', reason: 'no drift evidence yet' };
  if (open.length === 0) return { state: 'quiet', reason: `no drift persists: ${describeQuiet(input.incidents)}` };
  return { state: 'fired', reason: `drift persists: ${open.slice(0, 3).map(describeOpen).join(', ')}` };
}

/** Drift that costs: the quality bound fell below its level before the drift, or labels cannot tell and the estimate did. */
function considerDriftWithLoss(input: DecisionInput): Answer {
  const drift = considerDrift(input);
  if (drift.state !== 'fired') return drift;
  const since =
    input.incidents.flatMap(state => (state.open === null ? [] : [state.open.since])).toSorted()[0] ?? input.asOf;
  const cohorts = qualityCohorts(input);
  const before = pool(cohorts.filter(cohort => cohort.window < since).slice(-10));
  const after = pool(cohorts.filter(cohort => cohort.window >= since));
  const min = input.definition.monitor.quality.min;
  const name = input.definition.monitor.quality.metric;
  if (after !== null) {
    if (min !== null && after.high < min)
      return {
        state: 'fired',
        reason: `${drift.reason}, and ${name} since then is at most ${text(after.high)}, must be ${text(min)}`,
      };
    if (before !== null && after.high < before.low) {
      return {
        state: 'fired',
        reason: `${drift.reason}, and ${name} fell from ${text(before.value)} to ${text(after.value)} (intervals do not meet)`,
      };
    }
    return {
      state: 'quiet',
      reason: `${drift.reason}, but ${name} since then is ${text(after.value)} (${text(after.low)} to ${text(after.high)}): no proven loss`,
    };
  }
  const estimate = estimates(input)
    .filter(({ window }) => window >= since)
    .at(-1);
  if (estimate !== undefined && min !== null && estimate.high < min) {
    return {
      state: 'fired',
      reason: `${drift.reason}; labels are not in yet and the estimated ${name} is at most ${text(estimate.high)}, must be ${text(min)}`,
    };
  }
  return { state: 'unknown', reason: `${drift.reason}, but no cohort since then has mature labels` };
}

/** Rows of k of the last n windows can be told from those that the champion learned from, the newest among them. */
function considerMultivariate(input: DecisionInput): Answer {
  const { k, n } = input.definition.monitor.drift.persistence;
  const about = input.evidence.filter(item => item.kind === 'multivariate' && isAbout(item, input.champion));
  const compared = latestPerWindow(about)
    .flatMap(({ checks }) => checks.filter(({ check, value }) => check === 'multivariate_drift' && value !== null))
    .slice(-n);
  const last = compared.at(-1);
  if (last === undefined) return { state: 'unknown', reason: 'no window was told from the training rows yet' };
  const apart = compared.filter(({ status }) => status === 'warn');
  const reason = `${apart.length} of the last ${compared.length} windows can be told from the training rows (${k} needed): ${last.reason}`;
  return { state: last.status === 'warn' && apart.length >= k ? 'fired' : 'quiet', reason };
}

function considerAge(days: number, input: DecisionInput): Answer {
  if (input.trainedAt === null) return { state: 'unknown', reason: 'the age of the champion is unknown' };
  const age = (Date.parse(input.asOf) - Date.parse(input.trainedAt)) / dayMs;
  const found = `the champion is ${age.toFixed(1)} days old, ${days} allowed`;
  return { state: age > days ? 'fired' : 'quiet', reason: found };
}

/** A fired trigger does not act while a change is of a kind that must not be learned, or of a kind nobody knows yet. */
function reasonsToHold(fired: Considered, input: DecisionInput): string[] {
  const changing = input.incidents.filter(state => state.class !== 'none' && state.class !== 'noise');
  const forbidden = changing.filter(state => neverLearned.includes(state.open?.class ?? state.class));
  const reasons = forbidden.map(
    state =>
      `hold, because ${state.subject} shows ${article(state.open?.class ?? state.class)}: ${state.open?.reason ?? state.reason}`,
  );
  if (reasons.length > 0) return reasons;
  // Age is a fact of the calendar and waits for no name. A proven loss of quality waits only while the change is too young
  // to have one: a change that stays without a name must not keep a failing model in service for ever.
  const nameless = changing.filter(state => (state.open?.class ?? state.class) === 'unknown');
  const isProven = fired.trigger === 'quality_below' || fired.trigger === 'behind_probe';
  const waiting = isProven ? nameless.filter(state => state.open === null) : nameless;
  const named = changing.some(state => state.open?.class === 'step_change' || state.open?.class === 'gradual');
  if (named || fired.trigger === 'age') return [];
  return waiting
    .slice(0, 3)
    .map(state => `hold, because the change of ${state.subject} has no class yet: ${state.reason}`);
}

function reasonsToWait(input: DecisionInput): string[] {
  const { cooldownDays, budget, minNewLabels } = input.definition.retrain;
  const now = Date.parse(input.asOf);
  const reasons: string[] = [];
  if (input.inFlight !== null) reasons.push(`wait, because ${input.inFlight} is under way`);
  const past = input.retrainings.filter(time => Date.parse(time) <= now);
  const last = [...past, ...(input.trainedAt === null ? [] : [input.trainedAt])].toSorted().at(-1);
  const sinceLast = last === undefined ? Number.POSITIVE_INFINITY : (now - Date.parse(last)) / dayMs;
  if (sinceLast < cooldownDays)
    reasons.push(
      `wait, because the last training was ${sinceLast.toFixed(1)} days ago and the cooldown is ${cooldownDays}`,
    );
  const spent = past.filter(time => now - Date.parse(time) < budget.days * dayMs).length;
  if (spent >= budget.runs)
    reasons.push(`wait, because ${spent} of ${budget.runs} trainings per ${budget.days} days are spent`);
  if (input.newLabels !== null && input.newLabels < minNewLabels) {
    reasons.push(`wait, because ${input.newLabels} labelled rows are new and ${minNewLabels} are needed`);
  }
  return reasons;
}

interface Cohort {
  readonly window: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Quality per window, newest evidence per window, of the champion alone; immature cohorts are `insufficient` and left out. */
function qualityCohorts(input: DecisionInput): readonly Cohort[] {
  return cohortsOf(input, check => check.check === 'quality');
}

function estimates(input: DecisionInput): readonly Cohort[] {
  return cohortsOf(input, check => check.check === 'estimated_quality');
}

function cohortsOf(
  { evidence, champion }: Pick<DecisionInput, 'evidence' | 'champion'>,
  wanted: (check: CheckResult) => boolean,
): readonly Cohort[] {
  const newest = latestPerWindow(evidence.filter(item => item.kind === 'quality' && isAbout(item, champion)));
  return newest.flatMap(item => {
    const check = item.checks.find(candidate => wanted(candidate) && candidate.slice === null);
    if (check === undefined || check.value === null || check.interval === null || check.status === 'insufficient')
      return [];
    return [{ window: windowOf(item), value: check.value, low: check.interval[0], high: check.interval[1] }];
  });
}

/** Comparisons with a probe, also of earlier champions that had learned from as many rows, in the order of their windows. */
function probedCohorts({ evidence, champion }: DecisionInput): readonly ProbedCohort[] {
  const versions = new Set(evidence.map(({ subject }) => subject['version'] ?? null));
  return [...versions]
    .flatMap(version => {
      const about = evidence.filter(({ subject }) => (subject['version'] ?? null) === version);
      const own = champion === null || version === null || version === champion;
      const isCompared = ({ check, details }: CheckResult) =>
        check === 'behind_probe' && (own || details['sameAmount'] === true);
      const cohorts = cohortsOf({ evidence: about, champion: null }, isCompared);
      return cohorts.map(cohort => ({ ...cohort, own }));
    })
    .toSorted((left, right) => (left.window < right.window ? -1 : left.window > right.window ? 1 : 0));
}

/** Inverse-variance mean of cohort values; a 95 % interval is 3.92 standard errors wide. */
function pool(
  cohorts: readonly Cohort[],
): { readonly value: number; readonly low: number; readonly high: number } | null {
  if (cohorts.length === 0) return null;
  let weights = 0;
  let total = 0;
  for (const cohort of cohorts) {
    const error = Math.max((cohort.high - cohort.low) / 3.92, 1e-6);
    weights += 1 / error ** 2;
    total += cohort.value / error ** 2;
  }
  const value = total / weights;
  const half = 1.96 / Math.sqrt(weights);
  return { value, low: value - half, high: value + half };
}

function isAbout(evidence: Evidence, champion: string | null): boolean {
  const version = evidence.subject['version'];
  return version === undefined || champion === null || version === champion;
}

function windowsToExclude(input: DecisionInput): readonly string[] {
  const bad = input.incidents.flatMap(state => state.badWindows);
  return [...new Set(bad)].toSorted();
}

function describeOpen(state: SubjectState): string {
  return `${state.subject} (${(state.open?.class ?? state.class).replace('_', ' ')} since ${state.open?.since ?? '?'})`;
}

function describeQuiet(states: readonly SubjectState[]): string {
  const moving = states.filter(state => state.class !== 'none');
  if (moving.length === 0) return `${states.length} subjects are within their limits`;
  return moving
    .slice(0, 3)
    .map(state => `${state.subject}: ${state.reason}`)
    .join(', ');
}

function article(name: ChangeClass): string {
  return `${/^[aeiou]/.test(name) ? 'an' : 'a'} ${name.replace('_', ' ')}`;
}

function text(value: number): string {
  return value.toFixed(3);
}
