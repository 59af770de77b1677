/** `score-file --profile`: the edges to count on before the rows are scored, and one profile of all chunks after. */
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Profile } from '../domain/profile.ts';
import { mergeProfiles } from '../domain/profile-merge.ts';
import type { ChunkReceipt, Inspection, PreparedModel } from '../engine/job.ts';
import type { EnginePool } from '../engine/pool.ts';

/** Rows that a baseline is frozen from: enough for stable edges, and far less than a pass over everything. */
const BASELINE_ROWS = 1_000_000;
const DEADLINE_MS = 3_600_000;

/** Path of the baseline document, given or frozen from the first files; null where no profile is wanted. */
export async function baselineOf(
  options: { readonly profile?: boolean; readonly baseline?: string },
  pool: EnginePool,
  given: { readonly scratch: string; readonly inspection: Inspection; readonly model: PreparedModel },
): Promise<string | null> {
  if (options.baseline !== undefined) return resolve(options.baseline);
  if (options.profile !== true) return null;
  const { files } = given.inspection;
  const format = files[0]?.format ?? 'parquet';
  const chosen: string[] = [];
  let rows = 0;
  for (const file of files) {
    if (file.format !== format || rows >= BASELINE_ROWS) break;
    chosen.push(file.path);
    rows += file.rows;
  }
  const { signature } = given.model;
  const { baseline } = await pool.run(
    'baseline',
    {
      files: chosen,
      format,
      columns: signature.inputs.flatMap(input => input.columns.map(column => column.column)),
      number: 1,
      reason: 'score-file',
      score: signature.task === 'regression' ? null : { kind: 'probability' },
      outputFolder: given.scratch,
    },
    { deadlineMs: DEADLINE_MS },
  );
  return baseline;
}

/** `profile.json`, and beside it the edges it was counted on. */
export async function writeProfile(baseline: string, receipts: readonly ChunkReceipt[], folder: string): Promise<void> {
  const profiles: Profile[] = [];
  for (const { profile } of receipts) {
    if (profile !== null) profiles.push(JSON.parse(await readFile(profile, 'utf8')) as Profile);
  }
  await writeFile(join(folder, 'profile.json'), JSON.stringify(mergeProfiles(profiles)));
  await copyFile(baseline, join(folder, 'baseline.json'));
}
