/** A whole happy run, once for every call of it and every way in which that call can fail. */
import { faultKinds } from './faulty-store.ts';
import { type Implementation, production } from './implementation.ts';
import type { Outcome, Scenario } from './stage.ts';

export async function failEachCall(
  run: (implementation: Implementation, scenario: Scenario) => Promise<Outcome>,
  { firstCall }: { readonly firstCall: number },
): Promise<{ readonly calls: number; readonly violations: readonly string[] }> {
  const happy = { seed: 1, faultShare: 0, isHappy: true };
  const { calls, violation } = await run(production, happy);
  const violations = violation === null ? [] : [`undisturbed: ${violation}`];
  for (let call = firstCall; call < firstCall + calls; call += 1) {
    for (const fault of faultKinds) {
      const outcome = await run(production, { ...happy, schedule: new Map([[call, fault]]) });
      if (outcome.violation !== null) violations.push(`${fault} at call ${call}: ${outcome.violation}`);
    }
  }
  return { calls, violations };
}
