/** Small SELECTs, each over files of its own, one after the other in one session: opening one costs more than most of them. */
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import type { InputRange, QueriesJob, QueryJob, QueryResult } from '../job.ts';
import { identifier, inputRelation } from '../sql.ts';
import { checkSelect } from '../transform.ts';
import type { VerbContext } from '../verbs.ts';

const ROWS_MAX = 10_000;

export async function run({ queries }: QueriesJob, context: VerbContext): Promise<readonly QueryResult[]> {
  const files = queries.flatMap(({ tables }) => Object.values(tables).flatMap(asRanges));
  const session = await DuckDbSession.open({
    files: [...new Set(files.map(({ path }) => path))],
    folders: [],
    limits: context,
  });
  try {
    const results: QueryResult[] = [];
    for (const query of queries) {
      results.push(await answer(session, query));
      context.progress({ done: results.length, total: queries.length, unit: 'queries', resume: null });
    }
    return results;
  } finally {
    session.close();
  }
}

async function answer(session: DuckDbSession, query: QueryJob): Promise<QueryResult> {
  const { tables, rowsMax = ROWS_MAX } = query;
  for (const [name, files] of Object.entries(tables)) {
    await session.run(`CREATE OR REPLACE VIEW ${identifier(name)} AS ${inputRelation(asRanges(files), new Map())}`);
  }
  // A query sees its own tables only: those that an earlier one left are not declared here.
  const sql = await checkSelect(session, query.sql, Object.keys(tables));
  const columns = await session.describe(sql);
  const rows = await session.jsonRows(`SELECT * FROM (${sql}) LIMIT ${rowsMax + 1}`);
  if (rows.length > rowsMax) {
    throw new EngineFault('bad_job', `the query gives more than ${rowsMax} rows; aggregate or add a LIMIT`, {
      rowsMax,
    });
  }
  return { columns, rows };
}

function asRanges(files: readonly (string | InputRange)[]): readonly InputRange[] {
  return files.map(file => (typeof file === 'string' ? { path: file } : file));
}
