/** A part file of a table as a local file, verified against the digest that its commit recorded. */
import { rename, rm } from 'node:fs/promises';
import { StorageFault } from '../fault.ts';
import type { ObjectStore } from '../object-store.ts';
import type { TableFile } from './state.ts';

/** The file appears under `path` whole and verified, or not at all; then it throws a `StorageFault`. */
export async function fetchTableFile(request: {
  readonly store: ObjectStore;
  /** Folder of the table in the store. */
  readonly root: string;
  readonly file: Pick<TableFile, 'path' | 'sha256'>;
  readonly path: string;
}): Promise<void> {
  const { store, root, file, path } = request;
  const key = `${root}/${file.path}`;
  const arriving = `${path}.arriving`;
  const answer = await store.download(key, arriving);
  if (answer.kind === 'not_found') {
    const message = 'the log lists this file, the store does not have it; run `almanac audit verify`';
    throw new StorageFault('missing', key, message);
  }
  if (answer.kind !== 'found') {
    throw new StorageFault('unavailable', key, answer.kind === 'changed' ? answer.detail : answer.cause);
  }
  if (answer.value.sha256 !== file.sha256) {
    await rm(arriving, { force: true });
    const message = `expected digest ${file.sha256}, found ${answer.value.sha256}; run \`almanac audit verify\``;
    throw new StorageFault('corrupt', key, message);
  }
  await rename(arriving, path);
}
