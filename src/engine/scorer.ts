/** A loaded model as a function from a vector of rows to numbers: the same shape for ONNX Runtime and compiled trees. */
import type { Contract } from '../domain/contract.ts';
import type { OutputTensor, Signature } from '../domain/signature.ts';
import type { ArgumentList } from './arguments.ts';
import { EngineFault } from './fault.ts';
import type { ScorerUsed } from './job.ts';
import { OnnxSession, type OnnxTensor } from './onnx-session.ts';
import { TensorFiller } from './tensors.ts';
import type { Vectors } from './vectors.ts';

export type Numbers = Float32Array | Float64Array;

export interface Scorer {
  readonly version: number;
  readonly signature: Signature;
  /** Numbers per row: 1 (probability of the positive class), one per class, or one per target. */
  readonly width: number;
  /** Predictions of the rows [from, to), row after row; valid until the next call. */
  score(vectors: Vectors, from: number, to: number): Numbers;
  used(): ScorerUsed;
  close(): void;
}

export interface ScorerOptions {
  readonly version: number;
  readonly onnx: string;
  readonly signature: Signature;
  readonly contract: Contract;
  readonly args: ArgumentList;
  readonly rowsMax: number;
  readonly scorer: 'auto' | 'onnxruntime';
}

export async function loadScorer(options: ScorerOptions): Promise<Scorer> {
  return loadOnnxScorer(
    options,
    options.scorer === 'onnxruntime' ? 'demanded by the definition' : 'not a tree ensemble',
  );
}

async function loadOnnxScorer(options: ScorerOptions, reason: string): Promise<Scorer> {
  const { version, signature } = options;
  const label = `model version ${version} (${options.onnx})`;
  const session = await OnnxSession.loadFile(options.onnx, label);
  assertSignature(session, signature, label);
  const output = predictionOutput(signature, label);
  const types = signature.inputs.map(input => input.type);
  const filler = new TensorFiller(signature, options.contract, options.args, options.rowsMax, 'rows');
  const width = predictionWidth(signature);
  return {
    version,
    signature,
    width,
    score(vectors, from, to) {
      const feeds: Record<string, OnnxTensor> = {};
      for (const [index, tensor] of filler.fill(vectors, from, to).entries()) {
        feeds[tensor.name] = session.tensor(types[index]!, tensor.data, tensor.dims);
      }
      const result = runSession(session, feeds, output.name, label);
      return predictionsOf(result, output, signature, to - from, label);
    },
    used: () => ({ version, scorer: 'onnxruntime', reason, providers: { CPUExecutionProvider: -1 } }),
    close: () => session.close(),
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
