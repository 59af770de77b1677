/** The class names of a classifier, in the order of its probabilities: exporters leave them in different places. */
import * as z from 'zod';
import {
  TensorProto_DataType as DataType,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from './generated/onnx_pb.ts';
import { findAttribute, modelMetadata, type OnnxModel } from './read.ts';
import { tensorNumbers, tensorStrings } from './tensor.ts';

/** Metadata key under which the class names of a stripped ZipMap stay. */
export const classesKey = 'almanac.classes';

/** Class names as text, or [] when the graph names none. */
export function findClasses(model: OnnxModel): readonly string[] {
  const stored = modelMetadata(model)[classesKey];
  if (stored !== undefined) return z.array(z.string()).parse(JSON.parse(stored));
  for (const attributes of model.trees.values()) {
    const strings = attributes.get('classlabels_strings')?.strings ?? [];
    if (strings.length > 0) return strings;
    const ints = attributes.get('classlabels_int64s')?.ints ?? [];
    if (ints.length > 0) return Array.from(ints, String);
  }
  for (const node of model.graph.node) {
    const named = labelAttributes(node);
    if (named.length > 0) return named;
  }
  return pickedClasses(model.graph);
}

/** Labels in the attributes of linear and vector classifiers and of ZipMap. */
export function labelAttributes(node: NodeProto): readonly string[] {
  const strings = findAttribute(node, 'classlabels_strings')?.strings ?? [];
  if (strings.length > 0) return strings.map(bytes => new TextDecoder().decode(bytes));
  const ints = findAttribute(node, 'classlabels_int64s') ?? findAttribute(node, 'classlabels_ints');
  return ints?.ints.map(String) ?? [];
}

/** sklearn-onnx picks the label out of a constant: ArgMax → ArrayFeatureExtractor(classes, index). */
function pickedClasses(graph: GraphProto): readonly string[] {
  const argMax = new Set(graph.node.filter(node => node.opType === 'ArgMax').flatMap(node => node.output));
  for (const node of graph.node) {
    if (node.opType !== 'ArrayFeatureExtractor' || !argMax.has(node.input[1] ?? '')) continue;
    const constant = graph.initializer.find(tensor => tensor.name === node.input[0]);
    if (constant !== undefined) return tensorTexts(constant);
  }
  return [];
}

function tensorTexts(tensor: TensorProto): readonly string[] {
  if (tensor.dataType === DataType.STRING) return tensorStrings(tensor);
  return Array.from(tensorNumbers(tensor), String);
}
