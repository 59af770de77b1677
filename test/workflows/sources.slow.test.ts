/** The same days as files of the project, as objects of a bucket and as a Delta table: the same predictions of the same model. */
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import { workflowId } from '../../src/domain/ids.ts';
import { S3Store } from '../../src/storage/s3.ts';
import type { ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import {
  approveTrained,
  catalogOf,
  makeLateProject,
  makeWorld,
  model,
  rowsOf,
  start,
} from '../support/late-project.ts';
import { type S3Server, startS3Server } from '../support/s3-server.ts';

const asOf = '2025-02-09';
const partition = '2025-02-08';

let root: string;
let server: S3Server;
let bucket: S3Store;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-sources-'));
  [server] = await Promise.all([startS3Server(), makeWorld(root)]);
  process.env['AWS_ACCESS_KEY_ID'] = server.credentials.accessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = server.credentials.secretAccessKey;
  bucket = new S3Store(
    { bucket: server.bucket, prefix: 'world' },
    { endpoint: server.endpoint, region: server.region },
  );
});
afterAll(async () => {
  bucket.close();
  await server.stop();
  await rm(root, { recursive: true, force: true });
});

/** Trains, approves and scores a day; gives every row of the table. */
async function runLoop(name: string, move: (project: Project) => Promise<void>) {
  const project = makeLateProject(root, name);
  await move(project);
  const almanac = await openAlmanac(project, { log: () => {}, ui: false });
  const connection = await Connection.connect(almanac.server.target.connection);
  try {
    const client = new Client({ connection });
    await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
    await approveTrained(client, project, asOf);
    const input = { model, partition, generation: 1 };
    const job = await start<ScoreResult>(client, 'scoreModel', workflowId.score(model, partition, 1), input);
    expect(await job.result()).toMatchObject({ kind: 'committed' });
    return { rows: await rowsOf(project), leakage: await leakageOf(project) };
  } finally {
    await connection.close();
    await almanac.close();
  }
}

/** What was looked for in the training data before anything was learned, and what came of it. */
async function leakageOf(project: Project): Promise<readonly string[]> {
  const [entry] = await catalogOf(project).evidenceList(model, { kind: 'leakage' });
  const { checks } = await catalogOf(project).evidence(entry?.digest ?? '');
  return checks.map(({ check, column, status }) => `${check} ${column} ${status}`);
}

/** Its tables as objects of the bucket; the project has no data of its own any more. */
async function toBucket(project: Project): Promise<void> {
  const data = join(project.folder, 'data');
  for (const path of await filesBelow(data)) {
    expect(await bucket.upload(path, join(data, path))).toMatchObject({ kind: 'applied' });
  }
  await rm(data, { recursive: true });
  await appendFile(join(project.folder, 'almanac.yaml'), `endpoint: ${server.endpoint}\nregion: ${server.region}\n`);
  await editDefinition(project, text => text.replaceAll('"data/', `"${bucket.url}/`));
}

/** The files stay where they are, and a log says that they are two tables partitioned by date. */
async function toDelta(project: Project): Promise<void> {
  for (const table of ['features', 'labels']) {
    const folder = join(project.folder, 'data', table);
    const actions: object[] = [
      { protocol: { minReaderVersion: 1, minWriterVersion: 2 } },
      { metaData: { id: table, schemaString: '{}', partitionColumns: ['date'], configuration: {} } },
    ];
    for (const path of await filesBelow(folder)) {
      const { size } = await stat(join(folder, path));
      const partitionValues = { date: /date=([^/]+)/.exec(path)?.[1] };
      actions.push({ add: { path, size, partitionValues, modificationTime: 0, dataChange: true } });
    }
    await mkdir(join(folder, '_delta_log'));
    const entry = actions.map(action => JSON.stringify(action)).join('\n');
    await writeFile(join(folder, '_delta_log', '00000000000000000000.json'), entry);
  }
  await editDefinition(project, text => text.replaceAll('date={date}/*.parquet"', 'date={date}", format: delta'));
}

async function editDefinition(project: Project, edit: (text: string) => string): Promise<void> {
  const path = join(project.folder, 'models', `${model}.yaml`);
  await writeFile(path, edit(await readFile(path, 'utf8')));
}

async function filesBelow(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter(entry => entry.isFile())
    .map(entry => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

test('where the days lie changes no prediction', { timeout: 600_000 }, async () => {
  const expected = await runLoop('files', async () => {});
  expect(expected.rows.length).toBeGreaterThan(900);
  expect(expected.leakage).toContain('leakage_known_at null pass');
  expect(await runLoop('bucket', toBucket)).toEqual(expected);
  expect(await runLoop('delta', toDelta)).toEqual(expected);
});
