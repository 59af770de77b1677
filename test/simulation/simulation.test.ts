import { describe, expect, test } from 'vitest';
import { failEachCall } from './exhaustive.ts';
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

  test('keeps every invariant when any one call of a job fails in any way', { timeout: 120_000 }, async () => {
    const { calls, violations } = await failEachCall(simulateScoring, { firstCall: 0 });
    expect(violations).toEqual([]);
    expect(calls).toBeGreaterThan(20);
  });

  test('is the same history for the same seed', async () => {
    const scenario = { seed: 7, faultShare: 0.1 };
    const [first, second] = [await simulate(production, scenario), await simulate(production, scenario)];
    expect([...second.faults]).toEqual([...first.faults]);
    expect(second.calls).toBe(first.calls);
  });
});
