/** Building ONNX models: what the built-in trainers and the tests write. Only operators of the released opsets below. */
import { create, toBinary } from '@bufbuild/protobuf';
import type { Signature } from '../domain/signature.ts';
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataType as DataType,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './generated/onnx_pb.ts';

export const mlDomain = 'ai.onnx.ml';
/** Key of the metadata entry that holds a model's signature as JSON. */
export const signatureKey = 'almanac.signature';

const utf8 = new TextEncoder();

/** A value of an attribute. Whole numbers become INT and others FLOAT, so a float that may be whole says so. */
export type AttributeValue =
  | number
  | string
  | { readonly float: number }
  | { readonly floats: Iterable<number> }
  | { readonly ints: Iterable<number> }
  | { readonly strings: Iterable<string> }
  | { readonly tensor: TensorProto };

export interface NodeParts {
  readonly op: string;
  readonly domain?: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
}

export function buildNode(parts: NodeParts): NodeProto {
  return create(NodeProtoSchema, {
    opType: parts.op,
    domain: parts.domain ?? '',
    name: parts.outputs[0] ?? '',
    input: [...parts.inputs],
    output: [...parts.outputs],
    attribute: Object.entries(parts.attributes ?? {}).map(([name, value]) => buildAttribute(name, value)),
  });
}

function buildAttribute(name: string, value: AttributeValue): AttributeProto {
  if (typeof value === 'string') {
    return create(AttributeProtoSchema, { name, type: AttributeType.STRING, s: utf8.encode(value) });
  }
  if (typeof value === 'number') {
    return Number.isInteger(value)
      ? create(AttributeProtoSchema, { name, type: AttributeType.INT, i: BigInt(value) })
      : create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value });
  }
  if ('float' in value) return create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value.float });
  if ('floats' in value) {
    return create(AttributeProtoSchema, { name, type: AttributeType.FLOATS, floats: [...value.floats] });
  }
  if ('ints' in value) {
    return create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: Array.from(value.ints, BigInt) });
  }
  if ('strings' in value) {
    const strings = Array.from(value.strings, text => utf8.encode(text));
    return create(AttributeProtoSchema, { name, type: AttributeType.STRINGS, strings });
  }
  return create(AttributeProtoSchema, { name, type: AttributeType.TENSOR, t: value.tensor });
}

export type ElementType = 'float32' | 'float64' | 'int64' | 'int32' | 'bool' | 'string';

const elementTypes: Readonly<Record<ElementType, DataType>> = {
  float32: DataType.FLOAT,
  float64: DataType.DOUBLE,
  int64: DataType.INT64,
  int32: DataType.INT32,
  bool: DataType.BOOL,
  string: DataType.STRING,
};

/** A graph input or output; a text dimension is symbolic (`N` is the batch). */
export function buildValue(name: string, type: ElementType, dims: readonly (number | string)[]): ValueInfoProto {
  return create(ValueInfoProtoSchema, {
    name,
    type: {
      value: {
        case: 'tensorType',
        value: {
          elemType: elementTypes[type],
          shape: {
            dim: dims.map(dim => ({
              value:
                typeof dim === 'number'
                  ? { case: 'dimValue' as const, value: BigInt(dim) }
                  : { case: 'dimParam' as const, value: dim },
            })),
          },
        },
      },
    },
  });
}

export interface ModelParts {
  readonly inputs: readonly ValueInfoProto[];
  readonly outputs: readonly ValueInfoProto[];
  readonly nodes: readonly NodeProto[];
  readonly initializers?: readonly TensorProto[];
  readonly metadata?: Readonly<Record<string, string>>;
  /** Stored in the metadata, so that the file says by itself which columns it wants. */
  readonly signature?: Signature;
  /** Default 17. */
  readonly opset?: number;
  /** Default 3; the operator `TreeEnsemble` needs 5. */
  readonly mlOpset?: number;
}

/** The bytes of a model file. Equal parts give equal bytes. */
export function buildModel(parts: ModelParts): Uint8Array {
  const metadata = {
    ...parts.metadata,
    ...(parts.signature === undefined ? {} : { [signatureKey]: JSON.stringify(parts.signature) }),
  };
  const opsetImport = [{ domain: '', version: BigInt(parts.opset ?? 17) }];
  if (parts.nodes.some(node => node.domain === mlDomain)) {
    opsetImport.push({ domain: mlDomain, version: BigInt(parts.mlOpset ?? 3) });
  }
  const model = create(ModelProtoSchema, {
    // IR 8 is the oldest that every opset in use here accepts, and so the one most runtimes read.
    irVersion: 8n,
    producerName: 'almanac',
    opsetImport,
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    graph: create(GraphProtoSchema, {
      name: 'model',
      node: [...parts.nodes],
      input: [...parts.inputs],
      output: [...parts.outputs],
      initializer: [...(parts.initializers ?? [])],
    }),
  });
  return toBinary(ModelProtoSchema, model);
}
