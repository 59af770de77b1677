/**
 * Workflow code for a worker. `npm run build` bundles it once, because bundling costs a worker some seconds at start. A
 * worker that runs from source takes that bundle too, as long as it was made from the very same sources.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type WorkflowCode =
  | { readonly workflowBundle: { readonly codePath: string } }
  | { readonly workflowsPath: string };

/** Folders whose files can get into the bundle. */
const bundledFolders = ['workflows', 'domain', 'checks', 'stats'];

export function workflowCode(): WorkflowCode {
  const isSource = import.meta.url.endsWith('.ts');
  const here = fileURLToPath(new URL('..', import.meta.url));
  const built = isSource ? join(here, '../dist') : here;
  const codePath = join(built, 'workflow-bundle.js');
  if (existsSync(codePath) && (!isSource || bundledSources(built) === sourceDigest(here))) {
    return { workflowBundle: { codePath } };
  }
  return { workflowsPath: join(here, 'workflows', `index.${isSource ? 'ts' : 'js'}`) };
}

/** Digest of everything a bundle is made of; `scripts/build.mjs` writes it beside the bundle. */
export function sourceDigest(source: string): string {
  const hash = createHash('sha256');
  for (const folder of bundledFolders) {
    const files = readdirSync(join(source, folder), { recursive: true, encoding: 'utf8' }).filter(name =>
      name.endsWith('.ts'),
    );
    for (const name of files.sort())
      hash.update(`${folder}/${name}\0`).update(readFileSync(join(source, folder, name)));
  }
  return hash.digest('hex');
}

function bundledSources(built: string): string | null {
  const path = join(built, 'workflow-bundle.sources');
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : null;
}
