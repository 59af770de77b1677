import { describe, expect, test } from 'vitest';
import { faultKinds } from './faulty-store.ts';
import { production } from './implementation.ts';
import { replayLine, runSeeds } from './run-seeds.ts';
import { simulate } from './world.ts';

/** States that a run must have reached; a simulation that never sees them proves nothing about them. */
const mustBeReached = [
  'after on putIfAbsent',
  'conflict on putIfAbsent',
  'late on putIfAbsent',
  'a late write landed',
  'a late write lost the race',
  'the slot was taken',
  'a commit was fenced',
  'a commit found itself done already',
  'the collector fenced a job',
  'the collector deleted files',
  'a zombie finished after it was replaced',
  'an attempt crashed',
  'a reader saw a snapshot',
];

describe('the simulation', () => {
  test('keeps every invariant over 2,000 histories, and reaches every state of interest', {
    timeout: 300_000,
  }, async () => {
    const report = await runSeeds({ from: 1, count: 2000 });
    expect(report.failures.map(failure => `${failure.violation}\n${replayLine(failure)}`)).toEqual([]);
    expect(mustBeReached.filter(state => (report.counters[state] ?? 0) === 0)).toEqual([]);
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
