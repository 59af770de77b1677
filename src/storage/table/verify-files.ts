/** Before a commit: every file is in the store as the manifest says. A file deleted by a person must never be published. */
import { StorageFault } from '../fault.ts';
import type { ObjectStore } from '../object-store.ts';
import type { PartFile } from './predictions-table.ts';

const windowMax = 16;
const attemptsMax = 4;

export async function verifyFiles(store: ObjectStore, root: string, files: readonly PartFile[]): Promise<void> {
  const waiting = [...files];
  const verifyNext = async (): Promise<void> => {
    for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) await verifyFile(store, root, file);
  };
  await Promise.all(Array.from({ length: Math.min(windowMax, files.length) }, verifyNext));
}

async function verifyFile(store: ObjectStore, root: string, file: PartFile): Promise<void> {
  const key = `${root}/${file.path}`;
  let unclear = '';
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const answer = await store.head(key);
    if (answer.kind === 'found') {
      if (answer.value.bytes === file.bytes) return;
      const message = `the manifest says ${file.bytes} bytes, the store has ${answer.value.bytes}: score the chunk again`;
      throw new StorageFault('missing', key, message);
    }
    if (answer.kind === 'not_found') {
      throw new StorageFault(
        'missing',
        key,
        'the manifest lists this file, the store does not have it: score the chunk again',
      );
    }
    unclear = answer.kind === 'changed' ? answer.detail : answer.cause;
  }
  throw new StorageFault('unavailable', key, `no clear answer after ${attemptsMax} tries: ${unclear}`);
}
