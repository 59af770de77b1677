/** Checkpoints for foreign readers of predictions and quarantine, written now and then after a commit. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkpointActions, checkpointEvery, publishCheckpoint } from '../storage/table/checkpoint.ts';
import type { PredictionsTable } from '../storage/table/predictions-table.ts';
import { inScratch, type Services } from './services.ts';

const checkpointMs = 10 * 60_000;

/**
 * Writes a checkpoint if a commit has just reached a version that gets one. The job is committed by then and stays so: what
 * goes wrong here is left for the checkpoint after the next `checkpointEvery` versions.
 */
export async function checkpointIfDue(services: Services, table: PredictionsTable, version: number): Promise<void> {
  if (version === 0 || version % checkpointEvery !== 0) return;
  await inScratch(services, folder => writeCheckpoint(services, table, { version, folder })).catch(() => undefined);
}

async function writeCheckpoint(
  services: Services,
  table: PredictionsTable,
  { version, folder }: { readonly version: number; readonly folder: string },
): Promise<void> {
  const actions = checkpointActions(await table.stateAt(version));
  const [lines, output] = [join(folder, 'actions.ndjson'), join(folder, 'checkpoint.parquet')];
  await writeFile(lines, actions.map(action => `${JSON.stringify(action)}\n`).join(''));
  const job = { actions: lines, rows: actions.length, output };
  await services.engine.run('delta-checkpoint', job, { deadlineMs: checkpointMs });
  await publishCheckpoint(services.ports, table.root, { version, actions: actions.length, file: output });
}
