/** Brings the files of a snapshot into a folder, so that people can read a table with any tool, or with none of ours. */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { StorageFault } from '../fault.ts';
import type { ObjectStore } from '../object-store.ts';
import type { TableSnapshot } from './predictions-table.ts';
import type { TableFile } from './state.ts';

/**
 * Writes every file under its own path and `snapshot.json` beside them. Each file is verified against the digest its commit
 * recorded; the first one that does not fit ends the export with a `StorageFault`.
 */
export async function exportSnapshot(request: {
  readonly store: ObjectStore;
  /** Folder of the table in the store. */
  readonly root: string;
  readonly snapshot: TableSnapshot;
  /** Local folder; created when absent. */
  readonly folder: string;
}): Promise<void> {
  const { store, root, snapshot, folder } = request;
  await mkdir(folder, { recursive: true });
  for (const file of snapshot.files)
    await fetchTableFile({ store, root, file, path: resolve(folder, file.path) }, folder);
  await writeFile(resolve(folder, 'snapshot.json'), `${JSON.stringify(snapshot, null, 2)}\n`);
}

async function fetchTableFile(
  request: { store: ObjectStore; root: string; file: TableFile; path: string },
  folder: string,
): Promise<void> {
  const { store, root, file, path } = request;
  const key = `${root}/${file.path}`;
  if (!path.startsWith(resolve(folder) + sep)) throw new StorageFault('corrupt', key, 'the path leaves the folder');
  await mkdir(dirname(path), { recursive: true });
  const arriving = `${path}.arriving`;
  const answer = await store.download(key, arriving);
  if (answer.kind === 'not_found') {
    throw new StorageFault(
      'missing',
      key,
      'the log lists this file, the store does not have it; run `almanac audit verify`',
    );
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
