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

/** The column that each node looks at: found once, not again for every row. */
export function columnsOfNodes({ features }: FlatTree, columns: readonly Float32Array[]): readonly Float32Array[] {
  return Array.from(features, feature => columns[feature]!);
}

/** The leaf's value for one row; `columns` has one per node. */
export function leafOf(tree: FlatTree, columns: readonly Float32Array[], row: number): number {
  const { thresholds, missingLeft, left, right } = tree;
  let node = left.length === 0 ? -1 : 0;
  while (node >= 0) {
    const value = columns[node]![row]!;
    const goesLeft = value <= thresholds[node]! || (missingLeft[node] === 1 && Number.isNaN(value));
    node = goesLeft ? left[node]! : right[node]!;
  }
  return tree.leaves[~node]!;
}

/** Float32 sums in tree order, as ONNX Runtime computes them; row-major `[rows, outputs]`. */
export function sumTrees(trees: readonly FlatTree[], columns: readonly Float32Array[], outputs: number): Float32Array {
  const sums = new Float32Array((columns[0]?.length ?? 0) * outputs);
  // A tree at a time: it stays in the cache while the rows stream by.
  for (const tree of trees) addTree(tree, columnsOfNodes(tree, columns), sums, outputs);
  return sums;
}

function addTree(tree: FlatTree, columns: readonly Float32Array[], sums: Float32Array, outputs: number): void {
  for (let row = 0, at = tree.output; at < sums.length; row++, at += outputs) {
    sums[at] = sums[at]! + leafOf(tree, columns, row);
  }
}
