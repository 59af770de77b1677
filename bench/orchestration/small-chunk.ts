/** A scoring job of one small chunk on warm workers: from its start to the commit of its rows, in a project of its own. */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { openAlmanac } from '../../src/cli/up.ts';
import { workflowId } from '../../src/domain/ids.ts';
import { addDays } from '../../src/domain/time.ts';
import type { ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import { approveTrained, makeLateProject, makeWorld, model, start } from '../../test/support/late-project.ts';

/** The first days pay for starting engine children and compiling the model. */
const warmUp = 3;
const days = 12;

/** Milliseconds of each scoring job, a thousand rows in one chunk. */
export async function timeSmallChunks(log: (line: string) => void): Promise<readonly number[]> {
  const root = await mkdtemp(join(tmpdir(), 'almanac-bench-'));
  log('a project with forty days of a thousand rows');
  await makeWorld(root);
  const project = makeLateProject(root, 'project');
  const definition = join(project.folder, 'models', `${model}.yaml`);
  writeFileSync(definition, readFileSync(definition, 'utf8').replace('chunk_rows: 200', 'chunk_rows: 2000'));
  const almanac = await openAlmanac(project, { log: () => {}, ui: false });
  const connection = await Connection.connect(almanac.server.target.connection);
  const client = new Client({ connection });
  try {
    const asOf = '2025-01-27';
    await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
    await approveTrained(client, project, asOf);
    const found: number[] = [];
    for (let day = 0; day < warmUp + days; day++) {
      const [partition, generation] = [addDays('2025-01-10', day), 1];
      const started = performance.now();
      const id = workflowId.score(model, partition, generation);
      const job = await start<ScoreResult>(client, 'scoreModel', id, { model, partition, generation });
      const result = await job.result();
      if (result.kind !== 'committed') throw new Error(`${partition}: ${JSON.stringify(result)}`);
      if (day >= warmUp) found.push(performance.now() - started);
    }
    return found;
  } finally {
    await connection.close();
    await almanac.close();
    await rm(root, { recursive: true, force: true });
  }
}
