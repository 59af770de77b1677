import { describe, expect, test } from 'vitest';
import { faultKinds } from './faulty-store.ts';
import { production } from './implementation.ts';
import { seedsThatReachAll, unreached } from './reachability.ts';
import { replayLine, runSeeds } from './run-seeds.ts';
import { simulate } from './world.ts';

describe('the simulation', () => {
  test('keeps every invariant over as many histories as reach every state of interest', {
    timeout: 120_000,
  }, async () => {
    const report = await runSeeds({ from: 1, count: seedsThatReachAll });
    expect(report.failures.map(failure => `${failure.violation}\n${replayLine(failure)}`)).toEqual([]);
    expect(unreached(report.counters)).toEqual([]);
  });

  test('keeps every invariant when any one call of a whole run fails in any way', { timeout: 120_000 }, async () => {
    const undisturbed = await simulate(production, { seed: 1, faultShare: 0, isHappy: true });
    expect(undisturbed.violation).toBeNull();
    const violations: string[] = [];
    for (let call = 0; call < undisturbed.calls; call += 1) {
      for (const fault of faultKinds) {
        const schedule = new Map([[call, fault]]);
        const outcome = await simulate(production, { seed: 1, faultShare: 0, isHappy: true, schedule });
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
