// Compiles src/ to dist/. Runs after `npm ci`, so that bin/almanac works on every Node version without a loader.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleChildren, bundleCommand } from './bundle.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
if (tsc.status !== 0) process.exit(tsc.status ?? 1);

await bundleChildren(join(root, 'dist'));
await bundleCommand(join(root, 'dist'));

// Workflow code for workers, bundled once; the digest lets a worker that runs from source use it while it is the same code.
const { bundleWorkflowCode, DefaultLogger } = await import('@temporalio/worker');
const { sourceDigest } = await import('../dist/workers/workflow-bundle.js');
const { code } = await bundleWorkflowCode({
  workflowsPath: join(root, 'dist/workflows/index.js'),
  logger: new DefaultLogger('WARN'),
});
writeFileSync(join(root, 'dist/workflow-bundle.js'), code);
writeFileSync(join(root, 'dist/workflow-bundle.sources'), `${sourceDigest(join(root, 'src'))}\n`);
