/** Input files: found by the definition's path for a partition, inspected in an engine child, pinned by digest. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { filesOfPartition } from '../config/table-files.ts';
import type { InputTable, ModelDefinition } from '../domain/definition.ts';
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

/** The files of these partitions with digests and row counts; a permanent fault names a partition without any. */
export async function pinFiles(
  services: Services,
  table: InputTable,
  partitions: readonly string[],
  work: Work,
): Promise<readonly PinnedFile[]> {
  const wanted: { path: string; partition: string }[] = [];
  for (const partition of partitions) {
    const paths = await filesOfPartition(services.project.folder, table, partition);
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

/**
 * The files of the tables that the transform joins: of a table by `{date}` those of the partitions, of any other all
 * its files, once, under no partition.
 */
export async function pinTables(
  services: Services,
  { data }: ModelDefinition,
  partitions: readonly string[],
  work: Work,
): Promise<Readonly<Record<string, readonly SnapshotFile[]>>> {
  const pinned: Record<string, readonly SnapshotFile[]> = {};
  for (const [name, table] of Object.entries(data.tables)) {
    const files = await pinFiles(services, table, table.path.includes('{date}') ? partitions : [''], work);
    pinned[name] = files.map(withoutDetails);
  }
  return pinned;
}

/** What the transform of one partition joins: the files of that partition, and those of no partition. */
export function tablesOf(
  services: Services,
  tables: Readonly<Record<string, readonly SnapshotFile[]>>,
  partition: string,
): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(
    Object.entries(tables).map(([name, files]) => [
      name,
      files
        .filter(file => file.partition === partition || file.partition === '')
        .map(({ path }) => absolute(services, path)),
    ]),
  );
}

export function withoutDetails({ path, partition, bytes, sha256, rows }: PinnedFile): SnapshotFile {
  return { path, partition, bytes, sha256, rows };
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

function changed(path: string, expected: string, found: string): PermanentFault {
  const message = `${path}: expected ${expected} as pinned in the snapshot, found ${found}; the file changed, start the job again`;
  return new PermanentFault('InputChanged', message, { path, expected, found });
}
