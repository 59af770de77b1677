/**
 * Models of this child, loaded once: a child scores many chunks with the same few models, and loading one (compiling trees
 * included) may take half a second. The key holds identity, size and time of the file, so a changed file is loaded anew.
 */
import { stat } from 'node:fs/promises';
import { EngineFault } from './fault.ts';

const MODELS_MAX = 6;

interface Closable {
  close(): void;
}

const cache = new Map<string, Closable>();

/** The cached model of a file, or what `load` makes of it. `form` tells apart different forms of one file. */
export async function cachedModel<M extends Closable>(path: string, form: string, load: () => Promise<M>): Promise<M> {
  const found = await stat(path).catch((error: unknown) => {
    throw new EngineFault(
      'bad_model',
      `the model ${path} cannot be read: ${String(error)}`,
      { path },
      { cause: error },
    );
  });
  const key = `${form} ${path} ${found.ino} ${found.size} ${found.mtimeMs}`;
  const known = cache.get(key) as M | undefined;
  const model = known ?? (await load());
  cache.delete(key);
  cache.set(key, model);
  for (const oldest of cache.keys()) {
    if (cache.size <= MODELS_MAX) break;
    cache.get(oldest)?.close();
    cache.delete(oldest);
  }
  return model;
}
