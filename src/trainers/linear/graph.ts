/**
 * A linear model as numbers of the exported graph, its prediction in the graph's own arithmetic, and the graph:
 *
 *   features ─┬─ Gather numbers ─ Sub mean ─ NaN→0 ─ MatMul weight/scale ─┐
 *             └─ Gather each category once per value ─ Equal codes ─ MatMul ┴─ Add intercept ─ Sigmoid | Softmax
 *
 * A missing number becomes the mean, that is 0 after centring. A missing or unseen category equals no code.
 */
import type { Signature } from '../../domain/signature.ts';
import { buildModel, buildNode, buildValue, type NodeParts } from '../../onnx/build.ts';
import { floatTensor, int64Tensor } from '../../onnx/tensor.ts';
import type { Design } from './design.ts';

export interface LinearModel {
  readonly outputs: number;
  readonly numbers: readonly { readonly column: number; readonly mean: number; readonly weights: Float32Array }[];
  readonly categories: readonly {
    readonly column: number;
    /** One weight per output, for each code. */
    readonly weights: readonly Float32Array[];
  }[];
  readonly intercepts: Float32Array;
}

/** Folds the scales into the weights; `weights` holds the solved weights of all outputs, one output after the other. */
export function foldModel(design: Design, weights: Float64Array, outputs: number): LinearModel {
  const of = (at: number, scale: number) =>
    Float32Array.from({ length: outputs }, (_, output) => weights[output * (design.weights + 1) + at]! / scale);
  return {
    outputs,
    numbers: design.terms.flatMap((term, column) =>
      term.kind === 'number' ? [{ column, mean: term.mean, weights: of(term.at, term.scale) }] : [],
    ),
    categories: design.terms.flatMap((term, column) =>
      term.kind === 'category'
        ? [{ column, weights: Array.from(term.vocabulary, (_, code) => of(term.at + code, 1)) }]
        : [],
    ),
    intercepts: of(design.weights, 1),
  };
}

/** Raw scores, row-major `[rows, outputs]`. */
export function linearScores(model: LinearModel, columns: readonly Float32Array[]): Float32Array {
  const { outputs, intercepts } = model;
  const rows = columns[0]?.length ?? 0;
  const scores = new Float32Array(rows * outputs);
  const sums = new Float64Array(outputs);
  for (let row = 0; row < rows; row++) {
    sums.set(intercepts);
    for (const { column, mean, weights } of model.numbers) {
      const centred = Math.fround(columns[column]![row]! - mean);
      if (Number.isNaN(centred)) continue;
      for (let output = 0; output < outputs; output++) sums[output]! += centred * weights[output]!;
    }
    for (const { column, weights } of model.categories) {
      const ofCode = weights[columns[column]![row]!];
      if (ofCode === undefined) continue;
      for (let output = 0; output < outputs; output++) sums[output]! += ofCode[output]!;
    }
    scores.set(sums, row * outputs);
  }
  return scores;
}

export function exportLinear(
  model: LinearModel,
  signature: Signature,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const [input] = signature.inputs;
  const [output] = signature.outputs;
  if (input === undefined || output === undefined) throw new Error('logistic: the signature has no input or no output');
  const { outputs, numbers, categories, intercepts } = model;
  const nodes: NodeParts[] = [];
  const initializers = [floatTensor('intercepts', [outputs], intercepts)];
  const parts: string[] = [];

  if (numbers.length > 0) {
    initializers.push(
      floatTensor(
        'means',
        [numbers.length],
        numbers.map(({ mean }) => mean),
      ),
      floatTensor('zero', [], [0]),
      floatTensor(
        'number_weights',
        [numbers.length, outputs],
        numbers.flatMap(({ weights }) => [...weights]),
      ),
    );
    let source = input.name;
    if (categories.length > 0) {
      const columns = numbers.map(({ column }) => column);
      initializers.push(int64Tensor('number_columns', [columns.length], columns));
      nodes.push({ op: 'Gather', inputs: [source, 'number_columns'], outputs: ['numbers'], attributes: { axis: 1 } });
      source = 'numbers';
    }
    nodes.push(
      { op: 'Sub', inputs: [source, 'means'], outputs: ['centred'] },
      { op: 'IsNaN', inputs: ['centred'], outputs: ['is_missing'] },
      { op: 'Where', inputs: ['is_missing', 'zero', 'centred'], outputs: ['imputed'] },
      { op: 'MatMul', inputs: ['imputed', 'number_weights'], outputs: ['number_scores'] },
    );
    parts.push('number_scores');
  }
  const codes = categories.flatMap(({ column, weights }) =>
    weights.map((ofCode, code) => ({ column, code, weights: [...ofCode] })),
  );
  if (codes.length === 0 && numbers.length === 0) {
    // Categories alone, and all NULL: a code that never occurs, so that the graph has a row per row.
    codes.push({ column: 0, code: -1, weights: new Array<number>(outputs).fill(0) });
  }
  if (codes.length > 0) {
    const size = codes.length;
    initializers.push(
      int64Tensor(
        'code_columns',
        [size],
        codes.map(({ column }) => column),
      ),
      floatTensor(
        'codes',
        [size],
        codes.map(({ code }) => code),
      ),
      floatTensor(
        'code_weights',
        [size, outputs],
        codes.flatMap(({ weights }) => weights),
      ),
    );
    nodes.push(
      { op: 'Gather', inputs: [input.name, 'code_columns'], outputs: ['repeated'], attributes: { axis: 1 } },
      { op: 'Equal', inputs: ['repeated', 'codes'], outputs: ['matches'] },
      // 1 is FLOAT.
      { op: 'Cast', inputs: ['matches'], outputs: ['one_hot'], attributes: { to: 1 } },
      { op: 'MatMul', inputs: ['one_hot', 'code_weights'], outputs: ['code_scores'] },
    );
    parts.push('code_scores');
  }
  const activation = { binary: 'Sigmoid', multiclass: 'Softmax', regression: null }[signature.task];
  const scores = activation === null ? output.name : 'scores';
  const summed = parts.length === 2 ? 'summed' : parts[0]!;
  if (parts.length === 2) nodes.push({ op: 'Add', inputs: parts, outputs: [summed] });
  nodes.push({ op: 'Add', inputs: [summed, 'intercepts'], outputs: [scores] });
  if (activation !== null) {
    const node = { op: activation, inputs: [scores], outputs: [output.name] };
    nodes.push(activation === 'Softmax' ? { ...node, attributes: { axis: 1 } } : node);
  }
  return buildModel({
    inputs: [buildValue(input.name, 'float32', ['N', input.columns.length])],
    outputs: [buildValue(output.name, 'float32', ['N', outputs])],
    nodes: nodes.map(buildNode),
    initializers,
    metadata,
    signature,
  });
}
