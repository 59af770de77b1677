/** Starts a thread from a module of ours, whether it runs as TypeScript source or compiled. */
import { Worker } from 'node:worker_threads';

/** `entry`: the `.ts` file beside the caller; its `.js` is started where the program is compiled. */
export function startThread(entry: URL, workerData: unknown, transferList: readonly ArrayBuffer[] = []): Worker {
  const options = { workerData, transferList: [...transferList] };
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL(entry.href.replace(/\.ts$/, '.js')), options);
  // On Node 20 a thread ignores `--import tsx`, so it registers the loader itself.
  const loader = import.meta.resolve('tsx/esm/api');
  const code = `import('${loader}').then(({ tsImport }) => tsImport('${entry.href}', '${import.meta.url}'))`;
  return new Worker(code, { ...options, eval: true, execArgv: [] });
}
