/** Both sides as processes of their own: the built command, and Python in an environment of its own. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ScoreFileResult } from '../../src/cli/score-file.ts';
import { FEATURES } from './data.ts';

export const CACHE: string = fileURLToPath(new URL('../../.cache/bench/', import.meta.url));
export const WORK: string = join(CACHE, 'scoring');
export const BATCH_ROWS = 2_048;
const SCRIPT_MS_MAX = 600_000;

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const DIST = join(CACHE, 'dist');
const run = promisify(execFile);

/** One whole run, process starts included. */
export interface Rate {
  readonly rows: number;
  readonly seconds: number;
}

export interface Run extends Rate {
  readonly cpuUsPerRow: number;
  /** Peaks of all processes together. */
  readonly rssMb: number;
}

/** Compiles the sources, as users run them; a run from TypeScript would measure the loader too. */
export async function buildOurs(log: (line: string) => void): Promise<void> {
  log('compiling src/');
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const info = join(CACHE, 'dist.tsbuildinfo');
  await mkdir(CACHE, { recursive: true });
  const options = ['-p', join(ROOT, 'tsconfig.build.json'), '--outDir', DIST, '--tsBuildInfoFile', info];
  // A type error elsewhere is for the checks to say; the code is written all the same.
  await run(process.execPath, [tsc, ...options, '--noEmitOnError', 'false'], { cwd: ROOT }).catch(() => {});
  if (!existsSync(join(DIST, 'cli/main.js'))) throw new Error('src/ was not compiled; run npm run check');
  await run(process.execPath, [join(ROOT, 'scripts/bundle.mjs'), DIST]);
}

/** The compiled module of that name; children it starts run compiled code too. */
export function compiledModule<M>(path: string): Promise<M> {
  return import(join(DIST, path)) as Promise<M>;
}

export interface OursOptions {
  readonly named?: boolean;
}

export async function runOurs(model: string, input: string, options: OursOptions = {}): Promise<Run> {
  const output = join(WORK, 'ours');
  await rm(output, { recursive: true, force: true });
  const started = performance.now();
  const features = options.named === true ? [] : ['--features', FEATURES.join(',')];
  const { stdout } = await run(process.execPath, [
    join(DIST, 'command/almanac.js'),
    ...['score-file', model, input, output, '--keys', 'id,ts', '--batch-rows', String(BATCH_ROWS), '--json'],
    ...features,
  ]);
  const result = JSON.parse(stdout) as ScoreFileResult;
  return {
    rows: result.rows,
    seconds: (performance.now() - started) / 1_000,
    cpuUsPerRow: result.cpu_us_per_row,
    rssMb: result.peak_rss_mb,
  };
}

export interface PeerOptions {
  /** The first so many of the files. */
  readonly files?: number;
  readonly shadow?: string;
  readonly named?: boolean;
}

export async function runPeer(python: string, model: string, input: string, options: PeerOptions = {}): Promise<Run> {
  const started = performance.now();
  const { stdout } = await run(python, [
    fileURLToPath(new URL('./peer.py', import.meta.url)),
    ...[model, input, join(WORK, 'peer'), String(availableParallelism()), String(BATCH_ROWS)],
    ...(options.files === undefined ? [] : ['--files', String(options.files)]),
    ...(options.shadow === undefined ? [] : ['--nightly', options.shadow]),
    ...(options.named === true ? ['--named'] : []),
  ]);
  const { rows, cpu_s, rss_mb } = JSON.parse(stdout) as PeerFigures;
  // As our side is timed: the whole process, its start included.
  const seconds = (performance.now() - started) / 1_000;
  return { rows, seconds, cpuUsPerRow: (cpu_s / rows) * 1e6, rssMb: rss_mb };
}

interface PeerFigures {
  readonly rows: number;
  readonly cpu_s: number;
  readonly rss_mb: number;
}

/** Another Python script; its last line says rows and seconds. What it starts are no children of ours to be measured. */
export async function runScript(python: string, script: string, parameters: readonly string[]): Promise<Rate> {
  const path = fileURLToPath(new URL(`./${script}`, import.meta.url));
  const { stdout } = await run(python, [path, ...parameters], { maxBuffer: 2 ** 26, timeout: SCRIPT_MS_MAX });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Rate;
}

/** A script of this folder in a process of its own; gives what it prints. `flags` are of Node. */
export async function runPart<T>(
  script: string,
  parameters: readonly string[],
  flags: readonly string[] = [],
): Promise<T> {
  const path = fileURLToPath(new URL(`./${script}`, import.meta.url));
  const { stdout } = await run(process.execPath, [...flags, '--import', 'tsx', path, ...parameters], { cwd: ROOT });
  return JSON.parse(stdout) as T;
}

/** A virtual environment in the cache, made once. */
export function preparePython(name: string, packages: readonly string[], log: (line: string) => void): string {
  const folder = join(CACHE, name);
  const python = join(folder, 'bin', 'python');
  const done = packages.every(wanted => {
    try {
      execFileSync(python, ['-m', 'pip', 'show', '-q', wanted], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
  if (done) return python;
  log(`making a Python environment with ${packages.join(', ')}`);
  if (!existsSync(python)) execFileSync('python3', ['-m', 'venv', folder], { stdio: 'ignore' });
  execFileSync(python, ['-m', 'pip', 'install', '-q', ...packages], { stdio: 'ignore' });
  return python;
}
