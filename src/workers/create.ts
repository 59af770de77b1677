/** Makes the Temporal workers of some roles in this process. */
import { availableParallelism } from 'node:os';
import { type NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import { type Role, roleLimits } from './roles.ts';
import { workflowCode } from './workflow-bundle.ts';

export interface CreateWorkersOptions {
  readonly connection: NativeConnection;
  readonly namespace: string;
  readonly roles: readonly Role[];
  readonly activities: object;
  /** Instead of the product's own workflow code. */
  readonly workflows?: Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath'>;
}

/** Long enough to stop an engine child and say so; a chunk that is cut off is scored again elsewhere. */
const graceMs = 5_000;
const forceMs = 15_000;
/** A cached run keeps its sandbox; more than this only uses memory. */
const cachedWorkflowsMax = 200;

export async function createWorkers(options: CreateWorkersOptions): Promise<readonly Worker[]> {
  const { connection, namespace } = options;
  const cores = availableParallelism();
  return await Promise.all(
    options.roles.map(role => {
      const limits = roleLimits[role];
      return Worker.create({
        connection,
        namespace,
        taskQueue: limits.taskQueue,
        activities: options.activities,
        maxConcurrentActivityTaskExecutions: limits.activities(cores),
        shutdownGraceTime: graceMs,
        shutdownForceTime: forceMs,
        ...(limits.workflows
          ? { ...(options.workflows ?? workflowCode()), maxCachedWorkflows: cachedWorkflowsMax }
          : {}),
      });
    }),
  );
}
