/**
 * Business ids are the locks. A run under any other id (a schedule appends a time, a command may draw a UUID) resolves what
 * is meant, starts the business id or finds it there, and answers with it.
 */
import { workflowInfo } from '@temporalio/workflow';
import type { WorkflowType } from '../activities/types.ts';
import { addDays, dateOf, toSeconds } from '../domain/time.ts';
import type { Delegated } from './inputs.ts';
import { control } from './proxies.ts';

/**
 * The time a run stands for: the nominal time of its schedule's tick, else the moment it was started. Never the clock, so
 * that a late, repeated or backfilled tick means the same.
 */
export function nominalTime(): string {
  const info = workflowInfo();
  const scheduled = info.searchAttributes['TemporalScheduledStartTime']?.[0];
  return toSeconds(scheduled instanceof Date ? scheduled : info.startTime);
}

/** The partition a tick stands for: the last day that was complete. */
export function nominalPartition(): string {
  return addDays(dateOf(nominalTime()), -1);
}

export function nominalTrigger(): string {
  const schedule = workflowInfo().searchAttributes['TemporalScheduledById']?.[0];
  return typeof schedule === 'string' ? `schedule:${schedule}` : `workflow:${workflowInfo().workflowId}`;
}

/** Null when this run has the business id and shall do the work. */
export async function delegate(type: WorkflowType, businessId: string, input: object): Promise<Delegated | null> {
  if (workflowInfo().workflowId === businessId) return null;
  return { kind: 'delegated', ...(await control.startWorkflow({ type, workflowId: businessId, input })) };
}
