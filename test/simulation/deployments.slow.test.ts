import { expect, test } from 'vitest';
import { firstDeploymentCall, simulateDeployments } from './deployment-world.ts';
import { failEachCall } from './exhaustive.ts';

test('keeps every invariant when any one call of two promotions and a rollback fails in any way', {
  timeout: 600_000,
}, async () => {
  const { calls, violations } = await failEachCall(simulateDeployments, { firstCall: firstDeploymentCall });
  expect(violations).toEqual([]);
  expect(calls).toBeGreaterThan(20);
});
