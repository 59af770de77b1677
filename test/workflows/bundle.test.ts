import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import { expect, test } from 'vitest';

/** Every cached run holds the bundle; what grows it makes each of them slower to start and larger in memory. */
const sizeMax = 3_000_000;

test('the workflow bundle builds without Node modules and within its size', async () => {
  const workflowsPath = fileURLToPath(new URL('../../src/workflows/index.ts', import.meta.url));
  const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
  expect(code.length).toBeLessThan(sizeMax);
  expect(code).not.toMatch(/require\("node:/);
});
