/** Reading an ONNX file: the parsed model, and a summary of it small enough to store and show. */
import { fromBinary } from '@bufbuild/protobuf';
import {
  type AttributeProto,
  TensorProto_DataType as DataType,
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  type ValueInfoProto,
} from './generated/onnx_pb.ts';
import { dataTypeName, elementBytes } from './tensor.ts';
import { splitModel, type TreeAttributes } from './wire.ts';

export interface OnnxModel {
  /** The file itself, which is what ONNX Runtime gets. */
  readonly bytes: Uint8Array;
  /** The parsed model; top-level tree nodes have no attributes here, they are in `trees`. */
  readonly proto: ModelProto;
  readonly graph: GraphProto;
  /** Attributes of tree nodes by position in `graph.node`. */
  readonly trees: ReadonlyMap<number, TreeAttributes>;
}

/** Parses a model. Throws when the bytes are no ONNX model. */
export function readModel(bytes: Uint8Array): OnnxModel {
  try {
    const { slim, trees } = splitModel(bytes);
    const proto = fromBinary(ModelProtoSchema, slim);
    if (proto.graph === undefined) throw new Error('it has no graph');
    return { bytes, proto, graph: proto.graph, trees };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`not an ONNX model (${bytes.length} bytes): ${reason}; export the model again`, { cause });
  }
}

export interface TensorSummary {
  readonly name: string;
  /** `float32`, `int64`, …, or `sequence`, `map`, `optional`, `sparse`, `unknown` for what is no dense tensor. */
  readonly type: string;
  /** Sizes; a name for a symbolic dimension, null for an unnamed one. Null when the file declares no shape at all. */
  readonly dims: readonly (number | string | null)[] | null;
}

export interface ModelSummary {
  readonly producer: string;
  readonly irVersion: number;
  /** Domain (`ai.onnx` for the default one) → version. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly inputs: readonly TensorSummary[];
  readonly outputs: readonly TensorSummary[];
  /** `domain::operator` → how many nodes, subgraphs included; the default domain is left out of the name. */
  readonly operators: Readonly<Record<string, number>>;
  readonly initializerBytes: number;
  readonly sizeBytes: number;
}

export function summarizeModel(model: OnnxModel): ModelSummary {
  const { proto, graph } = model;
  const operators: Record<string, number> = {};
  for (const { node } of allNodes(graph)) {
    const name = operatorName(node);
    operators[name] = (operators[name] ?? 0) + 1;
  }
  return {
    producer: [proto.producerName, proto.producerVersion].filter(Boolean).join(' '),
    irVersion: Number(proto.irVersion),
    opsets: Object.fromEntries(proto.opsetImport.map(set => [domainName(set.domain), Number(set.version)])),
    metadata: Object.fromEntries(proto.metadataProps.map(({ key, value }) => [key, value])),
    inputs: modelInputs(graph).map(summarizeTensor),
    outputs: graph.output.map(summarizeTensor),
    operators,
    initializerBytes: graph.initializer.reduce((sum, tensor) => {
      const elements = tensor.dims.reduce((product, dim) => product * Number(dim), 1);
      return sum + elements * (elementBytes(tensor.dataType) ?? 1);
    }, 0),
    sizeBytes: model.bytes.length,
  };
}

export function modelMetadata(model: OnnxModel): Readonly<Partial<Record<string, string>>> {
  return Object.fromEntries(model.proto.metadataProps.map(({ key, value }) => [key, value]));
}

/** Graph inputs that a caller must feed: older files list their initializers among the inputs. */
export function modelInputs(graph: GraphProto): readonly ValueInfoProto[] {
  const constant = new Set(graph.initializer.map(tensor => tensor.name));
  return graph.input.filter(input => !constant.has(input.name));
}

export function summarizeTensor(value: ValueInfoProto): TensorSummary {
  const type = value.type?.value;
  if (type?.case !== 'tensorType') {
    const name = type?.case?.replace(/(Tensor)?Type$/, '') ?? 'unknown';
    return { name: value.name, type: name, dims: null };
  }
  const dims = type.value.shape?.dim.map(({ value: dim }) => {
    if (dim.case === 'dimValue') return Number(dim.value);
    return dim.case === 'dimParam' && dim.value !== '' ? dim.value : null;
  });
  return { name: value.name, type: typeName(type.value.elemType), dims: dims ?? null };
}

const typeNames = new Map<number, string>([
  [DataType.FLOAT, 'float32'],
  [DataType.DOUBLE, 'float64'],
  [DataType.INT64, 'int64'],
  [DataType.INT32, 'int32'],
  [DataType.BOOL, 'bool'],
  [DataType.STRING, 'string'],
]);

function typeName(dataType: number): string {
  return typeNames.get(dataType) ?? dataTypeName(dataType).toLowerCase();
}

/** The default domain has two names. */
export function domainName(domain: string): string {
  return domain === '' ? 'ai.onnx' : domain;
}

/** `Gemm`, `ai.onnx.ml::Scaler`. */
export function operatorName(node: NodeProto): string {
  const domain = domainName(node.domain);
  return domain === 'ai.onnx' ? node.opType : `${domain}::${node.opType}`;
}

/** Every node of a graph and of the graphs inside its attributes. */
export function* allNodes(graph: GraphProto): Generator<{ node: NodeProto; graph: GraphProto }> {
  for (const inner of allGraphs(graph)) for (const node of inner.node) yield { node, graph: inner };
}

export function* allGraphs(graph: GraphProto): Generator<GraphProto> {
  yield graph;
  for (const node of graph.node) {
    for (const attribute of node.attribute) {
      for (const inner of attribute.graphs) yield* allGraphs(inner);
      if (attribute.g !== undefined) yield* allGraphs(attribute.g);
    }
  }
}

export function findAttribute(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute.find(attribute => attribute.name === name);
}

/** A text attribute, or null when the node does not have it. */
export function textAttribute(node: NodeProto, name: string): string | null {
  const found = findAttribute(node, name);
  return found === undefined ? null : new TextDecoder().decode(found.s);
}
