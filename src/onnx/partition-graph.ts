/**
 * Cuts a graph around its one tree ensemble: what comes before it stays with ONNX Runtime (or is plain enough to be read
 * away), the ensemble goes to the compiled kernel, and what follows must be arithmetic on its scores.
 *
 *   inputs ──[ prefix ]──▶ features ──[ ensemble ]──▶ scores ──[ suffix ]──▶ output
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { buildValue } from './build.ts';
import {
  TensorProto_DataType as DataType,
  type GraphProto,
  ModelProtoSchema,
  type NodeProto,
} from './generated/onnx_pb.ts';
import { domainName, findAttribute, modelInputs, type OnnxModel, summarizeTensor, type TensorSummary } from './read.ts';
import { tensorNumbers } from './tensor.ts';
import type { TreeAttributes } from './wire.ts';

/** Where the features of the ensemble come from. */
export type TreeFeatures =
  /** The inputs side by side, in this order, each as float32: no ONNX Runtime needed. */
  | { readonly kind: 'inputs'; readonly inputs: readonly TensorSummary[]; readonly width: number | null }
  /** A model of its own with the one output `output`, `[N, width]` float32. */
  | { readonly kind: 'prefix'; readonly model: Uint8Array; readonly output: string; readonly width: number | null };

/** One step of arithmetic on a score, in float32. */
export type SuffixStep =
  | { readonly kind: 'scale'; readonly by: 'Mul' | 'Div' | 'Add' | 'Sub'; readonly constant: number }
  | { readonly kind: 'sigmoid' }
  | { readonly kind: 'softmax' };

export type Partition =
  | {
      readonly kind: 'trees';
      readonly operator: string;
      readonly attributes: TreeAttributes;
      readonly features: TreeFeatures;
      readonly suffix: readonly SuffixStep[];
    }
  | { readonly kind: 'none'; readonly reason: string };

/** How `output` of a model is computed, when it is a tree ensemble between things we know; otherwise why not. */
export function partitionGraph(model: Omit<OnnxModel, 'bytes'>, output: string): Partition {
  const { graph } = model;
  if (model.trees.size === 0) return { kind: 'none', reason: 'not a tree ensemble' };
  const producers = producersOf(graph);
  const suffix: SuffixStep[] = [];
  let value = output;
  for (;;) {
    const index = producers.get(value);
    const node = index === undefined ? undefined : graph.node[index];
    if (index === undefined || node === undefined)
      return { kind: 'none', reason: `${output} comes from no tree ensemble` };
    const attributes = model.trees.get(index);
    if (attributes !== undefined) {
      const scores = node.opType === 'TreeEnsembleClassifier' ? node.output[1] : node.output[0];
      if (value !== scores)
        return { kind: 'none', reason: `${output} is a label, which the ensemble's scores do not carry` };
      const features = readFeatures(model, node.input[0] ?? '', producers);
      if ('reason' in features) return { kind: 'none', reason: features.reason };
      return { kind: 'trees', operator: node.opType, attributes, features, suffix: suffix.reverse() };
    }
    const step = readStep(graph, node);
    if ('reason' in step) return { kind: 'none', reason: step.reason };
    if (step.step !== null) suffix.push(step.step);
    value = step.from;
  }
}

function producersOf(graph: GraphProto): Map<string, number> {
  const producers = new Map<string, number>();
  graph.node.forEach((node, index) => {
    for (const name of node.output) if (name !== '') producers.set(name, index);
  });
  return producers;
}

/** A node after the ensemble: the value it takes and what it does to each score. */
function readStep(
  graph: GraphProto,
  node: NodeProto,
): { readonly from: string; readonly step: SuffixStep | null } | { readonly reason: string } {
  const from = node.input[0] ?? '';
  const unknown = { reason: `${node.opType} after the trees is not arithmetic on one score` };
  if (domainName(node.domain) !== 'ai.onnx') return unknown;
  switch (node.opType) {
    case 'Identity':
      return { from, step: null };
    case 'Cast':
      return isCastToFloat(node) ? { from, step: null } : unknown;
    case 'Sigmoid':
      return { from, step: { kind: 'sigmoid' } };
    case 'Softmax': {
      const axis = findAttribute(node, 'axis')?.i ?? -1n;
      return axis === 1n || axis === -1n ? { from, step: { kind: 'softmax' } } : unknown;
    }
    case 'Mul':
    case 'Div':
    case 'Add':
    case 'Sub': {
      const constant = scalarConstant(graph, node.input[1] ?? '');
      if (constant === null) return unknown;
      return { from, step: { kind: 'scale', by: node.opType, constant } };
    }
    default:
      return unknown;
  }
}

function isCastToFloat(node: NodeProto): boolean {
  return findAttribute(node, 'to')?.i === BigInt(DataType.FLOAT);
}

function scalarConstant(graph: GraphProto, name: string): number | null {
  const tensor =
    graph.initializer.find(initializer => initializer.name === name) ??
    graph.node.flatMap(node => (node.output[0] === name ? (findAttribute(node, 'value')?.t ?? []) : []))[0];
  if (tensor === undefined || tensor.dataType !== DataType.FLOAT) return null;
  const values = tensorNumbers(tensor);
  return values.length === 1 ? (values[0] ?? null) : null;
}

function readFeatures(
  model: Omit<OnnxModel, 'bytes'>,
  features: string,
  producers: ReadonlyMap<string, number>,
): TreeFeatures | { readonly reason: string } {
  const inputs = plainInputs(model.graph, features, producers);
  if (inputs !== null) {
    const widths = inputs.map(({ dims }) => (dims === null ? null : dims.length < 2 ? 1 : dims[1]));
    const width = widths.reduce<number | null>(
      (sum, next) => (sum === null || typeof next !== 'number' ? null : sum + next),
      0,
    );
    return { kind: 'inputs', inputs, width };
  }
  const prefix = cutPrefix(model, features, producers);
  if (prefix === null) return { reason: 'the features of the trees depend on another tree ensemble' };
  return { kind: 'prefix', model: prefix, output: features, width: null };
}

/** The graph inputs that `value` is made of by nothing but Cast, Identity and Concat; null when there is more to it. */
function plainInputs(
  graph: GraphProto,
  value: string,
  producers: ReadonlyMap<string, number>,
): readonly TensorSummary[] | null {
  const input = modelInputs(graph).find(candidate => candidate.name === value);
  if (input !== undefined) {
    const summary = summarizeTensor(input);
    return summary.type === 'float32' ? [summary] : null;
  }
  const node = graph.node[producers.get(value) ?? -1];
  if (node === undefined || domainName(node.domain) !== 'ai.onnx') return null;
  if (node.opType === 'Cast' && isCastToFloat(node)) return castInput(graph, node.input[0] ?? '');
  if (node.opType === 'Identity') return plainInputs(graph, node.input[0] ?? '', producers);
  const axis = findAttribute(node, 'axis')?.i;
  if (node.opType !== 'Concat' || (axis !== 1n && axis !== -1n)) return null;
  const parts = node.input.map(name => plainInputs(graph, name, producers));
  return parts.every(part => part !== null) ? parts.flat() : null;
}

/** A numeric input that is cast to float32. */
function castInput(graph: GraphProto, name: string): readonly TensorSummary[] | null {
  const input = modelInputs(graph).find(candidate => candidate.name === name);
  const summary = input === undefined ? null : summarizeTensor(input);
  return summary !== null && summary.type !== 'string' ? [summary] : null;
}

/** The part of the graph that computes `features`, as a model; null when it contains trees. */
function cutPrefix(
  model: Omit<OnnxModel, 'bytes'>,
  features: string,
  producers: ReadonlyMap<string, number>,
): Uint8Array | null {
  const { graph, proto } = model;
  const needed = new Set<number>();
  const names = new Set<string>();
  const waiting = [features];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (names.has(name)) continue;
    names.add(name);
    const index = producers.get(name);
    if (index === undefined) continue;
    if (model.trees.has(index)) return null;
    needed.add(index);
    waiting.push(...(graph.node[index]?.input ?? []));
  }
  const prefix = create(ModelProtoSchema, {
    irVersion: proto.irVersion,
    opsetImport: proto.opsetImport,
    graph: {
      name: 'prefix',
      node: graph.node.filter((_, index) => needed.has(index)),
      initializer: graph.initializer.filter(({ name }) => names.has(name)),
      input: graph.input.filter(({ name }) => names.has(name)),
      output: [buildValue(features, 'float32', ['N', 'features'])],
    },
  });
  return toBinary(ModelProtoSchema, prefix);
}
