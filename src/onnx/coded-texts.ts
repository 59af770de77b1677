/**
 * A model that takes texts as codes. A text goes to ONNX Runtime as a JavaScript string, which costs more than scoring the
 * row; where a graph only compares its texts with lists of categories, numbers do as well. All texts of a model share one
 * vocabulary, so that columns may be joined and taken apart on their way to an encoder.
 */
import { clone, create, toBinary } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  TensorProto_DataType as DataType,
  type GraphProto,
  ModelProtoSchema,
  type NodeProto,
  type ValueInfoProto,
} from './generated/onnx_pb.ts';
import { allGraphs, findAttribute, modelInputs, type OnnxModel, operatorName, summarizeTensor } from './read.ts';

export interface CodedTexts {
  /** The changed model: text inputs are int64. */
  readonly model: Omit<OnnxModel, 'bytes'>;
  /** Its file; null where it has trees, whose attributes are kept apart. */
  readonly bytes: Uint8Array | null;
  /** The code of a text is its position here; any other text has the code `vocabulary.length`. */
  readonly vocabulary: readonly string[];
}

/** Beyond it the list of categories, which is part of the query, costs more than it saves. */
const vocabularyMax = 65_536;

/** Operators that compare texts with a list, and the attribute with it, as texts and as whole numbers. */
const encoders: Readonly<Record<string, { readonly texts: string; readonly codes: string }>> = {
  'ai.onnx.ml::OneHotEncoder': { texts: 'cats_strings', codes: 'cats_int64s' },
  'ai.onnx.ml::LabelEncoder': { texts: 'keys_strings', codes: 'keys_int64s' },
};

/** Operators that move the values of their first input about and never look at them. */
const movers: ReadonlySet<string> = new Set([
  ...['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Slice', 'Gather', 'Split', 'Transpose'],
  'ai.onnx.ml::ArrayFeatureExtractor',
]);

/** Null when the model has no text input, or does more with its texts than compare them with lists of categories. */
export function codeTexts(original: OnnxModel): CodedTexts | null {
  const proto = clone(ModelProtoSchema, original.proto);
  const { graph } = proto;
  if (graph === undefined || [...allGraphs(graph)].length > 1) return null;
  const inputs = modelInputs(graph).filter(input => summarizeTensor(input).type === 'string');
  const reached = inputs.length === 0 ? null : reachedEncoders(graph, new Set(inputs.map(({ name }) => name)));
  if (reached === null) return null;
  const codes = new Map<string, number>();
  for (const node of reached.encoders) if (!encode(node, codes)) return null;
  if (codes.size > vocabularyMax) return null;
  inputs.forEach(takeCodes);
  // Declared types of values in between are optional, and now wrong.
  graph.valueInfo = graph.valueInfo.filter(({ name }) => !reached.values.has(name));
  const { trees } = original;
  const bytes = trees.size === 0 ? toBinary(ModelProtoSchema, proto) : null;
  return { model: { proto, graph, trees }, bytes, vocabulary: [...codes.keys()] };
}

/** The encoders that all texts end in, and every value on the way; null when a text goes anywhere else. */
function reachedEncoders(graph: GraphProto, values: Set<string>) {
  const encoding: NodeProto[] = [];
  // Nodes are in the order of their data.
  for (const node of graph.node) {
    const taken = node.input.filter(name => values.has(name));
    if (taken.length === 0) continue;
    const name = operatorName(node);
    if (name in encoders) encoding.push(node);
    else if (name === 'Concat' ? taken.length < node.input.length : !movers.has(name) || !isFirstAlone(node, taken)) {
      return null;
    } else for (const output of node.output) values.add(output);
  }
  return graph.output.some(({ name }) => values.has(name)) ? null : { encoders: encoding, values };
}

function isFirstAlone(node: NodeProto, taken: readonly string[]): boolean {
  return taken.length === 1 && taken[0] === node.input[0];
}

/** Replaces the texts of an encoder by codes; false when it has none, or they are no Unicode. */
function encode(node: NodeProto, codes: Map<string, number>): boolean {
  const names = encoders[operatorName(node)]!;
  const texts = decoded(findAttribute(node, names.texts)?.strings ?? []);
  if (texts === null || texts.length === 0) return false;
  const ints = texts.map(text => {
    if (!codes.has(text)) codes.set(text, codes.size);
    return BigInt(codes.get(text)!);
  });
  node.attribute = [
    ...node.attribute.filter(({ name }) => name !== names.texts && name !== names.codes),
    create(AttributeProtoSchema, { name: names.codes, type: AttributeProto_AttributeType.INTS, ints }),
  ];
  return true;
}

/** A NUL in a text is lost where DuckDB reads the list of categories. */
function decoded(strings: readonly Uint8Array[]): readonly string[] | null {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  try {
    const texts = strings.map(bytes => decoder.decode(bytes));
    return texts.some(text => text.includes('\0')) ? null : texts;
  } catch {
    return null;
  }
}

function takeCodes({ type }: ValueInfoProto): void {
  if (type?.value.case === 'tensorType') type.value.value.elemType = DataType.INT64;
}
