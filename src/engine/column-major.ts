/**
 * A model that takes `[k, N]` instead of `[N, k]`: columns come out of DuckDB one after the other, and putting them row
 * by row costs as much as decoding a third of them. A graph that starts with Gemm takes columns without any
 * transposition (`transA`); any other gets a Transpose node, which ONNX Runtime does faster than JavaScript.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { buildNode, buildValue } from '../onnx/build.ts';
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  ModelProtoSchema,
  type NodeProto,
} from '../onnx/generated/onnx_pb.ts';
import { allGraphs, findAttribute, modelInputs, readModel, summarizeTensor } from '../onnx/read.ts';

const ROWS = 'almanac_rows';

/** The changed model, or null when the graph has not one float matrix as its only input. */
export function columnMajorModel(bytes: Uint8Array): Uint8Array | null {
  const model = readModel(bytes);
  const { graph } = model;
  const [input, ...others] = modelInputs(graph);
  if (input === undefined || others.length > 0 || model.trees.size > 0) return null;
  const { name, type, dims } = summarizeTensor(input);
  const width = dims?.[1];
  if (type !== 'float32' || dims?.length !== 2 || typeof width !== 'number' || width < 2) return null;
  // A subgraph may name the input without listing it among its own.
  if ([...allGraphs(graph)].length > 1 || graph.output.some(output => output.name === name)) return null;
  const position = graph.input.indexOf(input);
  graph.input[position] = buildValue(name, 'float32', [width, 'N']);
  if (!takesColumns(graph, name)) {
    for (const node of graph.node) node.input = node.input.map(used => (used === name ? ROWS : used));
    graph.node.unshift(
      buildNode({ op: 'Transpose', inputs: [name], outputs: [ROWS], attributes: { perm: { ints: [1, 0] } } }),
    );
  }
  return toBinary(ModelProtoSchema, model.proto);
}

/** Sets `transA` where every use of the input is the left side of a Gemm; false when it is not. */
function takesColumns(graph: GraphProto, name: string): boolean {
  const users = graph.node.filter(node => node.input.includes(name));
  const all = users.every(node => node.opType === 'Gemm' && node.input[0] === name && node.input.indexOf(name, 1) < 0);
  if (!all || users.length === 0) return false;
  for (const node of users) setTransA(node);
  return true;
}

function setTransA(node: NodeProto): void {
  const known = findAttribute(node, 'transA');
  if (known !== undefined) known.i = known.i === 0n ? 1n : 0n;
  else
    node.attribute.push(
      create(AttributeProtoSchema, { name: 'transA', type: AttributeProto_AttributeType.INT, i: 1n }),
    );
}
