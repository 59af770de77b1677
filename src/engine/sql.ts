/** Quoting for DuckDB SQL, and the relations that read a job's files. Names and paths never enter SQL unquoted. */
import { EngineFault } from './fault.ts';
import type { FileFormat, InputRange, RowShare } from './job.ts';

/**
 * How Parquet is written. DuckDB tries a dictionary for every column until it has seen a fifth of a row group's rows differ,
 * which costs keys and scores a fifth of the writing; two vectors of different values are enough to give up.
 */
export const PARQUET_OPTIONS =
  '(FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 122880, DICTIONARY_SIZE_LIMIT 4096)';

/** A name as an SQL identifier. */
export function identifier(name: string): string {
  if (name.includes('\0'))
    throw new EngineFault('bad_job', `a column name contains a NUL character: ${JSON.stringify(name)}`);
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text as an SQL string literal. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** DuckDB expands globs in paths even when they are quoted, so a path that has any is refused. */
export function pathLiteral(path: string): string {
  if (/[*?[\]{}\0]/.test(path)) {
    throw new EngineFault(
      'bad_input',
      `the path ${path} contains one of * ? [ ] { }, which would be read as a pattern; rename it`,
      {
        path,
      },
    );
  }
  return literal(path);
}

/** First row number of each row group and, at the end, the row count. */
export type RowGroupStarts = ReadonlyMap<string, readonly number[]>;

/**
 * All inputs, in order, as one relation. Columns are matched by name; a column that some files lack is NULL there. Row
 * groups are selected by `file_row_number`, which prunes the others (LIMIT and OFFSET do not).
 */
export function inputRelation(inputs: readonly InputRange[], starts: RowGroupStarts): string {
  const scans: string[] = [];
  let whole: InputRange[] = [];
  const flush = () => {
    if (whole.length > 0) scans.push(scanFiles(whole));
    whole = [];
  };
  for (const input of inputs) {
    const last = whole.at(-1);
    if (input.rowGroups !== undefined) {
      flush();
      scans.push(scanRowGroups(input, input.rowGroups, starts));
    } else {
      if (last !== undefined && !readTogether(last, input)) flush();
      whole.push(input);
    }
  }
  flush();
  return scans.join('\nUNION ALL BY NAME\n');
}

function readTogether(a: InputRange, b: InputRange): boolean {
  return (
    (a.format ?? 'parquet') === (b.format ?? 'parquet') && JSON.stringify(a.constants) === JSON.stringify(b.constants)
  );
}

function scanFiles(files: readonly InputRange[]): string {
  const first = files[0]!;
  const reader = readerCall(
    first.format ?? 'parquet',
    files.map(file => file.path),
  );
  return `SELECT *${constantColumns(first)} FROM ${reader}`;
}

/** The table function that reads files of a format, matching columns by name. */
export function readerCall(format: FileFormat, paths: readonly string[]): string {
  const list = `[${paths.map(pathLiteral).join(', ')}]`;
  const options = `hive_partitioning = false${paths.length > 1 ? ', union_by_name = true' : ''}`;
  switch (format) {
    case 'parquet':
      return `read_parquet(${list}, ${options})`;
    case 'csv':
      return `read_csv(${list}, ${options}, sample_size = -1, nullstr = ['', 'NA', 'N/A', 'NULL', 'null'])`;
    case 'json':
      return `read_json(${list}, ${options}, format = 'newline_delimited', sample_size = -1)`;
  }
}

function scanRowGroups(input: InputRange, [from, to]: readonly [number, number], starts: RowGroupStarts): string {
  const rows = starts.get(input.path);
  const first = rows?.[from];
  const end = rows?.[to];
  if (first === undefined || end === undefined) {
    throw new EngineFault(
      'bad_input',
      `${input.path}: the plan asks for row groups ${from} to ${to}, the file has ${(rows?.length ?? 1) - 1}; plan the job again`,
      { path: input.path, from, to },
    );
  }
  return (
    `SELECT * EXCLUDE (file_row_number)${constantColumns(input)} FROM read_parquet([${pathLiteral(input.path)}], ` +
    `hive_partitioning = false, file_row_number = true) WHERE file_row_number BETWEEN ${first} AND ${end - 1}`
  );
}

function constantColumns(input: InputRange): string {
  return Object.entries(input.constants ?? {})
    .map(([name, value]) => `, ${literal(value)} AS ${identifier(name)}`)
    .join('');
}

/** True for the rows on this side of the split: by MD5 of seed and keys, so that order and files do not matter. */
export function rowShareSql({ side, share, seed }: RowShare, keys: readonly string[]): string {
  const texts = keys.map(key => `coalesce(CAST(${identifier(key)} AS VARCHAR), '')`);
  const hash = `md5_number_lower(concat_ws(chr(31), ${[String(seed), ...texts].join(', ')})) % 1000000`;
  return `${hash} ${side === 'holdout' ? '<' : '>='} ${Math.round(share * 1e6)}`;
}
