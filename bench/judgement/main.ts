/**
 * `npm run bench -- judgement`: the profile against the best hand-written numba script, on the same files in the same
 * minutes, and drift of ready profiles. Figures are CPU seconds inside the job, without start-up, imports and compilation:
 * they survive a busy machine better than wall time. 10M × 30 floats, two processes each.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Baseline, NumericEdges } from '../../src/domain/profile.ts';
import { DuckDbSession } from '../../src/engine/duckdb.ts';
import { buildBaseline } from '../../src/engine/profile/baseline.ts';
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';
import { driftMilliseconds } from './drift.ts';

const run_ = promisify(execFile);
const FEATURES = 30;
const FILES = 8;
const ROWS_PER_FILE = 1_250_000;
const ROUNDS = 3;
const CACHE = fileURLToPath(new URL('../../.cache/bench-judgement', import.meta.url));
const PEER_PACKAGES = ['numpy', 'numba', 'pyarrow'];

interface Cost {
  readonly cpu: number;
  readonly wall: number;
  readonly rows: number;
  readonly keysCpu?: number;
  readonly rssMb?: number;
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  const data = await prepare(options.log);
  const python = await preparePeer(options.log);
  const peers: number[] = [];
  const basic: number[] = [];
  const full: number[] = [];
  const notes: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    // Interleaved, so that a slow minute hits all three.
    if (python !== null) peers.push(cpuOf(await numba(python, data.files)));
    basic.push(cpuOf(await ours(data.equalWidth, data.files)));
    const parts = await ours(data.frozen, data.files);
    full.push(cpuOf(parts));
    const keys = parts.reduce((total, part) => total + (part.keysCpu ?? 0), 0);
    const rss = parts.reduce((total, part) => total + (part.rssMb ?? 0), 0);
    notes.push(
      `round ${round + 1}: key duplicates ${keys.toFixed(2)} CPU s apart, ${Math.round(rss)} MB in two processes`,
    );
    options.log(
      `round ${round + 1}: numba ${peers.at(-1)?.toFixed(2)}, equal bins ${basic.at(-1)?.toFixed(2)}, full record ${full.at(-1)?.toFixed(2)} CPU s`,
    );
  }
  const rows = FILES * ROWS_PER_FILE;
  notes.push(`full record: ${((median(full) * 1e9) / rows / FEATURES).toFixed(2)} ns CPU per cell, decode included`);
  const ratios: Ratio[] = [];
  if (peers.length > 0) {
    ratios.push(ratio('profile with 100 equal bins, numba / ours', median(basic), median(peers), 1, 'CPU s'));
  } else notes.push('numba could not be installed: no comparison with it');
  ratios.push(
    ratio('full record on frozen unequal edges, equal bins / full', median(full), median(basic), 0.5, 'CPU s'),
  );
  ratios.push(ratio('drift of two profiles of 1,000 columns, 100 ms / ours', driftMilliseconds(1000), 100, 1, 'ms'));
  return { bench: 'judgement', rounds: ROUNDS, ratios, notes };
}

function ratio(name: string, own: number, peer: number, wanted: number, unit: string): Ratio {
  const value = peer / own;
  return { name, ours: own, peer, ratio: value, wanted, met: value >= wanted, unit };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

function cpuOf(parts: readonly Cost[]): number {
  const rows = parts.reduce((total, part) => total + part.rows, 0);
  if (rows !== FILES * ROWS_PER_FILE) throw new Error(`profiled ${rows} rows, expected ${FILES * ROWS_PER_FILE}`);
  return parts.reduce((total, part) => total + part.cpu, 0);
}

/** Both halves of the files at once, each in a process of its own. */
async function ours(baseline: string, files: readonly string[]): Promise<Cost[]> {
  const child = fileURLToPath(new URL('profile-child.ts', import.meta.url));
  const half = (odd: number): readonly string[] => files.filter((_, i) => i % 2 === odd);
  return Promise.all(
    [0, 1].map(async odd => {
      const { stdout } = await run_(process.execPath, ['--import', 'tsx', child, baseline, ...half(odd)]);
      return JSON.parse(stdout) as Cost;
    }),
  );
}

async function numba(python: string, files: readonly string[]): Promise<Cost[]> {
  const script = fileURLToPath(new URL('peers/profile_numba.py', import.meta.url));
  const { stdout } = await run_(python, [script, ...files]);
  return JSON.parse(stdout) as Cost[];
}

/** A virtual environment with the peer's packages, or null where it cannot be installed. */
async function preparePeer(log: BenchOptions['log']): Promise<string | null> {
  const folder = fileURLToPath(new URL('../../.cache/bench-venv', import.meta.url));
  const python = `${folder}/bin/python`;
  try {
    if (!existsSync(python)) {
      log('installing numba and pyarrow');
      await run_('python3', ['-m', 'venv', folder]);
      await run_(python, ['-m', 'pip', 'install', '--quiet', ...PEER_PACKAGES]);
    }
    await run_(python, ['-c', `import ${PEER_PACKAGES.join(', ')}`]);
    return python;
  } catch (error) {
    log(`no peer: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    return null;
  }
}

/** The files, written once, and two baselines: equal-width bins and edges frozen from the first file. */
async function prepare(log: BenchOptions['log']): Promise<{ files: string[]; equalWidth: string; frozen: string }> {
  mkdirSync(CACHE, { recursive: true });
  const files = Array.from({ length: FILES }, (_, i) => `${CACHE}/part-${i}.parquet`);
  const session = await DuckDbSession.open({ files: [], folders: [CACHE], scratch: CACHE, memoryMb: 4000 });
  // A third each of continuous, rounded and counted features, as tables have them.
  const normal = 'sqrt(-2 * ln(1 - random())) * cos(6.283185307179586 * random())';
  const kinds = [normal, `round(${normal}, 2)`, 'floor(-5 * ln(1 - random()))'];
  const features = Array.from({ length: FEATURES }, (_, i) => `(${kinds[i % 3]})::FLOAT AS f${i}`).join(', ');
  for (const [i, path] of files.entries()) {
    if (existsSync(path)) continue;
    log(`writing ${path}`);
    const rows = `range(${i * ROWS_PER_FILE}, ${(i + 1) * ROWS_PER_FILE}) t(id)`;
    await session.run(`COPY (SELECT id, ${features} FROM ${rows}) TO '${path}' (FORMAT parquet, COMPRESSION zstd)`);
  }
  const columns = Array.from({ length: FEATURES }, (_, i) => `f${i}`);
  const relation = `SELECT * FROM read_parquet('${files[0]}')`;
  const frozen = await buildBaseline(session, { relation, columns, number: 1, reason: 'bench' });
  session.close();
  const equal: NumericEdges = {
    kind: 'numeric',
    edges: Array.from({ length: 99 }, (_, i) => -6 + (12 * (i + 1)) / 100),
    pivot: 0,
    fences: null,
    sentinels: [],
  };
  const equalWidth: Baseline = { ...frozen, columns: Object.fromEntries(columns.map(name => [name, equal])) };
  const paths = { equalWidth: `${CACHE}/equal-width.json`, frozen: `${CACHE}/frozen.json` };
  writeFileSync(paths.equalWidth, JSON.stringify(equalWidth));
  writeFileSync(paths.frozen, JSON.stringify(frozen));
  return { files, ...paths };
}
