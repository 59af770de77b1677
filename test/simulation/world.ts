/**
 * One simulated history per seed: a table of predictions with its jobs and collectors, then a model with its promotions and
 * rollbacks. Each plays on a stage of its own, so that neither disturbs what the other reaches.
 */
import { simulateDeployments } from './deployment-world.ts';
import type { Implementation } from './implementation.ts';
import { simulateScoring } from './scoring-world.ts';
import type { Outcome, Scenario } from './stage.ts';

export type { Outcome, Scenario } from './stage.ts';

export async function simulate(implementation: Implementation, scenario: Scenario): Promise<Outcome> {
  const scoring = await simulateScoring(implementation, scenario);
  const deployments = await simulateDeployments(implementation, scenario);
  const counters: Record<string, number> = { ...scoring.counters };
  for (const [name, count] of Object.entries(deployments.counters)) counters[name] = (counters[name] ?? 0) + count;
  return {
    calls: scoring.calls + deployments.calls,
    faults: new Map([...scoring.faults, ...deployments.faults]),
    counters,
    violation: scoring.violation ?? deployments.violation,
  };
}
