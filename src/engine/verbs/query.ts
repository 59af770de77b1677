/** A small SELECT over declared files, checked like a transform. */
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import type { QueryJob, QueryResult } from '../job.ts';
import { identifier, inputRelation } from '../sql.ts';
import { checkSelect } from '../transform.ts';
import type { VerbContext } from '../verbs.ts';

const ROWS_MAX = 10_000;

export async function run(job: QueryJob, context: VerbContext): Promise<QueryResult> {
  const tables = Object.entries(job.tables).map(
    ([name, files]) => [name, files.map(file => (typeof file === 'string' ? { path: file } : file))] as const,
  );
  const session = await DuckDbSession.open({
    files: tables.flatMap(([, files]) => files.map(({ path }) => path)),
    folders: [],
    limits: context,
  });
  try {
    for (const [name, files] of tables) {
      await session.run(`CREATE VIEW ${identifier(name)} AS ${inputRelation(files, new Map())}`);
    }
    const sql = await checkSelect(session, job.sql, Object.keys(job.tables));
    const rowsMax = job.rowsMax ?? ROWS_MAX;
    const columns = await session.describe(sql);
    const rows = await session.jsonRows(`SELECT * FROM (${sql}) LIMIT ${rowsMax + 1}`);
    if (rows.length > rowsMax) {
      throw new EngineFault('bad_job', `the query gives more than ${rowsMax} rows; aggregate or add a LIMIT`, {
        rowsMax,
      });
    }
    return { columns, rows };
  } finally {
    session.close();
  }
}
