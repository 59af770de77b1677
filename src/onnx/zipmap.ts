/**
 * ZipMap turns probabilities into one dictionary per row, which no runtime can hand over column by column. Its input is the
 * tensor people want, so the node goes and the output points at that input; nobody has to export again.
 */
import { toBinary } from '@bufbuild/protobuf';
import { buildValue } from './build.ts';
import { classesKey, labelAttributes } from './classes.ts';
import { type ValueInfoProto, ValueInfoProtoSchema } from './generated/onnx_pb.ts';
import { type OnnxModel, readModel } from './read.ts';
import { replaceOutputs } from './wire.ts';

/** The model without ZipMap nodes; the same object when it has none. The outputs get the names of the tensors. */
export function stripZipMap(model: OnnxModel): OnnxModel {
  const dropNodes = new Set<number>();
  const replacements = new Map<string, ValueInfoProto>();
  let classes: readonly string[] = [];
  model.graph.node.forEach((node, index) => {
    const input = node.input[0];
    const output = node.output[0];
    if (node.opType !== 'ZipMap' || input === undefined || output === undefined) return;
    dropNodes.add(index);
    classes = labelAttributes(node);
    replacements.set(output, buildValue(input, 'float32', ['N', classes.length === 0 ? 'classes' : classes.length]));
  });
  if (dropNodes.size === 0) return model;
  const outputs = model.graph.output.map(output =>
    toBinary(ValueInfoProtoSchema, replacements.get(output.name) ?? output),
  );
  // The labels of the node would go with it; the metadata keeps them.
  const metadata: Record<string, string> = classes.length === 0 ? {} : { [classesKey]: JSON.stringify(classes) };
  return readModel(replaceOutputs(model.bytes, { dropNodes, outputs, metadata }));
}
