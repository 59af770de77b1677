/**
 * Turns files of people into daily partitions of Parquet. CSV types are inferred from all rows, not from a sample, so a
 * text in the last line does not fail an import that the first 20,000 lines called a number.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import { stampFiles, writeWhole } from '../files.ts';
import type { ImportReceipt, ImportTableJob } from '../job.ts';
import { identifier, literal, PARQUET_OPTIONS, pathLiteral } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

const NULL_TEXTS = ['', 'NA', 'N/A', 'NULL', 'null'];

export async function run(job: ImportTableJob, context: VerbContext): Promise<ImportReceipt> {
  await stampFiles(job.files);
  const session = await DuckDbSession.open({
    files: job.files,
    folders: [job.outputFolder],
    limits: context,
  });
  try {
    const staged = join(context.scratch, 'staged.parquet');
    const rows = await session.run(`COPY (${await stagingSql(session, job)}) TO ${literal(staged)} ${PARQUET_OPTIONS}`);
    const reader = `read_parquet(${pathLiteral(staged)})`;
    await assertEveryRowHasPartition(session, reader, job);
    const days = await session.rows(
      `SELECT almanac_partition AS day, count(*) AS n FROM ${reader} GROUP BY ALL ORDER BY 1`,
    );
    const partitions: ImportReceipt['partitions'][number][] = [];
    for (const { day, n } of days) {
      const partition = String(day);
      const folder = join(job.outputFolder, `date=${partition}`);
      await mkdir(folder, { recursive: true });
      const select = `SELECT * EXCLUDE (almanac_partition) FROM ${reader} WHERE almanac_partition = ${literal(partition)}`;
      const file = await writeWhole(join(folder, 'data.parquet'), temporary =>
        session.run(`COPY (${select}) TO ${literal(temporary)} ${PARQUET_OPTIONS}`),
      );
      if (file.rows !== Number(n))
        throw new EngineFault('failed', `partition ${partition}: ${file.rows} of ${n} rows written`);
      partitions.push({ ...file, partition });
      context.progress({ done: partitions.length, total: days.length, unit: 'partitions', resume: partition });
    }
    const columns = await session.describe(`SELECT * EXCLUDE (almanac_partition) FROM ${reader}`);
    return { rows, columns, partitions };
  } finally {
    session.close();
  }
}

/** All rows with the partition they belong to, in partition order and within it in file order. */
async function stagingSql(session: DuckDbSession, job: ImportTableJob): Promise<string> {
  const reader = readerOf(job);
  const found = (await session.describe(`SELECT * FROM ${reader}`)).map(column => column.name);
  const wanted = job.columns ?? found;
  const by = 'column' in job.partitionBy ? job.partitionBy.column : null;
  const missing = [...wanted, ...(by === null ? [] : [by])].filter(name => !found.includes(name));
  if (missing.length > 0) {
    throw new EngineFault(
      'bad_input',
      `${job.files[0]}: no column ${missing.join(', ')}; columns found: ${found.join(', ')}`,
      {
        missing,
        found,
      },
    );
  }
  const partition =
    'constant' in job.partitionBy
      ? literal(job.partitionBy.constant)
      : `CAST(TRY_CAST(${identifier(job.partitionBy.column)} AS DATE) AS VARCHAR)`;
  const numbered = job.rowNumber === undefined ? '' : `, almanac_row AS ${identifier(job.rowNumber)}`;
  const rows = `SELECT ${wanted.map(identifier).join(', ')}${numbered}, ${partition} AS almanac_partition, almanac_row
    FROM (SELECT *, row_number() OVER () AS almanac_row FROM ${reader})`;
  const order = by === null ? 'almanac_row' : 'almanac_partition, almanac_row';
  return `SELECT * EXCLUDE (almanac_row) FROM (${rows}) ORDER BY ${order}`;
}

function readerOf(job: ImportTableJob): string {
  const files = `[${job.files.map(pathLiteral).join(', ')}]`;
  const union = 'union_by_name = true, hive_partitioning = false';
  switch (job.format) {
    case 'parquet':
      return `read_parquet(${files}, ${union})`;
    case 'json':
      return `read_json(${files}, ${union}, format = 'newline_delimited', sample_size = -1)`;
    case 'csv': {
      const nulls = (job.nullTexts ?? NULL_TEXTS).map(literal).join(', ');
      const types = Object.entries(job.types ?? {}).map(([name, type]) => `${literal(name)}: ${literal(type)}`);
      const typed = types.length === 0 ? '' : `, types = {${types.join(', ')}}`;
      return `read_csv(${files}, ${union}, sample_size = -1, nullstr = [${nulls}]${typed})`;
    }
  }
}

async function assertEveryRowHasPartition(session: DuckDbSession, reader: string, job: ImportTableJob): Promise<void> {
  const [counted] = await session.rows(`SELECT count(*) AS n FROM ${reader} WHERE almanac_partition IS NULL`);
  const bad = Number(counted?.['n']);
  if (bad > 0 && 'column' in job.partitionBy) {
    const { column } = job.partitionBy;
    throw new EngineFault(
      'bad_input',
      `${bad} row(s) have no date in ${column}; every row needs one to find its partition`,
      {
        column,
        rows: bad,
      },
    );
  }
}
