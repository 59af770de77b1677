/** Workflow code for a worker: prebuilt beside the compiled product, bundled on the spot (2 s) when running from source. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export type WorkflowCode =
  | { readonly workflowBundle: { readonly codePath: string } }
  | { readonly workflowsPath: string };

export function workflowCode(): WorkflowCode {
  const prebuilt = fileURLToPath(new URL('../workflow-bundle.js', import.meta.url));
  if (existsSync(prebuilt)) return { workflowBundle: { codePath: prebuilt } };
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return { workflowsPath: fileURLToPath(new URL(`../workflows/index.${ending}`, import.meta.url)) };
}
