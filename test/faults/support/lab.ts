/**
 * Where scoring jobs are disturbed: a project that was trained once and is copied for every case, a Temporal server and a
 * control worker of its own for each, and worker processes that a case may arm, freeze, kill or wrap as it likes. What counts
 * in the end is the multiset of rows in every column, and that the store is sound.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, makeTelemetryFilterString, NativeConnection, Runtime } from '@temporalio/worker';
import { createActivities } from '../../../src/activities/index.ts';
import { openAlmanac } from '../../../src/cli/up.ts';
import { readEnvironment, workerEnvironment } from '../../../src/config/environment.ts';
import { openProject, type Project } from '../../../src/config/project.ts';
import { scriptArguments } from '../../../src/dev/script.ts';
import { openTemporal, type TemporalServer } from '../../../src/dev/temporal-server.ts';
import { workflowId } from '../../../src/domain/ids.ts';
import { EnginePool } from '../../../src/engine/pool.ts';
import { verifyStore } from '../../../src/storage/audit.ts';
import { Catalog } from '../../../src/storage/catalog.ts';
import { collectUntilQuiet } from '../../../src/storage/collector.ts';
import { failpoints } from '../../../src/storage/failpoint.ts';
import { listAll, type ObjectStore } from '../../../src/storage/object-store.ts';
import { openStore } from '../../../src/storage/open.ts';
import { systemPorts } from '../../../src/storage/ports.ts';
import { PredictionsTable } from '../../../src/storage/table/predictions-table.ts';
import { createWorkers } from '../../../src/workers/create.ts';
import { openServices } from '../../../src/workers/services.ts';
import type { ScoreResult, TrainResult } from '../../../src/workflows/inputs.ts';
import { childrenOf } from '../../support/children-of.ts';
import { approveTrained, makeLateProject, makeWorld, model, start } from '../../support/late-project.ts';
import { until } from '../../support/until.ts';

/** As many days as there are steps at which a job can be disturbed. */
export const partitions = failpoints.map((_, index) =>
  new Date(Date.UTC(2025, 0, 29 + index)).toISOString().slice(0, 10),
);
const trainedAsOf = '2025-02-09';

/** All rows of a partition in all columns, as sorted lines of JSON: equal lists are equal multisets. */
type RowsByPartition = ReadonlyMap<string, readonly string[]>;

export interface Lab {
  /** What runs that nothing disturbed published. */
  readonly expected: RowsByPartition;
  openCase(name: string, options?: CaseOptions): Promise<Case>;
  close(): Promise<void>;
}

export interface CaseOptions {
  /** An S3 store in place of the project's folder, filled with a copy of the trained store; workers go through `proxy`. */
  readonly s3?: { readonly url: string; readonly endpoint: string; readonly proxy: string; readonly region: string };
  /** The store is not where this process sees it: the case's workers must take the control role as well. */
  readonly withoutControl?: boolean;
}

export interface Case {
  readonly project: Project;
  /** The store as it is, without any proxy. */
  readonly store: ObjectStore;
  readonly server: TemporalServer;
  /** A process that plans, scores, audits and commits; ready when the promise resolves. */
  startWorker(options?: WorkerOptions): Promise<WorkerProcess>;
  /** Starts the first generation of a partition and waits for its result. `window` is how many chunks are in flight. */
  score(partition: string, options?: { window?: number }): Promise<ScoreResult>;
  close(): Promise<void>;
}

export interface WorkerOptions {
  /** See `storage/failpoint.ts`. */
  readonly failpoints?: string;
  /** Default `data,scoring`. */
  readonly roles?: string;
  /** What is really started instead of the command. */
  readonly wrap?: (command: readonly string[]) => readonly string[];
}

export interface WorkerProcess {
  readonly pid: number;
  isAlive(): boolean;
  /** Frozen by a failpoint or by SIGSTOP. */
  isFrozen(): boolean;
  signal(name: NodeJS.Signals): void;
  /** Process ids of its engine children. */
  engineChildren(): readonly number[];
}

/** Trains and approves a model once, and scores one partition in peace. */
export async function openLab(): Promise<Lab> {
  const quiet = { forward: {}, filter: makeTelemetryFilterString({ core: 'ERROR', other: 'ERROR' }) };
  Runtime.install({ logger: new DefaultLogger('ERROR'), telemetryOptions: { logging: quiet }, shutdownSignals: [] });
  const root = await mkdtemp(join(tmpdir(), 'almanac-faults-'));
  await makeWorld(root);
  const trained = makeLateProject(root, 'trained');
  const almanac = await openAlmanac(trained, { log: () => {}, ui: false });
  try {
    const connection = await Connection.connect(almanac.server.target.connection);
    const client = new Client({ connection });
    const asOf = trainedAsOf;
    await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
    await approveTrained(client, trained, asOf);
    await connection.close();
  } finally {
    await almanac.close();
  }

  const openNamed = (name: string, options: CaseOptions = {}) => openCase(join(root, name), trained, options);
  const calm = await openNamed('calm');
  try {
    await calm.startWorker();
    for (const result of await Promise.all(partitions.map(partition => calm.score(partition))))
      assert.equal(result.kind, 'committed');
    const expected = await rowsOf(calm.store);
    assert.equal(expected.size, partitions.length);
    for (const rows of expected.values()) assert.ok(rows.length > 500);
    return { expected, openCase: openNamed, close: () => rm(root, { recursive: true, force: true }) };
  } finally {
    await calm.close();
  }
}

async function openCase(folder: string, trained: Project, { s3, withoutControl = false }: CaseOptions): Promise<Case> {
  mkdirSync(folder, { recursive: true });
  for (const part of ['almanac.yaml', 'models', 'data'])
    cpSync(join(trained.folder, part), join(folder, part), { recursive: true });
  if (s3 === undefined) cpSync(trained.store, join(folder, '.almanac/store'), { recursive: true });
  else {
    const lines = [`store: ${s3.url}`, `endpoint: ${s3.proxy}`, `region: ${s3.region}`];
    appendFileSync(join(folder, 'almanac.yaml'), `${lines.join('\n')}\n`);
  }
  const project = openProject(folder);
  const store = s3 === undefined ? openStore(project.store) : openStore(s3.url, s3);
  if (s3 !== undefined) await copyStore(openStore(trained.store), store);

  const { path, cacheFolder } = readEnvironment();
  const log = () => {};
  const server = await openTemporal({
    given: null,
    namespace: 'default',
    stateFolder: project.stateFolder,
    find: { path, cacheFolder, log },
    log,
    port: 0,
    ui: false,
  });
  const connection = await Connection.connect(server.target.connection);
  const client = new Client({ connection });
  const stopControl = withoutControl ? async () => {} : await startControl(project, server);
  const started: ChildProcess[] = [];

  return {
    project,
    store,
    server,
    startWorker: async (options = {}) => {
      const { child, ready } = spawnWorker(project, server.target.address, options);
      started.push(child);
      await ready;
      return processOf(child);
    },
    score: async (partition, { window } = {}) => {
      const job = { model, partition, generation: 1, ...(window === undefined ? {} : { window }) };
      const id = workflowId.score(model, partition, 1);
      await start(client, 'scoreModel', id, job);
      return await resultOf(client, id);
    },
    close: async () => {
      for (const child of started) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await stopControl();
      await connection.close();
      await server.close();
    },
  };
}

/** Workflows and light activities, in this process: nothing here is ever killed. */
async function startControl(project: Project, server: TemporalServer): Promise<() => Promise<void>> {
  const native = await NativeConnection.connect(server.target.connection);
  const { services, close } = await openServices({ project, target: server.target, executable: null });
  const activities = createActivities(services);
  const [worker] = await createWorkers({ connection: native, namespace: 'default', roles: ['control'], activities });
  const run = worker!.run();
  // Told when the case closes.
  run.catch(() => undefined);
  return async () => {
    worker!.shutdown();
    await run;
    await close();
    await native.close();
  };
}

function spawnWorker(
  project: Project,
  address: string,
  { failpoints, roles = 'data,scoring', wrap = command => command }: WorkerOptions,
) {
  const command = [
    process.execPath,
    ...scriptArguments('../../../src/workers/main', import.meta.url),
    ...['--project', project.folder, '--roles', roles, '--address', address, '--namespace', 'default'],
  ];
  const [program, ...argv] = wrap(command);
  mkdirSync(join(project.stateFolder, 'logs'), { recursive: true });
  const log = openSync(join(project.stateFolder, 'logs/workers.log'), 'a');
  const child = spawn(program!, argv, {
    stdio: ['ignore', log, log, 'ipc'],
    env: workerEnvironment(failpoints === undefined ? {} : { ALMANAC_FAILPOINTS: failpoints }),
  });
  const ready = new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve());
    child.once('exit', (code, signal) => {
      const said = readFileSync(join(project.stateFolder, 'logs/workers.log'), 'utf8');
      reject(new Error(`the worker ended with ${signal ?? code} before it was ready:\n${said.slice(-3000)}`));
    });
  });
  return { child, ready };
}

function processOf(child: ChildProcess): WorkerProcess {
  const pid = child.pid!;
  return {
    pid,
    isAlive: () => child.exitCode === null && child.signalCode === null,
    isFrozen: () => stateOf(pid) === 'T',
    signal: name => void child.kill(name),
    engineChildren: () => childrenOf(pid),
  };
}

/** One letter of `/proc/<pid>/stat`; empty when the process is gone. The name before it may hold blanks and parentheses. */
function stateOf(pid: number): string {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return '';
  const text = readFileSync(path, 'utf8');
  return text[text.lastIndexOf(')') + 2] ?? '';
}

/** The server may be away while somebody waits for a result. */
async function resultOf(client: Client, id: string): Promise<ScoreResult> {
  const deadline = Date.now() + 240_000;
  for (;;) {
    try {
      return await client.workflow.getHandle(id).result();
    } catch (error) {
      if (Date.now() > deadline || (error instanceof Error && error.name === 'WorkflowFailedError')) throw error;
      await sleep(500);
    }
  }
}

async function copyStore(source: ObjectStore, target: ObjectStore): Promise<void> {
  const listing = await listAll(source, '');
  if (listing.kind !== 'found') throw new Error(JSON.stringify(listing));
  for (const { key } of listing.value) {
    const object = await source.get(key);
    if (object.kind !== 'found') throw new Error(JSON.stringify(object));
    const put = await target.put(key, object.value.bytes);
    assert.equal(put.kind, 'applied', JSON.stringify(put));
  }
}

// --- What must be true afterwards -------------------------------------------------------------------------------------

export async function rowsOf(store: ObjectStore): Promise<RowsByPartition> {
  const table = new PredictionsTable(systemPorts(store), `predictions/${model}`);
  const { files } = await table.snapshot();
  const scratch = await mkdtemp(join(tmpdir(), 'almanac-faults-rows-'));
  const engine = new EnginePool({ size: 1, scratch: join(scratch, 'engine') });
  try {
    const lines = new Map<string, string[]>();
    for (const file of files) {
      const path = join(scratch, 'part.parquet');
      const found = await store.download(`${table.root}/${file.path}`, path);
      assert.equal(found.kind === 'found' && found.value.sha256, file.sha256, JSON.stringify(found));
      const query = { sql: 'SELECT * FROM part', tables: { part: [path] }, rowsMax: 10_000 };
      const { columns, rows } = await engine.run('query', query, { deadlineMs: 60_000 });
      const known = lines.get(file.partition) ?? [];
      for (const row of rows) known.push(JSON.stringify(columns.map(({ name }, index) => [name, row[index]])));
      lines.set(file.partition, known);
    }
    return new Map([...lines].map(([partition, rows]) => [partition, rows.sort()]));
  } finally {
    await engine.close();
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * Of every partition the rows are those of the undisturbed run, one entry of the log published them, every byte is what its
 * digest says, and what a killed attempt left behind is collected without touching anything else.
 */
export async function assertUndisturbed(lab: Lab, store: ObjectStore, scored: readonly string[]): Promise<void> {
  const expected = new Map(scored.map(partition => [partition, lab.expected.get(partition)]));
  assertRows(await rowsOf(store), expected);
  const ports = systemPorts(store);
  const table = new PredictionsTable(ports, `predictions/${model}`);
  const commits = (await table.history()).filter(({ decision }) => decision.kind === 'commit');
  assert.equal(commits.length, scored.length);
  const jobs = await new Catalog(ports).jobs(model);
  assert.deepEqual(
    jobs.map(job => job.ended?.outcome),
    scored.map(() => 'committed'),
  );
  assert.deepEqual((await verifyStore(store)).findings, []);

  await collectUntilQuiet(ports, table, { undecidedMs: 0, supersededMs: 0, minGenerations: 1 });
  const left = await listAll(store, `${table.root}/partition=`);
  const referenced = (await table.snapshot()).files.map(({ path }) => `${table.root}/${path}`);
  assert.deepEqual(left.kind === 'found' && left.value.map(({ key }) => key), referenced.sort());
  assertRows(await rowsOf(store), expected);
}

/** Says which partition differs and how, not twelve thousand rows. */
function assertRows(found: RowsByPartition, expected: ReadonlyMap<string, readonly string[] | undefined>): void {
  assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort());
  for (const [partition, rows] of found) {
    const wanted = expected.get(partition) ?? [];
    const known = new Set(rows);
    const missing = wanted.filter(row => !known.has(row)).slice(0, 3);
    assert.deepEqual({ partition, rows: rows.length, missing }, { partition, rows: wanted.length, missing: [] });
    assert.ok(
      rows.every((row, index) => row === wanted[index]),
      `${partition}: a row twice`,
    );
  }
}

export async function untilFrozen(worker: WorkerProcess): Promise<void> {
  await until(() => worker.isFrozen(), 90_000);
}

export async function untilDead(worker: WorkerProcess): Promise<void> {
  await until(() => !worker.isAlive(), 90_000);
}
