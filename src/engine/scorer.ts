/** A loaded model as a function from a vector of rows to numbers: the same shape for ONNX Runtime and compiled trees. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Contract } from '../domain/contract.ts';
import type { ScorerComparison, ScorerRecord } from '../domain/model-version.ts';
import type { OutputTensor, Signature, TensorType } from '../domain/signature.ts';
import { type OnnxModel, readModel } from '../onnx/read.ts';
import type { ArgumentList } from './arguments.ts';
import type { FeedSpec } from './batched/messages.ts';
import { BatchQueue } from './batched/queue.ts';
import { BatchSession } from './batched/session.ts';
import { columnMajorModel } from './column-major.ts';
import { assertGpuHasOperators, demandGpu, type GpuModel, openOnGpu } from './device.ts';
import { EngineFault } from './fault.ts';
import type { GpuProvider, ScoreChunkJob, ScorerUsed } from './job.ts';
import { type KernelFile, KernelStore } from './kernel-file.ts';
import { cachedModel } from './model-cache.ts';
import { OnnxSession, type OnnxTensor } from './onnx-session.ts';
import { type FilledTensor, type Layout, TensorFiller } from './tensors.ts';
import {
  compareOnInput,
  describe,
  INPUT_GATE_ROWS,
  type LoadedTrees,
  loadTrees,
  recordFor,
  reopenTrees,
  treeFeatures,
} from './tree-scorer.ts';
import type { Vectors } from './vectors.ts';

export type Numbers = Float32Array | Float64Array;

export interface Scorer {
  readonly version: number;
  readonly signature: Signature;
  /** Numbers per row: 1 (probability of the positive class), one per class, or one per target. */
  readonly width: number;
  /** Predictions of the rows [from, to), row after row; valid until the next call. */
  score(vectors: Vectors, from: number, to: number): Numbers;
  /** Set when the model answers in its own time: rows are offered here first, and `score` gives the answers in order. */
  readonly queue?: BatchQueue;
  used(): ScorerUsed;
  /** Keeps what scoring has shown, for other children. Call it when the rows are written. */
  settle?(): Promise<void>;
}

export interface ScorerOptions {
  readonly version: number;
  readonly onnx: string;
  readonly signature: Signature;
  readonly contract: Contract;
  readonly args: ArgumentList;
  /** The most rows that `score` is asked for at once. */
  readonly rowsMax: number;
  /** Rows per call that the job asks for; more than `rowsMax` need a queue. */
  readonly batchRows: number;
  readonly scorer: 'auto' | 'onnxruntime';
  /** Of the version; see `ModelToScore`. */
  readonly recorded?: ScorerRecord | undefined;
  readonly device: ScoreChunkJob['device'];
  readonly provider: GpuProvider;
  readonly scratch: string;
  /** Folder of compiled trees that children share; without it nothing is kept. */
  readonly kernels?: string | undefined;
}

/** What decides how a model is loaded, whoever scores with it. */
interface ModelOptions extends Omit<ScorerOptions, 'version' | 'contract' | 'args'> {
  /** What is in the file, where the caller has read it. */
  readonly model?: OnnxModel;
}

/** Compiles the trees of a model and compares them, so that the children of the pool find them. */
export async function compileAhead(
  { onnx, model, signature }: { readonly onnx: string; readonly model: OnnxModel; readonly signature: Signature },
  { scratch, kernels }: ScorerFolders,
): Promise<void> {
  const rows = 2_048;
  const where = { device: 'off', provider: 'cuda', scratch, kernels } as const;
  const options = { onnx, model, signature, scorer: 'auto', ...where } as const;
  await cached({ ...options, rowsMax: rows, batchRows: rows }, `the model ${onnx}`);
}

export type ScorerFolders = Pick<ScorerOptions, 'scratch' | 'kernels'>;

function cached(options: ModelOptions, label: string): ReturnType<typeof loadModel> {
  const { scorer, device, provider, batchRows } = options;
  const form = `${scorer} ${JSON.stringify(recordFor(options.recorded))} ${device} ${provider} ${batchRows}`;
  return cachedModel(options.onnx, form, () => loadModel(options, label));
}

export async function loadScorer(options: ScorerOptions): Promise<Scorer> {
  const label = `model version ${options.version} (${options.onnx})`;
  const loaded = await cached(options, label);
  switch (loaded.kind) {
    case 'trees':
      return treeScorer(options, loaded, label);
    case 'batches':
      return batchScorer(options, loaded, label);
    case 'session':
      return onnxScorer(options, loaded, label);
  }
}

interface LoadedSession {
  readonly kind: 'session';
  readonly session: OnnxSession;
  readonly layout: Layout;
  readonly providers: ScorerUsed['providers'];
  /** Why ONNX Runtime serves the model, and the comparison that decided it, if there was one. */
  readonly reason: string;
  readonly compared: ScorerComparison | null;
  close(): void;
}

/** A model on a thread of its own. */
interface LoadedBatches {
  readonly kind: 'batches';
  readonly session: BatchSession;
  readonly reason: string;
  close(): void;
}

/**
 * Compiled trees where they may; otherwise the model on a GPU where one is wanted and there, or on the CPU as it is or,
 * where it can, changed to take columns.
 */
async function loadModel(options: ModelOptions, label: string): Promise<LoadedTrees | LoadedSession | LoadedBatches> {
  const { onnx, signature, scorer, device, provider, kernels } = options;
  const bytes = options.model?.bytes ?? (await readFile(onnx));
  const store = kernels === undefined ? null : new KernelStore(kernels, bytes, signature);
  const keep = async (file: KernelFile) => store?.write(file);
  const recorded = recordFor(options.recorded);
  const maySkipRuntime = scorer === 'auto' && recorded?.scorer !== 'onnxruntime';
  if (maySkipRuntime && device !== 'require') {
    const kept = (await store?.read()) ?? null;
    if (kept !== null) return reopenTrees(kept, { open: () => OnnxSession.load(bytes, label), keep, recorded });
  }
  const session = OnnxSession.load(bytes, label);
  assertSignature(session, signature, label);
  const model = options.model ?? readModel(bytes);
  const { node: nodes } = model.graph;
  if (device === 'require') {
    session.close();
    assertGpuHasOperators(nodes, label, provider);
    return batchesOf(await demandGpu(gpuModel(options, bytes, label)), `on ${provider}, as required`);
  }
  const trees = maySkipRuntime
    ? await loadTrees(model, signature, {
        reference: session,
        output: predictionOutput(signature, label).name,
        keep,
        recorded,
      })
    : ({ kind: 'fallback', ...runtimeByChoice(scorer, recorded) } as const);
  if (trees.kind === 'trees') return trees;

  const gpu = device === 'prefer' ? await openOnGpu(gpuModel(options, bytes, label)) : null;
  if (gpu?.kind === 'open') {
    session.close();
    return batchesOf(gpu.session, `${trees.reason}; on ${provider}, operators it lacks on the CPU`);
  }
  const reason = gpu === null ? trees.reason : `${trees.reason}; on the CPU: ${gpu.reason}`;
  if (options.batchRows > options.rowsMax) {
    session.close();
    const model = { ...gpuModel(options, bytes, label), provider: 'cpu' };
    return batchesOf(await BatchSession.open(model), `${reason}; in batches larger than a vector`);
  }
  const providers = { CPUExecutionProvider: nodes.length };
  const columns = scorer === 'onnxruntime' ? null : columnMajorModel(bytes);
  const why = { providers, reason, compared: trees.compared ?? null };
  if (columns === null) return sessionOf(session, 'rows', why);
  session.close();
  return sessionOf(OnnxSession.load(columns, label), 'columns', why);
}

/** Why ONNX Runtime serves a model whose trees are not even compiled. */
function runtimeByChoice(scorer: ModelOptions['scorer'], recorded: ScorerRecord | null) {
  if (scorer === 'onnxruntime' || recorded === null) return { reason: 'demanded' };
  return { reason: `recorded at registration: ${recorded.reason}`, compared: recorded.compared };
}

function gpuModel(options: ModelOptions, model: Uint8Array, label: string): GpuModel {
  const { signature, provider, batchRows, scratch } = options;
  return {
    model,
    label,
    provider,
    feeds: feedSpecs(signature),
    output: predictionOutput(signature, label).name,
    profilePrefix: join(scratch, `placement-${randomUUID()}`),
    batchRows,
  };
}

function feedSpecs(signature: Signature): readonly FeedSpec[] {
  return signature.inputs.map(({ name, type, rank, columns }) => ({ name, type, rank, width: columns.length }));
}

function batchesOf(session: BatchSession, reason: string): LoadedBatches {
  return { kind: 'batches', session, reason, close: () => session.close() };
}

function sessionOf(
  session: OnnxSession,
  layout: Layout,
  why: Pick<LoadedSession, 'providers' | 'reason' | 'compared'>,
): LoadedSession {
  return { kind: 'session', session, layout, ...why, close: () => session.close() };
}

function onnxScorer(options: ScorerOptions, loaded: LoadedSession, label: string): Scorer {
  const { version, signature } = options;
  const score = sessionFunction(options, loaded.session, loaded.layout, label);
  return {
    version,
    signature,
    width: predictionWidth(signature),
    score,
    used: () => ({
      version,
      scorer: 'onnxruntime',
      reason: loaded.reason,
      compared: loaded.compared,
      providers: loaded.providers,
    }),
  };
}

/** Rows go through the queue before they are asked for; trees and other models of the job are called as ever. */
function batchScorer(options: ScorerOptions, { session, reason }: LoadedBatches, label: string): Scorer {
  const { version, signature, contract, args, rowsMax } = options;
  const output = predictionOutput(signature, label);
  const { placement, batchRows, tried } = session.opened;
  const queue = new BatchQueue({
    session,
    feeds: feedSpecs(signature),
    filler: new TensorFiller(signature, contract, args, rowsMax, 'rows'),
    read: (tensor, rows) => predictionsOf(tensor, output, signature, rows, label),
    width: predictionWidth(signature),
    batchRows,
  });
  const sweep = tried.map(({ rows, rowsPerSecond }) => `${rows}: ${rowsPerSecond}/s`).join(', ');
  return {
    version,
    signature,
    width: predictionWidth(signature),
    queue,
    score: (_vectors, from, to) => queue.take(to - from),
    used: () => ({
      version,
      scorer: 'onnxruntime',
      reason: sweep === '' ? reason : `${reason}; rows per second by batch: ${sweep}`,
      providers: placement.nodes,
      operators: placement.operators,
      batchRows,
    }),
  };
}

type ScoreFunction = Scorer['score'];

function sessionFunction(options: ScorerOptions, session: OnnxSession, layout: Layout, label: string): ScoreFunction {
  const { signature } = options;
  const output = predictionOutput(signature, label);
  const filler = new TensorFiller(signature, options.contract, options.args, options.rowsMax, layout);
  const types = signature.inputs.map(input => input.type);
  return (vectors, from, to) => {
    const feeds = feedsOf(session, types, filler.fill(vectors, from, to));
    const result = runSession(session, feeds, output.name, label);
    return predictionsOf(result, output, signature, to - from, label);
  };
}

function feedsOf(
  session: OnnxSession,
  types: readonly TensorType[],
  tensors: readonly FilledTensor[],
): Record<string, OnnxTensor> {
  const feeds: Record<string, OnnxTensor> = {};
  for (const [index, { name, data, dims }] of tensors.entries()) {
    feeds[name] = session.tensor(types[index]!, data, dims);
  }
  return feeds;
}

/**
 * The first rows of the first input go through ONNX Runtime too. A difference there makes ONNX Runtime serve the model: it
 * is found before any row is written.
 */
function treeScorer(options: ScorerOptions, loaded: LoadedTrees, label: string): Scorer {
  const { version, signature, rowsMax } = options;
  const output = predictionOutput(signature, label);
  const isPlain = loaded.prefix === null;
  const filler = new TensorFiller(signature, options.contract, options.args, rowsMax, isPlain ? 'columns' : 'rows');
  const types = signature.inputs.map(input => input.type);
  let byRuntime: ScoreFunction | null = null;
  const scoreByRuntime: ScoreFunction = (vectors, from, to) => {
    byRuntime ??= sessionFunction(options, loaded.reference(), 'rows', label);
    return byRuntime(vectors, from, to);
  };
  const scores = new Float32Array(rowsMax * loaded.trees.width);
  const byTrees: ScoreFunction = (vectors, from, to) => {
    const rows = to - from;
    const tensors = filler.fill(vectors, from, to);
    const features = treeFeatures(loaded, tensors, session => feedsOf(session, types, tensors), rows);
    loaded.trees.score(features, rows, rows, scores);
    const data = scores.subarray(0, rows * loaded.trees.width);
    return predictionsOf({ data, dims: [rows, loaded.trees.width] }, output, signature, rows, label);
  };
  const { gate } = loaded;
  return {
    version,
    signature,
    width: predictionWidth(signature),
    score(vectors, from, to) {
      if (gate.refusal !== null) return scoreByRuntime(vectors, from, to);
      const ours = byTrees(vectors, from, to);
      if (gate.isRecorded || gate.inputRows >= INPUT_GATE_ROWS) return ours;
      const end = Math.min(to, from + INPUT_GATE_ROWS - gate.inputRows);
      if (compareOnInput(gate, end - from, { ours, reference: scoreByRuntime(vectors, from, end) })) return ours;
      return scoreByRuntime(vectors, from, to);
    },
    async settle() {
      if (gate.inputRows < INPUT_GATE_ROWS || gate.refusal !== null || gate.keep === null) return;
      await gate.keep();
      gate.keep = null;
    },
    used() {
      const { compared, refusal } = gate;
      if (refusal !== null) return { version, scorer: 'onnxruntime', reason: refusal, compared, providers: {} };
      const { large } = loaded.trees.kernels;
      const found = compared === null ? 'on no rows yet' : describe(compared);
      const when = gate.isRecorded ? 'compared with ONNX Runtime at registration' : 'compared with ONNX Runtime';
      const where = options.device === 'prefer' ? '; on the CPU, where compiled trees are faster than on a GPU' : '';
      return {
        version,
        scorer: 'trees',
        reason: `${large} kernel, ${when}: ${found}${where}`,
        compared,
        providers: {},
      };
    },
  };
}

function runSession(
  session: OnnxSession,
  feeds: Record<string, OnnxTensor>,
  output: string,
  label: string,
): OnnxTensor {
  try {
    return session.run(feeds, [output])[output]!;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new EngineFault('bad_model', `${label}: ONNX Runtime failed: ${message}`, { label }, { cause: error });
  }
}

/** The output the predictions are read from: probabilities before labels. */
export function predictionOutput(signature: Signature, label: string): OutputTensor {
  const wanted: readonly OutputTensor['meaning'][] =
    signature.task === 'regression' ? ['value'] : ['positive', 'probabilities'];
  for (const meaning of wanted) {
    const found = signature.outputs.find(output => output.meaning === meaning);
    if (found !== undefined) return found;
  }
  throw new EngineFault(
    'bad_model',
    `${label}: a ${signature.task} model needs an output that means ${wanted.join(' or ')}; ` +
      `its signature has ${signature.outputs.map(output => `${output.name} (${output.meaning})`).join(', ') || 'none'}`,
    { label },
  );
}

export function predictionWidth(signature: Signature): number {
  switch (signature.task) {
    case 'binary':
      return 1;
    case 'multiclass':
      return signature.classes.length;
    case 'regression':
      return signature.targets.length;
  }
}

/** Checks the length and cuts out what counts; a NaN is left to the caller, who knows the row. */
export function predictionsOf(
  tensor: OnnxTensor,
  output: OutputTensor,
  signature: Signature,
  rows: number,
  label: string,
): Numbers {
  const { data } = tensor;
  if (!(data instanceof Float32Array || data instanceof Float64Array)) {
    throw new EngineFault('bad_model', `${label}: output ${output.name} is not float32 or float64`, { label });
  }
  const width = predictionWidth(signature);
  const perRow = output.meaning === 'probabilities' && signature.task === 'binary' ? 2 : width;
  if (data.length !== rows * perRow) {
    throw new EngineFault(
      'bad_model',
      `${label}: output ${output.name} has ${data.length} values for ${rows} rows (shape ${tensor.dims.join(' × ')}), expected ${perRow} a row`,
      { label, output: output.name, values: data.length, rows },
    );
  }
  if (perRow === width) return data;
  const positive = data instanceof Float32Array ? new Float32Array(rows) : new Float64Array(rows);
  for (let row = 0; row < rows; row++) positive[row] = data[2 * row + 1]!;
  return positive;
}

/** The graph must have exactly the declared inputs, with their types and widths, and the declared outputs. */
function assertSignature(session: OnnxSession, signature: Signature, label: string): void {
  const problems: string[] = [];
  const known = session.inputs.map(input => input.name).join(', ');
  for (const input of signature.inputs) {
    const actual = session.inputs.find(candidate => candidate.name === input.name);
    if (actual === undefined) problems.push(`it has no input ${input.name} (its inputs: ${known})`);
    else {
      const width = actual.dims.length < 2 ? 1 : actual.dims[1]!;
      if (actual.type !== input.type) problems.push(`input ${input.name} is ${actual.type}, declared is ${input.type}`);
      if (width >= 0 && width !== input.columns.length) {
        problems.push(`input ${input.name} takes ${width} columns, declared are ${input.columns.length}`);
      }
    }
  }
  for (const actual of session.inputs) {
    if (!signature.inputs.some(input => input.name === actual.name))
      problems.push(`input ${actual.name} is not declared`);
  }
  for (const output of signature.outputs) {
    if (!session.outputs.some(actual => actual.name === output.name)) {
      problems.push(
        `it has no output ${output.name} (its outputs: ${session.outputs.map(actual => actual.name).join(', ')})`,
      );
    }
  }
  if (problems.length > 0) {
    throw new EngineFault('bad_model', `${label} does not fit its signature: ${problems.join('; ')}`, {
      label,
      problems,
    });
  }
}
