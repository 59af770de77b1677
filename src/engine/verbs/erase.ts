/** Counts the rows of a subject in Parquet files and writes the files again without them; all other rows stay in order. */
import { join } from 'node:path';
import { DuckDbSession } from '../duckdb.ts';
import type { EraseJob, EraseOutput } from '../erase-job.ts';
import { EngineFault } from '../fault.ts';
import { writeWhole } from '../files.ts';
import { identifier, literal, PARQUET_OPTIONS, readerCall } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

export async function run(job: EraseJob, context: VerbContext): Promise<EraseOutput> {
  const session = await DuckDbSession.open({
    files: job.files,
    folders: job.outputFolder === null ? [] : [job.outputFolder],
    limits: context,
  });
  try {
    const files: { hits: number; kept: EraseOutput['files'][number]['kept'] }[] = [];
    for (const [index, path] of job.files.entries()) files.push(await eraseFrom(session, job, { index, path }));
    return { files };
  } finally {
    session.close();
  }
}

async function eraseFrom(
  session: DuckDbSession,
  { key, outputFolder }: EraseJob,
  { index, path }: { readonly index: number; readonly path: string },
): Promise<EraseOutput['files'][number]> {
  const relation = readerCall('parquet', [path]);
  const columns = (await session.describe(`SELECT * FROM ${relation}`)).map(({ name }) => name);
  const isKeyed = Object.keys(key).every(name => columns.includes(name));
  // NULL is nobody's key.
  const isSubject = isKeyed
    ? Object.entries(key)
        .map(([name, value]) => `coalesce(CAST(${identifier(name)} AS VARCHAR) = ${literal(value)}, false)`)
        .join(' AND ')
    : 'false';
  const [counted] = await session.rows(
    `SELECT count(*) AS n, count(*) FILTER (WHERE ${isSubject}) AS hits FROM ${relation}`,
  );
  const [rows, hits] = [Number(counted?.['n']), Number(counted?.['hits'])];
  if (outputFolder === null || rows === hits) return { hits, kept: null };
  const kept = await writeWhole(join(outputFolder, `kept-${index}.parquet`), temporary =>
    session.run(
      `COPY (SELECT * FROM ${relation} WHERE NOT (${isSubject})) TO ${literal(temporary)} ${PARQUET_OPTIONS}`,
    ),
  );
  if (kept.rows !== rows - hits) {
    throw new EngineFault(
      'failed',
      `${path}: ${rows} rows without ${hits} should be ${rows - hits}, found ${kept.rows}`,
    );
  }
  return { hits, kept };
}
