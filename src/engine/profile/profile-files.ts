/**
 * Profiles Parquet files when nothing is scored: one scan hands the vectors of all numeric and time columns to the
 * accumulators through a JavaScript scalar function; category columns are grouped by DuckDB, which is faster than any loop
 * over texts. When rows are scored, the scoring scan feeds the same profiler and this file is not used.
 */
import type { DuckDBType } from '@duckdb/node-api';
import type { Profile } from '../../domain/profile.ts';
import type { DuckDbSession } from '../duckdb.ts';
import { BIGINT, DOUBLE, DuckDBScalarFunction, ENUM, TINYINT, version } from '../duckdb-api.ts';
import { EngineFault } from '../fault.ts';
import { identifier, literal, pathLiteral, readerCall } from '../sql.ts';
import { outputItems, Vectors } from '../vectors.ts';
import { type ProfileArgument, profileArguments } from './columns.ts';
import { countDuplicateKeys, writeKeyHashes } from './keys.ts';
import { createProfiler, type Profiler, type ProfilerOptions } from './profiler.ts';

export interface ProfileFilesOptions extends Omit<ProfilerOptions, 'columns' | 'byLabel' | 'engine'> {
  readonly files: readonly string[];
  /** Columns to profile; default all. */
  readonly columns?: readonly string[];
  /** Columns whose values are personal data. */
  readonly personal?: readonly string[];
  /** Binary label (1, 0, NULL for unknown): histograms are kept by label. */
  readonly label?: string | null;
  /** The value of the label that counts as 1; without it the label is 1 and 0 already. */
  readonly positive?: string;
  /** Columns whose values define slices; the 50 most frequent values of each. */
  readonly slices?: readonly string[];
  /** Score column to fill the score histogram from. */
  readonly score?: string | null;
  /** Key columns: duplicates are counted exactly, in a pass of their own over a file in `scratch`. */
  readonly keys?: { readonly columns: readonly string[]; readonly scratch: string } | null;
}

const SLICE_VALUES_MAX = 50;
/** Groups of unseen values read back per category column; the rest is counted in one sum. */
const UNSEEN_GROUPS_MAX = 100_000;

let functions = 0;

/** The profile of all rows of the files. Fails when the rows read are not the rows the footers promise. */
export async function profileFiles(session: DuckDbSession, options: ProfileFilesOptions): Promise<Profile> {
  const relation = `SELECT * FROM ${readerCall('parquet', options.files)}`;
  const described = await session.describe(relation);
  const wanted = options.columns === undefined ? null : new Set(options.columns);
  const columns = profileArguments(
    described.filter(column => wanted === null || wanted.has(column.name)),
    new Set(options.personal ?? []),
  );
  const byLabel = options.label !== undefined && options.label !== null;
  const engine = `duckdb ${version().replace(/^v/, '')}`;
  const profiler = createProfiler({ ...options, engine, byLabel, columns: columns.map(({ column }) => column) });
  const slices = await sliceValues(session, relation, options.slices ?? []);
  const rows = await scan({ session, relation, profiler, columns, slices, options });
  const promised = await footerRows(session, options.files);
  if (rows !== promised) {
    throw new EngineFault(
      'bad_input',
      `read ${rows} rows, the footers of ${options.files.length} files say ${promised}`,
      {
        rows,
        promised,
      },
    );
  }
  await groupCategories({ session, relation, profiler, columns, slices, options });
  return profiler.finish({ keys: await duplicateKeys(session, relation, options.keys ?? null) });
}

async function footerRows(session: DuckDbSession, files: readonly string[]): Promise<number> {
  const list = files.map(pathLiteral).join(', ');
  const [found] = await session.rows(`SELECT sum(num_rows) AS n FROM parquet_file_metadata([${list}])`);
  return Number(found?.['n']);
}

interface Slice {
  readonly column: string;
  readonly values: readonly string[];
}

async function sliceValues(session: DuckDbSession, relation: string, columns: readonly string[]): Promise<Slice[]> {
  const slices: Slice[] = [];
  for (const column of columns) {
    const name = identifier(column);
    const rows = await session.rows(
      `SELECT CAST(${name} AS VARCHAR) AS value FROM (${relation}) WHERE ${name} IS NOT NULL ` +
        `GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT ${SLICE_VALUES_MAX}`,
    );
    slices.push({ column, values: rows.map(row => String(row['value'])) });
  }
  return slices;
}

interface Scan {
  readonly session: DuckDbSession;
  readonly relation: string;
  readonly profiler: Profiler;
  readonly columns: readonly ProfileArgument[];
  readonly slices: readonly Slice[];
  readonly options: ProfileFilesOptions;
}

/** One pass over the rows; gives their number. */
async function scan({ session, relation, profiler, columns, slices, options }: Scan): Promise<number> {
  const expressions: string[] = [];
  const types: DuckDBType[] = [];
  const argument = (expression: string, type: DuckDBType): number => {
    types.push(type);
    return expressions.push(expression) - 1;
  };
  const inScan = columns.flatMap(({ column, expression, type }, index) =>
    expression === null ? [] : [{ kind: column.kind, wide: isWide(type), index, at: argument(expression, type) }],
  );
  const label = options.label == null ? null : argument(labelSql(options), TINYINT);
  const score = options.score == null ? null : argument(`CAST(${identifier(options.score)} AS DOUBLE)`, DOUBLE);
  const codes = slices
    .filter(slice => slice.values.length > 0)
    .map(slice => {
      const values = slice.values.map(literal).join(', ');
      const expression = `TRY_CAST(CAST(${identifier(slice.column)} AS VARCHAR) AS ENUM(${values}))`;
      return { slice, at: argument(expression, ENUM(slice.values)) };
    });
  // A scan without arguments would still have to count its rows.
  if (expressions.length === 0) argument('CAST(0 AS TINYINT)', TINYINT);

  const name = `almanac_profile_${functions++}`;
  let seen = 0;
  session.register(
    DuckDBScalarFunction.create({
      name,
      parameterTypes: types,
      returnType: TINYINT,
      // Without it DuckDB may fold the call or make it once.
      volatile: true,
      // NULL arguments must reach the counters.
      specialHandling: true,
      mainFunction: (_info, chunk, output) => {
        const vectors = new Vectors(chunk, types);
        const { rows } = vectors;
        seen += rows;
        const labels = label === null ? null : labelsOf(vectors, label);
        profiler.beginBlock(rows, { labels, slices: sliceRows(vectors, codes) });
        for (const { kind, wide, index, at } of inScan) {
          const values = wide ? vectors.bigints(at) : vectors.numbers(at);
          if (kind === 'numeric') profiler.addNumbers(index, values, vectors.nullRows(at));
          else profiler.addTimes(index, values, vectors.nullRows(at));
        }
        if (score !== null) profiler.addScores(scoresOf(vectors, score));
        outputItems(output).fill(0, 0, rows);
        output.flush();
      },
    }),
  );
  const [counted] = await session.rows(`SELECT count(${name}(${expressions.join(', ')})) AS n FROM (${relation})`);
  const rows = Number(counted?.['n']);
  if (rows !== seen) throw new EngineFault('failed', `the profile saw ${seen} rows of ${rows}`, { seen, rows });
  return rows;
}

/** Vectors of 64-bit integers: whole numbers and instants. */
function isWide(type: DuckDBType): boolean {
  return type.typeId === BIGINT.typeId || type.toString().startsWith('TIMESTAMP');
}

function labelSql({ label, positive }: ProfileFilesOptions): string {
  const column = identifier(label ?? '');
  if (positive === undefined) return `CAST(${column} AS TINYINT)`;
  return `CAST(CAST(${column} AS VARCHAR) = ${literal(positive)} AS TINYINT)`;
}

function labelsOf(vectors: Vectors, at: number): Float64Array {
  const labels = Float64Array.from(vectors.numbers(at).subarray(0, vectors.rows));
  for (const row of vectors.nullRows(at)) labels[row] = Number.NaN;
  return labels;
}

function scoresOf(vectors: Vectors, at: number): Float64Array {
  return labelsOf(vectors, at);
}

function sliceRows(
  vectors: Vectors,
  codes: readonly { readonly slice: Slice; readonly at: number }[],
): Map<string, Int32Array> {
  const slices = new Map<string, Int32Array>();
  for (const { slice, at } of codes) {
    const values = vectors.numbers(at);
    const isNull = new Set(vectors.nullRows(at));
    const rows = slice.values.map((): number[] => []);
    for (let row = 0; row < vectors.rows; row++) if (!isNull.has(row)) rows[values[row]!]!.push(row);
    for (const [code, found] of rows.entries()) {
      if (found.length > 0) slices.set(sliceName(slice.column, slice.values[code]!), Int32Array.from(found));
    }
  }
  return slices;
}

function sliceName(column: string, value: string): string {
  return `${column}=${value}`;
}

/** Category columns, each grouped once for all rows and once per slice column. */
async function groupCategories(work: Scan): Promise<void> {
  for (const [index, { column }] of work.columns.entries()) {
    if (column.kind !== 'category') continue;
    await groupCategory(work, index, null);
    for (const slice of work.slices) await groupCategory(work, index, slice);
  }
}

async function groupCategory(work: Scan, index: number, slice: Slice | null): Promise<void> {
  const { session, relation, profiler, options } = work;
  const { name } = work.columns[index]!.column;
  const edges = options.baseline.columns[name];
  const vocabulary = edges?.kind === 'category' ? edges.vocabulary : [];
  const label = options.label == null ? 'NULL' : labelSql(options);
  const part = slice === null ? 'NULL' : `CAST(${identifier(slice.column)} AS VARCHAR)`;
  // A list parameter of 10,000 texts is a hash lookup; `IN` over literals would be compared one by one.
  const known = `(SELECT unnest([${vocabulary.map(literal).join(', ')}]::VARCHAR[]))`;
  const groups = `almanac_groups_${functions++}`;
  await session.run(
    `CREATE TEMP TABLE ${groups} AS SELECT CAST(${identifier(name)} AS VARCHAR) AS value, ${label} AS label, ` +
      `CAST(${part} AS VARCHAR) AS part, count(*) AS n FROM (${relation}) GROUP BY ALL`,
  );
  try {
    const select = `SELECT value, label, part, n FROM ${groups}`;
    const isKnown = `value IS NULL OR value IN ${known}`;
    const rows = await session.rows(`${select} WHERE ${isKnown} ORDER BY ALL`);
    const unseen = `WHERE NOT (${isKnown}) ORDER BY n DESC, value, label, part`;
    rows.push(...(await session.rows(`${select} ${unseen} LIMIT ${UNSEEN_GROUPS_MAX}`)));
    // What lies beyond the limit is counted by its length alone: the document shows twenty values at most.
    rows.push(
      ...(await session.rows(
        `SELECT repeat('?', length(value)::INTEGER) AS value, label, part, sum(n) AS n, true AS rest ` +
          `FROM (${select} ${unseen} OFFSET ${UNSEEN_GROUPS_MAX}) GROUP BY ALL`,
      )),
    );
    const names = slice === null ? null : new Set(slice.values);
    for (const row of rows) {
      const value = row['value'] === null ? null : String(row['value']);
      const labelled = row['label'] === null ? undefined : Number(row['label']);
      const target = row['part'] === null ? null : String(row['part']);
      if (slice !== null && (target === null || names?.has(target) !== true)) continue;
      profiler.addCategoryCount(index, value, Number(row['n']), {
        label: labelled,
        slice: slice === null || target === null ? null : sliceName(slice.column, target),
        anonymous: row['rest'] === true,
      });
    }
  } finally {
    await session.run(`DROP TABLE ${groups}`);
  }
}

async function duplicateKeys(
  session: DuckDbSession,
  relation: string,
  keys: ProfileFilesOptions['keys'] | null,
): Promise<Profile['keys']> {
  if (keys == null) return null;
  const path = `${keys.scratch}/key-hashes-${functions++}.parquet`;
  await writeKeyHashes(session, { relation, keys: keys.columns, path });
  return { columns: keys.columns, duplicates: await countDuplicateKeys(session, [path]), exact: true };
}
