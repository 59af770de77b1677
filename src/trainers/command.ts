/**
 * The `command` trainer: a program of the user's, named in the model definition, that learns from Parquet files and leaves
 * an ONNX model. docs/how-to/command-trainer.md is the contract seen from the program.
 *
 *   spec.json, Parquet ─► program (own process group) ─► model.onnx, metrics.json, golden.parquet
 *                           └─ stdout: JSON lines with progress; everything it prints goes to train.log
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import type { ContractColumn } from '../domain/contract.ts';
import type { Signature } from '../domain/signature.ts';
import { EngineFault } from '../engine/fault.ts';

const TERM_GRACE_MS = 5_000;
const LOG_BYTES_MAX = 64 * 2 ** 20;
const LOG_TAIL_LINES = 20;
export const expectedFiles = ['model.onnx', 'metrics.json', 'golden.parquet'] as const;

/** What stands in spec.json. Paths are absolute. */
export interface CommandSpec {
  readonly schema: 'train-spec/1';
  readonly model: string;
  readonly task: Signature['task'];
  readonly seed: number;
  /** `weight`: the column that says how many rows each stands for; null where all rows count alike. */
  readonly label: { readonly column: string; readonly positive: string | null; readonly weight: string | null };
  /** Binary: [negative, positive]; multiclass: every class; regression: []. */
  readonly classes: readonly string[];
  readonly features: readonly Pick<ContractColumn, 'name' | 'type' | 'nulls' | 'values'>[];
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly trainFiles: readonly string[];
  readonly holdoutFiles: readonly string[];
  readonly outputFolder: string;
}

export interface CommandOptions {
  /** From the definition, never from workflow input. `{spec}` in an argument becomes the path of spec.json. */
  readonly argv: readonly string[];
  readonly spec: CommandSpec;
  /** Where relative names in `argv` are looked up: the project. */
  readonly workingFolder: string;
  /** The program's whole environment, besides ALMANAC_TRAIN_SPEC; it needs PATH to be found by name. */
  readonly environment: Readonly<Record<string, string>>;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CommandProgress) => void;
}

/** One JSON line of the program: `{"done": 3, "total": 100, "unit": "rounds", "loss": 0.41}`; only `done` is needed. */
export interface CommandProgress {
  readonly done: number;
  readonly total: number | null;
  readonly unit: string;
  readonly loss: number | null;
}

export interface CommandTrained {
  readonly onnx: string;
  readonly golden: string;
  readonly metrics: Readonly<Record<string, number | null>>;
  readonly log: string;
  readonly seconds: number;
}

/**
 * Runs the program to its end and checks what it left. Rejects with an EngineFault: `bad_job` when it cannot be started,
 * exits non-zero or leaves no usable files (permanent), `out_of_memory` when somebody killed it, `deadline`, `cancelled`.
 * After it settles no process of the group is left.
 */
export async function trainByCommand(options: CommandOptions): Promise<CommandTrained> {
  const started = performance.now();
  const { spec, argv } = options;
  const { outputFolder } = spec;
  await mkdir(outputFolder, { recursive: true });
  const specPath = join(outputFolder, 'spec.json');
  await writeFile(specPath, `${JSON.stringify(spec, null, 2)}\n`);
  const words = argv.map(word => word.replaceAll('{spec}', specPath));
  const [program, ...rest] = words;
  if (program === undefined || program === '') {
    throw new EngineFault('bad_job', 'trainer: command is empty; expected a program and its arguments');
  }
  const child = spawn(program, rest, {
    cwd: options.workingFolder,
    env: { ...options.environment, ALMANAC_TRAIN_SPEC: specPath },
    // A process group of its own, so that whatever the program starts can be stopped with it.
    detached: true,
    // Nobody writes to its input; it ends when this process does, so a program may watch it.
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const log = join(outputFolder, 'train.log');
  const tail = await untilExit(child, { ...options, argv: words, log });
  return { ...(await readOutputs(words, outputFolder, tail)), log, seconds: (performance.now() - started) / 1000 };
}

interface Watched extends CommandOptions {
  readonly log: string;
}

/** Resolves with the last log lines after exit code 0; rejects otherwise. */
async function untilExit(child: ChildProcess, options: Watched): Promise<readonly string[]> {
  const { argv, deadlineMs, signal } = options;
  let ended: EngineFault | null = null;
  let hardKill: NodeJS.Timeout | undefined;
  const endBecause = (fault: EngineFault) => {
    if (ended !== null) return;
    ended = fault;
    signalGroup(child, 'SIGTERM');
    hardKill = setTimeout(() => signalGroup(child, 'SIGKILL'), TERM_GRACE_MS);
  };
  const deadline = setTimeout(() => {
    endBecause(
      new EngineFault('deadline', `trainer ${quote(argv)}: not finished within ${deadlineMs} ms; it was stopped`, {
        argv,
        deadlineMs,
      }),
    );
  }, deadlineMs);
  const onAbort = () => endBecause(new EngineFault('cancelled', `trainer ${quote(argv)}: cancelled`, { argv }));
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted === true) onAbort();
  const output = collectOutput(child, options);
  try {
    const { code, killedBy } = await exitOf(child, options);
    // What the program started and did not wait for.
    signalGroup(child, 'SIGKILL');
    const tail = await output;
    if (ended !== null) throw ended;
    if (code !== 0) throw exitFault({ argv, code, killedBy, tail, log: options.log });
    return tail;
  } finally {
    clearTimeout(deadline);
    clearTimeout(hardKill);
    signal?.removeEventListener('abort', onAbort);
  }
}

function exitOf(
  child: ChildProcess,
  { argv, workingFolder }: Watched,
): Promise<{ code: number | null; killedBy: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code, killedBy) => resolve({ code, killedBy }));
    child.once('error', error => {
      if (child.pid !== undefined) return;
      reject(
        new EngineFault(
          'bad_job',
          `trainer ${quote(argv)}: cannot be started in ${workingFolder}: ${error.message}; check the program's name and PATH`,
          { argv, workingFolder },
          { cause: error },
        ),
      );
    });
  });
}

/** Writes both streams to the log and hands on progress lines; resolves with the last lines when both have ended. */
async function collectOutput(child: ChildProcess, { log, onProgress }: Watched): Promise<readonly string[]> {
  const file = createWriteStream(log);
  const tail: string[] = [];
  let written = 0;
  const take = (line: string) => {
    tail.push(line);
    if (tail.length > LOG_TAIL_LINES) tail.shift();
    if (written > LOG_BYTES_MAX) return;
    written += Buffer.byteLength(line) + 1;
    file.write(written > LOG_BYTES_MAX ? 'log cut off here\n' : `${line}\n`);
  };
  const lines = async (stream: NodeJS.ReadableStream | null, each: (line: string) => void) => {
    if (stream === null) return;
    for await (const line of createInterface({ input: stream })) each(line);
  };
  await Promise.all([
    lines(child.stdout, line => {
      take(line);
      const progress = progressOf(line);
      if (progress !== null) onProgress?.(progress);
    }),
    lines(child.stderr, take),
  ]);
  file.end();
  await finished(file);
  return tail;
}

/** A line of progress, or null: programs print other things too. */
function progressOf(line: string): CommandProgress | null {
  if (!line.startsWith('{')) return null;
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return null;
  }
  const member = (name: string): unknown => (parsed instanceof Object ? Reflect.get(parsed, name) : undefined);
  const [done, total, unit, loss] = ['done', 'total', 'unit', 'loss'].map(member);
  if (typeof done !== 'number') return null;
  return {
    done,
    total: typeof total === 'number' ? total : null,
    unit: typeof unit === 'string' ? unit : 'steps',
    loss: typeof loss === 'number' ? loss : null,
  };
}

function exitFault(given: {
  readonly argv: readonly string[];
  readonly code: number | null;
  readonly killedBy: NodeJS.Signals | null;
  readonly tail: readonly string[];
  readonly log: string;
}): EngineFault {
  const { argv, code, killedBy, tail, log } = given;
  const facts = { argv, exitCode: code, signal: killedBy, log, lastLines: tail };
  if (killedBy === 'SIGKILL') {
    return new EngineFault(
      'out_of_memory',
      `trainer ${quote(argv)}: killed by SIGKILL, most likely for lack of memory${lastLines(tail)}`,
      facts,
    );
  }
  const how = killedBy === null ? `exit code ${code}` : `killed by ${killedBy}`;
  return new EngineFault(
    'bad_job',
    `trainer ${quote(argv)}: ${how}, expected 0 and the files ${expectedFiles.join(', ')}${lastLines(tail)}`,
    facts,
  );
}

async function readOutputs(
  argv: readonly string[],
  folder: string,
  tail: readonly string[],
): Promise<Pick<CommandTrained, 'onnx' | 'golden' | 'metrics'>> {
  const found = await readdir(folder);
  const sizes = await Promise.all(
    expectedFiles.map(name =>
      stat(join(folder, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  const missing = expectedFiles.filter((_, index) => sizes[index] === 0);
  if (missing.length > 0) {
    throw new EngineFault(
      'bad_job',
      `trainer ${quote(argv)}: exit code 0, but ${missing.join(', ')} is missing or empty in ${folder}; ` +
        `expected ${expectedFiles.join(', ')}, found ${found.join(', ')}${lastLines(tail)}`,
      { argv, missing, found, lastLines: tail },
    );
  }
  return {
    onnx: join(folder, 'model.onnx'),
    golden: join(folder, 'golden.parquet'),
    metrics: parseMetrics(argv, await readFile(join(folder, 'metrics.json'), 'utf8')),
  };
}

/** metrics.json is one object of numbers (or null for undefined ones). */
function parseMetrics(argv: readonly string[], text: string): Record<string, number | null> {
  const fault = (found: string) =>
    new EngineFault(
      'bad_job',
      `trainer ${quote(argv)}: metrics.json: expected one object of numbers such as {"auc": 0.81}, found ${found}`,
      { argv },
    );
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw fault(`no JSON: ${text.slice(0, 80)}`);
  }
  if (!(parsed instanceof Object) || Array.isArray(parsed)) throw fault(text.slice(0, 80));
  const metrics: Record<string, number | null> = {};
  for (const [name, value] of Object.entries(parsed)) {
    if (typeof value !== 'number' && value !== null) throw fault(`"${name}": ${JSON.stringify(value)}`);
    metrics[name] = value;
  }
  return metrics;
}

/** The group may be gone already. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // ESRCH: nobody left to signal.
  }
}

function quote(argv: readonly string[]): string {
  return `"${argv.join(' ')}"`;
}

function lastLines(tail: readonly string[]): string {
  return tail.length === 0 ? '; it printed nothing' : `; last lines:\n${tail.join('\n')}`;
}
