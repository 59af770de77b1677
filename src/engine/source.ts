/**
 * The rows of a chunk as one relation in a locked session: inputs checked against their footers, further tables, and the
 * transform on top. Scoring, validation and training all start here, so they see the same rows.
 */
import type { JS } from '@duckdb/node-api';
import type { Contract } from '../domain/contract.ts';
import { nearest } from '../domain/nearest.ts';
import { DuckDbSession } from './duckdb.ts';
import { EngineFault } from './fault.ts';
import { assertUnchanged, type FileStamps, stampFiles } from './files.ts';
import type { ColumnInfo, InputRange } from './job.ts';
import { identifier, inputRelation, pathLiteral, type RowGroupStarts, readerCall } from './sql.ts';
import { checkSelect } from './transform.ts';
import type { VerbContext } from './verbs.ts';

export interface SourceJob {
  readonly inputs: readonly InputRange[];
  readonly rows: number;
  readonly tables: Readonly<Record<string, readonly string[]>>;
  readonly transform: string | null;
  readonly contract: Contract;
}

export interface SourceOptions {
  readonly job: SourceJob;
  /** Further files and folders the session may use. */
  readonly files?: readonly string[];
  readonly folders: readonly string[];
  readonly context: VerbContext;
}

export class Source {
  readonly session: DuckDbSession;
  /** A SELECT that gives the transformed rows. */
  readonly sql: string;
  readonly columns: readonly ColumnInfo[];
  readonly #stamps: FileStamps;

  private constructor(session: DuckDbSession, sql: string, columns: readonly ColumnInfo[], stamps: FileStamps) {
    this.session = session;
    this.sql = sql;
    this.columns = columns;
    this.#stamps = stamps;
  }

  static async open({ job, files = [], folders, context }: SourceOptions): Promise<Source> {
    const paths = [...new Set([...job.inputs.map(input => input.path), ...Object.values(job.tables).flat()])];
    const stamps = await stampFiles(paths);
    const session = await DuckDbSession.open({
      files: [...paths, ...files],
      folders,
      limits: context,
    });
    try {
      const starts = await assertFooters(session, job);
      await session.run(`CREATE VIEW features AS ${inputRelation(job.inputs, starts)}`);
      for (const [name, tablePaths] of Object.entries(job.tables)) {
        await session.run(`CREATE VIEW ${identifier(name)} AS SELECT * FROM ${readerCall('parquet', tablePaths)}`);
      }
      const relations = ['features', ...Object.keys(job.tables)];
      for (const rule of job.contract.rules)
        await checkSelect(session, `SELECT (${rule.sql}) FROM features`, ['features']);
      const sql =
        job.transform === null ? 'SELECT * FROM features' : await checkSelect(session, job.transform, relations);
      const columns = await session.describe(sql);
      assertColumns(job.contract, columns);
      return new Source(session, sql, columns, stamps);
    } catch (error) {
      session.close();
      throw error;
    }
  }

  has(column: string): boolean {
    return this.columns.some(known => known.name === column);
  }

  /** Call after the last read: rows of two states of a file must never be mixed. */
  async assertUnchanged(): Promise<void> {
    await assertUnchanged(this.#stamps);
  }

  close(): void {
    this.session.close();
  }
}

/** Row counts of the footers against the plan; gives where row groups start in the files that are read in part. */
async function assertFooters(session: DuckDbSession, job: SourceJob): Promise<RowGroupStarts> {
  const parquet = job.inputs.filter(input => (input.format ?? 'parquet') === 'parquet');
  const pathsOf = (inputs: readonly InputRange[]) => [...new Set(inputs.map(input => input.path))];
  const starts = await rowGroupStarts(session, pathsOf(parquet.filter(input => input.rowGroups !== undefined)));
  if (parquet.length < job.inputs.length) return starts;
  const counts = await rowCounts(session, pathsOf(parquet.filter(input => input.rowGroups === undefined)));
  let rows = 0;
  for (const { path, rowGroups } of parquet) {
    const known = starts.get(path) ?? [];
    rows += rowGroups === undefined ? (counts.get(path) ?? 0) : (known[rowGroups[1]] ?? 0) - (known[rowGroups[0]] ?? 0);
  }
  if (rows !== job.rows) {
    throw new EngineFault(
      'bad_input',
      `the footers of ${parquet.length} input file(s) say ${rows} rows, the plan says ${job.rows} ` +
        `(first file: ${parquet[0]?.path}); the files changed since the plan, plan the job again`,
      { footerRows: rows, plannedRows: job.rows, path: parquet[0]?.path ?? null },
    );
  }
  return starts;
}

/** First row of each row group and, last, the row count, per file. */
export async function rowGroupStarts(session: DuckDbSession, paths: readonly string[]): Promise<RowGroupStarts> {
  const starts = new Map<string, number[]>(paths.map(path => [path, [0]]));
  for (const [path, groups] of await rowGroupsOf(session, paths)) {
    const known = starts.get(path);
    for (const { rows } of groups) known?.push(known.at(-1)! + rows);
  }
  return starts;
}

interface RowGroup {
  readonly rows: number;
  readonly codecs: readonly string[];
}

/** Per file. DuckDB looks at every column of every row group for it: 8 files of 11 groups and 33 columns take it 25 ms. */
export async function rowGroupsOf(
  session: DuckDbSession,
  paths: readonly string[],
): Promise<ReadonlyMap<string, readonly RowGroup[]>> {
  const groups = new Map<string, RowGroup[]>(paths.map(path => [path, []]));
  const found = await footerRows(
    session,
    paths,
    files => `SELECT file_name AS path, any_value(row_group_num_rows) AS rows, list(DISTINCT compression) AS codecs
              FROM parquet_metadata(${files}) GROUP BY file_name, row_group_id ORDER BY file_name, row_group_id`,
  );
  for (const { path, rows, codecs } of found) {
    groups.get(String(path))?.push({ rows: Number(rows), codecs: (codecs as readonly JS[]).map(String) });
  }
  return groups;
}

async function rowCounts(session: DuckDbSession, paths: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const files = await footerRows(
    session,
    paths,
    list => `SELECT file_name, num_rows FROM parquet_file_metadata(${list})`,
  );
  return new Map(files.map(file => [String(file['file_name']), Number(file['num_rows'])]));
}

/** What a query over all footers says; a footer that cannot be read is named. */
async function footerRows(
  session: DuckDbSession,
  paths: readonly string[],
  query: (files: string) => string,
): Promise<Awaited<ReturnType<DuckDbSession['rows']>>> {
  if (paths.length === 0) return [];
  const read = (some: readonly string[]) => session.rows(query(`[${some.map(pathLiteral).join(', ')}]`));
  return read(paths).catch(async (error: unknown) => {
    for (const path of paths) {
      await read([path]).catch((cause: unknown) => {
        throw brokenFooter(path, cause);
      });
    }
    throw error;
  });
}

function brokenFooter(path: string, cause: unknown): EngineFault {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new EngineFault(
    'bad_input',
    `${path}: its footer cannot be read: ${why}; the file is cut short or no Parquet file, write or fetch it again`,
    { path },
    { cause },
  );
}

/** A column that is missing altogether is all NULL: that has to be declared, or a renamed column would pass unseen. */
function assertColumns(contract: Contract, columns: readonly ColumnInfo[]): void {
  const known = new Set(columns.map(column => column.name));
  const missing = contract.columns.filter(
    column => !known.has(column.name) && column.nulls.as !== 'default' && column.nulls.maxShare !== 1,
  );
  const named = (name: string) => {
    const near = nearest(name, [...known]);
    return near === null ? name : `${name} (renamed to ${near}?)`;
  };
  if (missing.length > 0) {
    throw new EngineFault(
      'bad_input',
      `the rows have no column ${missing.map(({ name }) => named(name)).join(', ')}, which the contract expects; ` +
        `columns found: ${[...known].join(', ')}. A column that may be missing is declared with nulls: { max: 1 }`,
      { missing: missing.map(column => column.name), found: [...known] },
    );
  }
}
