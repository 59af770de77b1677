/** Training with a program of the user's, through the activities, a real store and real engine children. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createControl } from '../../src/activities/control.ts';
import { toFailure } from '../../src/activities/failures.ts';
import { fetchedBundle, type Services } from '../../src/activities/services.ts';
import { createSnapshots } from '../../src/activities/snapshot.ts';
import { createTraining } from '../../src/activities/training.ts';
import type { TrainedVersion } from '../../src/activities/types.ts';
import { openProject } from '../../src/config/project.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { InputTables } from '../../src/inputs/input-tables.ts';
import { Catalog } from '../../src/storage/catalog.ts';
import { openStore } from '../../src/storage/open.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { Bench, logisticModel } from '../engine/support/fixtures.ts';

let bench: Bench;
let services: Services;
const days = Array.from({ length: 12 }, (_, day) => `2025-03-${String(day + 1).padStart(2, '0')}`);

/** Leaves what a trainer has to leave: a model that was there before, metrics, and rows to check it with. */
const trainer = `
  const { copyFileSync, readFileSync, writeFileSync } = require('node:fs');
  const spec = JSON.parse(readFileSync(process.argv[2], 'utf8'));
  const leave = (name, from) => copyFileSync(from, spec.outputFolder + '/' + name);
  const metrics = values => writeFileSync(spec.outputFolder + '/metrics.json', JSON.stringify(values));
`;

beforeAll(async () => {
  bench = await Bench.create();
  const project = (name: string) => join(bench.folder, 'project', name);
  mkdirSync(project('models'), { recursive: true });
  writeFileSync(project('almanac.yaml'), 'people: {}\n');
  writeFileSync(project('model.onnx'), logisticModel([1, -1], 0));
  for (const [day, date] of days.entries()) {
    for (const table of ['features', 'labels']) mkdirSync(project(`${table}/date=${date}`), { recursive: true });
    const rows = (columns: string) => `SELECT i AS id, ${columns} FROM range(${40 * day}, ${40 * (day + 1)}) t(i)`;
    const features = rows('((i * 37) % 101)::DOUBLE AS a, ((i * 53) % 89)::DOUBLE AS b');
    await bench.parquet(`project/features/date=${date}/part.parquet`, features);
    const labels = rows('CASE WHEN (i * 37) % 101 > (i * 53) % 89 THEN 1 ELSE 0 END AS late');
    await bench.parquet(`project/labels/date=${date}/part.parquet`, labels);
  }
  const opened = openProject(join(bench.folder, 'project'));
  const ports = systemPorts(openStore(opened.store));
  const engine = new EnginePool({ size: 1, scratch: bench.path('scratch/engine') });
  services = {
    project: opened,
    ports,
    catalog: new Catalog(ports),
    engine,
    inputs: new InputTables({ folder: opened.folder, s3: {}, engine }),
    client: new Client({ connection: Connection.lazy() }),
    scratch: bench.path('scratch'),
    temporalCommand: 'temporal',
  };
});
afterAll(async () => {
  await services.engine.close();
  bench.close();
});

interface Training {
  readonly heartbeats: unknown[];
  readonly environment: MockActivityEnvironment;
  run(): Promise<TrainedVersion>;
  /** The training set once more, from the files as they are now. */
  rebuild(): Promise<unknown>;
}

/** A model of its own whose trainer is the program given as source text, with its data frozen and built. */
async function training(model: string, source: string, declared = ''): Promise<Training> {
  const program = join(services.project.folder, `${model}.cjs`);
  writeFileSync(program, trainer + source);
  const command = JSON.stringify([process.execPath, `${model}.cjs`, '{spec}']);
  writeFileSync(
    join(services.project.folder, 'models', `${model}.yaml`),
    `model: ${model}
task: binary
data:
  features: { path: "features/date={date}/*.parquet", keys: [id] }
  labels: { path: "labels/date={date}/*.parquet", column: late, positive: 1, horizon: 1d }
${declared}contract:
  columns: [{ name: a, type: double }, { name: b, type: double }]
train: { trainer: { command: ${command}, depth: 3 }, window: 8d, holdout: 2d, seed: 7 }
evaluate: { metric: auc, min: 0.5 }
`,
  );
  const environment = new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
  const within = <Result>(verb: () => Promise<Result>) => environment.run<[], Result, () => Promise<Result>>(verb);
  const heartbeats: unknown[] = [];
  environment.on('heartbeat', details => heartbeats.push(details));
  const { pinDefinition } = createControl(services);
  const { freezeSnapshot, buildTrainingData } = createSnapshots(services);
  const { trainVersion } = createTraining(services);
  const { definition } = await pinDefinition({ model });
  // What the file says from here on does not matter: the pinned definition does.
  writeFileSync(join(services.project.folder, 'models', `${model}.yaml`), 'model: changed\n');
  const plan = { model, definition, asOf: '2025-03-20', run: `train/${model}/2025-03-20`, trigger: 'user:ana' };
  const snapshot = await within(() => freezeSnapshot(plan));
  const rebuild = () => within(() => buildTrainingData({ ...plan, snapshot }));
  const data = await rebuild();
  return { heartbeats, environment, rebuild, run: () => within(() => trainVersion({ ...plan, snapshot, data })) };
}

async function failureOf(started: Promise<unknown>): Promise<unknown> {
  return await started.then(() => null, toFailure);
}

test('registers what the program left, with its metrics, its log and both sets of rows', async () => {
  const late = await training(
    'late',
    `console.log('learning', spec.features.map(({ name }) => name).join(), spec.classes.join(), spec.parameters.depth);
     leave('model.onnx', 'model.onnx'); leave('golden.parquet', spec.holdoutFiles[0]); metrics({ auc: 0.9 });
     console.log(JSON.stringify({ done: 40, total: 100, unit: 'rounds' }));
     setTimeout(() => {}, 3_500);`,
  );
  const version = await late.run();
  expect(version).toMatchObject({ version: 1, run: 'train/late/2025-03-20', metrics: { auc: 0.9 } });
  expect(late.heartbeats).toContainEqual({ done: 40, total: 100, unit: 'rounds' });

  const { catalog } = services;
  const run = await catalog.run('late', version.run);
  expect(run).toMatchObject({ status: 'succeeded', rows: { train: 320, holdout: 80 }, failure: null });
  await catalog.fetchArtifact(run?.log ?? '', bench.path('late.log'));
  expect(await readFile(bench.path('late.log'), 'utf8')).toContain('learning a,b 0,1 3');

  const registered = await catalog.version('late', 1);
  expect(registered.scorer).toMatchObject({ scorer: 'onnxruntime', reason: 'not a tree ensemble', compared: null });
  const reference = await catalog.profile(registered.profile ?? '');
  expect(reference.score).toMatchObject({ n: 80 });
  // A second attempt of the same run adopts what the first one registered.
  expect(await late.run()).toEqual(version);
  expect(await catalog.versions('late')).toHaveLength(1);
}, 120_000);

test('joins the tables of the transform as they were pinned, and refuses them changed', async () => {
  await bench.parquet('project/plans.parquet', 'SELECT i AS id, 1000::DOUBLE AS b FROM range(480) t(i)');
  const sql = 'SELECT f.id, f.a, p.b FROM features f JOIN plans p USING (id)';
  writeFileSync(join(services.project.folder, 'joined.sql'), sql);
  const joined = await training(
    'joined',
    `console.log('rows of', spec.trainFiles.length); leave('model.onnx', 'model.onnx');
     leave('golden.parquet', spec.trainFiles[0]); metrics({ auc: 0.9 });`,
    `  tables: { plans: { path: plans.parquet } }
  transform: joined.sql
`,
  );
  const version = await joined.run();
  const { bundle, snapshots } = await services.catalog.version('joined', version.version);
  const golden = join(await fetchedBundle(services, bundle), 'golden.parquet');
  expect(await bench.sql(`SELECT DISTINCT b FROM read_parquet('${golden}')`)).toEqual([{ b: 1000 }]);
  const snapshot = await services.catalog.snapshot(snapshots.features ?? '');
  expect(snapshot.tables?.['plans']).toMatchObject([{ path: 'plans.parquet', partition: '', rows: 480 }]);

  await bench.parquet('project/plans.parquet', 'SELECT i AS id, 2::DOUBLE AS b FROM range(480) t(i)');
  await expect(joined.rebuild()).rejects.toThrow('plans.parquet: expected');
});

test.each([
  [
    'crashing',
    `console.log('reading rows'); console.error('no such column: late'); process.exit(3)`,
    /crashing\.cjs.*: exit code 3, expected 0 and the files model\.onnx.*no such column: late/s,
  ],
  [
    'forgetful',
    `leave('golden.parquet', spec.trainFiles[0]); metrics({ auc: 0.9 }); console.log('all done')`,
    /forgetful\.cjs.*: exit code 0, but model\.onnx is missing.*last lines:\nall done/s,
  ],
])('a %s program is never tried again, and nothing is registered', async (model, source, message) => {
  const failure = await failureOf((await training(model, source)).run());
  expect(failure).toMatchObject({ type: 'Engine.bad_job', nonRetryable: true });
  expect(failure).toMatchObject({ message: expect.stringMatching(message) });
  expect(await services.catalog.versions(model)).toEqual([]);

  // The run stays, with its reason and all the program said.
  const run = await services.catalog.run(model, `train/${model}/2025-03-20`);
  expect(run).toMatchObject({ status: 'failed', rows: { train: 320, holdout: 80 }, metrics: {} });
  expect(run?.failure).toMatch(message);
  const log = bench.path(`${model}.log`);
  await services.catalog.fetchArtifact(run?.log ?? '', log);
  expect(await readFile(log, 'utf8')).toMatch(/no such column: late|all done/);
});

test('a run that failed can be started again under its name, and then counts as it ended', async () => {
  const before = await training('mended', `process.exit(1)`);
  await expect(before.run()).rejects.toThrow('exit code 1');
  const after = await training(
    'mended',
    `leave('model.onnx', 'model.onnx'); leave('golden.parquet', spec.holdoutFiles[0]); metrics({ auc: 0.9 });`,
  );
  expect(await after.run()).toMatchObject({ version: 1 });
  expect(await services.catalog.runs('mended')).toMatchObject([{ status: 'succeeded', failure: null }]);
});

test('cancelling the training stops the program', async () => {
  const endless = await training(
    'endless',
    `writeFileSync('endless.pid', String(process.pid)); setInterval(() => {}, 1_000);`,
  );
  const running = failureOf(endless.run());
  const pid = await eventually(() => Number(readFileSync(join(services.project.folder, 'endless.pid'), 'utf8')));
  endless.environment.cancel();
  expect(await running).toMatchObject({ kind: 'cancelled' });
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  expect(await services.catalog.versions('endless')).toEqual([]);
});

async function eventually(read: () => number): Promise<number> {
  for (let tries = 0; tries < 300; tries += 1) {
    try {
      return read();
    } catch {
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }
  throw new Error('the program never started');
}
