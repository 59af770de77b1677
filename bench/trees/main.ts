/**
 * Compiled trees against ONNX Runtime, and with `--full` against lleaves: the kernel alone, one thread, rounds interleaved.
 * The models are exports of LightGBM and scikit-learn, trained once by make_models.py into .cache/bench/trees (some
 * minutes, most of it the conversion to ONNX).
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import { compileTrees } from '../../src/engine/compile-trees.ts';
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';

const models = [
  { name: 'LightGBM 100 × 31 leaves', file: 'lightgbm-100x31', wanted: 20, lleaves: true },
  { name: 'LightGBM 500 × 63 leaves', file: 'lightgbm-500x63', wanted: 20, lleaves: true },
  { name: 'LightGBM 500 × 255 leaves', file: 'lightgbm-500x255', wanted: 12, lleaves: false },
  { name: 'scikit-learn boosting, exact splits', file: 'boosting-exact', wanted: 6, lleaves: false },
] as const;

const packages = [
  ...['numpy==1.26.4', 'scikit-learn==1.5.2', 'lightgbm==4.5.0', 'onnx==1.17.0', 'skl2onnx==1.18.0'],
  ...['onnxmltools==1.13.0', 'onnxruntime==1.20.1', 'protobuf==4.25.5'],
];
/** The last LLVM binding with the pass manager that lleaves uses. */
const lleavesPackages = ['lleaves==1.3.0', 'llvmlite==0.43.0'];
const lleavesMin = 8;

const loadMsMax = 500;
const features = 30;
const rows = 16_384;
const rounds = 7;
const cache = fileURLToPath(new URL('../../.cache/bench/', import.meta.url));
const folder = `${cache}trees/`;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const python = makeModels(options);
  const ratios: Ratio[] = [];
  const notes: string[] = [];
  for (const { name, file, wanted, lleaves } of models) {
    const { speed, load, note } = await compare(readFileSync(`${folder}${file}.onnx`), { name, wanted });
    ratios.push(speed, load);
    notes.push(note);
    options.log(note);
    if (!options.full || !lleaves) continue;
    const peer = lleavesRate(python, file);
    if (typeof peer === 'string') notes.push(`${name}: lleaves was not measured: ${peer}`);
    else ratios.push(speedRatio(`${name}: kernel against lleaves, one thread`, speed.ours, peer, lleavesMin));
  }
  return { bench: 'trees', rounds, ratios, notes };
}

/** Trains what is not there yet; gives the interpreter. */
function makeModels(options: BenchOptions): string {
  const python = `${cache}trees-venv/bin/python`;
  const missing = models.map(({ file }) => file).filter(file => !existsSync(`${folder}${file}.onnx`));
  if (missing.length === 0 && !options.full) return python;
  if (!existsSync(python)) {
    options.log('making a Python environment');
    mkdirSync(cache, { recursive: true });
    runProgram('python3', ['-m', 'venv', `${cache}trees-venv`]);
    runProgram(python, ['-m', 'pip', 'install', '-q', ...packages]);
  }
  if (missing.length > 0) options.log(`training ${missing.join(', ')} (once, some minutes)`);
  for (const file of missing) runProgram(python, [script('make_models.py'), folder, file]);
  return python;
}

function script(name: string): string {
  return fileURLToPath(new URL(`./${name}`, import.meta.url));
}

/** Rows per second of a model that lleaves compiled, or why there is none: it needs an LLVM that fits and minutes. */
function lleavesRate(python: string, file: string): number | string {
  try {
    execFileSync(python, ['-m', 'pip', 'install', '-q', ...lleavesPackages], { stdio: 'ignore' });
    const printed = execFileSync(python, [script('lleaves_peer.py'), `${folder}${file}.txt`], { encoding: 'utf8' });
    return Number(printed.trim().split('\n').at(-1));
  } catch (error) {
    return error instanceof Error ? error.message.split('\n')[0]! : String(error);
  }
}

function runProgram(program: string, parameters: readonly string[]): void {
  const { status, error } = spawnSync(program, parameters, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0) throw new Error(`${program} ${parameters.join(' ')} failed (exit ${status})`, { cause: error });
}

function speedRatio(name: string, ours: number, peer: number, wanted: number, ratio = ours / peer): Ratio {
  return { name, ours, peer, ratio, wanted, met: ratio >= wanted, unit: 'rows/s' };
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
  const name = `${model.name}: kernel against ONNX Runtime, one thread`;
  const [mine, its] = [median(pairs.map(pair => pair.ours)), median(pairs.map(pair => pair.theirs))];
  const speed = speedRatio(name, mine, its, model.wanted, ratio);
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
