/** Walks a local folder in the byte order of whole keys, as an object store lists them. */
import { join } from 'node:path';
import type { Disk, FolderEntry } from './disk.ts';
import { compareKeys } from './object-store.ts';

export interface ListingQuery {
  readonly disk: Disk;
  readonly root: string;
  /** Folder to start in: empty, or ending in a slash. */
  readonly folder: string;
  readonly prefix: string;
  readonly after?: string | undefined;
  /** Yields the temporary files instead of the objects. */
  readonly debris?: boolean;
}

export async function* keysInFolder(query: ListingQuery): AsyncGenerator<string> {
  yield* walk(query, query.folder, []);
}

async function* walk(query: ListingQuery, folder: string, ancestors: readonly string[]): AsyncGenerator<string> {
  const { disk, root, prefix, after } = query;
  const path = join(root, folder);
  const [found] = await disk.statAll([path]);
  // Below the start: deleted since its parent was read.
  if (ancestors.length > 0 && (found === null || found === undefined)) return;
  const inode = found?.identity.split('-')[0] ?? '';
  // A symbolic link may lead back to a folder on the way here.
  if (ancestors.includes(inode)) return;
  for (const { key, entry } of inKeyOrder(folder, await disk.readFolder(path), query.debris === true)) {
    if (entry.kind === 'file') {
      if (key.startsWith(prefix) && isAfter(key, after)) yield key;
      continue;
    }
    const mayMatch = key.startsWith(prefix) || prefix.startsWith(key);
    const mayFollow = isAfter(key, after) || after?.startsWith(key) === true;
    if (mayMatch && mayFollow) yield* walk(query, key, [...ancestors, inode]);
  }
}

/** `a.json` comes before `a/b`, because `.` comes before `/`: folders sort with the slash that their keys have. */
function inKeyOrder(folder: string, entries: readonly FolderEntry[], debris: boolean) {
  return entries
    .filter(entry => (entry.kind === 'file' ? entry.name.startsWith('.') === debris : isObjectFolder(entry)))
    .map(entry => ({ key: `${folder}${entry.name}${entry.kind === 'folder' ? '/' : ''}`, entry }))
    .sort((a, b) => compareKeys(a.key, b.key));
}

function isObjectFolder(entry: FolderEntry): boolean {
  return entry.kind === 'folder' && !entry.name.startsWith('.');
}

function isAfter(key: string, after: string | undefined): boolean {
  return after === undefined || compareKeys(key, after) > 0;
}
