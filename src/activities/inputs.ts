/** Input files: found by the definition's path for a partition, inspected in an engine child, pinned by digest or ETag. */
import { resolve } from 'node:path';
import type { InputTable, ModelDefinition } from '../domain/definition.ts';
import { inParallel } from '../domain/in-parallel.ts';
import type { SnapshotFile } from '../domain/snapshot.ts';
import type { FileFormat, InputRange } from '../engine/job.ts';
import type { PartOfFile, TableFile } from '../inputs/input-tables.ts';
import { sha256OnThread } from '../storage/file-sink.ts';
import { PermanentFault } from './fault.ts';
import type { Work } from './long.ts';
import { inScratch, type Services } from './services.ts';

const inspectMs = 30 * 60_000;
/** Files that are fetched, asked for or hashed at a time: ten thousand at once would only get in each other's way. */
const filesAtOnce = 16;

/** As much of a file as reading it takes. */
export type UnreadFile = Pick<SnapshotFile, 'path' | 'bytes' | 'etag' | 'constants'>;

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
  const found = await services.inputs.files(table, partitions);
  const present = new Set(found.map(({ partition }) => partition));
  const missing = partitions.find(partition => !present.has(partition));
  if (missing !== undefined) {
    const where = table.path.startsWith('s3://') ? '' : ` in ${services.project.folder}`;
    throw new PermanentFault('NoInput', `partition ${missing}: no files match ${table.path}${where}`, {
      partition: missing,
      path: table.path,
    });
  }
  if (found.length === 0) return [];
  return await inScratch(services, folder => inspectFiles(services, { table, found, folder }, work));
}

async function inspectFiles(
  services: Services,
  { table, found, folder }: { table: InputTable; found: readonly TableFile[]; folder: string },
  work: Work,
): Promise<readonly PinnedFile[]> {
  const { signal } = work;
  const format = formatOf(table);
  const paths = await inParallel(found, filesAtOnce, file =>
    services.inputs.fetchFooter(pinOf(file), { folder, format, signal }),
  );
  // Of an object in a bucket the footer is here, not its bytes.
  const digests = found.every(({ etag }) => etag === null);
  const { files } = await services.engine.run(
    'inspect',
    { files: paths.map(path => ({ path, format })), digests },
    { deadlineMs: inspectMs, signal, onProgress: work.report },
  );
  return found.map((file, index) => {
    const inspected = files[index];
    if (inspected === undefined) throw new Error(`${file.path}: the inspection left it out`);
    const { sha256, rows, rowGroups, columns } = inspected;
    return { ...pinOf(file), partition: file.partition, sha256, rows, rowGroups, columns };
  });
}

/** What is known of a file before anybody has looked into it. */
export function pinOf({ path, bytes, etag, constants, tableVersion }: TableFile) {
  return {
    path,
    bytes,
    ...(etag === null ? {} : { etag }),
    ...(constants === undefined ? {} : { constants }),
    ...(tableVersion === undefined ? {} : { tableVersion }),
  };
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

/** What the transform of one partition joins, on this machine: the files of that partition, and those of no partition. */
export async function tablesOf(
  services: Services,
  tables: Readonly<Record<string, readonly SnapshotFile[]>>,
  partition: string,
  at: { readonly folder: string; readonly signal: AbortSignal },
): Promise<Readonly<Record<string, readonly string[]>>> {
  const found: Record<string, readonly string[]> = {};
  for (const [name, files] of Object.entries(tables)) {
    const joined = files.filter(file => file.partition === partition || file.partition === '');
    found[name] = await inParallel(joined, filesAtOnce, file =>
      services.inputs.fetch(file, { ...at, format: 'parquet' }),
    );
  }
  return found;
}

/** Pinned files of a table on this machine; those of a bucket are brought into the folder. */
export async function localInputs(
  services: Services,
  table: InputTable,
  files: readonly UnreadFile[],
  at: { readonly folder: string; readonly signal: AbortSignal; readonly part?: PartOfFile },
): Promise<readonly InputRange[]> {
  const format = formatOf(table);
  return await inParallel(files, filesAtOnce, async file => ({
    path: await services.inputs.fetch(file, { ...at, format }),
    format,
    ...(file.constants === undefined ? {} : { constants: file.constants }),
  }));
}

export function withoutDetails({ rowGroups: _groups, columns: _columns, ...pinned }: PinnedFile): SnapshotFile {
  return pinned;
}

/** Compares pinned files with what is there now; names the first that changed. */
export async function assertPinned(services: Services, files: readonly SnapshotFile[], work: Work): Promise<void> {
  await inParallel(files, filesAtOnce, async ({ path, bytes, etag }) => {
    const found = await services.inputs.stat(path);
    if (found?.bytes !== bytes)
      throw changed(path, `${bytes} bytes`, found === null ? 'no file' : `${found.bytes} bytes`);
    if (etag !== undefined && found.etag !== etag) throw changed(path, `ETag ${etag}`, `ETag ${found.etag}`);
  });
  await inParallel(files, filesAtOnce, async ({ path, sha256 }) => {
    if (sha256 === null) return;
    const found = await sha256OnThread(absolute(services, path), work.signal);
    if (found !== sha256) throw changed(path, `sha256 ${sha256}`, `sha256 ${found}`);
  });
}

/** A Delta table's own files are Parquet. */
export function formatOf(table: InputTable): FileFormat {
  return table.format === 'delta' ? 'parquet' : table.format;
}

function absolute(services: Services, path: string): string {
  return resolve(services.project.folder, path);
}

function changed(path: string, expected: string, found: string): PermanentFault {
  const message = `${path}: expected ${expected} as pinned in the snapshot, found ${found}; the file changed, start the job again`;
  return new PermanentFault('InputChanged', message, { path, expected, found });
}
