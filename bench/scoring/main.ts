/**
 * Parquet to Parquet against the best script its users would write (pyarrow row groups + onnxruntime, one process per
 * core, contiguous batches of 2,048). Whole runs of both sides, process starts included, in turn, over the same files;
 * the figure is the median of the ratios of neighbouring runs.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DuckDBInstance } from '@duckdb/node-api';
import { scoreFiles } from '../../src/cli/score-file.ts';
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';
import { denseModel, treeModel } from './models.ts';

const CACHE = fileURLToPath(new URL('../../.cache/bench/', import.meta.url));
const WORK = join(CACHE, 'scoring');
const PEER = fileURLToPath(new URL('./peer.py', import.meta.url));
const FEATURES = Array.from({ length: 30 }, (_, i) => `f${i}`);
const BATCH_ROWS = 2_048;
const RSS_MB_MAX = 550;

interface Run {
  readonly seconds: number;
  readonly cpuUsPerRow: number;
  readonly rssMb: number;
  readonly note: string;
}

interface Case {
  readonly name: string;
  readonly model: () => Uint8Array;
  readonly rows: number;
  readonly wanted: number;
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  const rounds = 3;
  const rows = 10_000_000;
  const treeRows = options.full ? rows : 1_000_000;
  const cases: readonly Case[] = [
    { name: 'logistic', model: () => denseModel([30, 1], 1), rows, wanted: 1 },
    { name: 'MLP 30-256-128-1', model: () => denseModel([30, 256, 128, 1], 2), rows, wanted: 1 },
    { name: 'trees 500 × 63', model: () => treeModel(500, 63, 3), rows: treeRows, wanted: 14 },
  ];
  const python = preparePython(options.log);
  const ratios: Ratio[] = [];
  const notes: string[] = [];
  for (const one of cases) {
    const data = await generateRows(one.rows, options.log);
    const model = join(WORK, `${one.name.replaceAll(/\W+/g, '-')}.onnx`);
    await writeFile(model, one.model());
    const pairs: { readonly ours: Run; readonly peer: Run }[] = [];
    for (let round = 0; round < rounds; round++) {
      const ours = await runOurs(model, data);
      const peer = runPeer(python, model, data, one.rows);
      options.log(`${one.name}, round ${round + 1}: ${describe(ours)} against ${describe(peer)}`);
      pairs.push({ ours, peer });
    }
    const seconds = (pick: (pair: (typeof pairs)[number]) => number) => median(pairs.map(pick));
    ratios.push(
      judged({
        name: `${one.name} end to end`,
        ours: one.rows / seconds(({ ours }) => ours.seconds),
        peer: one.rows / seconds(({ peer }) => peer.seconds),
        ratio: seconds(({ ours, peer }) => peer.seconds / ours.seconds),
        wanted: one.wanted,
        unit: 'rows/s',
      }),
      judged({
        name: `${one.name}: CPU per row`,
        ours: seconds(({ ours }) => ours.cpuUsPerRow),
        peer: seconds(({ peer }) => peer.cpuUsPerRow),
        ratio: seconds(({ ours, peer }) => peer.cpuUsPerRow / ours.cpuUsPerRow),
        wanted: one.wanted,
        unit: 'µs',
      }),
    );
    const rssMb = Math.max(...pairs.map(({ ours }) => ours.rssMb));
    ratios.push(
      judged({
        name: `${one.name}: peak RSS`,
        ours: rssMb,
        peer: RSS_MB_MAX,
        ratio: RSS_MB_MAX / rssMb,
        wanted: 1,
        unit: 'MB',
      }),
    );
    notes.push(`${one.name}: ${pairs[0]!.ours.note}`);
  }
  return { bench: 'scoring', rounds, ratios, notes };
}

function judged(ratio: Omit<Ratio, 'met'>): Ratio {
  return { ...ratio, met: ratio.ratio >= ratio.wanted };
}

/** All processes of the command: the memory of this process, which the bench itself needs, is part of it. */
async function runOurs(model: string, input: string): Promise<Run> {
  const started = performance.now();
  const result = await scoreFiles(
    { model, input, output: join(WORK, 'ours'), keys: ['id', 'ts'], features: FEATURES, batchRows: BATCH_ROWS },
    () => {},
  );
  return {
    seconds: (performance.now() - started) / 1_000,
    cpuUsPerRow: result.cpu_us_per_row,
    rssMb: result.peak_rss_mb,
    note: `${result.scorer}: ${result.scorer_reason}`,
  };
}

function runPeer(python: string, model: string, input: string, rows: number): Run {
  const argv = [PEER, model, input, join(WORK, 'peer'), String(availableParallelism()), String(BATCH_ROWS)];
  const found = JSON.parse(execFileSync(python, argv, { encoding: 'utf8' })) as Record<string, number>;
  if (found['rows'] !== rows) throw new Error(`the peer scored ${found['rows']} of ${rows} rows`);
  return { seconds: found['seconds']!, cpuUsPerRow: (found['cpu_s']! / rows) * 1e6, rssMb: found['rss_mb']!, note: '' };
}

function describe({ seconds, cpuUsPerRow, rssMb }: Run): string {
  return `${seconds.toFixed(1)} s, ${cpuUsPerRow.toFixed(2)} CPU µs/row, ${Math.round(rssMb)} MB`;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/** A virtual environment in the cache, made once. */
function preparePython(log: (line: string) => void): string {
  const folder = join(CACHE, 'venv');
  const python = join(folder, 'bin', 'python');
  if (!existsSync(python)) {
    log('making a Python environment with the peers');
    execFileSync('python3', ['-m', 'venv', folder], { stdio: 'ignore' });
    execFileSync(python, ['-m', 'pip', 'install', '-q', 'pyarrow', 'onnxruntime', 'numpy'], { stdio: 'ignore' });
  }
  return python;
}

/** Keys, 10 normal, 10 rounded and 10 count features, in 8 files; from hashes, so equal on every machine. */
async function generateRows(rows: number, log: (line: string) => void): Promise<string> {
  const folder = join(WORK, `rows-${rows}`);
  const done = join(folder, '_SUCCESS');
  if (existsSync(done)) return folder;
  log(`generating ${rows} rows`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  const uniform = (k: number) => `((hash(i * 37 + ${k}) >> 11)::DOUBLE / 9007199254740992.0)`;
  const columns = FEATURES.map((name, k) => {
    if (k < 10) return `sqrt(-2 * ln(${uniform(k)} + 1e-12)) * cos(6.2831853 * ${uniform(k + 100)}) AS ${name}`;
    return k < 20
      ? `round((${uniform(k)} - 0.5) * 6, 2) AS ${name}`
      : `floor(pow(${uniform(k)}, 3) * 12) - 2 AS ${name}`;
  }).map(column => column.replace(/^(.*) AS (\w+)$/, '($1)::FLOAT AS $2'));
  const files = 8;
  for (let file = 0; file < files; file++) {
    const range = `range(${(file * rows) / files}, ${((file + 1) * rows) / files})`;
    await connection.run(
      `COPY (SELECT (i * 7919 + 13)::BIGINT AS id, TIMESTAMP '2026-01-01' + to_microseconds(i * 1000003) AS ts,
        ${columns.join(', ')} FROM ${range} t(i))
       TO '${join(folder, `part-${file}.parquet`)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)`,
    );
  }
  instance.closeSync();
  await writeFile(done, '');
  return folder;
}
