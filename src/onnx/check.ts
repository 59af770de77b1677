/**
 * What a model file must be before anything runs it. ONNX Runtime is decently hard against broken files; what hurts are
 * hangs, memory, files outside the model and silent differences, so those are refused by reading the file alone.
 */
import { TensorProto_DataLocation as DataLocation, type GraphProto, type TensorProto } from './generated/onnx_pb.ts';
import { allGraphs, allNodes, domainName, modelInputs, type OnnxModel, operatorName, summarizeTensor } from './read.ts';
import { dataTypeName, elementBytes } from './tensor.ts';

export interface ModelLimits {
  readonly sizeBytesMax: number;
  readonly nodeCountMax: number;
  readonly elementCountMax: number;
  /** Nodes of all trees, and values of any other attribute. */
  readonly attributeLengthMax: number;
  readonly targetCountMax: number;
  /** Operators that are off by default (control flow, randomness, other domains) but allowed for this model. */
  readonly allowedOperators: readonly string[];
}

export const defaultModelLimits: ModelLimits = {
  sizeBytesMax: 500e6,
  nodeCountMax: 100_000,
  elementCountMax: 200e6,
  attributeLengthMax: 20e6,
  targetCountMax: 4096,
  allowedOperators: [],
};

/** What onnxruntime-node 1.30 was compiled for; later versions are refused by it with less to say. */
const irVersionMax = 13;
const opsetMax: Readonly<Record<string, number>> = { 'ai.onnx': 26, 'ai.onnx.ml': 5 };

/** They may run for ever or answer differently each time; a scoring graph needs none of them. */
const offByDefault =
  /^(Loop|Scan|If|Bernoulli|Multinomial|Random(Normal|Uniform)(Like)?|Sequence\w+|Optional\w*|SplitToSequence)$/;

/** Everything that stands against registering the model, each with what was expected and the next step; [] when sound. */
export function checkModel(model: OnnxModel, limits: Partial<ModelLimits> = {}): readonly string[] {
  const all = { ...defaultModelLimits, ...limits };
  if (model.bytes.length > all.sizeBytesMax) {
    return [`the file has ${model.bytes.length} bytes, more than the ${all.sizeBytesMax} allowed; raise the limit`];
  }
  return [
    ...checkVersions(model),
    ...checkFeatures(model),
    ...checkOperators(model, all),
    ...checkTensors(model, all),
    ...checkTrees(model, all),
    ...checkInterface(model),
  ];
}

function checkVersions({ proto }: OnnxModel): string[] {
  const problems: string[] = [];
  if (proto.irVersion > irVersionMax) {
    problems.push(`IR version ${proto.irVersion} is newer than ${irVersionMax}; export with an older onnx package`);
  }
  for (const { domain, version } of proto.opsetImport) {
    const name = domainName(domain);
    const max = opsetMax[name];
    if (max !== undefined && version > max) {
      problems.push(`opset ${version} of ${name} is newer than ${max}; export with target_opset=${max} or less`);
    }
  }
  return problems;
}

function checkFeatures({ proto, graph }: OnnxModel): string[] {
  const problems: string[] = [];
  if (proto.trainingInfo.length > 0) problems.push('the file contains a training graph; export for inference');
  if (proto.functions.length > 0) {
    const names = proto.functions.map(({ name }) => name).join(', ');
    problems.push(`the file defines functions of its own (${names}); inline them before exporting`);
  }
  for (const inner of allGraphs(graph)) {
    if (inner.sparseInitializer.length > 0) {
      problems.push(`${inner.sparseInitializer.length} initializers are sparse; export them as dense tensors`);
    }
  }
  return problems;
}

function checkOperators({ graph }: OnnxModel, limits: ModelLimits): string[] {
  const problems: string[] = [];
  const refused = new Set<string>();
  let nodes = 0;
  for (const { node } of allNodes(graph)) {
    nodes++;
    const name = operatorName(node);
    if (limits.allowedOperators.includes(name)) continue;
    if (opsetMax[domainName(node.domain)] === undefined || offByDefault.test(node.opType)) refused.add(name);
  }
  if (refused.size > 0) {
    problems.push(
      `operators ${[...refused].join(', ')} are not allowed (only ${Object.keys(opsetMax).join(' and ')}, without ` +
        'loops, branches and random numbers); export without them or allow them for this model by name',
    );
  }
  if (nodes > limits.nodeCountMax) problems.push(`the graph has ${nodes} nodes, more than ${limits.nodeCountMax}`);
  return problems;
}

function checkTensors({ graph }: OnnxModel, limits: ModelLimits): string[] {
  const problems: string[] = [];
  let elements = 0;
  for (const tensor of allTensors(graph)) {
    if (tensor.dataLocation === DataLocation.EXTERNAL || tensor.externalData.length > 0) {
      problems.push(`tensor ${tensor.name} lies in another file; save the model with its data inside`);
      continue;
    }
    const count = tensor.dims.reduce((product, dim) => product * Number(dim), 1);
    const size = elementBytes(tensor.dataType);
    elements += count;
    if (tensor.rawData.length > 0 && size !== null && tensor.rawData.length !== count * size) {
      problems.push(
        `tensor ${tensor.name}: shape [${tensor.dims.join(', ')}] of ${dataTypeName(tensor.dataType)} needs ` +
          `${count * size} bytes, the file has ${tensor.rawData.length}; the file is damaged`,
      );
    }
  }
  if (elements > limits.elementCountMax) {
    problems.push(`constants have ${elements} elements together, more than ${limits.elementCountMax}`);
  }
  for (const { node } of allNodes(graph)) {
    for (const { name, floats, ints, strings } of node.attribute) {
      const length = Math.max(floats.length, ints.length, strings.length);
      if (length > limits.attributeLengthMax) {
        problems.push(
          `attribute ${name} of ${operatorName(node)} has ${length} values, more than ${limits.attributeLengthMax}`,
        );
      }
    }
  }
  return problems;
}

function* allTensors(graph: GraphProto): Generator<TensorProto> {
  for (const inner of allGraphs(graph)) {
    yield* inner.initializer;
    for (const node of inner.node) {
      for (const attribute of node.attribute) {
        if (attribute.t !== undefined) yield attribute.t;
        yield* attribute.tensors;
      }
    }
  }
}

/** A hostile `n_targets` makes ONNX Runtime allocate and loop without an answer. */
function checkTrees({ trees }: OnnxModel, limits: ModelLimits): string[] {
  const problems: string[] = [];
  for (const attributes of trees.values()) {
    const targets = attributes.get('n_targets')?.number ?? 0;
    if (targets > limits.targetCountMax) problems.push(`n_targets is ${targets}, more than ${limits.targetCountMax}`);
    for (const [name, { floats, ints, strings }] of attributes) {
      const length = Math.max(floats.length, ints.length, strings.length);
      if (length > limits.attributeLengthMax) {
        problems.push(`tree attribute ${name} has ${length} values, more than ${limits.attributeLengthMax}`);
      }
      const labels = name.startsWith('classlabels') ? Math.max(ints.length, strings.length) : 0;
      if (labels > limits.targetCountMax) problems.push(`${labels} classes, more than ${limits.targetCountMax}`);
    }
  }
  return problems;
}

const tensorTypes = ['float32', 'float64', 'int64', 'int32', 'bool', 'string'];

function checkInterface({ graph }: OnnxModel): string[] {
  const problems: string[] = [];
  const inputs = modelInputs(graph).map(summarizeTensor);
  if (inputs.length === 0) problems.push('the graph has no input');
  for (const { name, type, dims } of inputs) {
    if (!tensorTypes.includes(type)) {
      problems.push(`input ${name} is ${type}, expected one of ${tensorTypes.join(', ')}; put a Cast into the graph`);
    } else if (dims !== null && dims.length !== 1 && dims.length !== 2) {
      problems.push(`input ${name} has ${dims.length} dimensions, expected [N] or [N, columns]`);
    } else if (dims !== null && typeof dims[0] === 'number') {
      problems.push(`input ${name} takes exactly ${dims[0]} rows; export with a dynamic first dimension`);
    }
  }
  const outputs = graph.output.map(summarizeTensor);
  if (!outputs.some(({ type }) => tensorTypes.includes(type))) {
    const found = outputs.map(({ name, type }) => `${name} (${type})`).join(', ') || 'none';
    problems.push(`no output is a tensor of ${tensorTypes.join(', ')}; found ${found}`);
  }
  return problems;
}
