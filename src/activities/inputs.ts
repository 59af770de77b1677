/** Input files: found by the definition's path for a partition, inspected in an engine child, pinned by digest. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { InputTable } from '../domain/definition.ts';
import type { SnapshotFile } from '../domain/snapshot.ts';
import type { FileFormat, InputRange } from '../engine/job.ts';
import { PermanentFault } from './fault.ts';
import type { Work } from './long.ts';
import type { Services } from './services.ts';

const inspectMs = 30 * 60_000;

export interface PinnedFile extends SnapshotFile {
  /** Rows of each row group. */
  readonly rowGroups: readonly number[];
  readonly columns: readonly { readonly name: string; readonly type: string }[];
}

/** Partitions for which the table has files, in order. A table without `{date}` has none. */
export async function listPartitions(services: Services, table: InputTable): Promise<readonly string[]> {
  const [before, after] = table.path.split('{date}');
  if (before === undefined || after === undefined) return [];
  const pattern = new RegExp(`^${inPattern(before)}([^/]+)${inPattern(after)}$`);
  const found = new Set<string>();
  for (const path of await filesOf(services, table.path.replaceAll('{date}', '*'))) {
    const partition = pattern.exec(path)?.[1];
    if (partition !== undefined) found.add(partition);
  }
  return [...found].sort();
}

/** Files of one partition, relative to the project. */
export async function filesOfPartition(
  services: Services,
  table: InputTable,
  partition: string,
): Promise<readonly string[]> {
  return await filesOf(services, table.path.replaceAll('{date}', partition));
}

/** The files of these partitions with digests and row counts; a permanent fault names a partition without any. */
export async function pinFiles(
  services: Services,
  table: InputTable,
  partitions: readonly string[],
  work: Work,
): Promise<readonly PinnedFile[]> {
  const wanted: { path: string; partition: string }[] = [];
  for (const partition of partitions) {
    const paths = await filesOfPartition(services, table, partition);
    if (paths.length === 0) {
      throw new PermanentFault(
        'NoInput',
        `partition ${partition}: no files match ${table.path} in ${services.project.folder}`,
        {
          partition,
          path: table.path,
        },
      );
    }
    wanted.push(...paths.map(path => ({ path, partition })));
  }
  if (wanted.length === 0) return [];
  const format = formatOf(table);
  const inspection = await services.engine.run(
    'inspect',
    { files: wanted.map(({ path }) => ({ path: absolute(services, path), format })), digests: true },
    { deadlineMs: inspectMs, signal: work.signal, onProgress: work.report },
  );
  return wanted.map(({ path, partition }, index) => {
    const file = inspection.files[index];
    if (file === undefined || file.sha256 === null) throw new Error(`${path}: the inspection left it out`);
    const { bytes, sha256, rows, rowGroups, columns } = file;
    return { path, partition, bytes, sha256, rows, rowGroups, columns };
  });
}

/** Compares pinned files with what is there now; names the first that changed. */
export async function assertPinned(services: Services, files: readonly SnapshotFile[], work: Work): Promise<void> {
  if (files.length === 0) return;
  for (const { path, bytes } of files) {
    const found = await stat(absolute(services, path)).catch(() => null);
    if (found?.size !== bytes)
      throw changed(path, `${bytes} bytes`, found === null ? 'no file' : `${found.size} bytes`);
  }
  const inspection = await services.engine.run(
    'inspect',
    { files: files.map(({ path }) => ({ path: absolute(services, path) })), digests: true },
    { deadlineMs: inspectMs, signal: work.signal },
  );
  for (const [index, { path, sha256 }] of files.entries()) {
    const found = inspection.files[index]?.sha256 ?? null;
    if (found !== sha256) throw changed(path, `sha256 ${sha256}`, `sha256 ${found}`);
  }
}

export function absolute(services: Services, path: string): string {
  return join(services.project.folder, path);
}

export function wholeFile(services: Services, file: SnapshotFile, table: InputTable): InputRange {
  return { path: absolute(services, file.path), format: formatOf(table) };
}

export function formatOf(table: InputTable): FileFormat {
  if (table.format !== 'delta') return table.format;
  throw new PermanentFault(
    'Unsupported',
    `${table.path}: input format delta is read through its Parquet files: give their path`,
  );
}

/** Files that match, relative to the project; `*` stands for any text within one segment. */
async function filesOf(services: Services, pattern: string): Promise<readonly string[]> {
  const segments = pattern.split('/');
  if (segments.includes('..') || segments[0] === '') {
    throw new PermanentFault('Configuration', `${pattern}: the path of a table stays inside the project`);
  }
  let paths: readonly string[] = [''];
  for (const [depth, segment] of segments.entries()) {
    const isLast = depth === segments.length - 1;
    const deeper = await Promise.all(paths.map(path => matchesIn(services, path, segment, isLast)));
    paths = deeper.flat();
  }
  return [...paths].sort();
}

async function matchesIn(
  services: Services,
  path: string,
  segment: string,
  isLast: boolean,
): Promise<readonly string[]> {
  const folder = absolute(services, path);
  const matcher = new RegExp(`^${segment.split('*').map(escapeText).join('.*')}$`);
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  return entries
    .filter(
      entry =>
        matcher.test(entry.name) && !entry.name.startsWith('.') && (isLast ? entry.isFile() : entry.isDirectory()),
    )
    .map(entry => (path === '' ? entry.name : `${path}/${entry.name}`));
}

function inPattern(path: string): string {
  return path.split('*').map(escapeText).join('[^/]*');
}

function escapeText(text: string): string {
  return text.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&');
}

function changed(path: string, expected: string, found: string): PermanentFault {
  const message = `${path}: expected ${expected} as pinned in the snapshot, found ${found}; the file changed, start the job again`;
  return new PermanentFault('InputChanged', message, { path, expected, found });
}
