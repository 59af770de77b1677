/** One regression tree over encoded columns, and sums of many. */
export interface TreeNode {
  /** Index of the feature in the training table. */
  readonly feature: number;
  /** Values up to the threshold (a float32 number, or Infinity: every value that is present) go left. */
  readonly threshold: number;
  readonly missingLeft: boolean;
  readonly gain: number;
  /** A node's index, or ~index of a leaf. */
  left: number;
  right: number;
}

export interface Tree {
  /** The root is node 0; a tree without nodes is its only leaf. */
  readonly nodes: readonly TreeNode[];
  /** float32 numbers. */
  readonly leaves: readonly number[];
  /** Which output the tree adds to. */
  readonly output: number;
}

/** A tree as flat arrays, for prediction. */
export interface FlatTree {
  readonly output: number;
  readonly features: Int32Array;
  readonly thresholds: Float32Array;
  readonly missingLeft: Uint8Array;
  readonly left: Int32Array;
  readonly right: Int32Array;
  readonly leaves: Float32Array;
}

export function flatten({ nodes, leaves, output }: Tree): FlatTree {
  return {
    output,
    features: Int32Array.from(nodes, node => node.feature),
    thresholds: Float32Array.from(nodes, node => node.threshold),
    missingLeft: Uint8Array.from(nodes, node => (node.missingLeft ? 1 : 0)),
    left: Int32Array.from(nodes, node => node.left),
    right: Int32Array.from(nodes, node => node.right),
    leaves: Float32Array.from(leaves),
  };
}

/** The leaf's value for one row. */
export function leafOf(tree: FlatTree, columns: readonly Float32Array[], row: number): number {
  let node = tree.left.length === 0 ? -1 : 0;
  while (node >= 0) {
    const value = columns[tree.features[node]!]![row]!;
    const goesLeft = value <= tree.thresholds[node]! || (tree.missingLeft[node] === 1 && Number.isNaN(value));
    node = goesLeft ? tree.left[node]! : tree.right[node]!;
  }
  return tree.leaves[~node]!;
}

/** Float32 sums in tree order, as ONNX Runtime computes them; row-major `[rows, outputs]`. */
export function sumTrees(trees: readonly FlatTree[], columns: readonly Float32Array[], outputs: number): Float32Array {
  const rows = columns[0]?.length ?? 0;
  const sums = new Float32Array(rows * outputs);
  // A tree at a time: it stays in the cache while the rows stream by.
  for (const tree of trees) {
    for (let row = 0; row < rows; row++) {
      const at = row * outputs + tree.output;
      sums[at] = sums[at]! + leafOf(tree, columns, row);
    }
  }
  return sums;
}
