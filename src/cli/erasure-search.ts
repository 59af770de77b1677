/** Which objects of a store, and which files of a project, hold a subject: every object is opened, tables by the engine. */
import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { EnginePool } from '../engine/pool.ts';
import { listAll, type ObjectStore } from '../storage/object-store.ts';
import { documentHolds, type SubjectKey, textHolds } from '../storage/subject.ts';
import { CommandFailure } from './output.ts';

const deadlineMs = 600_000;

export interface SubjectSearch {
  /** Does this object hold the subject? Objects never change, so each is opened once. */
  holds(key: string): Promise<boolean>;
  /** Every object of the store, listed now, that holds the subject, and how many there are in all. */
  searchStore(): Promise<{ readonly holding: readonly string[]; readonly searched: number }>;
  /** Of these local files, those that hold it. */
  searchFiles(paths: readonly string[]): Promise<readonly string[]>;
}

export function searchFor(
  key: SubjectKey,
  { store, engine, scratch }: { readonly store: ObjectStore; readonly engine: EnginePool; readonly scratch: string },
): SubjectSearch {
  const known = new Map<string, boolean>();

  const fileHolds = async (path: string, isDocument: boolean): Promise<boolean> => {
    if (await isParquet(path)) {
      const { files } = await engine.run('erase', { files: [path], key, outputFolder: null }, { deadlineMs });
      return files.some(({ hits }) => hits > 0);
    }
    const bytes = await readFile(path);
    const text = bytes.toString('utf8');
    return isDocument ? documentHolds(JSON.parse(text), key) : textHolds(text, key);
  };

  const holds = async (object: string): Promise<boolean> => {
    const before = known.get(object);
    if (before !== undefined) return before;
    const path = join(scratch, 'searched');
    const found = await store.download(object, path, { digest: 'none' });
    if (found.kind === 'not_found') return false;
    if (found.kind !== 'found') throw new CommandFailure(`${object} cannot be read, so nobody can say what it holds`);
    const answer = await fileHolds(path, object.startsWith('documents/'));
    await rm(path, { force: true });
    known.set(object, answer);
    return answer;
  };

  return {
    holds,
    async searchStore() {
      const listing = await listAll(store, '');
      if (listing.kind !== 'found') throw new CommandFailure(`${store.url} cannot be listed; nothing was changed`);
      const holding: string[] = [];
      for (const object of listing.value) if (await holds(object.key)) holding.push(object.key);
      return { holding, searched: listing.value.length };
    },
    async searchFiles(paths) {
      const holding: string[] = [];
      for (const path of paths) if (await fileHolds(path, false)) holding.push(path);
      return holding;
    },
  };
}

async function isParquet(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString('latin1') === 'PAR1';
  } finally {
    await file.close();
  }
}
