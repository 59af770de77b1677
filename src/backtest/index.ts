/**
 * `almanac backtest`: the whole policy over labelled history, walk-forward, with the rules that run in production; and what
 * never, weekly, calendar, random and hindsight retraining would have given on the same models.
 */

import { measureQuality, qualityMetric } from '../checks/index.ts';
import { createRandom } from '../stats/random.ts';
import {
  firstWindow,
  type Policy,
  probeRows,
  type Replay,
  type ReplayedWindow,
  type ReplayPlan,
  replayPolicy,
  trainingRows,
  windowRows,
} from './replay.ts';
import {
  bestSchedule,
  calendarPhases,
  everyWindow,
  meanQuality,
  type QualityTable,
  randomSchedules,
} from './schedules.ts';
import { type History, reorderHistory } from './table.ts';

export { firstWindow, type Policy, type ReplayedWindow, type ReplayPlan } from './replay.ts';
export type { History, HistoryColumn } from './table.ts';
export { evenWindows, type HistoryWindow, windowsOfDays } from './windows.ts';

/** Whatever can be trained: the built-in trainers and trainer commands are adapted to it by the caller. */
export interface Learner {
  readonly name: string;
  fit(rows: History): Promise<Scorer>;
}
export interface Scorer {
  score(rows: History): Promise<Float32Array> | Float32Array;
}

export interface BacktestOptions extends ReplayPlan {
  readonly learner: Learner;
  /** A small learner, for policies with the trigger `behind_probe`; null leaves that trigger without an answer. */
  readonly probe: Learner | null;
  /** Random schedules with as many dates as the policy used; 200 by default. */
  readonly randomSchedules?: number;
  /** Copies of the rows in random order; by default as many as give two hundred windows, at most five. */
  readonly shuffledCopies?: number;
  /** Further thresholds to replay the policy with. */
  readonly alternatives?: readonly { readonly name: string; readonly definition: Policy }[];
  /** Window in which the world is known to have changed: delays are counted from it. */
  readonly changedAt?: number;
  readonly progress?: (progress: BacktestProgress) => void;
}

export interface BacktestProgress {
  readonly stage: 'policy' | 'schedules' | 'thresholds' | 'shuffled copies';
  readonly done: number;
  readonly total: number;
}

export interface Outcome {
  /** Windows from which a new model serves. */
  readonly retrainings: readonly number[];
  /** Mean over the windows; NaN only when no window has a defined quality. */
  readonly meanQuality: number;
}

export interface Backtest {
  readonly schema: 'backtest/1';
  readonly model: string;
  readonly learner: string;
  readonly metric: string;
  readonly windows: readonly ReplayedWindow[];
  /** `refused`: trainings after which the champion stayed. */
  readonly policy: Outcome & { readonly refused: readonly number[] };
  readonly never: Outcome;
  readonly everyWindow: Outcome;
  /** Same number of retrainings as the policy; empty when it never retrained. */
  readonly calendar: readonly Outcome[];
  readonly random: {
    readonly schedules: number;
    readonly seed: number;
    readonly meanQuality: readonly number[];
    readonly shareBelowPolicy: number | null;
  };
  readonly oracle: Outcome & { readonly search: string };
  /**
   * Windows from the onset of a loss to the training that answered it. The onset is the known change; without one, the first
   * window in which a champion's interval lies below the one of its first window.
   */
  readonly detectionDelays: readonly number[];
  /**
   * The same rows in random order: every alarm is false. A training there may still pay, when it learns from more rows than
   * the champion did.
   */
  readonly shuffled: {
    readonly copies: number;
    readonly windows: number;
    readonly alarms: number;
    readonly retrainings: number;
  };
  readonly alternatives: readonly (Outcome & { readonly name: string; readonly alarms: number })[];
}

/** Trains at most one model per window and keeps the scores, so that every comparison is on the same models. */
export async function runBacktest(options: BacktestOptions): Promise<Backtest> {
  const models = new Models(options);
  const first = firstWindow(options);
  const total = options.windows.length;
  if (first >= total) throw new Error(`the history has ${total} windows; the first training alone needs ${first}`);
  const report = (stage: BacktestProgress['stage'], done: number, of: number) =>
    options.progress?.({ stage, done, total: of });
  const onWindow = (stage: BacktestProgress['stage']) => (window: number) =>
    report(stage, window - first, total - first);
  const replay = await models.replay(options, onWindow('policy'));
  const table = await models.qualityTable((done, of) => report('schedules', done, of));
  const outcome = (retrainings: readonly number[]): Outcome => ({
    retrainings,
    meanQuality: meanQuality(table, retrainings),
  });
  const policy = { ...outcome(replay.retrainings), refused: replay.refused };
  const count = policy.retrainings.length;
  const random = randomSchedules(table, { count, schedules: options.randomSchedules ?? 200, seed: options.seed }).map(
    dates => meanQuality(table, dates),
  );
  const alternatives = [];
  for (const { name, definition } of options.alternatives ?? []) {
    report('thresholds', alternatives.length, options.alternatives?.length ?? 0);
    const other = await models.replay({ ...options, definition }, () => undefined);
    alternatives.push({ name, ...outcome(other.retrainings), alarms: alarmsOf(other) });
  }
  const shuffled = await replayShuffled(options, (done, of) => report('shuffled copies', done, of));
  return {
    schema: 'backtest/1',
    model: options.definition.model,
    learner: options.learner.name,
    metric: options.definition.monitor.quality.metric,
    windows: replay.windows,
    policy,
    never: outcome([]),
    everyWindow: outcome(everyWindow(table)),
    calendar: calendarPhases(table, count).map(outcome),
    random: {
      schedules: random.length,
      seed: options.seed,
      meanQuality: random,
      shareBelowPolicy: count === 0 ? null : random.filter(value => value < policy.meanQuality).length / random.length,
    },
    oracle: { ...outcome(bestSchedule(table, count)), search: 'exact dynamic program over all sets of as many dates' },
    detectionDelays: options.changedAt === undefined ? delaysOf(replay) : delaysFrom(replay, options.changedAt),
    shuffled,
    alternatives,
  };
}

/** Models by the window they start to serve in, with their scores of every later window. */
class Models {
  readonly #options: BacktestOptions;
  readonly #scorers = new Map<number, Scorer>();
  readonly #scores = new Map<string, Float32Array>();
  readonly #probes = new Map<number, Float32Array>();

  constructor(options: BacktestOptions) {
    this.#options = options;
  }

  replay(plan: ReplayPlan, onWindow: (window: number) => void): Promise<Replay> {
    const probe = this.#options.probe === null ? null : this.#probe;
    return replayPolicy(plan, { scores: this.#score, probe, onWindow });
  }

  readonly #score = async (trainedBefore: number, window: number): Promise<Float32Array> => {
    const key = `${trainedBefore}/${window}`;
    const known = this.#scores.get(key);
    if (known !== undefined) return known;
    const scorer = await this.#scorer(trainedBefore);
    const scores = await scorer.score(windowRows(this.#options, window));
    this.#scores.set(key, scores);
    return scores;
  };

  readonly #probe = async (window: number): Promise<Float32Array> => {
    const known = this.#probes.get(window);
    if (known !== undefined) return known;
    const scorer = await this.#options.probe!.fit(probeRows(this.#options, window));
    const scores = await scorer.score(windowRows(this.#options, window));
    this.#probes.set(window, scores);
    return scores;
  };

  async qualityTable(report: (done: number, of: number) => void): Promise<QualityTable> {
    const { definition } = this.#options;
    const first = firstWindow(this.#options);
    const windows = this.#options.windows.length;
    const metric = qualityMetric(definition.monitor.quality.metric);
    const values = new Map<string, number | null>();
    for (let model = first; model < windows; model++) {
      for (let window = model; window < windows; window++) {
        const scores = await this.#score(model, window);
        values.set(
          `${model}/${window}`,
          measureQuality(metric, windowRows(this.#options, window).labels, scores).value,
        );
      }
      report(model - first + 1, windows - first);
    }
    return { first, windows, quality: (model, window) => values.get(`${model}/${window}`) ?? null };
  }

  async #scorer(trainedBefore: number): Promise<Scorer> {
    const known = this.#scorers.get(trainedBefore);
    if (known !== undefined) return known;
    const scorer = await this.#options.learner.fit(trainingRows(this.#options, trainedBefore));
    this.#scorers.set(trainedBefore, scorer);
    return scorer;
  }
}

/** One copy of a short history has too few windows to tell one alarm in a hundred from three. */
const shuffledWindowsWanted = 200;
const shuffledCopiesMax = 5;

async function replayShuffled(
  options: BacktestOptions,
  onCopy: (done: number, total: number) => void,
): Promise<Backtest['shuffled']> {
  const each = options.windows.length - firstWindow(options);
  const copies = options.shuffledCopies ?? Math.min(shuffledCopiesMax, Math.ceil(shuffledWindowsWanted / each));
  const random = createRandom(options.seed);
  let [windows, alarms, retrainings] = [0, 0, 0];
  for (let copy = 0; copy < copies; copy++) {
    onCopy(copy, copies);
    const shuffled = { ...options, history: reorderHistory(options.history, randomOrder(options, random)) };
    const replay = await new Models(shuffled).replay(shuffled, () => undefined);
    windows += replay.windows.length;
    alarms += alarmsOf(replay);
    retrainings += replay.retrainings.length + replay.refused.length;
  }
  return { copies, windows, alarms, retrainings };
}

/** Of the rows in the windows: what lies behind the last one is another time, and none of the policy's business. */
function randomOrder({ windows }: BacktestOptions, random: { below(limit: number): number }): Uint32Array {
  const order = Uint32Array.from({ length: windows.at(-1)?.to ?? 0 }, (_, row) => row);
  for (let row = order.length - 1; row > 0; row--) {
    const other = random.below(row + 1);
    [order[row], order[other]] = [order[other]!, order[row]!];
  }
  return order;
}

function alarmsOf(replay: Replay): number {
  return replay.windows.filter(({ alarm }) => alarm).length;
}

/** For each champion: windows from its first certain loss (its interval below its own first one) to its replacement. */
function delaysOf(replay: Replay): readonly number[] {
  const delays: number[] = [];
  let onset: number | null = null;
  let start: ReplayedWindow | null = null;
  for (const window of replay.windows) {
    if (start === null || window.trainedBefore !== start.trainedBefore) {
      start = window;
      onset = null;
    }
    const lost = window.interval !== null && start.interval !== null && window.interval[1] < start.interval[0];
    if (lost) onset ??= window.window;
    if (window.action === 'retrain' && onset !== null) delays.push(window.window - onset);
  }
  return delays;
}

/** From the known change to the first training that answered it; empty when none did. */
function delaysFrom({ retrainings, refused }: Replay, changedAt: number): readonly number[] {
  const answer = [...retrainings, ...refused].filter(window => window > changedAt).sort((a, b) => a - b)[0];
  return answer === undefined ? [] : [answer - changedAt];
}

/** The policy with each of its thresholds moved to either side: "what each threshold would have changed". */
export function neighbouringPolicies(
  policy: Policy,
): readonly { readonly name: string; readonly definition: Policy }[] {
  const { monitor, retrain } = policy;
  const { min } = monitor.quality;
  const found: { name: string; definition: Policy }[] = [];
  const triggered = (kind: string) => retrain.when.some(trigger => trigger.kind === kind);
  if (min !== null && (triggered('quality_below') || triggered('drift_with_loss'))) {
    for (const other of [min - 0.05, min + 0.05]) {
      const quality = { ...monitor.quality, min: other };
      found.push({
        name: `monitor.quality.min ${other.toPrecision(3)}`,
        definition: { ...policy, monitor: { ...monitor, quality } },
      });
    }
  }
  for (const trigger of retrain.when) {
    if (trigger.kind !== 'behind_probe') continue;
    for (const margin of [trigger.margin / 2, trigger.margin * 2]) {
      const when = retrain.when.map(one => (one === trigger ? { ...trigger, margin } : one));
      found.push({
        name: `retrain.when behind_probe ${margin}`,
        definition: { ...policy, retrain: { ...retrain, when } },
      });
    }
  }
  for (const cooldownDays of [retrain.cooldownDays / 2, retrain.cooldownDays * 2]) {
    found.push({
      name: `retrain.cooldown ${cooldownDays}d`,
      definition: { ...policy, retrain: { ...retrain, cooldownDays } },
    });
  }
  return found;
}
