/** The signature of a model: how table columns become its input tensors and its output tensors become prediction columns. */

export type TensorType = 'float32' | 'float64' | 'int64' | 'int32' | 'bool' | 'string';

export type InputColumn =
  | { readonly kind: 'number'; readonly column: string }
  /** A category as its index in `vocabulary`; any other value is `vocabulary.length`; NULL is NaN (float tensors) or -1. */
  | { readonly kind: 'code'; readonly column: string; readonly vocabulary: readonly string[] }
  | { readonly kind: 'string'; readonly column: string };

export interface InputTensor {
  readonly name: string;
  readonly type: TensorType;
  /** `[N, columns.length]`; a single column is `[N, 1]`, or `[N]` when the graph says rank 1. */
  readonly rank: 1 | 2;
  readonly columns: readonly InputColumn[];
}

export interface OutputTensor {
  readonly name: string;
  readonly type: TensorType;
  /** Number of values per row. */
  readonly width: number;
  /**
   * `positive`: [N] or [N,1] probability of the positive class. `probabilities`: [N,K] one column per class.
   * `label`: predicted class. `value`: regression value(s), one column per target.
   */
  readonly meaning: 'positive' | 'probabilities' | 'label' | 'value';
}

export interface Signature {
  readonly schema: 'signature/1';
  readonly task: 'binary' | 'multiclass' | 'regression';
  readonly inputs: readonly InputTensor[];
  readonly outputs: readonly OutputTensor[];
  /** Class names in the order of the probabilities; binary: [negative, positive]; regression: []. */
  readonly classes: readonly string[];
  /** Names of regression targets; one target: ['prediction']. */
  readonly targets: readonly string[];
  /** Binary: the score from which the positive label is predicted. */
  readonly threshold: number;
}

/** The prediction columns of design section 4, in file order. */
export function predictionColumns(signature: Signature): readonly string[] {
  switch (signature.task) {
    case 'binary':
      return ['score', 'prediction'];
    case 'multiclass':
      return [...signature.classes.map(name => `score_${name}`), 'prediction'];
    case 'regression':
      return signature.targets.length === 1 ? ['prediction'] : signature.targets.map(name => `prediction_${name}`);
  }
}

/** The prediction columns that are numbers: the scores of a classifier, or the predicted values. */
export function scoreColumns(signature: Signature): readonly string[] {
  const columns = predictionColumns(signature);
  return signature.task === 'regression' ? columns : columns.slice(0, -1);
}
