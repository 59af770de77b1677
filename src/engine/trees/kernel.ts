/** What both kernels are: weights summed per row and target, from columns. */
import type { Aggregate, TreeEnsemble } from './ensemble.ts';

export interface TreeKernel {
  readonly name: 'bits' | 'flat';
  /** Rows per call; fewer cost as much as this many. */
  readonly blockRows: number;
  /** Bytes of generated code and of working memory. */
  readonly codeBytes: number;
  readonly memoryBytes: number;
  /** Sums of target t, row r after `sum` at `sums[t * blockRows + r]`. */
  readonly sums: Float32Array;
  /** Scores rows `first … first + rows - 1` (at most `blockRows`) of column-major features, column f at `f * stride`. */
  sum(columns: Float32Array, stride: number, first: number, rows: number): void;
}

/** The weight of every (leaf, target) that a leaf does not name is neutral for the aggregate. */
export function leafWeight(ensemble: TreeEnsemble, leaf: number, target: number, neutral: number): number {
  let weight = neutral;
  let found = false;
  for (let i = ensemble.weightStart[leaf]!; i < ensemble.weightStart[leaf + 1]!; i++) {
    if (ensemble.weightTarget[i] !== target) continue;
    const next = ensemble.weights[i]!;
    weight = found ? combineWeights(ensemble.aggregate, weight, next) : next;
    found = true;
  }
  return weight;
}

function combineWeights(aggregate: Aggregate, a: number, b: number): number {
  if (aggregate === 'MIN') return Math.min(a, b);
  return aggregate === 'MAX' ? Math.max(a, b) : Math.fround(a + b);
}
