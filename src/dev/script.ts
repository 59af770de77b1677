/** How to run one of our own modules as a child process: compiled code by plain node, TypeScript source through tsx. */
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

/**
 * Arguments for `process.execPath`. `module` is written without its ending, relative to `from` (an import.meta.url):
 * beside a `.ts` file it is a `.ts` file, beside a `.js` file a `.js` file. Works from any current folder.
 */
export function scriptArguments(module: string, from: string): readonly string[] {
  if (!from.endsWith('.ts')) return [fileURLToPath(new URL(`${module}.js`, from))];
  const loader = createRequire(from).resolve('tsx');
  return ['--import', pathToFileURL(loader).href, fileURLToPath(new URL(`${module}.ts`, from))];
}
