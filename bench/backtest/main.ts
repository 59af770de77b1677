/**
 * `npm run bench -- backtest --data FOLDER [--full]`: the default retraining policy on Elec2, on the bank's calls and on the
 * seeded streams, against the calendar and against chance, all with the same models and the same number of retrainings.
 * The short form replays the forty weeks that the policy was chosen on, and reports bank without holding anybody to it: the
 * policy was chosen elsewhere, and what it misses there is to be read, not tuned away. `--full` is the published yardstick.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Backtest,
  type BacktestProgress,
  neighbouringPolicies,
  type ReplayPlan,
  runBacktest,
} from '../../src/backtest/index.ts';
import { reportStreams, type StreamResult } from '../../src/backtest/stream-report.ts';
import { builtinLearner } from '../../src/trainers/learner.ts';
import { LearnerThreads } from '../../src/trainers/learner-threads.ts';
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';
import { bankPlan, readBank } from './bank.ts';
import { electricityPlan, openContract, readElectricity } from './elec2.ts';

const files = ['electricity.csv', 'bank-full.csv'];
const seed = 1;
const parameters = { trees: 150, max_leaves: 31 };
const shortWeeks = 40;
const streamSeeds = 10;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const { data } = options;
  const missing = files.filter(file => data === null || !existsSync(join(data, file)));
  if (data === null || missing.length > 0) {
    throw new Error(`the backtest needs ${missing.join(' and ')}, not found in ${data ?? 'any folder'}: --data FOLDER`);
  }
  const threads = new LearnerThreads();
  try {
    return await compare(data, options, threads);
  } finally {
    await threads.close();
  }
}

async function compare(data: string, options: BenchOptions, threads: LearnerThreads): Promise<BenchResult> {
  const { full, log } = options;
  const weeks = full ? undefined : shortWeeks;
  const electricity = await replay(electricityPlan(readElectricity(data), weeks), options, threads);
  const bank = await replay(bankPlan(readBank(data)), options, threads);
  log('seeded streams');
  const streams = await reportStreams({
    seeds: streamSeeds,
    learner: builtinLearner('logistic', {}, seed, threads),
    contractOf: openContract,
    parallel: threads.count,
  });
  const backtests = [electricity, bank];
  return {
    bench: 'backtest',
    rounds: 1,
    ratios: [...ratiosOf(electricity, full), ...(full ? ratiosOf(bank, full) : []), ...streams.map(ratioOfStreams)],
    notes: [...backtests.flatMap(notesOf), ...(full ? [] : ratiosOf(bank, full).map(reported))],
  };
}

function replay(plan: ReplayPlan, { log }: BenchOptions, threads: LearnerThreads): Promise<Backtest> {
  return runBacktest({
    ...plan,
    learner: builtinLearner('gbdt', parameters, seed, threads),
    parallel: threads.count,
    alternatives: neighbouringPolicies(plan.definition),
    progress: every20(plan.definition.model, log),
  });
}

function every20(model: string, log: (line: string) => void): (progress: BacktestProgress) => void {
  return ({ stage, done, total }) => {
    if (done > 0 && done % 20 === 0) log(`${model}, ${stage}: ${done} of ${total}`);
  };
}

function ratiosOf(result: Backtest, full: boolean): Ratio[] {
  const calendar = result.calendar.map(({ meanQuality }) => meanQuality);
  const random = result.random.meanQuality.toSorted((left, right) => left - right);
  const chance = random[Math.floor(0.95 * (random.length - 1))] ?? Number.NaN;
  const policy = result.policy.meanQuality;
  const name = `${result.model}: mean ${result.metric} with ${result.policy.retrainings.length} retrainings`;
  const { alarms, windows } = result.shuffled;
  return [
    // The best of all phases is known in hindsight only; the mean phase is what a calendar gives.
    ratio(`${name}, against the mean phase of the calendar`, policy, mean(calendar)),
    ...(full
      ? [
          ratio(`${name}, against the best phase of the calendar`, policy, Math.max(...calendar)),
          ratio(`${name}, against 95 % of ${result.random.schedules} random schedules`, policy, chance),
        ]
      : []),
    share(
      `${result.model}: windows without an alarm on ${result.shuffled.copies} shuffled copies`,
      1 - alarms / windows,
      0.99,
    ),
  ];
}

/** A ratio for reading only. */
function reported({ name, ours, peer, met, wanted }: Ratio): string {
  return `reported, ${met ? 'met' : 'missed'}: ${name}: ${show(ours)} against ${show(peer)} (wanted ${wanted})`;
}

function ratio(name: string, ours: number, peer: number): Ratio {
  return { name, ours, peer, ratio: ours / peer, wanted: 1, met: ours > peer, unit: 'AUC' };
}

function share(name: string, ours: number, wanted: number): Ratio {
  return { name, ours, peer: 1, ratio: ours, wanted, met: ours >= wanted, unit: 'share' };
}

function ratioOfStreams({ kind, right, streams }: StreamResult): Ratio {
  const name = kind === 'no_drift' ? 'no change: left alone' : `${kind}: named right before anything acts`;
  return share(`seeded streams, ${name}`, right / streams, 0.9);
}

function notesOf(result: Backtest): string[] {
  const { model, policy, calendar, never, everyWindow, oracle, random, shuffled } = result;
  const qualities = calendar.map(({ meanQuality }) => meanQuality);
  return [
    `${model}: policy ${show(policy.meanQuality)} with ${policy.retrainings.length} retrainings, never ${show(never.meanQuality)}, every window ${show(everyWindow.meanQuality)} (${everyWindow.retrainings.length})`,
    `${model}: calendar by phase ${show(Math.min(...qualities))} to ${show(Math.max(...qualities))}; best dates in hindsight ${show(oracle.meanQuality)} (${oracle.search})`,
    `${model}: above ${show(100 * (random.shareBelowPolicy ?? 0))} % of the random schedules; delays in windows ${result.detectionDelays.join(' ') || 'none'}`,
    `${model}: ${shuffled.copies} shuffled copies gave ${shuffled.alarms} alarms and ${shuffled.retrainings} retrainings in ${shuffled.windows} windows`,
    ...result.alternatives.map(
      other =>
        `${model}, ${other.name}: ${show(other.meanQuality)} with ${other.retrainings.length} retrainings, ${other.alarms} windows with alarms`,
    ),
  ];
}

function mean(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length;
}

function show(value: number): string {
  return value.toPrecision(4);
}
