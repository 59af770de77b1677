/** Workflows of light steps, for measuring what orchestration itself costs. */
import { proxyActivities } from '@temporalio/workflow';

const { nothing, started } = proxyActivities<{ nothing(): Promise<void>; started(): Promise<number> }>({
  startToCloseTimeout: '1m',
});

export async function stepsInARow(count: number): Promise<void> {
  for (let step = 0; step < count; step += 1) await nothing();
}

export async function stepsInParallel(count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, () => nothing()));
}

/** When its first activity began, by the clock of the one machine. */
export async function firstActivity(): Promise<number> {
  return await started();
}
