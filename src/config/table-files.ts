/**
 * Where the files of a declared table lie: its path inside the project, with `{date}` for the partition and `*` for any
 * text within one segment. Paths come back relative to the project, in order.
 */
import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { InputTable } from '../domain/definition.ts';

/** Partitions for which the table has files, in order. A table without `{date}` has none. */
export async function listPartitions(project: string, table: InputTable): Promise<readonly string[]> {
  const [before, after] = table.path.split('{date}');
  if (before === undefined || after === undefined) return [];
  const pattern = new RegExp(`^${inPattern(before)}([^/]+)${inPattern(after)}$`);
  const found = new Set<string>();
  for (const path of await matchingFiles(project, table.path.replaceAll('{date}', '*'))) {
    const partition = pattern.exec(path)?.[1];
    if (partition !== undefined) found.add(partition);
  }
  return [...found].sort();
}

/** Files of one partition; of a table without `{date}` all its files. */
export async function filesOfPartition(
  project: string,
  table: InputTable,
  partition: string,
): Promise<readonly string[]> {
  return await matchingFiles(project, table.path.replaceAll('{date}', partition));
}

async function matchingFiles(project: string, pattern: string): Promise<readonly string[]> {
  const segments = pattern.split('/');
  let paths: readonly string[] = [''];
  for (const [depth, segment] of segments.entries()) {
    const wantsFile = depth === segments.length - 1;
    const deeper = await Promise.all(paths.map(path => matchesIn(project, { path, segment, wantsFile })));
    paths = deeper.flat();
  }
  return [...paths].sort();
}

async function matchesIn(
  project: string,
  { path, segment, wantsFile }: { readonly path: string; readonly segment: string; readonly wantsFile: boolean },
): Promise<readonly string[]> {
  const matcher = new RegExp(`^${segment.split('*').map(escapeText).join('.*')}$`);
  const entries = await readdir(join(project, path), { withFileTypes: true }).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return [];
    throw error;
  });
  const isWanted = (entry: Dirent) => entry.isSymbolicLink() || (wantsFile ? entry.isFile() : entry.isDirectory());
  return entries
    .filter(entry => matcher.test(entry.name) && !entry.name.startsWith('.') && isWanted(entry))
    .map(entry => (path === '' ? entry.name : `${path}/${entry.name}`));
}

function inPattern(path: string): string {
  return path.split('*').map(escapeText).join('[^/]*');
}

function escapeText(text: string): string {
  return text.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&');
}
