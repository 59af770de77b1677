/**
 * Rollout: from an approved version to the champion, step by step. Each step may put the version on trial beside the
 * champion; a trial ends well after enough partitions, or ends the promotion.
 *
 *     shadow: 3 ──► canary: 0.1 for 2 ──► champion
 *        └─ fails ──────┴─ fails ───────► the champion stays, alone
 */
import type { RolloutStep } from './definition.ts';
import type { DeploymentAction, DeploymentState, Served } from './deployment.ts';

export interface PlannedStep {
  /** Index in the definition's rollout; the switch to champion comes one after the last trial. */
  readonly index: number;
  readonly step: RolloutStep;
  readonly action: DeploymentAction;
  /** Committed partitions to watch before the next step; 0 goes on at once. */
  readonly partitions: number;
}

/** Partitions a blue-green rollout scores beside the champion before all keys switch at once. */
const blueGreenPartitions = 1;

/** The whole rollout of a version. Without a champion there is nothing to compare with, so the version serves at once. */
export function planRollout(
  steps: readonly RolloutStep[],
  served: Served,
  before: DeploymentState,
): readonly PlannedStep[] {
  const trials = before.champion === null ? [] : steps.flatMap((step, index) => planTrial(step, index, served));
  const last: PlannedStep = {
    index: steps.length,
    step: { kind: 'direct' },
    action: { kind: 'set_champion', served },
    partitions: 0,
  };
  return [...trials, last];
}

function planTrial(step: RolloutStep, index: number, served: Served): readonly PlannedStep[] {
  switch (step.kind) {
    case 'direct':
      return [];
    case 'shadow':
      return [{ index, step, action: { kind: 'start_shadow', served }, partitions: step.partitions }];
    case 'blue_green':
      return [{ index, step, action: { kind: 'start_shadow', served }, partitions: blueGreenPartitions }];
    case 'canary':
    case 'ab': {
      const action = { kind: 'start_share', served, arm: step.kind, share: step.share } as const;
      return [{ index, step, action, partitions: step.partitions }];
    }
  }
}

export function describeStep(step: RolloutStep): string {
  switch (step.kind) {
    case 'direct':
      return 'champion at once';
    case 'shadow':
      return `shadow for ${step.partitions} partitions`;
    case 'canary':
      return `canary with ${step.share * 100} % of the keys for ${step.partitions} partitions`;
    case 'ab':
      return `A/B with ${step.share * 100} % of the keys for ${step.partitions} partitions`;
    case 'blue_green':
      return 'blue-green: one partition beside the champion, then all keys at once';
  }
}
