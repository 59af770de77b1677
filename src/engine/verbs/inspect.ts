/** Looks at files: rows, row groups, columns and codecs from the footers of Parquet; other formats are read once. */
import { stat } from 'node:fs/promises';
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import { sha256OfFile, stampFiles } from '../files.ts';
import type { ColumnInfo, FileInspection, Inspection, InspectJob } from '../job.ts';
import { rowGroupStarts } from '../source.ts';
import { pathLiteral, readerCall } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

export async function run(job: InspectJob, context: VerbContext): Promise<Inspection> {
  const paths = job.files.map(file => file.path);
  await stampFiles(paths);
  const session = await DuckDbSession.open({
    files: paths,
    folders: [],
    scratch: context.scratch,
    memoryMb: Math.round(context.memoryMb / 2),
  });
  try {
    const files: FileInspection[] = [];
    for (const [index, file] of job.files.entries()) {
      files.push(await inspectFile(session, file.path, file.format ?? 'parquet', job));
      context.progress({ done: index + 1, total: job.files.length, unit: 'files', resume: null });
    }
    return {
      files,
      rows: files.reduce((sum, file) => sum + file.rows, 0),
      columns: await unionColumns(session, files),
    };
  } finally {
    session.close();
  }
}

async function inspectFile(
  session: DuckDbSession,
  path: string,
  format: FileInspection['format'],
  job: InspectJob,
): Promise<FileInspection> {
  const { size } = await stat(path);
  const columns = await session.describe(`SELECT * FROM ${readerCall(format, [path])}`);
  const sha256 = job.digests === true ? await sha256OfFile(path) : null;
  if (format !== 'parquet') {
    const [counted] = await session.rows(`SELECT count(*) AS n FROM ${readerCall(format, [path])}`);
    const rows = Number(counted?.['n']);
    return { path, format, bytes: size, rows, rowGroups: [rows], columns, codecs: [], sha256 };
  }
  const starts = (await rowGroupStarts(session, [path])).get(path) ?? [0];
  const codecs = await session.rows(
    `SELECT DISTINCT compression AS codec FROM parquet_metadata(${pathLiteral(path)}) ORDER BY 1`,
  );
  const names = codecs.map(row => String(row['codec']));
  if (names.includes('BROTLI') && job.allowBrotli !== true) {
    throw new EngineFault(
      'bad_input',
      `${path}: its pages are compressed with Brotli, which is refused; rewrite it with zstd or allow Brotli`,
      {
        path,
        codec: 'BROTLI',
      },
    );
  }
  return {
    path,
    format,
    bytes: size,
    rows: starts.at(-1) ?? 0,
    rowGroups: starts.slice(1).map((end, index) => end - starts[index]!),
    columns,
    codecs: names,
    sha256,
  };
}

/** Files of one format are described together, which gives DuckDB's common type; mixed formats keep the first type. */
async function unionColumns(session: DuckDbSession, files: readonly FileInspection[]): Promise<readonly ColumnInfo[]> {
  const first = files[0];
  if (first === undefined) return [];
  const signatures = new Set(files.map(file => JSON.stringify(file.columns)));
  if (signatures.size === 1) return first.columns;
  if (files.every(file => file.format === first.format)) {
    const paths = files.map(file => file.path);
    return session.describe(`SELECT * FROM ${readerCall(first.format, paths)}`);
  }
  const seen = new Map<string, ColumnInfo>();
  for (const column of files.flatMap(file => file.columns)) if (!seen.has(column.name)) seen.set(column.name, column);
  return [...seen.values()];
}
