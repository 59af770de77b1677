/**
 * The activities, by the queue that does the work. Heartbeats are short, because a killed worker is only noticed when one
 * is missed; a permanent fault ends the retries at once, anything else is tried again until the schedule-to-close time.
 */
import { type ActivityOptions, proxyActivities } from '@temporalio/workflow';
import type { ControlActivities, DataActivities, ScoringActivities, TrainingActivities } from '../activities/types.ts';
import { taskQueue } from '../domain/ids.ts';

const retry = { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '1m' } as const;

export const control = proxyActivities<ControlActivities>({
  taskQueue: taskQueue.control,
  startToCloseTimeout: '2m',
  scheduleToCloseTimeout: '1d',
  retry,
});

export const data = proxyActivities<DataActivities>({
  taskQueue: taskQueue.data,
  startToCloseTimeout: '4h',
  heartbeatTimeout: '15s',
  scheduleToCloseTimeout: '1d',
  retry,
});

export const training = proxyActivities<TrainingActivities>({
  taskQueue: taskQueue.training,
  startToCloseTimeout: '1d',
  heartbeatTimeout: '15s',
  scheduleToCloseTimeout: '3d',
  retry,
});

export const scoring = proxyActivities<ScoringActivities>({
  taskQueue: taskQueue.scoring,
  startToCloseTimeout: '4h',
  heartbeatTimeout: '15s',
  scheduleToCloseTimeout: '1d',
  retry,
} satisfies ActivityOptions);
