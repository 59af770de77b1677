/** Walk-forward replay of one policy: each window is scored, judged and decided on with what was known when it ended. */
import { checkDrift, type DriftWindow, driftValues, followIncidents, judgeQuality } from '../checks/index.ts';
import type { Contract } from '../domain/contract.ts';
import { type Decision, decide } from '../domain/decision.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import { type CheckResult, type Evidence, type EvidenceKind, foldVerdict } from '../domain/evidence.ts';
import { seasonsOf } from '../domain/incident.ts';
import type { Baseline, Profile } from '../domain/profile.ts';
import { freezeBaseline, profileRows } from './profile-rows.ts';
import { type History, sliceHistory } from './table.ts';

export interface ReplayPlan {
  readonly history: History;
  readonly contract: Contract;
  readonly definition: Pick<ModelDefinition, 'model' | 'monitor' | 'retrain'>;
  readonly windowRows: number;
  readonly windowDays: number;
  /** ISO date of the first row. */
  readonly start: string;
  /** Windows of the first training, and the most windows of any later one. */
  readonly firstTraining: number;
  readonly trainingWindows: number;
  /** Windows that are replayed; null is all. */
  readonly until: number | null;
  readonly seed: number;
}

/** Scores of one window by the model trained on the windows before `trainedBefore`. */
export type Scores = (trainedBefore: number, window: number) => Promise<Float32Array>;

export interface ReplayedWindow {
  readonly window: number;
  readonly partition: string;
  readonly trainedBefore: number;
  readonly quality: number | null;
  readonly interval: readonly [low: number, high: number] | null;
  /** The window's drift or quality evidence warns or fails. */
  readonly alarm: boolean;
  readonly action: Decision['action'];
  readonly trigger: Decision['trigger'];
  readonly reasons: readonly string[];
}

export interface Replay {
  readonly windows: readonly ReplayedWindow[];
  /** Windows before which the policy retrained. */
  readonly retrainings: readonly number[];
}

interface Champion {
  readonly trainedBefore: number;
  readonly baseline: Baseline;
  readonly reference: Profile;
}

export async function replayPolicy(
  plan: ReplayPlan,
  scores: Scores,
  options: { readonly mayRetrain: 'yes' | 'never' },
): Promise<Replay> {
  const total = Math.min(
    Math.floor(plan.history.labels.length / plan.windowRows),
    plan.until ?? Number.POSITIVE_INFINITY,
  );
  const windows: ReplayedWindow[] = [];
  const retrainings: number[] = [];
  let champion = describeChampion(plan, plan.firstTraining);
  let recorded: Evidence[] = [];
  let accepted: DriftWindow[] = [];
  for (let window = plan.firstTraining; window < total; window++) {
    const rows = windowRows(plan, window);
    const scored = await scores(champion.trainedBefore, window);
    const drift = judgeDrift(plan, champion, window, accepted);
    const quality = judgeWindowQuality(plan, window, rows.labels, scored);
    const evidence = [
      record(plan, 'drift', window, champion, drift),
      record(plan, 'quality', window, champion, quality),
    ];
    recorded.push(...evidence);
    // Only a window without an alarm teaches what is normal.
    const alarm = evidence.some(({ verdict }) => verdict === 'warn' || verdict === 'fail');
    accepted.push({ window: partitionOf(plan, window), accepted: !alarm, values: driftValues(drift) });
    const decision = decideAt(plan, window, champion, recorded, retrainings);
    const realised = quality.find(check => check.check === 'quality');
    windows.push({
      window,
      partition: partitionOf(plan, window),
      trainedBefore: champion.trainedBefore,
      quality: realised?.value ?? null,
      interval: realised?.interval ?? null,
      alarm,
      action: decision.action,
      trigger: decision.trigger,
      reasons: decision.reasons,
    });
    if (decision.action === 'retrain' && options.mayRetrain === 'yes' && window + 1 < total) {
      champion = describeChampion(plan, window + 1);
      retrainings.push(window + 1);
      recorded = [];
      accepted = [];
    }
  }
  return { windows, retrainings };
}

/** Rows a model is trained on that starts to serve in window `trainedBefore`. */
export function trainingRows(
  plan: Pick<ReplayPlan, 'history' | 'windowRows' | 'trainingWindows'>,
  trainedBefore: number,
): History {
  const from = Math.max(0, trainedBefore - plan.trainingWindows) * plan.windowRows;
  return sliceHistory(plan.history, { from, to: trainedBefore * plan.windowRows });
}

export function windowRows(plan: Pick<ReplayPlan, 'history' | 'windowRows'>, window: number): History {
  return sliceHistory(plan.history, { from: window * plan.windowRows, to: (window + 1) * plan.windowRows });
}

function describeChampion(plan: ReplayPlan, trainedBefore: number): Champion {
  const rows = trainingRows(plan, trainedBefore);
  const baseline = freezeBaseline(rows, `model trained before window ${trainedBefore}`);
  const reference = profileRows(rows, { baseline, kind: 'reference', window: null, scores: null });
  return { trainedBefore, baseline, reference };
}

function judgeDrift(
  plan: ReplayPlan,
  champion: Champion,
  window: number,
  history: readonly DriftWindow[],
): CheckResult[] {
  const { warn, alert, minRows } = plan.definition.monitor.drift;
  return checkDrift({
    contract: plan.contract,
    profile: profileRows(windowRows(plan, window), {
      baseline: champion.baseline,
      kind: 'window',
      window: null,
      scores: null,
    }),
    reference: champion.reference,
    baseline: champion.baseline,
    limits: { warn, alert, minRows },
    importance: null,
    history,
  });
}

function judgeWindowQuality(
  plan: ReplayPlan,
  window: number,
  labels: Float32Array,
  scores: Float32Array,
): CheckResult[] {
  const { metric, min, minRows } = plan.definition.monitor.quality;
  return judgeQuality({
    metric,
    min,
    minRows,
    cohort: { partition: partitionOf(plan, window), scored: labels.length, labelled: labels.length },
    asOf: endOf(plan, window),
    horizonDays: 0,
    finalShares: [],
    labels,
    scores,
    unlabelledScores: null,
    weights: null,
    clusters: null,
    threshold: 0.5,
    seed: plan.seed,
  });
}

function decideAt(
  plan: ReplayPlan,
  window: number,
  champion: Champion,
  evidence: readonly Evidence[],
  retrainings: readonly number[],
): Decision {
  const { k, n } = plan.definition.monitor.drift.persistence;
  return decide({
    definition: plan.definition,
    partition: partitionOf(plan, window),
    asOf: endOf(plan, window),
    champion: String(champion.trainedBefore),
    trainedAt: partitionOf(plan, champion.trainedBefore),
    evidence,
    digests: [],
    incidents: followIncidents(evidence, { persistence: { k, n, seasons: seasonsOf(plan.windowDays) } }),
    retrainings: retrainings.map(trainedBefore => partitionOf(plan, trainedBefore)),
    inFlight: null,
    newLabels: (window + 1 - champion.trainedBefore) * plan.windowRows,
  });
}

function record(
  plan: ReplayPlan,
  kind: EvidenceKind,
  window: number,
  champion: Champion,
  checks: readonly CheckResult[],
): Evidence {
  return {
    schema: 'evidence/1',
    kind,
    model: plan.definition.model,
    subject: { partition: partitionOf(plan, window), version: String(champion.trainedBefore) },
    baseline: champion.baseline.reason,
    asOf: endOf(plan, window),
    checks,
    verdict: foldVerdict(checks),
    reasons: checks.filter(({ status }) => status === 'warn' || status === 'fail').map(({ reason }) => reason),
  };
}

/** Windows are named by the date of their first row. */
function partitionOf(plan: ReplayPlan, window: number): string {
  return new Date(Date.parse(plan.start) + window * plan.windowDays * 86_400_000).toISOString().slice(0, 10);
}

/** A window is judged the moment it ends, with its labels. */
function endOf(plan: ReplayPlan, window: number): string {
  return `${partitionOf(plan, window + 1)}T00:00:00.000Z`;
}
