/** `almanac backtest <model>`: the retraining policy replayed over the labelled history, before anyone trusts it. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Backtest,
  type BacktestProgress,
  type History,
  type HistoryWindow,
  neighbouringPolicies,
  type ReplayPlan,
  runBacktest,
  windowsOfDays,
} from '../backtest/index.ts';
import { readDefinition } from '../config/model-definition.ts';
import type { Project } from '../config/project.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import { isDate } from '../domain/time.ts';
import { readHistoryArrays } from '../engine/history-job.ts';
import type { LabelledPartition } from '../engine/job.ts';
import { comparisonTrainer } from '../trainers/index.ts';
import { builtinLearner } from '../trainers/learner.ts';
import { LearnerThreads } from '../trainers/learner-threads.ts';
import { backtestLines, verdictOf } from './backtest-report.ts';
import { withEngine } from './engine.ts';
import { CommandFailure, exitCode, note, show } from './output.ts';
import { ProjectTables } from './partitions.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';

const deadlineMs = 4 * 60 * 60_000;
const windowsMin = 6;

export interface BacktestCommandOptions extends ProjectOptions {
  readonly from?: string;
  readonly to?: string;
  readonly seed?: string;
}

export async function backtest(model: string, options: BacktestCommandOptions): Promise<void> {
  const project = projectOf(options);
  const definition = readDefinition(project.folder, model);
  if (definition.task !== 'binary')
    throw new CommandFailure(`${model}: a backtest needs a binary task, this is ${definition.task}`, exitCode.usage);
  const { history, windows } = await readHistory(project, definition, options);
  const plan = planOf(definition, history, windows, Number(options.seed ?? definition.train.seed));
  const result = await replayed(definition, plan);
  const verdict = verdictOf(result);
  show(options.json, { ...result, verdict }, () => backtestLines(result, verdict));
  if (verdict.verdict === 'fail') throw new CommandFailure(verdict.reasons.join('\n'), exitCode.gate);
}

async function replayed(definition: ModelDefinition, plan: ReplayPlan): Promise<Backtest> {
  const threads = new LearnerThreads();
  try {
    return await runBacktest({
      ...plan,
      learner: learnerOf(definition, threads),
      parallel: threads.count,
      alternatives: neighbouringPolicies(definition),
      progress: progressNotes(),
    });
  } finally {
    await threads.close();
  }
}

/** The definition's own trainer; a program of the user's cannot be started for every window, so trees stand in for it. */
function learnerOf({ model, train }: ModelDefinition, threads: LearnerThreads) {
  const { trainer, seed } = train;
  if (trainer.kind === 'command') note(`${model} is trained by a program; built-in boosted trees stand in for it`);
  const { name, parameters } = comparisonTrainer(trainer);
  return builtinLearner(name, parameters, seed, threads);
}

/** Windows, lags and holdout as production has them, in whole windows. */
function planOf(
  definition: ModelDefinition,
  history: History,
  windows: readonly HistoryWindow[],
  seed: number,
): ReplayPlan {
  const { windowDays } = definition.monitor;
  const inWindows = (days: number) => Math.ceil(days / windowDays);
  const trainingWindows = Math.max(1, inWindows(definition.train.windowDays));
  const labelLag = inWindows(definition.data.labels?.horizonDays ?? 0);
  const holdoutWindows = inWindows(definition.train.holdoutDays);
  // Neighbouring windows are a day apart already.
  const purgeWindows = holdoutWindows === 0 ? 0 : inWindows(Math.max(0, (definition.train.purgeDays ?? 0) - 1));
  // A short history is better started with a small model than not at all.
  const firstTraining = Math.min(trainingWindows, Math.max(1, Math.floor(windows.length / 4)));
  if (windows.length < firstTraining + labelLag + holdoutWindows + purgeWindows + windowsMin) {
    throw new CommandFailure(
      `${definition.model}: ${windows.length} windows of ${windowDays} days with labels; a first training of ${firstTraining}, ` +
        `${labelLag} until labels are known, ${holdoutWindows} held out, ${purgeWindows} between (train.purge) and ${windowsMin} to replay are needed; ` +
        'add history or shorten monitor.windows',
    );
  }
  return {
    history,
    windows,
    contract: definition.contract,
    definition,
    windowDays,
    firstTraining,
    trainingWindows,
    holdoutWindows,
    purgeWindows,
    gate: definition.evaluate,
    labelLag,
    seed,
  };
}

async function readHistory(
  project: Project,
  definition: ModelDefinition,
  options: BacktestCommandOptions,
): Promise<{ readonly history: History; readonly windows: readonly HistoryWindow[] }> {
  const { labels, features, tables, transform } = definition.data;
  if (labels === null)
    throw new CommandFailure(`${definition.model}: data.labels is missing; a backtest needs to know the answers`);
  return await withEngine('backtest', async ({ engine, scratch }) => {
    const input = new ProjectTables({ project, engine, scratch });
    const answered = new Set(await input.partitions(labels));
    const partitions = (await input.partitions(features)).filter(
      partition =>
        isDate(partition) &&
        answered.has(partition) &&
        partition >= (options.from ?? '') &&
        partition <= (options.to ?? '9999'),
    );
    if (partitions.length === 0)
      throw new CommandFailure(`${definition.model}: no partitions with features and labels at ${features.path}`);
    note(`reading ${partitions.length} partitions, ${partitions[0]} to ${partitions.at(-1)}`);
    const { keys, column, positive, weight = null } = labels;
    const labelled: LabelledPartition[] = [];
    for (const partition of partitions) {
      const joined = await Promise.all(
        Object.entries(tables).map(async ([name, table]) => [name, await input.paths(table, partition)] as const),
      );
      const inputs = await input.inputs(features, partition);
      labelled.push({
        partition,
        inputs,
        rows: (await engine.run('inspect', { files: inputs }, { deadlineMs })).rows,
        tables: Object.fromEntries(joined),
        labels: { files: await input.inputs(labels, partition), keys, column, positive, weight, only: null },
      });
    }
    const { contract } = definition;
    const set = await engine.run(
      'materialise',
      { partitions: labelled, transform, contract, outputFolder: scratch },
      { deadlineMs },
    );
    const folder = join(scratch, 'history');
    await mkdir(folder);
    const files = await engine.run(
      'history',
      {
        file: set.file.path,
        label: { column, positive, weight },
        features: contract.columns.filter(column => column.role === 'feature'),
        outputFolder: folder,
      },
      { deadlineMs },
    );
    return {
      history: await readHistoryArrays(files),
      windows: windowsOfDays(files.partitions, definition.monitor.windowDays),
    };
  });
}

/** One line a stage and then every few seconds, with the time that is left at the pace so far. */
function progressNotes(): (progress: BacktestProgress) => void {
  let stage = '';
  let started = 0;
  let noted = 0;
  return progress => {
    const now = Date.now();
    if (progress.stage !== stage) {
      stage = progress.stage;
      started = now;
      noted = 0;
    }
    if (now - noted < 5_000) return;
    noted = now;
    const left = progress.done === 0 ? null : ((now - started) / progress.done) * (progress.total - progress.done);
    const eta = left === null ? '' : `, about ${Math.ceil(left / 1000)} s left`;
    note(`${stage}: ${progress.done} of ${progress.total}${eta}`);
  };
}
