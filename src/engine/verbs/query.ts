/** A small SELECT over declared files, checked like a transform. */
import type { QueryJob, QueryResult } from '../job.ts';
import type { VerbContext } from '../verbs.ts';
import { run as runQueries } from './queries.ts';

export async function run(job: QueryJob, context: VerbContext): Promise<QueryResult> {
  const [result] = await runQueries({ queries: [job] }, context);
  return result!;
}
