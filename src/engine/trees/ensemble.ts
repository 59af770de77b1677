/**
 * A tree ensemble as plain arrays: what the compiler takes, whatever file it came from.
 *
 * Nodes of all trees lie in one numbering. A branch compares one feature and goes to `onTrue` or `onFalse`; a leaf adds
 * weights to some of the outputs. Everything is float32, as in the operator it mirrors.
 */

/** Order matters: the number of a mode is its index here. */
export const branchModes = [
  'LEAF',
  'BRANCH_LEQ',
  'BRANCH_LT',
  'BRANCH_GTE',
  'BRANCH_GT',
  'BRANCH_EQ',
  'BRANCH_NEQ',
  'BRANCH_MEMBER',
] as const;
export type BranchMode = (typeof branchModes)[number];

export const leafMode = 0;
export const memberMode = 7;

/** How the weights of all trees become one number per output. */
export type Aggregate = 'SUM' | 'AVERAGE' | 'MIN' | 'MAX';
export type PostTransform = 'NONE' | 'LOGISTIC' | 'SOFTMAX' | 'SOFTMAX_ZERO' | 'PROBIT';

export interface TreeEnsemble {
  /** Number of input columns. */
  readonly features: number;
  /** Number of regression targets or classes. */
  readonly targets: number;
  /** Root node of each tree, in the order in which the trees are summed. */
  readonly roots: Int32Array;
  /** Per node: index into `branchModes`. */
  readonly modes: Uint8Array;
  /** Per branch: column number; leaves 0. */
  readonly featureIds: Int32Array;
  /** Per branch: what the feature is compared with; for `BRANCH_MEMBER` the index into `sets`; leaves 0. */
  readonly thresholds: Float32Array;
  /** Per branch: next node; leaves 0. */
  readonly onTrue: Int32Array;
  readonly onFalse: Int32Array;
  /** Per branch: 1 when a missing value (NaN) takes the true side. */
  readonly missingTrue: Uint8Array;
  /** Values of `BRANCH_MEMBER` nodes. */
  readonly sets: readonly Float32Array[];
  /** Weights of node i are those from `weightStart[i]` up to `weightStart[i + 1]`. */
  readonly weightStart: Int32Array;
  readonly weightTarget: Int32Array;
  readonly weights: Float32Array;
  /** Empty, or one value per target. */
  readonly baseValues: Float32Array;
  readonly aggregate: Aggregate;
  readonly postTransform: PostTransform;
  /** Null for a regressor. */
  readonly classifier: TreeClassifier | null;
}

export interface TreeClassifier {
  readonly labels:
    | { readonly kind: 'int64'; readonly values: readonly number[] }
    | { readonly kind: 'string'; readonly values: readonly string[] };
}

/** A tree as nested objects, for building ensembles by hand. */
export type TreeNode =
  | {
      readonly mode: Exclude<BranchMode, 'LEAF' | 'BRANCH_MEMBER'>;
      readonly feature: number;
      readonly threshold: number;
      readonly missingTrue?: boolean;
      readonly onTrue: TreeNode;
      readonly onFalse: TreeNode;
    }
  | {
      readonly mode: 'BRANCH_MEMBER';
      readonly feature: number;
      readonly members: readonly number[];
      readonly missingTrue?: boolean;
      readonly onTrue: TreeNode;
      readonly onFalse: TreeNode;
    }
  | { readonly mode: 'LEAF'; readonly weights: readonly { readonly target: number; readonly weight: number }[] };

/** Lays nested trees out as arrays; nodes of a tree in preorder. */
export function ensembleOf(parts: {
  readonly trees: readonly TreeNode[];
  readonly features: number;
  readonly targets?: number;
  readonly baseValues?: readonly number[];
  readonly aggregate?: Aggregate;
  readonly postTransform?: PostTransform;
  readonly classifier?: TreeClassifier;
}): TreeEnsemble {
  const modes: number[] = [];
  const featureIds: number[] = [];
  const thresholds: number[] = [];
  const onTrue: number[] = [];
  const onFalse: number[] = [];
  const missingTrue: number[] = [];
  const sets: Float32Array[] = [];
  const weightStart: number[] = [];
  const weightTarget: number[] = [];
  const weights: number[] = [];

  const place = (node: TreeNode): number => {
    const index = modes.push(branchModes.indexOf(node.mode)) - 1;
    featureIds.push(node.mode === 'LEAF' ? 0 : node.feature);
    missingTrue.push(node.mode !== 'LEAF' && node.missingTrue === true ? 1 : 0);
    onTrue.push(0);
    onFalse.push(0);
    weightStart.push(weights.length);
    if (node.mode === 'LEAF') {
      thresholds.push(0);
      for (const { target, weight } of node.weights) {
        weightTarget.push(target);
        weights.push(weight);
      }
      return index;
    }
    if (node.mode === 'BRANCH_MEMBER') thresholds.push(sets.push(Float32Array.from(node.members)) - 1);
    else thresholds.push(node.threshold);
    onTrue[index] = place(node.onTrue);
    onFalse[index] = place(node.onFalse);
    return index;
  };
  const roots = Int32Array.from(parts.trees, place);
  return {
    features: parts.features,
    targets: parts.targets ?? 1,
    roots,
    modes: Uint8Array.from(modes),
    featureIds: Int32Array.from(featureIds),
    thresholds: Float32Array.from(thresholds),
    onTrue: Int32Array.from(onTrue),
    onFalse: Int32Array.from(onFalse),
    missingTrue: Uint8Array.from(missingTrue),
    sets,
    weightStart: Int32Array.from([...weightStart, weights.length]),
    weightTarget: Int32Array.from(weightTarget),
    weights: Float32Array.from(weights),
    baseValues: Float32Array.from(parts.baseValues ?? []),
    aggregate: parts.aggregate ?? 'SUM',
    postTransform: parts.postTransform ?? 'NONE',
    classifier: parts.classifier ?? null,
  };
}
