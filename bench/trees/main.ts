/**
 * Compiled trees against ONNX Runtime: the kernel alone, one thread, one process, rounds interleaved. The models are exports
 * of LightGBM and scikit-learn, made once by test/onnx/make_corpus.py in a virtual environment under .cache/.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import { compileTrees } from '../../src/engine/compile-trees.ts';
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';

const models = [
  { name: 'LightGBM 100 × 31 leaves', file: 'bench-100x31', wanted: 20 },
  { name: 'LightGBM 500 × 63 leaves', file: 'bench-500x63', wanted: 20 },
  { name: 'LightGBM 500 × 255 leaves', file: 'bench-500x255', wanted: 12 },
  { name: 'scikit-learn boosting, exact splits', file: 'bench-boosting-exact', wanted: 6 },
] as const;

const loadMsMax = 500;
const features = 30;
const rows = 16_384;
const rounds = 7;
const cache = fileURLToPath(new URL('../../.cache/', import.meta.url));

export async function run(options: BenchOptions): Promise<BenchResult> {
  makeModels(options);
  const ratios: Ratio[] = [];
  const notes: string[] = [];
  for (const { name, file, wanted } of models) {
    const path = `${cache}trees-bench/${file}.onnx`;
    const { speed, load, note } = await compare(readFileSync(path), { name, wanted });
    ratios.push(speed, load);
    notes.push(note);
    options.log(note);
  }
  return { bench: 'trees', rounds, ratios, notes };
}

function makeModels(options: BenchOptions): void {
  if (models.every(({ file }) => existsSync(`${cache}trees-bench/${file}.json`))) return;
  const script = fileURLToPath(new URL('../../test/onnx/make_corpus.py', import.meta.url));
  const pins = /pip install ([^"]*?)\n {4}\.cache/s.exec(readFileSync(script, 'utf8'))?.[1] ?? '';
  const python = `${cache}trees-venv/bin/python`;
  options.log('training the models of the bench (once, some minutes)');
  if (!existsSync(python)) {
    runProgram('python3', ['-m', 'venv', `${cache}trees-venv`]);
    runProgram(python, ['-m', 'pip', 'install', '-q', ...pins.replaceAll('\\', ' ').trim().split(/\s+/)]);
  }
  runProgram(python, [script, `${cache}trees-bench`, '--large']);
}

function runProgram(program: string, parameters: readonly string[]): void {
  const { status, error } = spawnSync(program, parameters, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0) throw new Error(`${program} ${parameters.join(' ')} failed (exit ${status})`, { cause: error });
}

async function compare(bytes: Uint8Array, model: { readonly name: string; readonly wanted: number }) {
  const session = await ort.InferenceSession.create(bytes, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const output = session.outputNames.at(-1) ?? '';
  const input = session.inputNames[0] ?? '';
  const start = performance.now();
  const compiled = compileTrees(bytes, output);
  const loadMs = performance.now() - start;
  if (compiled.kind === 'fallback') throw new Error(`${model.name}: ${compiled.reason}`);

  const { byRow, byColumn } = normalRows();
  const out = new Float32Array(rows * compiled.width);
  const ours = () => compiled.score(byColumn, rows, rows, out);
  // Its best batch: larger ones leave the cache, smaller ones pay for the call.
  const batch = 2048;
  const theirs = async () => {
    for (let from = 0; from < rows; from += batch) {
      const part = byRow.subarray(from * features, (from + batch) * features);
      await session.run({ [input]: new ort.Tensor('float32', part, [batch, features]) }, [output]);
    }
  };
  ours();
  await theirs();
  const pairs: { ours: number; theirs: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    pairs.push({ ours: await rate(ours, 400), theirs: await rate(theirs, 400) });
  }
  const ratio = median(pairs.map(pair => pair.ours / pair.theirs));
  const { large, bitsFromRows } = compiled.kernels;
  const speed: Ratio = {
    name: `${model.name}: kernel against ONNX Runtime, one thread`,
    ours: median(pairs.map(pair => pair.ours)),
    peer: median(pairs.map(pair => pair.theirs)),
    ratio,
    wanted: model.wanted,
    met: ratio >= model.wanted,
    unit: 'rows/s',
  };
  const load: Ratio = {
    name: `${model.name}: load against ${loadMsMax} ms`,
    ours: loadMs,
    peer: loadMsMax,
    ratio: loadMsMax / loadMs,
    wanted: 1,
    met: loadMs <= loadMsMax,
    unit: 'ms',
  };
  const note =
    `${model.name}: ${Math.round(speed.ours)} against ${Math.round(speed.peer)} rows/s (${ratio.toFixed(1)} ×), ` +
    `loaded in ${Math.round(loadMs)} ms, ${large} kernel from ${bitsFromRows} rows`;
  return { speed, load, note };
}

/** Rows per second, over whole passes of at least so many milliseconds. */
async function rate(pass: () => void | Promise<void>, atLeastMs: number): Promise<number> {
  const start = performance.now();
  let passes = 0;
  do {
    await pass();
    passes++;
  } while (performance.now() - start < atLeastMs);
  return (passes * rows * 1000) / (performance.now() - start);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** The same normal numbers row by row and column by column. */
function normalRows() {
  let state = 1;
  const uniform = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 1) / 2 ** 32;
  };
  const byRow = Float32Array.from({ length: rows * features }, () => {
    return Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  });
  const byColumn = new Float32Array(rows * features);
  for (let row = 0; row < rows; row++) {
    for (let feature = 0; feature < features; feature++) {
      byColumn[feature * rows + row] = byRow[row * features + feature] ?? 0;
    }
  }
  return { byRow, byColumn };
}
