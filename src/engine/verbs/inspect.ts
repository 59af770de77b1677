/** Looks at files: rows, row groups, columns and codecs from the footers of Parquet; other formats are read once. */
import { stat } from 'node:fs/promises';
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import { sha256OfFile, stampFiles } from '../files.ts';
import type { ColumnChunk, ColumnInfo, FileInspection, Inspection, InspectJob } from '../job.ts';
import { rowGroupsOf } from '../source.ts';
import { pathLiteral, readerCall } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

export async function run(job: InspectJob, context: VerbContext): Promise<Inspection> {
  const paths = job.files.map(file => file.path);
  await stampFiles(paths);
  const session = await DuckDbSession.open({
    files: paths,
    folders: [],
    limits: context,
  });
  try {
    const files: FileInspection[] = [];
    for (let from = 0; from < job.files.length; from += FILES_TOGETHER) {
      files.push(...(await inspectFiles(session, job.files.slice(from, from + FILES_TOGETHER), job)));
      context.progress({ done: files.length, total: job.files.length, unit: 'files', resume: null });
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

/** Footers read by one statement: ten thousand tiny files would otherwise take longer to look at than to score. */
const FILES_TOGETHER = 500;

async function inspectFiles(
  session: DuckDbSession,
  files: InspectJob['files'],
  job: InspectJob,
): Promise<readonly FileInspection[]> {
  const parquet = files.filter(file => (file.format ?? 'parquet') === 'parquet').map(file => file.path);
  const footers = await readFooters(session, parquet);
  const inspected: FileInspection[] = [];
  for (const { path, format = 'parquet' } of files) {
    const { size: bytes } = await stat(path);
    const sha256 = job.digests === true ? await sha256OfFile(path) : null;
    const footer = footers.get(path);
    if (footer === undefined) {
      const columns = await session.describe(`SELECT * FROM ${readerCall(format, [path])}`);
      const [counted] = await session.rows(`SELECT count(*) AS n FROM ${readerCall(format, [path])}`);
      const rows = Number(counted?.['n']);
      inspected.push({ path, format, bytes, rows, rowGroups: [rows], columns, codecs: [], sha256 });
    } else {
      if (footer.codecs.includes('BROTLI') && job.allowBrotli !== true) throw brotliRefused(path);
      const columnChunks = job.columnChunks === true ? { columnChunks: await columnChunksOf(session, path) } : {};
      inspected.push({ path, format, bytes, ...footer, sha256, ...columnChunks });
    }
  }
  return inspected;
}

type Footer = Pick<FileInspection, 'rows' | 'rowGroups' | 'columns' | 'codecs'>;

async function readFooters(session: DuckDbSession, paths: readonly string[]): Promise<ReadonlyMap<string, Footer>> {
  const footers = new Map<string, Footer>();
  if (paths.length === 0) return footers;
  const list = `[${paths.map(pathLiteral).join(', ')}]`;
  const groups = await rowGroupsOf(session, paths);
  // Files of one schema are described once; DuckDB's own words for its types need a description.
  const schemas = await session.rows(
    `SELECT file_name AS path, md5(string_agg(concat_ws(chr(31), name, type, duckdb_type, logical_type, num_children),
       chr(30) ORDER BY column_id)) AS digest FROM parquet_schema(${list}) GROUP BY file_name`,
  );
  const digests = new Map(schemas.map(({ path, digest }) => [String(path), String(digest)]));
  const columns = new Map<string, readonly ColumnInfo[]>();
  for (const path of paths) {
    const digest = digests.get(path) ?? path;
    const known = columns.get(digest) ?? (await session.describe(`SELECT * FROM ${readerCall('parquet', [path])}`));
    columns.set(digest, known);
    const ofFile = groups.get(path) ?? [];
    const rowGroups = ofFile.map(group => group.rows);
    footers.set(path, {
      rows: rowGroups.reduce((sum, rows) => sum + rows, 0),
      rowGroups,
      columns: known,
      codecs: [...new Set(ofFile.flatMap(group => group.codecs))].sort(),
    });
  }
  return footers;
}

async function columnChunksOf(session: DuckDbSession, path: string): Promise<readonly ColumnChunk[]> {
  // Some writers say 0 where there is no dictionary page, and the path of a nested column is joined by commas.
  const found = await session.rows(
    `SELECT row_group_id AS row_group, split_part(path_in_schema, ', ', 1) AS name,
       coalesce(least(nullif(dictionary_page_offset, 0), data_page_offset), data_page_offset) AS first,
       total_compressed_size AS bytes FROM parquet_metadata(${pathLiteral(path)})`,
  );
  return found.map(row => {
    const from = Number(row['first']);
    return { rowGroup: Number(row['row_group']), column: String(row['name']), from, to: from + Number(row['bytes']) };
  });
}

function brotliRefused(path: string): EngineFault {
  return new EngineFault(
    'bad_input',
    `${path}: its pages are compressed with Brotli, which is refused; rewrite it with zstd or allow Brotli`,
    { path, codec: 'BROTLI' },
  );
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
