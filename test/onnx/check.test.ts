import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { buildModel, buildNode, buildValue, type ModelParts } from '../../src/onnx/build.ts';
import { checkModel } from '../../src/onnx/check.ts';
import {
  FunctionProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  SparseTensorProtoSchema,
  TensorProto_DataLocation,
  TrainingInfoProtoSchema,
} from '../../src/onnx/generated/onnx_pb.ts';
import { readModel } from '../../src/onnx/read.ts';
import { floatTensor } from '../../src/onnx/tensor.ts';
import { corpusNames, readCorpus } from './corpus.ts';

const sound: ModelParts = {
  nodes: [buildNode({ op: 'Add', inputs: ['x', 'one'], outputs: ['y'] })],
  inputs: [buildValue('x', 'float32', ['N', 2])],
  outputs: [buildValue('y', 'float32', ['N', 2])],
  initializers: [floatTensor('one', [1], [1])],
};

function changed(change: (model: ModelProto) => void): Uint8Array {
  const model = fromBinary(ModelProtoSchema, buildModel(sound));
  change(model);
  return toBinary(ModelProtoSchema, model);
}

test.each(corpusNames)('%s passes', name => {
  const problems = checkModel(readModel(readCorpus(name).bytes));
  expect(problems).toEqual([]);
});

describe('refuses', () => {
  test.each<[string, Uint8Array, RegExp]>([
    [
      'data in another file',
      changed(model => {
        const tensor = model.graph?.initializer[0];
        if (tensor !== undefined) tensor.dataLocation = TensorProto_DataLocation.EXTERNAL;
      }),
      /tensor one lies in another file/,
    ],
    [
      'a tensor with too few bytes',
      changed(model => {
        const tensor = model.graph?.initializer[0];
        if (tensor !== undefined) tensor.dims = [3n];
      }),
      /tensor one: shape \[3\] of FLOAT needs 12 bytes, the file has 4/,
    ],
    ['a newer opset', buildModel({ ...sound, opset: 27 }), /opset 27 of ai.onnx is newer than 26/],
    ['a newer IR', changed(model => Object.assign(model, { irVersion: 14n })), /IR version 14 is newer than 13/],
    [
      'functions',
      changed(model => model.functions.push(create(FunctionProtoSchema, { name: 'Own' }))),
      /functions of its own \(Own\)/,
    ],
    ['a training graph', changed(model => model.trainingInfo.push(create(TrainingInfoProtoSchema))), /training graph/],
    [
      'sparse constants',
      changed(model => model.graph?.sparseInitializer.push(create(SparseTensorProtoSchema))),
      /1 initializers are sparse/,
    ],
    [
      'operators of another domain',
      buildModel({
        ...sound,
        nodes: [buildNode({ op: 'Gelu', domain: 'com.microsoft', inputs: ['x'], outputs: ['y'] })],
      }),
      /operators com.microsoft::Gelu are not allowed/,
    ],
    [
      'random numbers',
      buildModel({ ...sound, nodes: [buildNode({ op: 'RandomNormalLike', inputs: ['x'], outputs: ['y'] })] }),
      /operators RandomNormalLike are not allowed/,
    ],
    [
      'millions of targets',
      buildModel({
        ...sound,
        nodes: [
          buildNode({
            op: 'TreeEnsembleRegressor',
            domain: 'ai.onnx.ml',
            inputs: ['x'],
            outputs: ['y'],
            attributes: { n_targets: 2e9 },
          }),
        ],
      }),
      /n_targets is 2000000000, more than 4096/,
    ],
    ['a fixed batch', buildModel({ ...sound, inputs: [buildValue('x', 'float32', [8, 2])] }), /takes exactly 8 rows/],
    ['three dimensions', buildModel({ ...sound, inputs: [buildValue('x', 'float32', ['N', 2, 3])] }), /3 dimensions/],
  ])('%s', (_, bytes, problem) => {
    expect(checkModel(readModel(bytes))).toEqual([expect.stringMatching(problem)]);
  });

  test('a file beyond the limit, without looking further', () => {
    expect(checkModel(readModel(buildModel(sound)), { sizeBytesMax: 10 })).toEqual([
      expect.stringMatching(/more than the 10 allowed/),
    ]);
  });

  test('nothing that is allowed by name', () => {
    const nodes = [buildNode({ op: 'Gelu', domain: 'com.microsoft', inputs: ['x'], outputs: ['y'] })];
    const model = readModel(buildModel({ ...sound, nodes }));
    expect(checkModel(model, { allowedOperators: ['com.microsoft::Gelu'] })).toEqual([]);
  });
});
