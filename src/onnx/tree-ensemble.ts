/** Takes a tree ensemble out of an ONNX node: both generations of the operators of ai.onnx.ml. */
import {
  type Aggregate,
  branchModes,
  leafMode,
  memberMode,
  type PostTransform,
  type TreeClassifier,
  type TreeEnsemble,
} from '../engine/trees/ensemble.ts';
import { TensorProto_DataType as DataType, type TensorProto } from './generated/onnx_pb.ts';
import { tensorNumbers } from './tensor.ts';
import type { TreeAttributes } from './wire.ts';

/** The node is no ensemble of float32 trees; the message says what it is instead. */
export class TreeNodeError extends Error {
  override readonly name = 'TreeNodeError';
}

/**
 * The ensemble of a node by its operator: TreeEnsembleRegressor, TreeEnsembleClassifier (ai.onnx.ml 1 and 3) or
 * TreeEnsemble (5). Throws `TreeNodeError`. `features` is the width of the node's input, null when the graph leaves it open.
 */
export function readTreeEnsemble(operator: string, attributes: TreeAttributes, features: number | null): TreeEnsemble {
  switch (operator) {
    case 'TreeEnsembleRegressor':
      return readFirstGeneration(attributes, 'target', features);
    case 'TreeEnsembleClassifier':
      return readFirstGeneration(attributes, 'class', features);
    case 'TreeEnsemble':
      return readSecondGeneration(attributes, features);
    default:
      throw new TreeNodeError(`operator ${operator} is no tree ensemble`);
  }
}

const empty = { ints: new Float64Array(0), floats: new Float32Array(0), strings: [] as readonly string[] };

/** Attributes with their names in messages and their defaults. */
class Attributes {
  readonly #all: TreeAttributes;

  constructor(all: TreeAttributes) {
    this.#all = all;
  }

  ints(name: string): Float64Array {
    return (this.#all.get(name) ?? empty).ints;
  }

  strings(name: string): readonly string[] {
    return (this.#all.get(name) ?? empty).strings;
  }

  number(name: string, fallback: number): number {
    return this.#all.get(name)?.number ?? fallback;
  }

  text(name: string, fallback: string): string {
    return this.#all.get(name)?.text ?? fallback;
  }

  /** Floats of an attribute, or of its twin that holds a tensor. */
  floats(name: string): Float32Array {
    const tensor = this.#all.get(`${name}_as_tensor`)?.tensor;
    if (tensor !== undefined) return floatValues(`${name}_as_tensor`, tensor);
    return (this.#all.get(name) ?? empty).floats;
  }

  tensor(name: string): TensorProto {
    const tensor = this.#all.get(name)?.tensor;
    if (tensor === undefined) throw new TreeNodeError(`attribute ${name} is missing`);
    return tensor;
  }
}

function floatValues(name: string, tensor: TensorProto): Float32Array {
  if (tensor.dataType !== DataType.FLOAT) {
    throw new TreeNodeError(`attribute ${name} holds doubles; compiled trees compare and sum float32`);
  }
  return Float32Array.from(tensorNumbers(tensor));
}

function readFirstGeneration(all: TreeAttributes, kind: 'target' | 'class', features: number | null): TreeEnsemble {
  const attributes = new Attributes(all);
  const treeIds = attributes.ints('nodes_treeids');
  const count = treeIds.length;
  const modeNames = attributes.strings('nodes_modes');
  const values = attributes.floats('nodes_values');
  const columns = {
    nodes_nodeids: attributes.ints('nodes_nodeids'),
    nodes_featureids: attributes.ints('nodes_featureids'),
    nodes_truenodeids: attributes.ints('nodes_truenodeids'),
    nodes_falsenodeids: attributes.ints('nodes_falsenodeids'),
    nodes_modes: modeNames,
    nodes_values: values,
  };
  for (const [name, column] of Object.entries(columns)) assertLength(name, column.length, count);

  const places = new NodePlaces(treeIds, columns.nodes_nodeids);
  const modes = new Uint8Array(count);
  const onTrue = new Int32Array(count);
  const onFalse = new Int32Array(count);
  const featureIds = new Int32Array(count);
  const thresholds = new Float32Array(count);
  const numbers = new Map<string, number>(branchModes.map((mode, index) => [mode, index]));
  let named = '';
  let mode: number | undefined;
  for (let node = 0; node < count; node++) {
    const name = modeNames[node]!;
    if (name !== named) mode = numbers.get(name);
    named = name;
    if (mode === undefined || mode === memberMode) throw new TreeNodeError(`unknown branch mode ${name}`);
    modes[node] = mode;
    if (mode === leafMode) continue;
    featureIds[node] = columns.nodes_featureids[node]!;
    thresholds[node] = values[node]!;
    onTrue[node] = places.find(treeIds[node]!, columns.nodes_truenodeids[node]!);
    onFalse[node] = places.find(treeIds[node]!, columns.nodes_falsenodeids[node]!);
  }
  const missing = attributes.ints('nodes_missing_value_tracks_true');
  const missingTrue = new Uint8Array(count);
  for (let node = 0; node < missing.length; node++) missingTrue[node] = missing[node] === 1 ? 1 : 0;
  const classifier = kind === 'class' ? readLabels(attributes) : null;
  return {
    features: features ?? 1 + featureIds.reduce((most, id) => Math.max(most, id), 0),
    targets: classifier === null ? attributes.number('n_targets', 1) : classifier.labels.values.length,
    roots: places.roots,
    modes,
    featureIds,
    thresholds,
    onTrue,
    onFalse,
    missingTrue,
    sets: [],
    ...readWeights(attributes, kind, places, count),
    baseValues: attributes.floats('base_values'),
    aggregate: aggregateNamed(classifier === null ? attributes.text('aggregate_function', 'SUM') : 'SUM'),
    postTransform: transformNamed(attributes.text('post_transform', 'NONE')),
    classifier,
  };
}

function assertLength(name: string, found: number, expected: number): void {
  if (found !== expected) throw new TreeNodeError(`${name} has ${found} values, nodes_treeids has ${expected}`);
}

function readLabels(attributes: Attributes): TreeClassifier {
  const strings = attributes.strings('classlabels_strings');
  if (strings.length > 0) return { labels: { kind: 'string', values: strings } };
  return { labels: { kind: 'int64', values: Array.from(attributes.ints('classlabels_int64s')) } };
}

/** Where the node (tree id, node id) stands; usually a tree's nodes are numbered 0, 1, 2, … in file order. */
class NodePlaces {
  readonly roots: Int32Array;
  readonly #spans = new Map<number, { readonly first: number; end: number }>();
  readonly #places: Map<number, Map<number, number>> | null;
  /** The tree that was asked for last; most questions stay in it. */
  #tree = Number.NaN;
  #span = { first: 0, end: 0 };

  constructor(treeIds: Float64Array, nodeIds: Float64Array) {
    const roots: number[] = [];
    let span = { first: 0, end: 0 };
    let inOrder = true;
    for (let node = 0; node < treeIds.length; node++) {
      const tree = treeIds[node]!;
      if (node === 0 || tree !== treeIds[node - 1]) {
        if (this.#spans.has(tree)) throw new TreeNodeError(`the nodes of tree ${tree} are not together`);
        span = { first: node, end: node };
        this.#spans.set(tree, span);
        roots.push(node);
      }
      span.end = node + 1;
      if (nodeIds[node] !== node - span.first) inOrder = false;
    }
    this.roots = Int32Array.from(roots);
    this.#places = inOrder ? null : placesById(treeIds, nodeIds);
  }

  find(tree: number, id: number): number {
    if (tree !== this.#tree) {
      this.#tree = tree;
      this.#span = this.#spans.get(tree) ?? { first: 0, end: 0 };
    }
    const { first, end } = this.#span;
    const place = this.#places === null ? first + id : this.#places.get(tree)?.get(id);
    if (place === undefined || !(place < end) || id < 0) throw new TreeNodeError(`tree ${tree} has no node ${id}`);
    return place;
  }
}

function placesById(treeIds: Float64Array, nodeIds: Float64Array): Map<number, Map<number, number>> {
  const places = new Map<number, Map<number, number>>();
  treeIds.forEach((tree, node) => {
    let known = places.get(tree);
    if (known === undefined) {
      known = new Map();
      places.set(tree, known);
    }
    if (known.has(nodeIds[node]!)) throw new TreeNodeError(`tree ${tree} has two nodes ${nodeIds[node]}`);
    known.set(nodeIds[node]!, node);
  });
  return places;
}

/** Weights in file order, grouped by node. */
function readWeights(attributes: Attributes, kind: 'target' | 'class', places: NodePlaces, nodeCount: number) {
  const trees = attributes.ints(`${kind}_treeids`);
  const nodes = attributes.ints(`${kind}_nodeids`);
  const targets = attributes.ints(`${kind}_ids`);
  const values = attributes.floats(`${kind}_weights`);
  if (nodes.length !== trees.length || targets.length !== trees.length || values.length !== trees.length) {
    throw new TreeNodeError(
      `${kind}_treeids, ${kind}_nodeids, ${kind}_ids and ${kind}_weights have ${trees.length}, ${nodes.length}, ` +
        `${targets.length} and ${values.length} values; they must be as many`,
    );
  }
  const node = new Int32Array(trees.length);
  const weightStart = new Int32Array(nodeCount + 1);
  for (let i = 0; i < node.length; i++) {
    const at = places.find(trees[i]!, nodes[i]!);
    node[i] = at;
    weightStart[at + 1]!++;
  }
  for (let i = 0; i < nodeCount; i++) weightStart[i + 1]! += weightStart[i]!;
  const next = weightStart.slice();
  const weightTarget = new Int32Array(trees.length);
  const weights = new Float32Array(trees.length);
  for (let i = 0; i < node.length; i++) {
    const place = next[node[i]!]!++;
    weightTarget[place] = targets[i]!;
    weights[place] = values[i]!;
  }
  return { weightStart, weightTarget, weights };
}

const aggregates: readonly Aggregate[] = ['AVERAGE', 'SUM', 'MIN', 'MAX'];
/** By number as ONNX Runtime 1.30 reads them in TreeEnsemble; the standard has 1 and 2 the other way round. */
const transforms: readonly PostTransform[] = ['NONE', 'LOGISTIC', 'SOFTMAX', 'SOFTMAX_ZERO', 'PROBIT'];
const secondGenerationModes = [1, 2, 3, 4, 5, 6, memberMode];

function aggregateNamed(name: string): Aggregate {
  const found = aggregates.find(aggregate => aggregate === name);
  if (found === undefined)
    throw new TreeNodeError(`unknown aggregate function ${name}, known: ${aggregates.join(', ')}`);
  return found;
}

function transformNamed(name: string): PostTransform {
  const found = transforms.find(transform => transform === name);
  if (found === undefined) throw new TreeNodeError(`unknown post transform ${name}, known: ${transforms.join(', ')}`);
  return found;
}

/** TreeEnsemble of ai.onnx.ml 5: branches and leaves are numbered apart, and a reference to a leaf becomes a node here. */
function readSecondGeneration(all: TreeAttributes, features: number | null): TreeEnsemble {
  const attributes = new Attributes(all);
  const splits = floatValues('nodes_splits', attributes.tensor('nodes_splits'));
  const modeNumbers = tensorNumbers(attributes.tensor('nodes_modes'));
  const leafWeights = floatValues('leaf_weights', attributes.tensor('leaf_weights'));
  const leafTargets = attributes.ints('leaf_targetids');
  const branches = splits.length;
  const sides = [
    { next: attributes.ints('nodes_truenodeids'), isLeaf: attributes.ints('nodes_trueleafs') },
    { next: attributes.ints('nodes_falsenodeids'), isLeaf: attributes.ints('nodes_falseleafs') },
  ];
  for (const { next, isLeaf } of sides) {
    assertLength('nodes_truenodeids or nodes_falsenodeids', next.length, branches);
    assertLength('nodes_trueleafs or nodes_falseleafs', isLeaf.length, branches);
  }
  assertLength('nodes_modes', modeNumbers.length, branches);
  const leafNodes: number[] = [];
  const resolve = ({ next, isLeaf }: (typeof sides)[number], node: number): number => {
    const target = next[node]!;
    const limit = isLeaf[node] === 1 ? leafWeights.length : branches;
    if (!(target >= 0 && target < limit)) throw new TreeNodeError(`node ${node} leads to ${target} of ${limit}`);
    return isLeaf[node] === 1 ? branches + leafNodes.push(target) - 1 : target;
  };
  const onTrue: number[] = [];
  const onFalse: number[] = [];
  for (let node = 0; node < branches; node++) {
    onTrue.push(resolve(sides[0]!, node));
    onFalse.push(resolve(sides[1]!, node));
  }
  const roots = Array.from(attributes.ints('tree_roots'), root =>
    singleLeafRoot(root, { onTrue, onFalse, leafNodes, branches }),
  );
  const count = branches + leafNodes.length;
  const grow = (values: ArrayLike<number>) => Array.from({ length: count }, (_, node) => values[node] ?? 0);
  const modes = Uint8Array.from({ length: count }, (_, node) => {
    const mode = node < branches ? secondGenerationModes[modeNumbers[node]!] : leafMode;
    if (mode === undefined) throw new TreeNodeError(`unknown branch mode ${modeNumbers[node]}`);
    return mode;
  });
  const featureIds = Int32Array.from(grow(attributes.ints('nodes_featureids')));
  const missing = attributes.ints('nodes_missing_value_tracks_true');
  const { sets, thresholds } = readSets(attributes, modes, Float32Array.from(grow(splits)));
  return {
    features: features ?? 1 + featureIds.reduce((most, id) => Math.max(most, id), 0),
    targets: attributes.number('n_targets', 1),
    roots: Int32Array.from(roots),
    modes,
    featureIds,
    thresholds,
    onTrue: Int32Array.from(grow(onTrue)),
    onFalse: Int32Array.from(grow(onFalse)),
    missingTrue: Uint8Array.from(grow(missing), value => (value === 1 ? 1 : 0)),
    sets,
    weightStart: Int32Array.from({ length: count + 1 }, (_, node) => Math.max(0, node - branches)),
    weightTarget: Int32Array.from(leafNodes, leaf => leafTargets[leaf] ?? -1),
    weights: Float32Array.from(leafNodes, leaf => leafWeights[leaf]!),
    baseValues: new Float32Array(0),
    aggregate: aggregates[attributes.number('aggregate_function', 1)] ?? aggregateNamed('of another number'),
    postTransform: transforms[attributes.number('post_transform', 0)] ?? transformNamed('of another number'),
    classifier: null,
  };
}

/** A tree of one leaf is written as a branch whose two sides are that leaf. */
function singleLeafRoot(
  root: number,
  trees: {
    readonly onTrue: readonly number[];
    readonly onFalse: readonly number[];
    readonly leafNodes: readonly number[];
    readonly branches: number;
  },
): number {
  const { leafNodes, branches } = trees;
  if (!(root >= 0 && root < branches)) throw new TreeNodeError(`a tree starts at node ${root} of ${branches}`);
  const yes = trees.onTrue[root]! - branches;
  const no = trees.onFalse[root]! - branches;
  return yes >= 0 && no >= 0 && leafNodes[yes] === leafNodes[no] ? yes + branches : root;
}

/** The members of all set nodes stand in one list, each node's ended by NaN. */
function readSets(attributes: Attributes, modes: Uint8Array, thresholds: Float32Array) {
  const sets: Float32Array[] = [];
  if (!modes.includes(memberMode)) return { sets, thresholds };
  const members = floatValues('membership_values', attributes.tensor('membership_values'));
  let start = 0;
  modes.forEach((mode, node) => {
    if (mode !== memberMode) return;
    let end = start;
    while (end < members.length && !Number.isNaN(members[end])) end++;
    if (end === members.length) throw new TreeNodeError('membership_values has fewer sets than there are set nodes');
    thresholds[node] = sets.push(members.subarray(start, end)) - 1;
    start = end + 1;
  });
  return { sets, thresholds };
}
