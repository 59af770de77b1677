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

/** Search attributes of every run: what an approver's inbox and a list of jobs filter by. */
export const searchAttributes = {
  AlmanacModel: 'KEYWORD',
  AlmanacVersion: 'KEYWORD',
  AlmanacPartition: 'KEYWORD',
  /** The stage a run is in; `awaiting approval` is the inbox. */
  AlmanacState: 'KEYWORD',
  AlmanacDeadline: 'DATETIME',
} as const;
export type SearchAttributeName = keyof typeof searchAttributes;
