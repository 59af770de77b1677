/**
 * `almanac backtest`: the whole policy over labelled history, walk-forward, with the rules that run in production; and what
 * never, weekly, calendar, random and hindsight retraining would have given on the same models.
 */

import { inParallel } from '../domain/in-parallel.ts';
import { createRandom } from '../stats/random.ts';
import { type Learners, Models } from './models.ts';
import { firstWindow, type Policy, type Replay, type ReplayedWindow, type ReplayPlan } from './replay.ts';
import { bestSchedule, calendarPhases, everyWindow, meanQuality, randomSchedules } from './schedules.ts';
import { reorderHistory } from './table.ts';

export type { Learner, Learners, Scorer } from './models.ts';
export { firstWindow, type Policy, type ReplayedWindow, type ReplayPlan } from './replay.ts';
export type { History, HistoryColumn } from './table.ts';
export { evenWindows, type HistoryWindow, windowsOfDays } from './windows.ts';

export interface BacktestOptions extends ReplayPlan, Learners {
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
  readonly stage: 'models' | 'policy' | 'thresholds' | 'shuffled copies';
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

/** The report does not depend on how many trainings are under way at a time. */
export async function runBacktest(options: BacktestOptions): Promise<Backtest> {
  const models = new Models(options, options);
  try {
    return await comparePolicy(models, options);
  } finally {
    await models.close();
  }
}

async function comparePolicy(models: Models, options: BacktestOptions): Promise<Backtest> {
  const first = firstWindow(options);
  const total = options.windows.length;
  if (first >= total) throw new Error(`the history has ${total} windows; the first training alone needs ${first}`);
  const report = (stage: BacktestProgress['stage']) => (done: number, of: number) =>
    options.progress?.({ stage, done, total: of });
  // All models first: they can be trained side by side, while a policy asks for one after the other.
  const table = await models.qualityTable(report('models'));
  const replay = await models.replay(options, window => report('policy')(window - first, total - first));
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
    report('thresholds')(alternatives.length, options.alternatives?.length ?? 0);
    const other = await models.replay({ ...options, definition });
    alternatives.push({ name, ...outcome(other.retrainings), alarms: alarmsOf(other) });
  }
  const shuffled = await replayShuffled(options, report('shuffled copies'));
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

/** One copy of a short history has too few windows to tell one alarm in a hundred from three. */
const shuffledWindowsWanted = 200;
const shuffledCopiesMax = 5;

async function replayShuffled(
  options: BacktestOptions,
  onCopy: (done: number, of: number) => void,
): Promise<Backtest['shuffled']> {
  const each = options.windows.length - firstWindow(options);
  const copies = options.shuffledCopies ?? Math.min(shuffledCopiesMax, Math.ceil(shuffledWindowsWanted / each));
  let done = 0;
  onCopy(done, copies);
  const replays = await inParallel(randomOrders(options, copies), options.parallel ?? 1, async order => {
    const replay = await replayCopy(options, order);
    onCopy(++done, copies);
    return replay;
  });
  return {
    copies,
    windows: sum(replays, ({ windows }) => windows.length),
    alarms: sum(replays, alarmsOf),
    retrainings: sum(replays, ({ retrainings, refused }) => retrainings.length + refused.length),
  };
}

async function replayCopy(options: BacktestOptions, order: Uint32Array): Promise<Replay> {
  const plan = { ...options, history: reorderHistory(options.history, order) };
  const models = new Models(plan, options);
  try {
    await models.trainProbes();
    return await models.replay(plan);
  } finally {
    await models.close();
  }
}

/**
 * Of the rows in the windows: what lies behind the last one is another time, and none of the policy's business. One stream
 * of random numbers for all copies, drawn from in their order.
 */
function* randomOrders({ windows, seed }: BacktestOptions, copies: number): Generator<Uint32Array> {
  const random = createRandom(seed);
  for (let copy = 0; copy < copies; copy++) {
    const order = Uint32Array.from({ length: windows.at(-1)?.to ?? 0 }, (_, row) => row);
    for (let row = order.length - 1; row > 0; row--) {
      const other = random.below(row + 1);
      [order[row], order[other]] = [order[other]!, order[row]!];
    }
    yield order;
  }
}

function sum(replays: readonly Replay[], of: (replay: Replay) => number): number {
  return replays.reduce((total, replay) => total + of(replay), 0);
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
