/**
 * Workflow ids name the business thing, so that the id is the lock: starting the same thing twice finds the first.
 * Partitions are ISO dates (`2026-01-31`) or any other text without a slash that sorts in time order.
 */
export const workflowId = {
  train: (model: string, asOf: string) => `train/${model}/${asOf}`,
  promote: (model: string, version: number) => `promote/${model}/v${version}`,
  score: (model: string, partition: string, generation: number) => `score/${model}/${partition}/g${generation}`,
  backfill: (model: string, id: string) => `backfill/${model}/${id}`,
  monitor: (model: string, partition: string) => `monitor/${model}/${partition}`,
  rollback: (model: string, entry: number) => `rollback/${model}/${entry}`,
  retain: (model: string, date: string) => `retain/${model}/${date}`,
} as const;

/** The task queues; `almanac` is the one that people type. */
export const taskQueue = {
  control: 'almanac',
  data: 'almanac-data',
  training: 'almanac-training',
  scoring: 'almanac-scoring',
  gpu: 'almanac-gpu',
} as const;
export type TaskQueue = (typeof taskQueue)[keyof typeof taskQueue];
