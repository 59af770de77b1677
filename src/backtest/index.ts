/**
 * `almanac backtest`: the whole policy over labelled history, walk-forward, with the rules that run in production; and what
 * never, weekly, calendar, random and hindsight retraining would have given on the same models.
 */

import { measureQuality, qualityMetric } from '../checks/index.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import { createRandom } from '../stats/random.ts';
import { type Replay, type ReplayedWindow, type ReplayPlan, replayPolicy, trainingRows, windowRows } from './replay.ts';
import {
  bestSchedule,
  calendarPhases,
  everyWindow,
  meanQuality,
  type QualityTable,
  randomSchedules,
} from './schedules.ts';
import { type History, reorderHistory } from './table.ts';

export type { ReplayedWindow, ReplayPlan } from './replay.ts';
export type { History, HistoryColumn } from './table.ts';

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
  /** Random schedules with as many dates as the policy used; 200 by default. */
  readonly randomSchedules?: number;
  /** Further thresholds to replay the policy with. */
  readonly alternatives?: readonly { readonly name: string; readonly definition: ReplayPlan['definition'] }[];
  readonly log?: (line: string) => void;
}

export interface Outcome {
  readonly retrainings: readonly number[];
  readonly meanQuality: number;
}

export interface Backtest {
  readonly schema: 'backtest/1';
  readonly model: string;
  readonly learner: string;
  readonly metric: string;
  readonly windows: readonly ReplayedWindow[];
  readonly policy: Outcome;
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
  /** Windows from the first one in which the champion lost more than the noise of its interval, to the next retraining. */
  readonly detectionDelays: readonly number[];
  /** The same rows in random order: every alarm is false. */
  readonly shuffled: { readonly windows: number; readonly alarms: number; readonly retrainings: number };
  readonly alternatives: readonly (Outcome & { readonly name: string; readonly alarms: number })[];
}

/** Trains at most one model per window and keeps the scores, so that every comparison is on the same models. */
export async function runBacktest(options: BacktestOptions): Promise<Backtest> {
  const log = options.log ?? (() => undefined);
  const models = new Models(options);
  const windows = replayableWindows(options);
  const replay = await replayPolicy(options, models.scores, { mayRetrain: 'yes' });
  log(`the policy retrained ${replay.retrainings.length} times in ${replay.windows.length} windows`);
  const table = await models.qualityTable(windows, log);
  const outcome = (retrainings: readonly number[]): Outcome => ({
    retrainings,
    meanQuality: meanQuality(table, retrainings),
  });
  const policy = outcome(replay.retrainings);
  const count = policy.retrainings.length;
  const random = randomSchedules(table, { count, schedules: options.randomSchedules ?? 200, seed: options.seed }).map(
    dates => meanQuality(table, dates),
  );
  const alternatives = [];
  for (const { name, definition } of options.alternatives ?? []) {
    const other = await replayPolicy({ ...options, definition }, models.scores, { mayRetrain: 'yes' });
    alternatives.push({ name, ...outcome(other.retrainings), alarms: alarmsOf(other) });
  }
  const shuffled = await replayShuffled(options);
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
    detectionDelays: delaysOf(replay),
    shuffled: {
      windows: shuffled.windows.length,
      alarms: alarmsOf(shuffled),
      retrainings: shuffled.retrainings.length,
    },
    alternatives,
  };
}

/** Models by the window they start to serve in, with their scores of every later window. */
class Models {
  readonly #options: BacktestOptions;
  readonly #scorers = new Map<number, Scorer>();
  readonly #scores = new Map<string, Float32Array>();

  constructor(options: BacktestOptions) {
    this.#options = options;
  }

  readonly scores = async (trainedBefore: number, window: number): Promise<Float32Array> => {
    const key = `${trainedBefore}/${window}`;
    const known = this.#scores.get(key);
    if (known !== undefined) return known;
    const scorer = await this.#scorer(trainedBefore);
    const scores = await scorer.score(windowRows(this.#options, window));
    this.#scores.set(key, scores);
    return scores;
  };

  async qualityTable(windows: number, log: (line: string) => void): Promise<QualityTable> {
    const { firstTraining: first, definition } = this.#options;
    const metric = qualityMetric(definition.monitor.quality.metric);
    const values = new Map<string, number | null>();
    for (let model = first; model < windows; model++) {
      for (let window = model; window < windows; window++) {
        const scores = await this.scores(model, window);
        values.set(
          `${model}/${window}`,
          measureQuality(metric, windowRows(this.#options, window).labels, scores).value,
        );
      }
      if ((model - first) % 20 === 19) log(`${model - first + 1} of ${windows - first} models trained`);
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

function replayableWindows(options: ReplayPlan): number {
  return Math.min(
    Math.floor(options.history.labels.length / options.windowRows),
    options.until ?? Number.POSITIVE_INFINITY,
  );
}

async function replayShuffled(options: BacktestOptions): Promise<Replay> {
  const rows = options.history.labels.length;
  const random = createRandom(options.seed);
  const order = Uint32Array.from({ length: rows }, (_, row) => row);
  for (let row = rows - 1; row > 0; row--) {
    const other = random.below(row + 1);
    [order[row], order[other]] = [order[other]!, order[row]!];
  }
  const shuffled = { ...options, history: reorderHistory(options.history, order) };
  return replayPolicy(shuffled, new Models(shuffled).scores, { mayRetrain: 'yes' });
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

/** The definition with another least quality: for "what each threshold would have changed". */
export function withQualityMin(
  definition: BacktestOptions['definition'],
  min: number,
): Pick<ModelDefinition, 'model' | 'monitor' | 'retrain'> {
  return { ...definition, monitor: { ...definition.monitor, quality: { ...definition.monitor.quality, min } } };
}
