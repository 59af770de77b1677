/** Commands that start a workflow and, unless detached, follow it to its end. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { readDefinition } from '../config/model-definition.ts';
import type { Project } from '../config/project.ts';
import { taskQueue } from '../domain/ids.ts';
import { firstRequest } from '../domain/job.ts';
import type {
  BackfillInput,
  BackfillResult,
  Delegated,
  MonitorInput,
  MonitorResult,
  PromoteInput,
  PromoteResult,
  RetainInput,
  RetainResult,
  RollbackInput,
  RollbackResult,
  ScoreInput,
  ScoreResult,
  TrainInput,
  TrainResult,
} from '../workflows/inputs.ts';
import type { Status } from '../workflows/stage.ts';
import { failureText } from './failure-text.ts';
import { CommandFailure, exitCode, note, print } from './output.ts';
import { newestPartition } from './partitions.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';
import { withClient } from './temporal-client.ts';

export interface StartOptions extends ProjectOptions {
  /** Do not wait for the end. */
  readonly detach?: boolean;
}

/** What each type takes and answers. */
interface Workflows {
  readonly trainModel: { readonly input: TrainInput; readonly result: TrainResult };
  readonly promoteModel: { readonly input: PromoteInput; readonly result: PromoteResult };
  readonly scoreModel: { readonly input: ScoreInput; readonly result: ScoreResult };
  readonly monitorModel: { readonly input: MonitorInput; readonly result: MonitorResult };
  readonly backfill: { readonly input: BackfillInput; readonly result: BackfillResult };
  readonly rollbackModel: { readonly input: RollbackInput; readonly result: RollbackResult };
  readonly retainData: { readonly input: RetainInput; readonly result: RetainResult };
}

export async function train(model: string, options: StartOptions & { readonly asOf?: string }): Promise<void> {
  const project = projectOf(options);
  const asOf = options.asOf ?? (await dayAfterNewestPartition(project, model));
  const trigger = `user:${project.environment.user}`;
  const result = await run(project, 'trainModel', { model, asOf, trigger }, options);
  if (result === null) return;
  report(options, result);
  if (result.kind === 'qualified') {
    note(`v${result.version} waits for approval: almanac approve ${model}`);
  } else if (result.kind === 'blocked' || result.kind === 'not_qualified') {
    throw new CommandFailure(result.reasons.join('\n'), exitCode.gate);
  }
}

export async function promote(model: string, version: string, options: StartOptions): Promise<void> {
  const project = projectOf(options);
  const result = await run(
    project,
    'promoteModel',
    { model, version: versionNumber(version), requestedBy: project.environment.user },
    options,
  );
  if (result === null) return;
  report(options, result);
  if (result.kind === 'rejected') throw new CommandFailure(result.reason, exitCode.rejected);
  if (result.kind === 'expired') throw new CommandFailure(result.reason, exitCode.timedOut);
  if (result.kind !== 'promoted') {
    throw new CommandFailure(result.reason, exitCode.gate);
  }
}

export interface ScoreOptions extends StartOptions {
  readonly partition: string;
  /** Score a partition that is committed already, as its next generation. */
  readonly again?: boolean;
  /** What asks, where it is neither the first score nor another one: a replay of repaired rows. */
  readonly request?: string;
}

export async function score(model: string, options: ScoreOptions): Promise<void> {
  const request = options.request ?? (options.again === true ? `again:${randomUUID()}` : firstRequest);
  const result = await run(projectOf(options), 'scoreModel', { model, partition: options.partition, request }, options);
  if (result === null) return;
  report(options, result);
  if (result.kind === 'blocked' || result.kind === 'fenced') {
    throw new CommandFailure(result.reasons.join('\n'), exitCode.gate);
  }
}

export async function monitor(model: string, options: StartOptions & { readonly partition: string }): Promise<void> {
  report(options, await run(projectOf(options), 'monitorModel', { model, partition: options.partition }, options));
}

export interface BackfillOptions extends StartOptions {
  readonly from: string;
  readonly to: string;
  readonly id?: string;
  readonly parallelism?: string;
}

export async function backfill(model: string, options: BackfillOptions): Promise<void> {
  const { from, to } = options;
  const id = options.id ?? randomUUID();
  const parallelism = options.parallelism === undefined ? {} : { parallelism: Number(options.parallelism) };
  const result = await run(projectOf(options), 'backfill', { model, id, from, to, ...parallelism }, options);
  if (result === null) return;
  report(options, result);
  if (result.kind === 'stopped') throw new CommandFailure(`stopped; failed: ${result.failed.join(', ')}`);
}

export interface RollbackOptions extends StartOptions {
  readonly reason?: string;
  readonly rescore?: boolean;
}

export async function rollback(model: string, options: RollbackOptions): Promise<void> {
  const project = projectOf(options);
  const result = await run(
    project,
    'rollbackModel',
    {
      model,
      requestedBy: project.environment.user,
      ...(options.reason === undefined ? {} : { reason: options.reason }),
      affected: options.rescore === true ? 'rescore' : 'list',
    },
    options,
  );
  if (result === null) return;
  report(options, result);
  if (result.kind === 'refused') throw new CommandFailure(result.reason);
}

export async function retain(model: string, options: StartOptions & { readonly date?: string }): Promise<void> {
  const date = options.date ?? new Date().toISOString().slice(0, 10);
  report(options, await run(projectOf(options), 'retainData', { model, date }, options));
}

/** Null when detached. A delegated run is followed to the one that does the work. */
async function run<Type extends keyof Workflows>(
  project: Project,
  type: Type,
  input: Workflows[Type]['input'],
  options: StartOptions,
): Promise<Exclude<Workflows[Type]['result'], Delegated> | null> {
  // A definition with a mistake is told here, not from a worker's log.
  readDefinition(project.folder, input.model);
  return withClient(project, async client => {
    // Any id: the workflow itself resolves the business id, which is the lock.
    const started = await client.workflow.start(type, {
      taskQueue: taskQueue.control,
      workflowId: `${type}-${randomUUID()}`,
      args: [input],
    });
    const delegated: Delegated = await started.result();
    const { workflowId } = delegated;
    note(`${delegated.found ? 'found' : 'started'} ${workflowId}`);
    if (options.detach === true) {
      if (options.json === true) print(JSON.stringify({ workflowId, found: delegated.found }));
      return null;
    }
    return follow<Exclude<Workflows[Type]['result'], Delegated>>(client, workflowId);
  });
}

/** Prints each stage as it is entered. Ctrl-C detaches; the workflow goes on. */
async function follow<Result>(client: Client, workflowId: string): Promise<Result> {
  const handle = client.workflow.getHandle(workflowId);
  const detach = () => {
    note(`\nleft ${workflowId} running; see: almanac status`);
    process.exit(exitCode.interrupted);
  };
  process.once('SIGINT', detach);
  const watching = new AbortController();
  const watched = watchStages(handle, watching.signal);
  try {
    const result: Result = await handle.result();
    return result;
  } catch (error) {
    throw new CommandFailure(`${workflowId}: ${failureText(error)}`, exitCode.failed, { cause: error });
  } finally {
    watching.abort();
    process.off('SIGINT', detach);
    await watched;
  }
}

async function watchStages(handle: WorkflowHandle, signal: AbortSignal): Promise<void> {
  let shown = '';
  while (!signal.aborted) {
    // A Query needs a worker; without one the wait below is what there is to see.
    const status = await handle.query<Status>('status').catch(() => null);
    const line = status === null ? shown : `${status.stage}${status.next === null ? '' : `: ${status.next}`}`;
    if (line !== shown) note(`  ${line}`);
    shown = line;
    await sleep(500, undefined, { signal }).catch(() => undefined);
  }
}

function report(options: StartOptions, result: object | null): void {
  if (result === null) return;
  if (options.json === true) print(JSON.stringify(result));
  else {
    for (const [name, value] of Object.entries(result)) {
      print(`${name}: ${Array.isArray(value) ? value.join(', ') : String(value)}`);
    }
  }
}

/** All data there is takes part in the training. */
async function dayAfterNewestPartition(project: Project, model: string): Promise<string> {
  const newest = await newestPartition(project, readDefinition(project.folder, model).data.features);
  return new Date(Date.parse(`${newest}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10);
}

function versionNumber(text: string): number {
  const number = Number(text.replace(/^v/, ''));
  if (Number.isInteger(number) && number > 0) return number;
  throw new CommandFailure(`${text} is not a version; expected v1, v2, …`, exitCode.usage);
}
