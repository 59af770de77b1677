import { describe, expect, test } from 'vitest';
import { firstDeploymentCall, simulateDeployments } from './deployment-world.ts';
import { faultKinds } from './faulty-store.ts';
import { production } from './implementation.ts';
import { seedsThatReachAll, unreached } from './reachability.ts';
import { replayLine, runSeeds } from './run-seeds.ts';
import { simulateScoring } from './scoring-world.ts';
import { simulate } from './world.ts';

describe('the simulation', () => {
  test('keeps every invariant over as many histories as reach every state of interest', {
    timeout: 120_000,
  }, async () => {
    const report = await runSeeds({ from: 1, count: seedsThatReachAll });
    expect(report.failures.map(failure => `${failure.violation}\n${replayLine(failure)}`)).toEqual([]);
    expect(unreached(report.counters)).toEqual([]);
  });

  test.each([
    { history: 'a job', run: simulateScoring, firstCall: 0 },
    { history: 'promotions and a rollback', run: simulateDeployments, firstCall: firstDeploymentCall },
  ])('keeps every invariant when any one call of $history fails in any way', { timeout: 120_000 }, async part => {
    const happy = { seed: 1, faultShare: 0, isHappy: true };
    const undisturbed = await part.run(production, happy);
    expect(undisturbed.violation).toBeNull();
    const violations: string[] = [];
    for (let call = part.firstCall; call < part.firstCall + undisturbed.calls; call += 1) {
      for (const fault of faultKinds) {
        const outcome = await part.run(production, { ...happy, schedule: new Map([[call, fault]]) });
        if (outcome.violation !== null) violations.push(`${fault} at call ${call}: ${outcome.violation}`);
      }
    }
    expect(violations).toEqual([]);
    expect(undisturbed.calls).toBeGreaterThan(20);
  });

  test('is the same history for the same seed', async () => {
    const scenario = { seed: 7, faultShare: 0.1 };
    const [first, second] = [await simulate(production, scenario), await simulate(production, scenario)];
    expect([...second.faults]).toEqual([...first.faults]);
    expect(second.calls).toBe(first.calls);
  });
});
