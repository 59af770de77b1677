/**
 * Infers a model's signature: which columns feed its inputs, and what its outputs mean. A model of ours says so itself in its
 * metadata; for any other the names and shapes of the graph decide, and what they leave open is an error, not a guess.
 */
import * as z from 'zod';
import { nearest } from '../domain/nearest.ts';
import type { InputColumn, InputTensor, OutputTensor, Signature, TensorType } from '../domain/signature.ts';
import { signatureKey } from './build.ts';
import { findClasses } from './classes.ts';
import type { NodeProto } from './generated/onnx_pb.ts';
import { modelInputs, modelMetadata, type OnnxModel, summarizeTensor, type TensorSummary } from './read.ts';

/** The graph and the columns do not fit together; the message names both sides. */
export class SignatureMismatch extends Error {
  override readonly name = 'SignatureMismatch';
}

export interface SignatureHints {
  /** The feature columns, in file order. */
  readonly columns: readonly string[];
  /** What the model definition says; without it the graph decides. */
  readonly task?: Signature['task'];
  /** Default 0.5. */
  readonly threshold?: number;
}

/** The signature of a model whose ZipMap nodes are stripped. Throws `SignatureMismatch`. */
export function inferSignature(model: OnnxModel, hints: SignatureHints): Signature {
  const stored = modelMetadata(model)[signatureKey];
  const signature = stored === undefined ? fromGraph(model, hints) : parseSignature(stored);
  if (hints.task !== undefined && hints.task !== signature.task) {
    throw new SignatureMismatch(
      `the definition says ${hints.task}, the model is for ${signature.task}; change one of them`,
    );
  }
  const wanted = signature.inputs.flatMap(input => input.columns.map(({ column }) => column));
  assertColumns(wanted, hints.columns);
  return signature;
}

const tensorTypes = ['float32', 'float64', 'int64', 'int32', 'bool', 'string'] as const;

const signatureSchema = z.strictObject({
  schema: z.literal('signature/1'),
  task: z.enum(['binary', 'multiclass', 'regression']),
  inputs: z.array(
    z.strictObject({
      name: z.string(),
      type: z.enum(tensorTypes),
      rank: z.union([z.literal(1), z.literal(2)]),
      columns: z.array(
        z.discriminatedUnion('kind', [
          z.strictObject({ kind: z.literal('number'), column: z.string() }),
          z.strictObject({ kind: z.literal('code'), column: z.string(), vocabulary: z.array(z.string()) }),
          z.strictObject({ kind: z.literal('string'), column: z.string() }),
        ]),
      ),
    }),
  ),
  outputs: z.array(
    z.strictObject({
      name: z.string(),
      type: z.enum(tensorTypes),
      width: z.int().positive(),
      meaning: z.enum(['positive', 'probabilities', 'label', 'value']),
    }),
  ),
  classes: z.array(z.string()),
  targets: z.array(z.string()),
  threshold: z.number(),
});

function parseSignature(text: string): Signature {
  try {
    return signatureSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new SignatureMismatch(
      `the model's metadata entry ${signatureKey} is no signature; remove it or write it again`,
      {
        cause,
      },
    );
  }
}

function assertColumns(wanted: readonly string[], columns: readonly string[]): void {
  const missing = wanted.filter(column => !columns.includes(column));
  if (missing.length === 0) return;
  const near = nearest(missing[0] ?? '', columns);
  throw new SignatureMismatch(
    `the model wants column ${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ` and ${missing.length - 5} more` : ''}, ` +
      `the data has ${listed(columns)}${near === null ? '' : `; did you mean ${near}?`}`,
  );
}

function fromGraph(model: OnnxModel, hints: SignatureHints): Signature {
  const inputs = matchInputs(modelInputs(model.graph).map(summarizeTensor), hints.columns);
  return { schema: 'signature/1', inputs, ...readOutputs(model, hints), threshold: hints.threshold ?? 0.5 };
}

/** One matrix takes the columns in file order; single columns are matched by name. */
function matchInputs(inputs: readonly TensorSummary[], columns: readonly string[]): InputTensor[] {
  const only = inputs.length === 1 ? inputs[0] : undefined;
  if (only === undefined || (widthOf(only) === 1 && columns.includes(only.name))) return matchByName(inputs, columns);
  const width = widthOf(only) ?? columns.length;
  if (width !== columns.length) {
    throw new SignatureMismatch(
      `input ${only.name} takes ${width} features, the data has ${columns.length}: ${listed(columns)}; ` +
        'name the features in the order of training',
    );
  }
  return [inputTensor(only, columns)];
}

function matchByName(inputs: readonly TensorSummary[], columns: readonly string[]): InputTensor[] {
  const wide = inputs.find(input => (widthOf(input) ?? 1) !== 1);
  if (wide !== undefined) {
    throw new SignatureMismatch(
      `the graph has ${inputs.length} inputs and ${wide.name} takes ${widthOf(wide)} columns, which names cannot settle; ` +
        `store a signature under the metadata key ${signatureKey}`,
    );
  }
  assertColumns(
    inputs.map(input => input.name),
    columns,
  );
  return inputs.map(input => inputTensor(input, [input.name]));
}

function inputTensor(input: TensorSummary, columns: readonly string[]): InputTensor {
  const type = tensorType(input, 'input');
  const kind = type === 'string' ? 'string' : 'number';
  const rank = input.dims?.length === 1 ? 1 : 2;
  return { name: input.name, type, rank, columns: columns.map((column): InputColumn => ({ kind, column })) };
}

function tensorType({ name, type }: TensorSummary, role: 'input' | 'output'): TensorType {
  const known = tensorTypes.find(candidate => candidate === type);
  if (known !== undefined) return known;
  throw new SignatureMismatch(`${role} ${name} is ${type}, expected one of ${tensorTypes.join(', ')}`);
}

/** Columns of an input or output, or null when the graph leaves it open. */
function widthOf({ dims }: TensorSummary): number | null {
  if (dims === null) return null;
  if (dims.length < 2) return 1;
  const width = dims[1];
  return typeof width === 'number' ? width : null;
}

type OutputSide = Pick<Signature, 'task' | 'outputs' | 'classes' | 'targets'>;

function readOutputs(model: OnnxModel, hints: SignatureHints): OutputSide {
  const outputs = model.graph.output
    .map(summarizeTensor)
    .filter(({ type }) => tensorTypes.some(known => known === type));
  const scores = outputs.filter(({ type }) => type === 'float32' || type === 'float64');
  const labels = outputs.filter(output => !scores.includes(output));
  const classes = findClasses(model);
  const score = scores[0];
  if (score === undefined) {
    const found = model.graph.output.map(summarizeTensor).map(({ name, type }) => `${name} (${type})`);
    throw new SignatureMismatch(
      `no output holds float scores, found ${listed(found)}; export probabilities (or values), not only labels`,
    );
  }
  if (hints.task === 'regression' || (hints.task === undefined && labels.length === 0 && scores.length > 1)) {
    return regression(scores, classes);
  }
  const ending = labels.length > 0 ? 'classifier' : endingOf(model, score.name);
  const width = widthOf(score) ?? (classes.length > 0 ? classes.length : 1);
  if (hints.task === undefined && ending === 'value') return regression(scores, classes);
  return classification({ task: hints.task, score, width, classes });
}

function regression(scores: readonly TensorSummary[], classes: readonly string[]): OutputSide {
  if (classes.length > 0) {
    throw new SignatureMismatch(
      `the model is a classifier of ${listed(classes)}, expected a regression; change the task`,
    );
  }
  const outputs = scores.map(score => outputTensor(score, widthOf(score) ?? 1, 'value'));
  const names = outputs.flatMap(({ name, width }) =>
    width === 1 ? [name] : Array.from({ length: width }, (_, index) => `${name}_${index}`),
  );
  return { task: 'regression', outputs, classes: [], targets: names.length === 1 ? ['prediction'] : names };
}

function classification(found: {
  readonly task: 'binary' | 'multiclass' | undefined;
  readonly score: TensorSummary;
  readonly width: number;
  readonly classes: readonly string[];
}): OutputSide {
  const { score, width } = found;
  const task = found.task ?? (width > 2 ? 'multiclass' : 'binary');
  if (task === 'binary' && width > 2) {
    throw new SignatureMismatch(
      `output ${score.name} has ${width} scores, a binary model has 1 or 2; is it multiclass?`,
    );
  }
  if (task === 'multiclass' && width < 2) {
    throw new SignatureMismatch(
      `output ${score.name} has one score, a multiclass model has one per class; is it binary?`,
    );
  }
  const count = task === 'binary' ? 2 : width;
  const classes = found.classes.length > 0 ? found.classes : Array.from({ length: count }, (_, index) => String(index));
  if (classes.length !== count) {
    throw new SignatureMismatch(
      `output ${score.name} has ${count} classes, the graph names ${classes.length}: ${listed(classes)}`,
    );
  }
  const meaning = width === 1 ? 'positive' : 'probabilities';
  return { task, outputs: [outputTensor(score, width, meaning)], classes, targets: [] };
}

function outputTensor(output: TensorSummary, width: number, meaning: OutputTensor['meaning']): OutputTensor {
  return { name: output.name, type: tensorType(output, 'output'), width, meaning };
}

/** These change the form of a value, not what it means. */
const passThrough = new Set(['Cast', 'Identity', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Concat']);

/** Whether the node that makes an output makes probabilities. */
function endingOf(model: OnnxModel, output: string): 'classifier' | 'value' {
  const { node: nodes } = model.graph;
  const producers = new Map<string, number>();
  nodes.forEach((node, index) => {
    for (const name of node.output) producers.set(name, index);
  });
  let index = producers.get(output);
  while (index !== undefined && passThrough.has(nodes[index]?.opType ?? '')) {
    index = producers.get(nodes[index]?.input.at(-1) ?? '') ?? producers.get(nodes[index]?.input[0] ?? '');
  }
  const node = index === undefined ? undefined : nodes[index];
  if (node === undefined) return 'value';
  const transform = index === undefined ? undefined : model.trees.get(index)?.get('post_transform')?.text;
  return isProbability(node, transform) ? 'classifier' : 'value';
}

function isProbability({ opType }: NodeProto, treeTransform: string | undefined): boolean {
  if (opType === 'Sigmoid' || opType === 'Softmax' || opType.endsWith('Classifier')) return true;
  return treeTransform === 'LOGISTIC' || treeTransform === 'SOFTMAX';
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 8).join(', ');
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown || 'none';
}
