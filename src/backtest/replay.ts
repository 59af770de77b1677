/** Walk-forward replay of one policy: each window is scored, judged and decided on with what was known when it ended. */
import {
  checkDrift,
  type DriftWindow,
  driftValues,
  followIncidents,
  judgeChallenger,
  judgeProbe,
  judgeQuality,
} from '../checks/index.ts';
import type { Contract } from '../domain/contract.ts';
import { type Decision, decide } from '../domain/decision.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import { type CheckResult, type Evidence, type EvidenceKind, foldVerdict } from '../domain/evidence.ts';
import { inParallel } from '../domain/in-parallel.ts';
import { type ChangeClass, type SubjectState, seasonsOf } from '../domain/incident.ts';
import type { Baseline, Profile } from '../domain/profile.ts';
import { freezeBaseline, profileRows } from './profile-rows.ts';
import { type History, type RowRange, sliceHistory } from './table.ts';
import { dateAfter, type HistoryWindow } from './windows.ts';

export type Policy = Pick<ModelDefinition, 'model' | 'monitor' | 'retrain'>;

export interface ReplayPlan {
  readonly history: History;
  readonly windows: readonly HistoryWindow[];
  readonly contract: Contract;
  readonly definition: Policy;
  readonly windowDays: number;
  /** Windows of the first training, and the most windows of any later one. */
  readonly firstTraining: number;
  readonly trainingWindows: number;
  /** The newest windows with labels are kept from a training and judge it; 0 lets every training serve. */
  readonly holdoutWindows: number;
  /** Windows left out between those learned from and those held out; none when left out. */
  readonly purgeWindows?: number;
  /** What a version must hold against the champion on the windows held out; unused without any. */
  readonly gate: Pick<ModelDefinition['evaluate'], 'metric' | 'min' | 'champion'> | null;
  /** The labels of a window are known so many windows after its end. */
  readonly labelLag: number;
  readonly seed: number;
}

/** Scores of one window by the model trained for the windows from `trainedBefore` on. */
export type Scores = (trainedBefore: number, window: number) => Promise<Float32Array>;

export interface ReplayedWindow {
  readonly window: number;
  readonly partition: string;
  readonly trainedBefore: number;
  /** Quality of the champion in this window, whenever it became known. */
  readonly quality: number | null;
  readonly interval: readonly [low: number, high: number] | null;
  /** Drift or quality evidence recorded at the end of this window warns or fails. */
  readonly alarm: boolean;
  readonly action: Decision['action'];
  readonly trigger: Decision['trigger'];
  readonly reasons: readonly string[];
  /** Subjects that change, and as what. */
  readonly changes: readonly { readonly subject: string; readonly class: ChangeClass; readonly open: boolean }[];
  /** What became of the training: it serves from the next window on, or the champion stayed, and why. */
  readonly training: { readonly kind: 'serves' } | { readonly kind: 'refused'; readonly reason: string } | null;
}

export interface Replay {
  readonly windows: readonly ReplayedWindow[];
  /** Windows before which a training of the policy began to serve. */
  readonly retrainings: readonly number[];
  /** Windows before which it trained and the champion stayed. */
  readonly refused: readonly number[];
}

export interface ReplayOptions {
  readonly scores: Scores;
  readonly onWindow?: (window: number) => void;
}

interface Champion {
  readonly trainedBefore: number;
  readonly baseline: Baseline;
  readonly reference: Profile;
}

export async function replayPolicy(plan: ReplayPlan, options: ReplayOptions): Promise<Replay> {
  const { scores } = options;
  const windows: ReplayedWindow[] = [];
  const retrainings: number[] = [];
  const refused: number[] = [];
  const first = firstWindow(plan);
  let champion = describeChampion(plan, first);
  let recorded: Evidence[] = [];
  let accepted: DriftWindow[] = [];
  /** Who served in each window, for labels that come later. */
  const served: number[] = [];
  for (let window = first; window < plan.windows.length; window++) {
    options.onWindow?.(window);
    served[window] = champion.trainedBefore;
    const drift = judgeDrift(plan, champion, window, accepted);
    const evidence = [record(plan, { kind: 'drift', window, known: window, champion: champion.trainedBefore }, drift)];
    // The labels that have become known: those of the window that ended `labelLag` windows ago.
    const ripe = window - plan.labelLag;
    const server = served[ripe];
    if (server !== undefined) {
      const quality = await judgeWindow(plan, { window: ripe, known: window, server }, scores);
      evidence.push(record(plan, { kind: 'quality', window: ripe, known: window, champion: server }, quality));
    }
    recorded.push(...evidence);
    // Only a window without an alarm teaches what is normal.
    const alarm = evidence.some(({ verdict }) => verdict === 'warn' || verdict === 'fail');
    accepted.push({ window: plan.windows[window]!.partition, accepted: !alarm, values: driftValues(drift) });
    const incidents = followIncidents(recorded, { persistence: persistenceOf(plan) });
    const trainings = [...retrainings, ...refused].sort((a, b) => a - b);
    const decision = decideAt(plan, { window, champion, evidence: recorded, incidents, trainings });
    let training: ReplayedWindow['training'] = null;
    if (decision.action === 'retrain' && window + 1 < plan.windows.length) {
      const reason = await refusal(plan, { challenger: window + 1, champion: champion.trainedBefore }, scores);
      training = reason === null ? { kind: 'serves' } : { kind: 'refused', reason };
    }
    const realised = await judgeServed(plan, window, await scores(champion.trainedBefore, window));
    windows.push({
      window,
      partition: plan.windows[window]!.partition,
      trainedBefore: champion.trainedBefore,
      quality: realised?.value ?? null,
      interval: realised?.interval ?? null,
      alarm,
      action: decision.action,
      trigger: decision.trigger,
      reasons: decision.reasons,
      changes: incidents.flatMap(changeOf),
      training,
    });
    if (training?.kind === 'refused') refused.push(window + 1);
    if (training?.kind !== 'serves') continue;
    champion = describeChampion(plan, window + 1);
    retrainings.push(window + 1);
    // Drift is told from another baseline now; what became known about newer rows stays true.
    recorded = recorded.filter(({ kind }) => kind === 'quality');
    accepted = [];
  }
  return { windows, retrainings, refused };
}

/** The first window that a model can serve in: its training and its labels come before. */
export function firstWindow(plan: TrainingShape): number {
  return plan.firstTraining + windowsNotLearned(plan);
}

type TrainingShape = Pick<
  ReplayPlan,
  'firstTraining' | 'trainingWindows' | 'labelLag' | 'holdoutWindows' | 'purgeWindows'
>;

/** The newest windows, which a training may not learn from: labels not known yet, held out, or between the two sides. */
function windowsNotLearned({ labelLag, holdoutWindows, purgeWindows = 0 }: TrainingShape): number {
  return labelLag + (holdoutWindows === 0 ? 0 : holdoutWindows + purgeWindows);
}

/** Rows a model is trained on that starts to serve in window `trainedBefore`. */
export function trainingRows(plan: ReplayPlan, trainedBefore: number): History {
  const end = trainedBefore - windowsNotLearned(plan);
  return rowsOfWindows(plan, Math.max(0, end - plan.trainingWindows), end);
}

function rowsLearned(plan: ReplayPlan, trainedBefore: number): number {
  return trainingRows(plan, trainedBefore).labels.length;
}

/** Whether a trigger of the policy compares with what a training before each window would have given. */
export function asksForProbes(plan: Pick<ReplayPlan, 'definition'>): boolean {
  return probeTrigger(plan) !== null;
}

function probeTrigger({ definition }: Pick<ReplayPlan, 'definition'>) {
  return definition.retrain.when.find(trigger => trigger.kind === 'behind_probe') ?? null;
}

export function windowRows(plan: Pick<ReplayPlan, 'history' | 'windows'>, window: number): History {
  return rowsOfWindows(plan, window, window + 1);
}

function rowsOfWindows(
  { history, windows }: Pick<ReplayPlan, 'history' | 'windows'>,
  from: number,
  to: number,
): History {
  const range: RowRange = { from: windows[from]?.from ?? 0, to: windows[to - 1]?.to ?? 0 };
  return sliceHistory(history, range);
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

/** Quality of a window whose labels are known now, and what a training right before it would have given. */
async function judgeWindow(
  plan: ReplayPlan,
  { window, known, server }: { readonly window: number; readonly known: number; readonly server: number },
  scores: Scores,
): Promise<CheckResult[]> {
  const rows = windowRows(plan, window);
  const champion = await scores(server, window);
  const checks = judgeWindowQuality(plan, { window, known }, rows, champion);
  const trigger = probeTrigger(plan);
  // A model that was trained right before it has nothing newer to be compared with.
  if (trigger === null || server === window) return checks;
  const { metric, minRows } = plan.definition.monitor.quality;
  const compared = judgeProbe({
    metric,
    labels: rows.labels,
    weights: rows.weights ?? null,
    championScores: champion,
    probeScores: await scores(window, window),
    margin: trigger.margin,
    minRows,
    champion: 'the champion',
    probe: 'a model of newer rows',
    learned: { champion: rowsLearned(plan, server), probe: rowsLearned(plan, window) },
    threshold: 0.5,
    seed: plan.seed,
  });
  return [...checks, ...compared];
}

async function judgeServed(plan: ReplayPlan, window: number, scores: Float32Array): Promise<CheckResult | undefined> {
  const rows = windowRows(plan, window);
  const checks = judgeWindowQuality(plan, { window, known: window + plan.labelLag }, rows, scores);
  return checks.find(({ check }) => check === 'quality');
}

function judgeWindowQuality(
  plan: ReplayPlan,
  { window, known }: { readonly window: number; readonly known: number },
  { labels, weights = null }: History,
  scores: Float32Array,
): CheckResult[] {
  const { metric, min, minRows } = plan.definition.monitor.quality;
  return judgeQuality({
    metric,
    min,
    minRows,
    cohort: { partition: plan.windows[window]!.partition, scored: labels.length, labelled: labels.length },
    asOf: endOf(plan, known),
    horizonDays: 0,
    end: null,
    wanted: 1,
    labels,
    scores,
    unlabelledScores: null,
    weights,
    clusters: null,
    threshold: 0.5,
    seed: plan.seed,
  });
}

/** Why the challenger may not replace the champion, judged on the windows held out from it; null when it may. */
async function refusal(
  plan: ReplayPlan,
  { challenger, champion }: { readonly challenger: number; readonly champion: number },
  scores: Scores,
): Promise<string | null> {
  const { gate, holdoutWindows, labelLag } = plan;
  if (gate === null || holdoutWindows === 0) return null;
  const end = challenger - labelLag;
  const held = Array.from({ length: holdoutWindows }, (_, index) => end - holdoutWindows + index);
  const join = async (trainedBefore: number) =>
    joined(await inParallel(held, 1, window => scores(trainedBefore, window)));
  const rows = held.map(window => windowRows(plan, window));
  const labels = joined(rows.map(one => one.labels));
  const checks = judgeChallenger({
    ...gate,
    labels,
    challengerScores: await join(challenger),
    championScores: await join(champion),
    weights: plan.history.weights ? joinedWeights(rows) : null,
    clusters: null,
    slices: [],
    minSliceRows: labels.length,
    threshold: 0.5,
    seed: plan.seed,
  });
  const verdict = foldVerdict(checks);
  if (verdict === 'pass' || verdict === 'warn') return null;
  const blocking = checks.filter(({ weight, status }) => weight !== 'advisory' && status !== 'pass');
  return blocking.map(({ reason }) => reason).join('; ');
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function joinedWeights(parts: readonly History[]): Float64Array {
  return Float64Array.from(parts.flatMap(({ weights }) => Array.from(weights ?? [])));
}

function persistenceOf({ definition, windowDays }: ReplayPlan) {
  return { ...definition.monitor.drift.persistence, seasons: seasonsOf(windowDays) };
}

function changeOf(state: SubjectState): ReplayedWindow['changes'] {
  const name = state.open?.class ?? state.class;
  return name === 'none' || name === 'noise'
    ? []
    : [{ subject: state.subject, class: name, open: state.open !== null }];
}

function decideAt(
  plan: ReplayPlan,
  at: {
    readonly window: number;
    readonly champion: Champion;
    readonly evidence: readonly Evidence[];
    readonly incidents: readonly SubjectState[];
    readonly trainings: readonly number[];
  },
): Decision {
  const { window, champion, evidence, incidents, trainings } = at;
  const partitionOf = (at: number) => plan.windows[at]?.partition ?? '';
  const newest = plan.windows[window - plan.labelLag]?.to ?? 0;
  const seen = plan.windows[champion.trainedBefore - plan.labelLag - 1]?.to ?? 0;
  return decide({
    definition: plan.definition,
    partition: partitionOf(window),
    asOf: endOf(plan, window),
    champion: String(champion.trainedBefore),
    trainedAt: partitionOf(champion.trainedBefore),
    evidence,
    digests: [],
    incidents,
    retrainings: trainings.map(partitionOf),
    inFlight: null,
    // Rows that were held out from the champion have been seen by its makers, as in production.
    newLabels: Math.max(0, newest - seen),
  });
}

function record(
  plan: ReplayPlan,
  about: { readonly kind: EvidenceKind; readonly window: number; readonly known: number; readonly champion: number },
  checks: readonly CheckResult[],
): Evidence {
  return {
    schema: 'evidence/1',
    kind: about.kind,
    model: plan.definition.model,
    subject: { partition: plan.windows[about.window]!.partition, version: String(about.champion) },
    baseline: `model trained before window ${about.champion}`,
    asOf: endOf(plan, about.known),
    checks,
    verdict: foldVerdict(checks),
    reasons: checks.filter(({ status }) => status === 'warn' || status === 'fail').map(({ reason }) => reason),
  };
}

/** A window is judged the moment it ends. */
function endOf(plan: ReplayPlan, window: number): string {
  const partition = plan.windows[Math.min(window, plan.windows.length - 1)]!.partition;
  return `${dateAfter(partition, plan.windowDays)}T00:00:00.000Z`;
}
