/** The pieces that trainers put together: each is one node with its constants, from a named value to a named value. */
import type { PostTransform, TreeClassifier, TreeEnsemble } from '../engine/trees/ensemble.ts';
import { branchModes, leafMode, memberMode } from '../engine/trees/ensemble.ts';
import { type AttributeValue, buildNode, mlDomain } from './build.ts';
import type { NodeProto, TensorProto } from './generated/onnx_pb.ts';
import { floatTensor, int64Tensor, uint8Tensor } from './tensor.ts';

/** Part of a graph; concatenate the nodes and the initializers of all blocks for `buildModel`. */
export interface Block {
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
}

export function joinBlocks(blocks: readonly Block[]): Block {
  return { nodes: blocks.flatMap(block => block.nodes), initializers: blocks.flatMap(block => block.initializers) };
}

/** `[N, inputs] · weights + bias` → `[N, outputs]`; weights row by row, one row per input. */
export function gemmBlock(parts: {
  readonly input: string;
  readonly output: string;
  readonly weights: ArrayLike<number>;
  readonly bias: ArrayLike<number>;
}): Block {
  const outputs = parts.bias.length;
  const inputs = parts.weights.length / outputs;
  const weights = `${parts.output}.weights`;
  const bias = `${parts.output}.bias`;
  return {
    nodes: [buildNode({ op: 'Gemm', inputs: [parts.input, weights, bias], outputs: [parts.output] })],
    initializers: [
      floatTensor(weights, [inputs, outputs], Array.from(parts.weights)),
      floatTensor(bias, [outputs], Array.from(parts.bias)),
    ],
  };
}

/** `(x - offset) * scale` per column; any numeric input, float32 output. */
export function scalerBlock(parts: {
  readonly input: string;
  readonly output: string;
  readonly offset: readonly number[];
  readonly scale: readonly number[];
}): Block {
  const attributes = { offset: { floats: parts.offset }, scale: { floats: parts.scale } };
  return one({ op: 'Scaler', domain: mlDomain, inputs: [parts.input], outputs: [parts.output], attributes });
}

/** `[N, 1]` categories → `[N, categories]` of 0 and 1 in float32; an unknown category is all zeros. */
export function oneHotBlock(parts: {
  readonly input: string;
  readonly output: string;
  readonly categories: { readonly strings: readonly string[] } | { readonly ints: readonly number[] };
}): Block {
  const { categories } = parts;
  const encoded = `${parts.output}.3d`;
  const attributes = {
    ...('strings' in categories ? { cats_strings: categories } : { cats_int64s: categories }),
    zeros: 1,
  };
  const width = 'strings' in categories ? categories.strings.length : categories.ints.length;
  const reshape = reshapeBlock({ input: encoded, output: parts.output, width });
  const encoder = buildNode({
    op: 'OneHotEncoder',
    domain: mlDomain,
    inputs: [parts.input],
    outputs: [encoded],
    attributes,
  });
  return { nodes: [encoder, ...reshape.nodes], initializers: reshape.initializers };
}

/** Any shape → `[N, width]`. */
export function reshapeBlock(parts: {
  readonly input: string;
  readonly output: string;
  readonly width: number;
}): Block {
  const shape = `${parts.output}.shape`;
  const inputs = [parts.input, shape];
  return {
    nodes: [buildNode({ op: 'Reshape', inputs, outputs: [parts.output] })],
    initializers: [int64Tensor(shape, [2], [-1, parts.width])],
  };
}

/** Values side by side; all must have one type. */
export function concatBlock(parts: { readonly inputs: readonly string[]; readonly output: string }): Block {
  return one({ op: 'Concat', inputs: parts.inputs, outputs: [parts.output], attributes: { axis: 1 } });
}

export function castToFloatBlock(parts: { readonly input: string; readonly output: string }): Block {
  return one({ op: 'Cast', inputs: [parts.input], outputs: [parts.output], attributes: { to: 1 } });
}

export function sigmoidBlock(parts: { readonly input: string; readonly output: string }): Block {
  return one({ op: 'Sigmoid', inputs: [parts.input], outputs: [parts.output] });
}

export function softmaxBlock(parts: { readonly input: string; readonly output: string }): Block {
  return one({ op: 'Softmax', inputs: [parts.input], outputs: [parts.output], attributes: { axis: 1 } });
}

/** Replaces NaN by one value per column. */
export function imputerBlock(parts: {
  readonly input: string;
  readonly output: string;
  readonly values: readonly number[];
}): Block {
  const attributes = { imputed_value_floats: { floats: parts.values }, replaced_value_float: { float: Number.NaN } };
  return one({ op: 'Imputer', domain: mlDomain, inputs: [parts.input], outputs: [parts.output], attributes });
}

/**
 * An ensemble as `TreeEnsembleRegressor` → `[N, targets]` raw values or, with a post transform, probabilities. Prefer it,
 * followed by Sigmoid or Softmax, to the classifier operator: one float output and no rules about labels.
 */
export function treeRegressorBlock(parts: {
  readonly input: string;
  readonly output: string;
  readonly ensemble: TreeEnsemble;
}): Block {
  const { ensemble } = parts;
  if (ensemble.sets.length > 0)
    throw new TypeError('TreeEnsembleRegressor has no set membership; use BRANCH_EQ chains');
  return one({
    op: 'TreeEnsembleRegressor',
    domain: mlDomain,
    inputs: [parts.input],
    outputs: [parts.output],
    attributes: {
      ...nodeAttributes(ensemble),
      ...weightAttributes(ensemble, 'target'),
      n_targets: ensemble.targets,
      aggregate_function: ensemble.aggregate,
      post_transform: ensemble.postTransform,
      ...baseValues(ensemble),
    },
  });
}

/** An ensemble as `TreeEnsembleClassifier`; outputs are the label `[N]` and the scores `[N, classes]`. */
export function treeClassifierBlock(parts: {
  readonly input: string;
  readonly label: string;
  readonly scores: string;
  readonly ensemble: TreeEnsemble;
}): Block {
  const { ensemble } = parts;
  const labels = ensemble.classifier?.labels;
  if (labels === undefined) throw new TypeError('this ensemble is a regressor: it has no class labels');
  if (ensemble.sets.length > 0) throw new TypeError('TreeEnsembleClassifier has no set membership');
  return one({
    op: 'TreeEnsembleClassifier',
    domain: mlDomain,
    inputs: [parts.input],
    outputs: [parts.label, parts.scores],
    attributes: {
      ...nodeAttributes(ensemble),
      ...weightAttributes(ensemble, 'class'),
      ...classLabels(labels),
      post_transform: ensemble.postTransform,
      ...baseValues(ensemble),
    },
  });
}

/** An ensemble as `TreeEnsemble` (ai.onnx.ml 5), which has set membership; every leaf scores exactly one target. */
export function treeEnsembleBlock(parts: {
  readonly input: string;
  readonly output: string;
  readonly ensemble: TreeEnsemble;
}): Block {
  const { ensemble } = parts;
  if (ensemble.classifier !== null || ensemble.baseValues.length > 0) {
    throw new TypeError('TreeEnsemble has neither class labels nor base values');
  }
  const transforms: readonly PostTransform[] = ['NONE', 'SOFTMAX', 'LOGISTIC', 'SOFTMAX_ZERO', 'PROBIT'];
  if (ensemble.postTransform === 'SOFTMAX' || ensemble.postTransform === 'LOGISTIC') {
    throw new TypeError('runtimes differ on the numbers of SOFTMAX and LOGISTIC; put a Softmax or Sigmoid node behind');
  }
  const { branches, leaves, placeOf } = numberApart(ensemble);
  // A tree that is one leaf is a branch with that leaf on both sides.
  const sides = (children: Int32Array) =>
    branches.map(node => placeOf(ensemble.modes[node] === leafMode ? node : (children[node] ?? 0), true));
  const yes = sides(ensemble.onTrue);
  const no = sides(ensemble.onFalse);
  const sets = branches.flatMap(node =>
    ensemble.modes[node] === memberMode ? [...(ensemble.sets[ensemble.thresholds[node] ?? 0] ?? []), Number.NaN] : [],
  );
  const splits = branches.map(node => (ensemble.modes[node] === memberMode ? 0 : (ensemble.thresholds[node] ?? 0)));
  const modes = branches.map(node => Math.max(0, (ensemble.modes[node] ?? leafMode) - 1));
  const weightsOf = leaves.map(leaf => ensemble.weightStart[leaf] ?? 0);
  return one({
    op: 'TreeEnsemble',
    domain: mlDomain,
    inputs: [parts.input],
    outputs: [parts.output],
    attributes: {
      n_targets: ensemble.targets,
      aggregate_function: ['AVERAGE', 'SUM', 'MIN', 'MAX'].indexOf(ensemble.aggregate),
      post_transform: transforms.indexOf(ensemble.postTransform),
      tree_roots: { ints: Array.from(ensemble.roots, root => placeOf(root, false).place) },
      nodes_featureids: { ints: branches.map(node => ensemble.featureIds[node] ?? 0) },
      nodes_modes: { tensor: uint8Tensor('modes', [branches.length], modes) },
      nodes_splits: { tensor: floatTensor('splits', [branches.length], splits) },
      nodes_missing_value_tracks_true: { ints: branches.map(node => ensemble.missingTrue[node] ?? 0) },
      nodes_truenodeids: { ints: yes.map(side => side.place) },
      nodes_trueleafs: { ints: yes.map(side => side.leaf) },
      nodes_falsenodeids: { ints: no.map(side => side.place) },
      nodes_falseleafs: { ints: no.map(side => side.leaf) },
      leaf_targetids: { ints: weightsOf.map(at => ensemble.weightTarget[at] ?? 0) },
      leaf_weights: {
        tensor: floatTensor(
          'weights',
          [leaves.length],
          weightsOf.map(at => ensemble.weights[at] ?? 0),
        ),
      },
      ...(sets.length > 0 ? { membership_values: { tensor: floatTensor('members', [sets.length], sets) } } : {}),
    },
  });
}

/** Branches and leaves in two numberings; a root counts as a branch even when it is a leaf. */
function numberApart(ensemble: TreeEnsemble) {
  const { tree } = numberWithinTrees(ensemble);
  const roots = new Set(ensemble.roots);
  const isLeaf = (node: number) => ensemble.modes[node] === leafMode;
  const branches = tree.order.filter(node => !isLeaf(node) || roots.has(node));
  const leaves = tree.order.filter(isLeaf);
  const branchPlace = new Map(branches.map((node, place) => [node, place]));
  const leafPlace = new Map(leaves.map((node, place) => [node, place]));
  const placeOf = (node: number, asChild: boolean) => {
    const leaf = asChild && isLeaf(node);
    return { place: (leaf ? leafPlace : branchPlace).get(node) ?? 0, leaf: leaf ? 1 : 0 };
  };
  return { branches, leaves, placeOf };
}

/** Node attributes of operators 1 and 3; the numbers of a tree's nodes start at its root with 0. */
function nodeAttributes(ensemble: TreeEnsemble) {
  const { tree, local } = numberWithinTrees(ensemble);
  const order = tree.order;
  const pick = (values: ArrayLike<number>) => Array.from(order, node => values[node] ?? 0);
  return {
    nodes_treeids: { ints: order.map(node => tree.of[node] ?? 0) },
    nodes_nodeids: { ints: pick(local) },
    nodes_featureids: { ints: pick(ensemble.featureIds) },
    nodes_modes: { strings: order.map(node => branchModes[ensemble.modes[node] ?? leafMode] ?? 'LEAF') },
    nodes_values: { floats: pick(ensemble.thresholds) },
    nodes_truenodeids: { ints: order.map(node => childNumber(ensemble, ensemble.onTrue, local, node)) },
    nodes_falsenodeids: { ints: order.map(node => childNumber(ensemble, ensemble.onFalse, local, node)) },
    nodes_missing_value_tracks_true: { ints: pick(ensemble.missingTrue) },
  };
}

function childNumber(ensemble: TreeEnsemble, children: Int32Array, local: Int32Array, node: number): number {
  return ensemble.modes[node] === leafMode ? 0 : (local[children[node] ?? 0] ?? 0);
}

function weightAttributes(ensemble: TreeEnsemble, kind: 'target' | 'class'): Record<string, AttributeValue> {
  const { tree, local } = numberWithinTrees(ensemble);
  const trees: number[] = [];
  const nodes: number[] = [];
  const targets: number[] = [];
  const weights: number[] = [];
  for (const node of tree.order) {
    for (let i = ensemble.weightStart[node] ?? 0; i < (ensemble.weightStart[node + 1] ?? 0); i++) {
      trees.push(tree.of[node] ?? 0);
      nodes.push(local[node] ?? 0);
      targets.push(ensemble.weightTarget[i] ?? 0);
      weights.push(ensemble.weights[i] ?? 0);
    }
  }
  return {
    [`${kind}_treeids`]: { ints: trees },
    [`${kind}_nodeids`]: { ints: nodes },
    [`${kind}_ids`]: { ints: targets },
    [`${kind}_weights`]: { floats: weights },
  };
}

function classLabels(labels: TreeClassifier['labels']): Record<string, AttributeValue> {
  return labels.kind === 'int64'
    ? { classlabels_int64s: { ints: labels.values } }
    : { classlabels_strings: { strings: labels.values } };
}

function baseValues(ensemble: TreeEnsemble): Record<string, AttributeValue> {
  return ensemble.baseValues.length === 0 ? {} : { base_values: { floats: ensemble.baseValues } };
}

/** Which tree each node belongs to and its number there, in preorder. */
function numberWithinTrees(ensemble: TreeEnsemble) {
  const local = new Int32Array(ensemble.modes.length);
  const of = new Int32Array(ensemble.modes.length);
  const order: number[] = [];
  ensemble.roots.forEach((root, treeNumber) => {
    const first = order.length;
    const waiting = [root];
    for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
      local[node] = order.length - first;
      of[node] = treeNumber;
      order.push(node);
      if (ensemble.modes[node] === leafMode) continue;
      waiting.push(ensemble.onFalse[node] ?? 0, ensemble.onTrue[node] ?? 0);
    }
  });
  return { tree: { of, order }, local };
}

function one(parts: Parameters<typeof buildNode>[0]): Block {
  return { nodes: [buildNode(parts)], initializers: [] };
}
