/**
 * What a durable step costs: 40 in a row, 1,000 at once, and from the trigger to the first activity. And what a small scoring
 * job costs, workflow and commit included.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { readEnvironment } from '../../src/config/environment.ts';
import { openTemporal } from '../../src/dev/temporal-server.ts';
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';
import { wantedParts } from '../parts.ts';
import { timeSmallChunks } from './small-chunk.ts';

const queue = 'bench';
const rounds = 5;
const steps = 40;
const parallel = 1000;
/** Published or measured by others on like machines: Airflow 1.2 s and Prefect 6.2 s to start, 2.9 s and 122 ms a step. */
const peers = { stepMs: 122, triggerMs: 1200, parallelMs: 12_000 };
const limits = { stepMs: 15, triggerMs: 100, parallelMs: 6_000, smallJobMs: 1_000 };

type Measured = Pick<BenchResult, 'ratios'> & { readonly notes: readonly string[] };

const PARTS: Readonly<Record<string, (options: BenchOptions) => Promise<Measured>>> = {
  steps: lightSteps,
  'small-job': smallJob,
};

export async function run(options: BenchOptions): Promise<BenchResult> {
  Runtime.install({ logger: new DefaultLogger('WARN') });
  const ratios: Ratio[] = [];
  const notes: string[] = [];
  for (const part of wantedParts(Object.keys(PARTS), options)) {
    const measured = await PARTS[part]!(options);
    ratios.push(...measured.ratios);
    notes.push(...measured.notes);
  }
  return { bench: 'orchestration', rounds, ratios, notes };
}

async function smallJob({ log }: BenchOptions): Promise<Measured> {
  const jobs = await timeSmallChunks(log);
  const ms = median(jobs);
  const { smallJobMs } = limits;
  const name = 'a scoring job of one small chunk, workflow and commit included, against its limit';
  return {
    ratios: [
      { name, ours: ms, peer: smallJobMs, ratio: smallJobMs / ms, wanted: 1, met: ms <= smallJobMs, unit: 'ms' },
    ],
    notes: [`scoring jobs of 1,000 rows: ${Math.min(...jobs).toFixed(0)} to ${Math.max(...jobs).toFixed(0)} ms`],
  };
}

async function lightSteps(options: BenchOptions): Promise<Measured> {
  const { path, cacheFolder } = readEnvironment();
  const stateFolder = await mkdtemp(join(tmpdir(), 'almanac-bench-'));
  const find = { path, cacheFolder, log: options.log };
  const server = await openTemporal({
    given: null,
    namespace: 'default',
    stateFolder,
    find,
    log: options.log,
    port: 0,
    ui: false,
  });
  const native = await NativeConnection.connect(server.target.connection);
  const worker = await Worker.create({
    connection: native,
    taskQueue: queue,
    workflowsPath: fileURLToPath(new URL('./workflows.ts', import.meta.url)),
    activities: { nothing: async () => {}, started: async () => Date.now() },
  });
  const connection = await Connection.connect(server.target.connection);
  const client = new Client({ connection });
  const execute = <Result>(type: string, args: readonly unknown[]): Promise<Result> =>
    client.workflow.execute(type, { taskQueue: queue, workflowId: `${type}-${randomUUID()}`, args: [...args] });
  try {
    return await worker.runUntil(async () => {
      await execute('stepsInARow', [5]);
      const rows: number[] = [];
      const fans: number[] = [];
      const triggers: number[] = [];
      for (let round = 0; round < rounds; round += 1) {
        rows.push((await timed(() => execute('stepsInARow', [steps]))) / steps);
        fans.push(await timed(() => execute('stepsInParallel', [parallel])));
        const before = Date.now();
        triggers.push((await execute<number>('firstActivity', [])) - before);
        options.log(`round ${round + 1} of ${rounds}: ${rows.at(-1)?.toFixed(1)} ms a step`);
      }
      return {
        ratios: [
          ratio('one light step, of 40 in a row', median(rows), limits.stepMs, peers.stepMs),
          ratio('1,000 light steps at once', median(fans), limits.parallelMs, peers.parallelMs),
          ratio('trigger to first activity', median(triggers), limits.triggerMs, peers.triggerMs),
        ],
        notes: [
          `limits: ${limits.stepMs} ms a step, ${limits.triggerMs} ms to the first activity; met when ours is below`,
          'peer figures are published ones (Prefect a step, Airflow to start, the dev server with its defaults for 1,000), not of this run',
        ],
      };
    });
  } finally {
    await connection.close();
    await native.close();
    await server.close();
    await rm(stateFolder, { recursive: true, force: true });
  }
}

function ratio(name: string, ours: number, limit: number, peer: number): Ratio {
  return { name, ours, peer, ratio: peer / ours, wanted: peer / limit, met: ours <= limit, unit: 'ms' };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[values.length >> 1] ?? Number.NaN;
}
