/** Before a commit: every file is in the store as the manifest says. A file deleted by a person must never be published. */
import { StorageFault } from '../fault.ts';
import type { ObjectStore } from '../object-store.ts';
import type { PartFile } from './predictions-table.ts';

const windowMax = 16;
const attemptsMax = 4;

/** The first file that is not as described, as the fault to throw; null when all are there. */
export async function findBadFile(
  store: ObjectStore,
  root: string,
  files: readonly PartFile[],
): Promise<StorageFault | null> {
  const waiting = [...files];
  let bad: StorageFault | null = null;
  const verifyNext = async (): Promise<void> => {
    for (let file = waiting.pop(); file !== undefined && bad === null; file = waiting.pop()) {
      bad = (await verifyFile(store, root, file)) ?? bad;
    }
  };
  await Promise.all(Array.from({ length: Math.min(windowMax, files.length) }, verifyNext));
  return bad;
}

async function verifyFile(store: ObjectStore, root: string, file: PartFile): Promise<StorageFault | null> {
  const key = `${root}/${file.path}`;
  let unclear = '';
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const answer = await store.head(key);
    if (answer.kind === 'found') {
      if (answer.value.bytes === file.bytes) return null;
      const message = `the manifest says ${file.bytes} bytes, the store has ${answer.value.bytes}: score the chunk again`;
      return new StorageFault('missing', key, message);
    }
    if (answer.kind === 'not_found') {
      const message = 'the manifest lists this file, the store does not have it: score the chunk again';
      return new StorageFault('missing', key, message);
    }
    unclear = answer.kind === 'changed' ? answer.detail : answer.cause;
  }
  return new StorageFault('unavailable', key, `no clear answer after ${attemptsMax} tries: ${unclear}`);
}
