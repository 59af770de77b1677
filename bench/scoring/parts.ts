/**
 * What a pass is made of, in one process and one thread, in CPU time: `tsx parts.ts bound MODEL NO_MODEL FILE ROWS` and
 * `tsx parts.ts load MODEL [registered]`. Prints one JSON document.
 */
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { ArgumentList } from '../../src/engine/arguments.ts';
import { compileTrees } from '../../src/engine/compile-trees.ts';
import type * as kernelFiles from '../../src/engine/kernel-file.ts';
import { OnnxSession } from '../../src/engine/onnx-session.ts';
import { scoreChunk } from '../../src/engine/score.ts';
import type * as scorers from '../../src/engine/scorer.ts';
import { FEATURES } from './data.ts';
import { chunkJob, contract, signature } from './jobs.ts';
import { compiledModule } from './processes.ts';

const BATCH_ROWS = 2_048;
const ROUNDS = 3;

/** CPU µs per row, one entry per round. */
export interface BoundParts {
  /** `SELECT sum(…)` of all features, then `COPY` of the keys and one float column, in DuckDB alone. */
  readonly duckdb: readonly number[];
  /** A whole pass with a model that does nothing. */
  readonly noop: readonly number[];
  /** The model alone on rows in memory, as the pass runs it. */
  readonly model: readonly number[];
  readonly endToEnd: readonly number[];
}

/**
 * From the bytes of a model to a function that scores: what a chunk waits for. The first load compiles the trees and, unless
 * that was recorded when the version was registered, compares them with ONNX Runtime.
 */
export interface LoadParts {
  readonly first: Load;
  /** The same model where another child has left its kernel. */
  readonly kept: Load;
}

interface Load {
  readonly ms: number;
  readonly cpuMs: number;
}

const [command, model = '', ...rest] = process.argv.slice(2);
const found = command === 'load' ? await load(model, rest[0] === 'registered') : await bound(model, rest);
process.stdout.write(`${JSON.stringify(found)}\n`);

async function bound(onnx: string, [noModel = '', file = '', rows = '0']: readonly string[]): Promise<BoundParts> {
  const folder = await mkdtemp(join(tmpdir(), 'almanac-bench-'));
  const database = await DuckDBInstance.create(':memory:', { threads: '1' });
  const connection = await database.connect();
  const perRow = async (work: () => Promise<unknown>) => {
    const before = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / Number(rows);
  };
  const alone = async () => {
    await connection.run(`SELECT ${FEATURES.map(name => `sum(${name})`).join(', ')} FROM read_parquet('${file}')`);
    await connection.run(
      `COPY (SELECT id, ts, f0 FROM read_parquet('${file}')) TO '${join(folder, 'keys.parquet')}'
       (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, ROW_GROUP_SIZE 122880)`,
    );
  };
  const context = { progress: () => {}, scratch: folder, memoryMb: 2_048, signal: new AbortController().signal };
  const pass = (path: string) => () =>
    scoreChunk(chunkJob({ models: [path], input: file, rows: Number(rows), outputFolder: folder }), context);
  const batch = await batchFunction(onnx);
  const inMemory = async () => {
    for (let from = 0; from < Number(rows); from += BATCH_ROWS) batch();
  };
  const steps = { duckdb: alone, noop: pass(noModel), model: inMemory, endToEnd: pass(onnx) };
  const parts = { duckdb: [] as number[], noop: [] as number[], model: [] as number[], endToEnd: [] as number[] };
  // The first round loads and warms up.
  for (let round = -1; round < ROUNDS; round++) {
    for (const name of ['duckdb', 'noop', 'model', 'endToEnd'] as const) {
      const cpu = await perRow(steps[name]);
      if (round >= 0) parts[name].push(cpu);
    }
  }
  await rm(folder, { recursive: true, force: true });
  return parts;
}

/** One batch of rows in memory: compiled trees where there are any, ONNX Runtime otherwise. */
async function batchFunction(onnx: string): Promise<() => void> {
  const bytes = await readFile(onnx);
  const values = Float32Array.from({ length: BATCH_ROWS * FEATURES.length }, (_, i) => Math.sin(i) * 3);
  const compiled = compileTrees(bytes, 'p');
  if (compiled.kind === 'compiled') {
    const out = new Float32Array(BATCH_ROWS);
    return () => compiled.score(values, BATCH_ROWS, BATCH_ROWS, out);
  }
  const session = OnnxSession.load(bytes, onnx);
  return () => session.run({ x: session.tensor('float32', values, [BATCH_ROWS, FEATURES.length]) }, ['p']);
}

/** In a process that has done nothing else, from compiled code; the copy is what its cache of models does not know. */
async function load(onnx: string, isRegistered: boolean): Promise<LoadParts> {
  const folder = await mkdtemp(join(tmpdir(), 'almanac-bench-'));
  const copy = join(folder, 'copy.onnx');
  await copyFile(onnx, copy);
  const { loadScorer } = await compiledModule<typeof scorers>('engine/scorer.js');
  const { TREE_COMPILER } = await compiledModule<typeof kernelFiles>('engine/kernel-file.js');
  const compared = { rows: 4_096, largestDifference: 0, tolerance: 1e-6 };
  const recorded = { scorer: 'trees', reason: 'of a registered version', compared, compiler: TREE_COMPILER } as const;
  const loadOnce = async (path: string): Promise<Load> => {
    const args = new ArgumentList(FEATURES.map(name => ({ name, type: 'FLOAT' })));
    const [started, cpu] = [performance.now(), process.cpuUsage()];
    await loadScorer({
      version: 1,
      onnx: path,
      signature: signature(),
      contract: contract('warn'),
      args,
      rowsMax: BATCH_ROWS,
      batchRows: BATCH_ROWS,
      scorer: 'auto',
      recorded: isRegistered ? recorded : undefined,
      device: 'off',
      provider: 'cuda',
      scratch: tmpdir(),
      kernels: folder,
    });
    const { user, system } = process.cpuUsage(cpu);
    return { ms: performance.now() - started, cpuMs: (user + system) / 1_000 };
  };
  const found = { first: await loadOnce(onnx), kept: await loadOnce(copy) };
  await rm(folder, { recursive: true, force: true });
  return found;
}
