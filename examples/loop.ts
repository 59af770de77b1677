/**
 * The loop as a user's schedules would drive it, with the calendar turned by hand: data of a day arrives and is scored,
 * labels arrive when they are known, once per window drift and quality are judged, and whatever asks for approval gets it.
 * Everything happens in Temporal workflows; this file only starts them and waits.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import type { Project } from '../src/config/project.ts';
import { taskQueue, workflowId } from '../src/domain/ids.ts';
import { inParallel } from '../src/domain/in-parallel.ts';
import type { EnginePool } from '../src/engine/pool.ts';
import { delongAuc } from '../src/stats/delong.ts';
import type { Catalog } from '../src/storage/catalog.ts';
import type { PredictionsTable } from '../src/storage/table/predictions-table.ts';
import type { MonitorResult, PromoteResult, ScoreResult, TrainResult } from '../src/workflows/inputs.ts';
import { addDays, deliver } from './late-payment/generate.ts';

export interface LoopOptions {
  readonly model: string;
  readonly project: Project;
  readonly client: Client;
  readonly catalog: Catalog;
  /** Folder with `features/date=…` and `labels/date=…` that have not arrived yet. */
  readonly world: string;
  readonly days: readonly string[];
  /** First day that is scored; the days before train the first version. */
  readonly firstScored: string;
  readonly windowDays: number;
  readonly horizonDays: number;
  readonly approver: string;
  readonly log: (line: string) => void;
}

export interface PromotionSeen {
  readonly promotion: string;
  readonly version: number;
  readonly asOf: string;
  readonly trigger: string;
  readonly outcome: string;
  readonly approvedBy: readonly string[];
}

export interface WindowSeen {
  /** Last day of the window. */
  readonly partition: string;
  readonly champion: number | null;
  readonly conclusion: string;
  readonly reason: string;
}

export interface LoopStory {
  readonly promotions: readonly PromotionSeen[];
  readonly windows: readonly WindowSeen[];
}

/** Partitions scored at once: as many as the two engine children keep busy, and one in planning. */
const scoredAtOnce = 3;

export async function runLoop(options: LoopOptions): Promise<LoopStory> {
  const { days, firstScored, windowDays, log } = options;
  const promotions: PromotionSeen[] = [];
  const windows: WindowSeen[] = [];
  const arrive = arrivals(options);

  for (const day of days.filter(day => day < firstScored)) arrive(day);
  log(`${firstScored}  training the first version on the days before`);
  promotions.push(await trainAndPromote(options, { asOf: firstScored, trigger: 'user:demo' }));

  const scored = days.filter(day => day >= firstScored);
  for (let start = 0; start < scored.length; start += windowDays) {
    const window = scored.slice(start, start + windowDays);
    for (const day of window) arrive(day);
    await inParallel(window, scoredAtOnce, day => scoreDay(options, day));
    const last = window.at(-1) ?? firstScored;
    const seen = await monitor(options, last);
    windows.push({
      partition: last,
      champion: await championOf(options),
      conclusion: seen.conclusion,
      reason: seen.reason,
    });
    log(
      `${last}  scored ${window.length} days; ${shorten(seen.reason.startsWith(seen.conclusion) ? seen.reason : `${seen.conclusion}: ${seen.reason}`)}`,
    );
    if (seen.training !== null) {
      const trigger = seen.reason;
      const asOf = seen.training.split('/').at(-1) ?? last;
      promotions.push(await promoteWhatTrained(options, { training: seen.training, asOf, trigger }));
    }
  }
  return { promotions, windows };
}

/** A day's features arrive on the day, its labels when the horizon has passed. */
function arrivals({ world, project, horizonDays }: LoopOptions): (day: string) => void {
  const move = (kind: 'features' | 'labels', day: string) => {
    if (existsSync(join(world, kind, `date=${day}`)))
      deliver(join(world, kind), join(project.folder, 'data', kind), day);
  };
  let labelsUntil: string | null = null;
  return day => {
    move('features', day);
    const known = addDays(day, -horizonDays);
    // Days without data have labels due all the same: the calendar moves on.
    for (
      let due = labelsUntil === null ? addDays(known, -400) : addDays(labelsUntil, 1);
      due <= known;
      due = addDays(due, 1)
    ) {
      move('labels', due);
    }
    labelsUntil = known;
  };
}

async function scoreDay({ client, model }: LoopOptions, partition: string): Promise<void> {
  const id = workflowId.score(model, partition, 1);
  const result = await execute<ScoreResult>(client, 'scoreModel', id, { model, partition, generation: 1 });
  if (result.kind === 'blocked') throw new Error(`${id} was blocked: ${result.reasons.join('; ')}`);
}

async function monitor({ client, model }: LoopOptions, partition: string) {
  const result = await execute<MonitorResult>(client, 'monitorModel', workflowId.monitor(model, partition), {
    model,
    partition,
  });
  if (result.kind !== 'decided') throw new Error(`monitoring ${partition} was delegated to ${result.workflowId}`);
  return result;
}

async function trainAndPromote(
  options: LoopOptions,
  { asOf, trigger }: { asOf: string; trigger: string },
): Promise<PromotionSeen> {
  const { client, model } = options;
  const training = workflowId.train(model, asOf);
  await client.workflow.start('trainModel', {
    taskQueue: taskQueue.control,
    workflowId: training,
    args: [{ model, asOf, trigger }],
  });
  return promoteWhatTrained(options, { training, asOf, trigger });
}

/** Waits for the training, approves the promotion it asks for by the Signal a person would send, and waits for its end. */
async function promoteWhatTrained(
  options: LoopOptions,
  { training, asOf, trigger }: { training: string; asOf: string; trigger: string },
): Promise<PromotionSeen> {
  const { client, catalog, model, approver, log } = options;
  const trained: TrainResult = await client.workflow.getHandle(training).result();
  if (trained.kind === 'delegated' || trained.kind === 'blocked')
    throw new Error(`${training}: ${JSON.stringify(trained)}`);
  if (trained.kind === 'not_qualified') {
    log(`${asOf}  v${trained.version} does not qualify: ${shorten(trained.reasons.join('; '))}`);
    return { promotion: '', version: trained.version, asOf, trigger, outcome: 'not_qualified', approvedBy: [] };
  }
  const { promotion, version } = trained;
  const handle = client.workflow.getHandle(promotion);
  const subjectDigest = await waitForSubject(catalog, model, promotion);
  const claim = { promotion, subjectDigest, decision: 'approve', approver, comment: 'better on the held-out rows' };
  await handle.signal('decide', claim);
  const result: PromoteResult = await handle.result();
  const approvedBy = result.kind === 'promoted' ? result.approvedBy : [];
  log(`${asOf}  v${version} ${result.kind}${approvedBy.length > 0 ? `, approved by ${approvedBy.join(', ')}` : ''}`);
  return { promotion, version, asOf, trigger, outcome: result.kind, approvedBy };
}

/** The digest an approval binds to stands in the catalog once the promotion is open. */
async function waitForSubject(catalog: Catalog, model: string, promotion: string): Promise<string> {
  for (let tries = 0; tries < 600; tries++) {
    const found = (await catalog.promotions(model)).find(one => one.promotion === promotion);
    if (found !== undefined) return found.subjectDigest;
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  throw new Error(`${promotion} was not opened within a minute; is a worker running?`);
}

/** Finds a run that is there already, so that a demo that was interrupted can go on. */
async function execute<Result>(client: Client, type: string, id: string, input: object): Promise<Result> {
  const handle = await client.workflow.start(type, {
    taskQueue: taskQueue.control,
    workflowId: id,
    workflowIdConflictPolicy: 'USE_EXISTING',
    args: [input],
  });
  const result: Result = await handle.result();
  return result;
}

async function championOf({ catalog, model }: LoopOptions): Promise<number | null> {
  return (await catalog.deployment(model)).champion?.version ?? null;
}

export interface PeriodQuality {
  readonly period: string;
  readonly rows: number;
  readonly auc: number | null;
  readonly low: number | null;
  readonly high: number | null;
}

/**
 * AUC of the published predictions against the labels, per period (a prefix of the partition, `2025-03`), with its 95 %
 * interval (DeLong). Read from the table of predictions as any user would.
 */
export async function qualityByPeriod(options: {
  readonly engine: EnginePool;
  readonly table: PredictionsTable;
  readonly project: Project;
  readonly labels: {
    readonly folder: string;
    readonly column: string;
    readonly positive: string;
    readonly key: string;
  };
  readonly periodLength: number;
}): Promise<readonly PeriodQuality[]> {
  const { engine, table, project, labels } = options;
  const served = (await table.snapshot()).files.flatMap(file => {
    const folder = join(labels.folder, `date=${file.partition}`);
    if (!existsSync(folder)) return [];
    const tables = {
      p: [join(project.store, table.root, file.path)],
      l: readdirSync(folder).map(name => join(folder, name)),
    };
    return [{ period: file.partition.slice(0, options.periodLength), tables }];
  });
  const sql = `SELECT p.score, l."${labels.column}"::VARCHAR = '${labels.positive}' FROM p JOIN l USING ("${labels.key}")`;
  const answers = await engine.run(
    'queries',
    { queries: served.map(({ tables }) => ({ sql, tables, rowsMax: 1_000_000 })) },
    { deadlineMs: 600_000 },
  );
  const periods = new Map<string, { scores: number[]; truth: number[] }>();
  for (const [index, { period }] of served.entries()) {
    const sofar = periods.get(period) ?? { scores: [], truth: [] };
    for (const [score, isPositive] of answers[index]?.rows ?? []) {
      sofar.scores.push(Number(score));
      sofar.truth.push(isPositive === true ? 1 : 0);
    }
    periods.set(period, sofar);
  }
  return [...periods]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([period, { scores, truth }]) => {
      const { value } = delongAuc(truth, scores);
      const interval = value?.interval ?? null;
      return {
        period,
        rows: scores.length,
        auc: value?.auc ?? null,
        low: interval?.low ?? null,
        high: interval?.high ?? null,
      };
    });
}

function shorten(text: string): string {
  return text.length > 110 ? `${text.slice(0, 107)}…` : text;
}
