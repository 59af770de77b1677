/** Freezes the edges of a baseline from reference rows. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDbSession } from '../duckdb.ts';
import type { BaselineJob, BaselineOutput } from '../job.ts';
import { buildBaseline } from '../profile/baseline.ts';
import { readerCall } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

export async function run(job: BaselineJob, context: VerbContext): Promise<BaselineOutput> {
  const session = await DuckDbSession.open({
    files: job.files,
    folders: [],
    limits: context,
  });
  try {
    const baseline = await buildBaseline(session, {
      relation: `SELECT * FROM ${readerCall(job.format ?? 'parquet', job.files)}`,
      columns: job.columns,
      number: job.number,
      reason: job.reason,
      score: job.score,
    });
    const path = join(job.outputFolder, 'baseline.json');
    await writeFile(path, JSON.stringify(baseline));
    return { baseline: path };
  } finally {
    session.close();
  }
}
