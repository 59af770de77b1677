/**
 * What users need every night: contract rules, profile and a shadow version in one pass, through the pool of a worker. The
 * process that holds the pool is this one, so its event loop is watched here too.
 */
import { mkdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type * as poolModule from '../../src/engine/pool.ts';
import { FEATURES, FILES } from './data.ts';
import { chunkJob } from './jobs.ts';
import { compiledModule, type Run, WORK } from './processes.ts';

const DEADLINE_MS = 3_600_000;

export interface NightlyRun extends Run {
  /** Delays of the event loop that holds the pool, in ms. */
  readonly loopDelay: { readonly max: number; readonly p99: number };
}

export interface Night {
  readonly model: string;
  readonly shadow: string;
  readonly input: string;
  /** The first so many of the files, of so many rows each. */
  readonly files?: number;
  readonly fileRows: number;
}

export async function runNightly({ model, shadow, input, files = FILES, fileRows }: Night): Promise<NightlyRun> {
  const { EnginePool } = await compiledModule<typeof poolModule>('engine/pool.js');
  const folder = join(WORK, 'nightly');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const baseline = await freezeBaseline(EnginePool, input, folder);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const ownCpu = process.cpuUsage();
  const started = performance.now();
  delay.enable();
  const pool = new EnginePool({ size: availableParallelism(), scratch: join(folder, 'scratch') });
  let cpuSeconds = 0;
  await Promise.all(
    Array.from({ length: files }, async (_, file) => {
      const outputFolder = join(folder, `chunk-${file}`);
      await mkdir(outputFolder);
      const path = join(input, `part-${file}.parquet`);
      const job = chunkJob({ models: [model, shadow], input: path, rows: fileRows, outputFolder, baseline });
      const receipt = await pool.run('score-chunk', job, { deadlineMs: DEADLINE_MS });
      cpuSeconds += receipt.cpuSeconds;
      if (receipt.rowsScored !== fileRows) throw new Error(`${path}: ${receipt.rowsScored} of ${fileRows} rows scored`);
    }),
  );
  delay.disable();
  const seconds = (performance.now() - started) / 1_000;
  const { peakRssMb } = pool.usage();
  await pool.close();
  const { user, system } = process.cpuUsage(ownCpu);
  const rows = files * fileRows;
  return {
    rows,
    seconds,
    cpuUsPerRow: ((cpuSeconds + (user + system) / 1e6) / rows) * 1e6,
    rssMb: peakRssMb,
    loopDelay: { max: delay.max / 1e6, p99: delay.percentile(99) / 1e6 },
  };
}

/** Edges of bins from one file; frozen once in a model's life, so not part of the night. */
async function freezeBaseline(Pool: typeof poolModule.EnginePool, input: string, folder: string): Promise<string> {
  const pool = new Pool({ size: 1, scratch: join(folder, 'baseline-scratch') });
  const outputFolder = join(folder, 'baseline');
  await mkdir(outputFolder);
  const job = {
    files: [join(input, 'part-0.parquet')],
    columns: FEATURES,
    number: 1,
    reason: 'bench',
    score: { kind: 'probability' },
    outputFolder,
  } as const;
  const { baseline } = await pool.run('baseline', job, { deadlineMs: DEADLINE_MS });
  await pool.close();
  return baseline;
}
