/** A scoring job of one small chunk on warm workers: from its start to the commit of its rows, in a project of its own. */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { openAlmanac } from '../../src/cli/up.ts';
import { addDays } from '../../src/domain/time.ts';
import { makeLateProject, makeWorld, model, scorePartition, trainAndApprove } from '../../test/support/late-project.ts';

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
    await trainAndApprove(client, project, '2025-01-27');
    const found: number[] = [];
    for (let day = 0; day < warmUp + days; day++) {
      const started = performance.now();
      await scorePartition(client, addDays('2025-01-10', day));
      if (day >= warmUp) found.push(performance.now() - started);
    }
    return found;
  } finally {
    await connection.close();
    await almanac.close();
    await rm(root, { recursive: true, force: true });
  }
}
