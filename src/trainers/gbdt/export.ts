/** Trees → ONNX: one TreeEnsembleRegressor, then Sigmoid or Softmax. One float output and no label quirks. */
import type { Signature } from '../../domain/signature.ts';
import { buildModel, buildNode, buildValue, mlDomain } from '../../onnx/build.ts';
import type { Tree } from './tree.ts';

export function exportTrees(
  trees: readonly Tree[],
  outputs: number,
  signature: Signature,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const [input] = signature.inputs;
  const [output] = signature.outputs;
  if (input === undefined || output === undefined) throw new Error('gbdt: the signature has no input or no output');
  const activation = { binary: 'Sigmoid', multiclass: 'Softmax', regression: null }[signature.task];
  const sums = activation === null ? output.name : 'sums';
  const nodes = [
    buildNode({
      op: 'TreeEnsembleRegressor',
      domain: mlDomain,
      inputs: [input.name],
      outputs: [sums],
      attributes: ensembleAttributes(trees, outputs),
    }),
  ];
  if (activation !== null) {
    const parts = { op: activation, inputs: [sums], outputs: [output.name] };
    nodes.push(buildNode(activation === 'Softmax' ? { ...parts, attributes: { axis: 1 } } : parts));
  }
  return buildModel({
    inputs: [buildValue(input.name, 'float32', ['N', input.columns.length])],
    outputs: [buildValue(output.name, 'float32', ['N', outputs])],
    nodes,
    metadata,
    signature,
  });
}

/** Nodes of a tree keep their indices; its leaves follow them. Node 0 comes first, as ONNX Runtime wants its roots. */
function ensembleAttributes(trees: readonly Tree[], outputs: number) {
  const nodes = {
    treeids: [] as number[],
    nodeids: [] as number[],
    featureids: [] as number[],
    modes: [] as string[],
    values: [] as number[],
    truenodeids: [] as number[],
    falsenodeids: [] as number[],
    missing_value_tracks_true: [] as number[],
  };
  const targets = { treeids: [] as number[], nodeids: [] as number[], ids: [] as number[], weights: [] as number[] };
  trees.forEach((tree, treeIndex) => {
    const child = (index: number) => (index >= 0 ? index : tree.nodes.length + ~index);
    tree.nodes.forEach((node, index) => {
      nodes.treeids.push(treeIndex);
      nodes.nodeids.push(index);
      nodes.featureids.push(node.feature);
      nodes.modes.push('BRANCH_LEQ');
      nodes.values.push(node.threshold);
      nodes.truenodeids.push(child(node.left));
      nodes.falsenodeids.push(child(node.right));
      nodes.missing_value_tracks_true.push(node.missingLeft ? 1 : 0);
    });
    tree.leaves.forEach((weight, leaf) => {
      nodes.treeids.push(treeIndex);
      nodes.nodeids.push(tree.nodes.length + leaf);
      nodes.featureids.push(0);
      nodes.modes.push('LEAF');
      nodes.values.push(0);
      nodes.truenodeids.push(0);
      nodes.falsenodeids.push(0);
      nodes.missing_value_tracks_true.push(0);
      targets.treeids.push(treeIndex);
      targets.nodeids.push(tree.nodes.length + leaf);
      targets.ids.push(tree.output);
      targets.weights.push(weight);
    });
  });
  return {
    n_targets: outputs,
    aggregate_function: 'SUM',
    post_transform: 'NONE',
    nodes_treeids: { ints: nodes.treeids },
    nodes_nodeids: { ints: nodes.nodeids },
    nodes_featureids: { ints: nodes.featureids },
    nodes_modes: { strings: nodes.modes },
    nodes_values: { floats: nodes.values },
    nodes_truenodeids: { ints: nodes.truenodeids },
    nodes_falsenodeids: { ints: nodes.falsenodeids },
    nodes_missing_value_tracks_true: { ints: nodes.missing_value_tracks_true },
    target_treeids: { ints: targets.treeids },
    target_nodeids: { ints: targets.nodeids },
    target_ids: { ints: targets.ids },
    target_weights: { floats: targets.weights },
  };
}
