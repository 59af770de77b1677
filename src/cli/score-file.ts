/**
 * `almanac score-file <model.onnx> <input> <output folder> --keys id`: the engine on files, without server, store or
 * definition. The output folder appears whole or not at all.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { deviceEnvironment } from '../config/device-environment.ts';
import { batchRows, type Chunk } from '../domain/scoring.ts';
import { EngineFault } from '../engine/fault.ts';
import type { ChunkReceipt, GpuProvider, InputRange, ScoreChunkJob } from '../engine/job.ts';
import { EnginePool } from '../engine/pool.ts';
import { CommandFailure, exitCode, note, print } from './output.ts';
import { assertUsage, deadlineMs, type Plan, planWork } from './score-file-plan.ts';
import { writeProfile } from './score-file-profile.ts';

export interface ScoreFileOptions {
  readonly model: string;
  /** A file, a folder, a pattern or a Delta table. */
  readonly input: string;
  /** Of a Delta table; default the newest. */
  readonly tableVersion?: number;
  readonly output: string;
  /** Columns copied to the output, in this order. */
  readonly keys: readonly string[];
  /** Feature columns in the order of training; default: numeric columns that are no keys, in file order. */
  readonly features?: readonly string[];
  readonly scorer?: 'auto' | 'onnxruntime';
  /** Read pages compressed with Brotli, which are refused otherwise: slow to read, and a favourite of bombs. */
  readonly allowBrotli?: boolean;
  /** Also profile inputs and predictions: `profile.json` and `baseline.json`, whose edges it was counted on. */
  readonly profile?: boolean;
  /** Edges to count on, of an earlier profile, so that both compare. Default: frozen from the first million rows. */
  readonly baseline?: string;
  readonly json?: boolean;
  /** Children; default one per core. */
  readonly processes?: number;
  readonly batchRows?: number;
  readonly chunkRows?: number;
  readonly device?: ScoreChunkJob['device'];
  readonly provider?: GpuProvider;
}

/** What `--json` prints. */
export interface ScoreFileResult {
  readonly rows: number;
  /** From the first chunk's start to the output's appearance; starting processes is not in it. */
  readonly seconds: number;
  readonly rows_per_s: number;
  /** All processes, their start included. */
  readonly cpu_us_per_row: number;
  /** Sum of the peaks of all processes. */
  readonly peak_rss_mb: number;
  readonly scorer: 'trees' | 'onnxruntime';
  readonly scorer_reason: string;
  readonly files: readonly { readonly path: string; readonly rows: number; readonly bytes: number }[];
  /** Path of the profile, with `--profile`. */
  readonly profile?: string;
  /** The version of the Delta table that was scored. */
  readonly table_version?: number;
}

/** Runs the command; throws `CommandFailure` with exit code 1 (failed) or 2 (usage). */
export async function scoreFile(options: ScoreFileOptions): Promise<void> {
  const result = await scoreFiles(options, note);
  if (options.json === true) print(JSON.stringify(result));
  else
    print(
      `${result.rows} rows in ${result.seconds.toFixed(1)} s (${perSecond(result.rows_per_s)}) → ${options.output}`,
    );
}

/** The command as a function: benches and tests call it. */
export async function scoreFiles(options: ScoreFileOptions, log: (line: string) => void): Promise<ScoreFileResult> {
  await assertUsage(options);
  const scratch = await mkdtemp(join(tmpdir(), 'almanac-score-'));
  const processes = options.processes ?? availableParallelism();
  const pool = new EnginePool({ size: processes, scratch, environment: deviceEnvironment() });
  const staging = join(dirname(resolve(options.output)), `.${basename(options.output)}.${randomUUID()}.partial`);
  try {
    pool.warm(1);
    const plan = await planWork(options, pool, { scratch, processes });
    await mkdir(staging, { recursive: true });
    const started = performance.now();
    const receipts = await scoreChunks(options, pool, plan, { staging, scratch, log });
    if (plan.baseline !== null) await writeProfile(plan.baseline, receipts, staging);
    await publish(staging, resolve(options.output));
    const seconds = (performance.now() - started) / 1_000;
    const { tableVersion } = plan;
    return {
      ...resultOf(options, receipts, seconds, pool),
      ...(tableVersion === null ? {} : { table_version: tableVersion }),
    };
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    const message = error instanceof Error ? error.message : String(error);
    const code = error instanceof EngineFault && error.kind === 'bad_job' ? exitCode.usage : exitCode.failed;
    throw new CommandFailure(`score-file: ${message}`, code, { cause: error });
  } finally {
    await pool.close();
    await rm(staging, { recursive: true, force: true });
    await rm(scratch, { recursive: true, force: true });
  }
}

interface Workplace {
  readonly staging: string;
  readonly scratch: string;
  readonly log: (line: string) => void;
}

/** All chunks through the pool; the first fault stops the rest. */
async function scoreChunks(
  options: ScoreFileOptions,
  pool: EnginePool,
  plan: Plan,
  { staging, scratch, log }: Workplace,
): Promise<readonly ChunkReceipt[]> {
  const stop = new AbortController();
  const done = new Map<number, number>();
  const progress = progressLine(plan.rows, log);
  const receipts: ChunkReceipt[] = [];
  let next = 0;
  const work = async () => {
    while (next < plan.chunks.length && !stop.signal.aborted) {
      const index = next++;
      const chunk = plan.chunks[index]!;
      const outputFolder = join(scratch, `chunk-${index}`);
      await mkdir(outputFolder, { recursive: true });
      const receipt = await pool.run('score-chunk', jobOf(options, plan, chunk, outputFolder), {
        deadlineMs,
        signal: stop.signal,
        onProgress: report => {
          done.set(index, report.done);
          progress(sum(done.values()));
        },
      });
      done.set(index, chunk.rows);
      progress(sum(done.values()));
      receipts[index] = await moved(receipt, join(staging, partName(index)));
    }
  };
  const workers = Array.from({ length: pool.size }, () =>
    work().catch((error: unknown) => {
      stop.abort();
      throw error;
    }),
  );
  const outcomes = await Promise.allSettled(workers);
  // The first fault is the cause; the others are its cancellations.
  const faults = outcomes.flatMap(outcome => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
  const cause = faults.find(fault => !(fault instanceof EngineFault && fault.kind === 'cancelled')) ?? faults[0];
  if (cause !== undefined) throw cause;
  return receipts;
}

function jobOf(options: ScoreFileOptions, plan: Plan, chunk: Chunk, outputFolder: string): ScoreChunkJob {
  const inputs = chunk.inputs.map((range): InputRange => {
    const file = plan.files.get(range.path)!;
    return {
      path: range.path,
      format: file.format,
      ...(range.rowGroups === undefined || file.format !== 'parquet' ? {} : { rowGroups: range.rowGroups }),
      ...(Object.keys(file.constants).length === 0 ? {} : { constants: file.constants }),
    };
  });
  return {
    inputs,
    rows: chunk.rows,
    tables: {},
    transform: null,
    contract: plan.contract,
    outputColumns: options.keys,
    models: [
      {
        version: 1,
        onnx: plan.model.onnx,
        signature: plan.model.signature,
        scorer: options.scorer ?? 'auto',
        part: { kind: 'champion' },
      },
    ],
    scoredAt: new Date(0).toISOString(),
    outputForm: 'predictions',
    baseline: plan.baseline,
    sliceColumns: [],
    dataset: basename(options.input),
    outputFolder,
    batchRows: options.batchRows ?? batchRows,
    device: options.device ?? 'off',
    ...(options.provider === undefined ? {} : { provider: options.provider }),
  };
}

function partName(index: number): string {
  return `part-${String(index).padStart(5, '0')}.parquet`;
}

async function moved(receipt: ChunkReceipt, path: string): Promise<ChunkReceipt> {
  if (receipt.predictions === null) return receipt;
  await moveFile(receipt.predictions.path, path);
  return { ...receipt, predictions: { ...receipt.predictions, path } };
}

/** Output and scratch may be on different file systems. */
async function moveFile(from: string, to: string): Promise<void> {
  await rename(from, to).catch(async () => {
    await copyFile(from, to);
    await rm(from);
  });
}

/** Renames the finished folder into place; an earlier output of the command is replaced. */
async function publish(staging: string, output: string): Promise<void> {
  if (!existsSync(output)) {
    await rename(staging, output);
    return;
  }
  const old = `${staging}.old`;
  await rename(output, old);
  await rename(staging, output);
  await rm(old, { recursive: true, force: true });
}

function resultOf(
  options: ScoreFileOptions,
  receipts: readonly ChunkReceipt[],
  seconds: number,
  pool: EnginePool,
): ScoreFileResult {
  const rows = sum(receipts.map(receipt => receipt.rowsScored));
  const { cpuSeconds, peakRssMb } = pool.usage();
  const used = receipts[0]?.scorers[0];
  return {
    rows,
    seconds,
    rows_per_s: Math.round(rows / seconds),
    cpu_us_per_row: rows === 0 ? 0 : (cpuSeconds * 1e6) / rows,
    peak_rss_mb: Math.round(peakRssMb),
    scorer: used?.scorer ?? 'onnxruntime',
    scorer_reason: used?.reason ?? 'no rows were scored',
    files: receipts.map((receipt, index) => ({
      path: join(options.output, partName(index)),
      rows: receipt.predictions?.rows ?? 0,
      bytes: receipt.predictions?.bytes ?? 0,
    })),
    ...(receipts.some(receipt => receipt.profile !== null) ? { profile: join(options.output, 'profile.json') } : {}),
  };
}

function progressLine(total: number, log: (line: string) => void): (rows: number) => void {
  const started = performance.now();
  let lastMs = started;
  return rows => {
    const now = performance.now();
    if (now - lastMs < 1_000) return;
    lastMs = now;
    const rate = rows / ((now - started) / 1_000);
    const left = rate > 0 ? `, ${Math.ceil((total - rows) / rate)} s left` : '';
    log(`${rows} of ${total} rows (${Math.floor((100 * rows) / Math.max(1, total))} %), ${perSecond(rate)}${left}`);
  };
}

function perSecond(rate: number): string {
  return rate >= 1e6 ? `${(rate / 1e6).toFixed(2)}M rows/s` : `${Math.round(rate / 1_000)}k rows/s`;
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
