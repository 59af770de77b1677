/**
 * What a built-in trainer is: a pure learner over typed arrays that returns a model which can predict, say which columns
 * mattered, and write itself as an ONNX graph that gives the same predictions.
 */
import type { Signature } from '../domain/signature.ts';
import { sum } from '../stats/measured.ts';
import { weightProblem } from '../stats/weighted.ts';

/** One feature of all training rows, as read from the table. Numbers are float32 because that is what the graph will see. */
export type Feature =
  | { readonly kind: 'number'; readonly name: string; readonly values: Float32Array }
  | {
      readonly kind: 'category';
      readonly name: string;
      /** Index into `categories`; -1 is NULL, `categories.length` a value outside the dictionary. */
      readonly codes: Int32Array;
      readonly categories: readonly string[];
    };

export interface Table {
  readonly rows: number;
  readonly features: readonly Feature[];
  /** Binary: 0 or 1. Multiclass: index into the classes. Regression: the value. Finite in every row. */
  readonly labels: Float32Array;
  /** How many rows each stands for, or anything in proportion; null or absent counts all rows alike. */
  readonly weights?: Float64Array | null;
}

export interface TrainingTask {
  readonly task: Signature['task'];
  /** Class names; binary: [negative, positive]; regression: []. */
  readonly classes: readonly string[];
  readonly seed: number;
  /** Threads the trainer may use, itself included. The result does not depend on it. */
  readonly threads: number;
}

/** One boosting round or solver iteration. */
export interface TrainingProgress {
  readonly round: number;
  readonly rounds: number;
  /** Mean training loss: log loss, or half the squared error; weights of rows and classes count. */
  readonly loss: number;
  /** Loss on the rows set aside for early stopping; null without early stopping. */
  readonly validationLoss: number | null;
}

export type Report = (progress: TrainingProgress) => void;

export interface TrainedModel {
  readonly signature: Signature;
  /**
   * Predictions for encoded columns (`encodeFeatures`), row-major `[rows, width]`, in float32 with the operations of the
   * exported graph.
   */
  predict(columns: readonly Float32Array[]): Float32Array;
  /** Model file; `metadata` becomes the file's metadata_props beside the signature and the feature names. */
  toOnnx(metadata: Readonly<Record<string, string>>): Uint8Array;
  /** Per feature, in the table's order, summing to 1 (all zero when the model ignores its inputs). */
  readonly importance: { readonly kind: 'gain' | 'coefficient'; readonly values: readonly number[] };
  readonly rounds: readonly TrainingProgress[];
  /** What the trainer noticed and a person should read: a constant label, a solver that stopped early. */
  readonly notes: readonly string[];
}

export interface Trainer {
  readonly name: string;
  readonly tasks: readonly Signature['task'][];
  /** One line per parameter: name, default, meaning; the list the documentation prints. */
  readonly parameters: readonly ParameterDoc[];
  /** Throws ParameterError for an unknown name or a value out of range; fills in the defaults. */
  check(parameters: Readonly<Record<string, unknown>>): void;
  /**
   * Learns from the table. Calls `report` after every round and lets the event loop turn. With null nobody asks for the
   * rounds: losses that only people look at are not computed, and the model's `rounds` are empty.
   */
  train(
    table: Table,
    task: TrainingTask,
    parameters: Readonly<Record<string, unknown>>,
    report: Report | null,
  ): Promise<TrainedModel>;
}

export interface ParameterDoc {
  readonly name: string;
  readonly default: unknown;
  readonly about: string;
}

/** Training data from which nothing can be learned: no rows, no features, an unusable label. */
export class TrainingDataError extends Error {
  override readonly name = 'TrainingDataError';
}

/** Throws TrainingDataError when the table breaks a promise every trainer relies on. */
export function checkTable(table: Table, task: TrainingTask): void {
  if (table.rows === 0) throw new TrainingDataError('training table has 0 rows: widen the training window');
  if (table.features.length === 0) throw new TrainingDataError('training table has no feature columns');
  for (const feature of table.features) {
    const length = feature.kind === 'number' ? feature.values.length : feature.codes.length;
    if (length !== table.rows) {
      throw new TrainingDataError(`feature "${feature.name}" has ${length} values, the table has ${table.rows} rows`);
    }
  }
  if (table.labels.length !== table.rows) {
    throw new TrainingDataError(`label has ${table.labels.length} values, the table has ${table.rows} rows`);
  }
  const problem = table.weights ? weightProblem(table.weights, table.rows) : null;
  if (problem !== null) throw new TrainingDataError(`training table: ${problem}`);
  for (let row = 0; row < table.rows; row++) {
    const label = table.labels[row]!;
    if (!Number.isFinite(label)) throw new TrainingDataError(`label of row ${row} is ${label}, expected a number`);
    if (task.task !== 'regression' && !(Number.isInteger(label) && label >= 0 && label < task.classes.length)) {
      throw new TrainingDataError(
        `label of row ${row} is ${label}, expected the index of one of ${task.classes.length} classes`,
      );
    }
  }
}

/**
 * Weights of the rows with a mean of 1, or null where all rows count alike. Only proportions are left: penalties and least
 * numbers of rows are those of as many rows as there are, however small the sample was that the weights come from.
 */
export function relativeWeights({ weights = null }: Pick<Table, 'weights'>): Float64Array | null {
  if (weights === null || weights.every(weight => weight === weights[0])) return null;
  const mean = sum(weights) / weights.length;
  return weights.map(weight => weight / mean);
}

/** The one signature of the built-in trainers: a float tensor `features` in, one float tensor out. */
export function builtinSignature(
  task: TrainingTask,
  features: readonly Feature[],
  vocabularies: readonly (readonly string[] | null)[],
): Signature {
  const columns = features.map((feature, index) => {
    const vocabulary = vocabularies[index] ?? null;
    return vocabulary === null
      ? ({ kind: 'number', column: feature.name } as const)
      : ({ kind: 'code', column: feature.name, vocabulary } as const);
  });
  const output = {
    binary: { name: 'score', type: 'float32', width: 1, meaning: 'positive' },
    multiclass: { name: 'probabilities', type: 'float32', width: task.classes.length, meaning: 'probabilities' },
    regression: { name: 'prediction', type: 'float32', width: 1, meaning: 'value' },
  } as const;
  return {
    schema: 'signature/1',
    task: task.task,
    inputs: [{ name: 'features', type: 'float32', rank: 2, columns }],
    outputs: [output[task.task]],
    classes: task.classes,
    targets: task.task === 'regression' ? ['prediction'] : [],
    threshold: 0.5,
  };
}

/** The columns as the graph gets them: numbers as they are, categories as codes of the signature's vocabulary. */
export function encodeFeatures(features: readonly Feature[], signature: Signature): Float32Array[] {
  const columns = signature.inputs[0]?.columns ?? [];
  return features.map((feature, index) => {
    const column = columns[index];
    if (feature.kind === 'number') return feature.values;
    return encodeCodes(feature.codes, feature.categories, column?.kind === 'code' ? column.vocabulary : []);
  });
}

/** Dictionary codes → codes of `vocabulary`: NULL is NaN, a value outside the vocabulary `vocabulary.length`. */
export function encodeCodes(
  codes: Int32Array,
  categories: readonly string[],
  vocabulary: readonly string[],
): Float32Array {
  const position = new Map(vocabulary.map((value, index) => [value, index]));
  const recode = Float32Array.from(categories, value => position.get(value) ?? vocabulary.length);
  const encoded = new Float32Array(codes.length);
  for (let row = 0; row < codes.length; row++) {
    const code = codes[row]!;
    encoded[row] = code < 0 ? Number.NaN : code < recode.length ? recode[code]! : vocabulary.length;
  }
  return encoded;
}
