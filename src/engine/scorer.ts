/** A loaded model as a function from a vector of rows to numbers: the same shape for ONNX Runtime and compiled trees. */
import type { Contract } from '../domain/contract.ts';
import type { Signature } from '../domain/signature.ts';
import type { ArgumentList } from './arguments.ts';
import { BatchQueue } from './batched/queue.ts';
import { EngineFault } from './fault.ts';
import type { ScorerUsed } from './job.ts';
import { feedSpecs, type LoadedBatches, type LoadedSession, type ModelOptions, openModel } from './loaded-model.ts';
import type { OnnxSession, OnnxTensor } from './onnx-session.ts';
import { type Numbers, predictionOutput, predictionsOf, predictionWidth } from './predictions.ts';
import { type FilledTensor, TensorFiller } from './tensors.ts';
import { compareOnInput, describe, INPUT_GATE_ROWS, type LoadedTrees, treeFeatures } from './tree-scorer.ts';
import type { RowVectors } from './vectors.ts';

export interface Scorer {
  readonly version: number;
  readonly signature: Signature;
  /** Numbers per row: 1 (probability of the positive class), one per class, or one per target. */
  readonly width: number;
  /** Predictions of the rows [from, to), row after row; valid until the next call. */
  score(vectors: RowVectors, from: number, to: number): Numbers;
  /** Set when the model answers in its own time: rows are offered here first, and `score` gives the answers in order. */
  readonly queue?: BatchQueue;
  used(): ScorerUsed;
  /** Keeps what scoring has shown, for other children. Call it when the rows are written. */
  settle?(): Promise<void>;
}

export interface ScorerOptions extends ModelOptions {
  readonly version: number;
  readonly contract: Contract;
  readonly args: ArgumentList;
}

export async function loadScorer(options: ScorerOptions): Promise<Scorer> {
  const label = `model version ${options.version} (${options.onnx})`;
  const loaded = await openModel(options, label);
  switch (loaded.kind) {
    case 'trees':
      return treeScorer(options, loaded, label);
    case 'batches':
      return batchScorer(options, loaded, label);
    case 'session':
      return onnxScorer(options, loaded, label);
  }
}

function onnxScorer(options: ScorerOptions, loaded: LoadedSession, label: string): Scorer {
  const { version, signature } = options;
  const score = sessionFunction(options, () => loaded.session, loaded, label);
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
    filler: new TensorFiller(signature, contract, args, { rowsMax, layout: 'rows', texts: null }),
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

function sessionFunction(
  options: ScorerOptions,
  open: () => OnnxSession,
  feeding: Pick<LoadedSession, 'layout' | 'texts' | 'callRows'>,
  label: string,
): ScoreFunction {
  const { signature, rowsMax } = options;
  const output = predictionOutput(signature, label);
  const callRows = Math.min(feeding.callRows ?? rowsMax, rowsMax);
  const filler = fillerOf({ ...options, rowsMax: callRows }, feeding);
  const feedsOf = feeder();
  const call: ScoreFunction = (vectors, from, to) => {
    const session = open();
    const result = runSession(session, feedsOf(session, filler.fill(vectors, from, to)), output.name, label);
    return predictionsOf(result, output, signature, to - from, label);
  };
  let all: Numbers | null = null;
  return (vectors, from, to) => {
    if (to - from <= callRows) return call(vectors, from, to);
    const width = predictionWidth(signature);
    for (let start = from; start < to; start += callRows) {
      const values = call(vectors, start, Math.min(start + callRows, to));
      all ??= values instanceof Float32Array ? new Float32Array(rowsMax * width) : new Float64Array(rowsMax * width);
      all.set(values, (start - from) * width);
    }
    return all!.subarray(0, (to - from) * width);
  };
}

function fillerOf(
  { signature, contract, args, rowsMax }: ScorerOptions,
  { layout, texts }: Pick<LoadedSession, 'layout' | 'texts'>,
): TensorFiller {
  return new TensorFiller(signature, contract, args, { rowsMax, layout, texts });
}

/** Filled tensors for ONNX Runtime. Those that are filled again and again are wrapped once: it costs a third of a small call. */
function feeder(): (session: OnnxSession, tensors: readonly FilledTensor[]) => Record<string, OnnxTensor> {
  const wrapped = new WeakMap<FilledTensor, OnnxTensor>();
  return (session, tensors) => {
    const feeds: Record<string, OnnxTensor> = {};
    for (const filled of tensors) {
      const { name, type, data, dims } = filled;
      const tensor = wrapped.get(filled) ?? session.tensor(type, data, dims);
      wrapped.set(filled, tensor);
      feeds[name] = tensor;
    }
    return feeds;
  };
}

/**
 * The first rows of the first input go through ONNX Runtime too. A difference there makes ONNX Runtime serve the model: it
 * is found before any row is written.
 */
function treeScorer(options: ScorerOptions, loaded: LoadedTrees, label: string): Scorer {
  const { version, signature, rowsMax } = options;
  const output = predictionOutput(signature, label);
  const { gate, texts } = loaded;
  const filler = fillerOf(options, { layout: loaded.prefix === null ? 'columns' : 'rows', texts });
  const trusts = gate.isRecorded || gate.inputRows >= INPUT_GATE_ROWS;
  // Even before it is needed, since the arguments of the row function are settled once; trees that are trusted do without.
  const byRuntime =
    trusts && gate.refusal === null
      ? null
      : sessionFunction(options, loaded.reference, { layout: 'rows', texts: null, callRows: null }, label);
  const feedsOf = feeder();
  const scores = new Float32Array(rowsMax * loaded.trees.width);
  const byTrees: ScoreFunction = (vectors, from, to) => {
    const rows = to - from;
    const tensors = filler.fill(vectors, from, to);
    const features = treeFeatures(loaded, tensors, session => feedsOf(session, tensors), rows);
    loaded.trees.score(features, rows, rows, scores);
    const data = scores.subarray(0, rows * loaded.trees.width);
    return predictionsOf({ data, dims: [rows, loaded.trees.width] }, output, signature, rows, label);
  };
  return {
    version,
    signature,
    width: predictionWidth(signature),
    score(vectors, from, to) {
      if (byRuntime === null) return byTrees(vectors, from, to);
      if (gate.refusal !== null) return byRuntime(vectors, from, to);
      const ours = byTrees(vectors, from, to);
      if (gate.inputRows >= INPUT_GATE_ROWS) return ours;
      const end = Math.min(to, from + INPUT_GATE_ROWS - gate.inputRows);
      if (compareOnInput(gate, end - from, { ours, reference: byRuntime(vectors, from, end) })) return ours;
      return byRuntime(vectors, from, to);
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
