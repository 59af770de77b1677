import { describe, expect, test } from 'vitest';
import type { Signature } from '../../src/domain/signature.ts';
import { gemmBlock, sigmoidBlock } from '../../src/onnx/blocks.ts';
import { buildModel, buildNode, buildValue } from '../../src/onnx/build.ts';
import { readModel } from '../../src/onnx/read.ts';
import { inferSignature } from '../../src/onnx/signature.ts';
import { stripZipMap } from '../../src/onnx/zipmap.ts';
import { readCorpus } from './corpus.ts';

const six = ['a', 'b', 'c', 'd', 'e', 'f'];

function infer(name: string, columns: readonly string[] = six) {
  return inferSignature(stripZipMap(readModel(readCorpus(name).bytes)), { columns });
}

describe('real exports', () => {
  test.each([
    ['lightgbm-binary', 'binary', 'probabilities', 2, ['0', '1']],
    ['lightgbm-binary-zipmap', 'binary', 'probabilities', 2, ['0', '1']],
    ['lightgbm-multiclass', 'multiclass', 'probabilities', 3, ['0', '1', '2']],
    ['lightgbm-regression', 'regression', 'value', 1, []],
    ['xgboost-binary', 'binary', 'probabilities', 2, ['0', '1']],
    ['xgboost-regression', 'regression', 'value', 1, []],
    ['catboost-multiclass', 'multiclass', 'probabilities', 3, ['0', '1', '2']],
    ['sklearn-forest-multiclass', 'multiclass', 'probabilities', 3, ['high', 'low', 'mid']],
    ['sklearn-network', 'multiclass', 'probabilities', 3, ['0', '1', '2']],
    ['sklearn-logistic', 'binary', 'probabilities', 2, ['0', '1']],
    ['sklearn-linear-targets', 'regression', 'value', 2, []],
  ])('%s is %s', (name, task, meaning, width, classes) => {
    const signature = infer(name);
    expect(signature).toMatchObject({ task, classes, outputs: [{ meaning, width, type: 'float32' }] });
    expect(signature.inputs).toMatchObject([{ type: 'float32', rank: 2, columns: six.map(column => ({ column })) }]);
  });

  test('several targets get names', () => {
    expect(infer('sklearn-linear-targets').targets).toEqual(['variable_0', 'variable_1']);
  });

  test('another number of columns names both sides', () => {
    expect(() => infer('lightgbm-binary', ['a', 'b'])).toThrow(/input x takes 6 features, the data has 2: a, b/);
  });
});

function logistic(options: { readonly signature?: Signature } = {}): Uint8Array {
  const gemm = gemmBlock({ input: 'features', output: 'margin', weights: [1, 2], bias: [0] });
  return buildModel({
    inputs: [buildValue('age', 'float32', ['N', 1]), buildValue('income', 'float32', ['N', 1])],
    outputs: [buildValue('score', 'float32', ['N', 1])],
    initializers: gemm.initializers,
    nodes: [
      buildNode({ op: 'Concat', inputs: ['age', 'income'], outputs: ['features'], attributes: { axis: 1 } }),
      ...gemm.nodes,
      ...sigmoidBlock({ input: 'margin', output: 'score' }).nodes,
    ],
    ...options,
  });
}

test('single columns are matched by name, in any order of the file', () => {
  const signature = inferSignature(readModel(logistic()), { columns: ['income', 'other', 'age'] });
  expect(signature.inputs.map(input => [input.name, input.columns])).toEqual([
    ['age', [{ kind: 'number', column: 'age' }]],
    ['income', [{ kind: 'number', column: 'income' }]],
  ]);
  expect(signature).toMatchObject({ task: 'binary', outputs: [{ meaning: 'positive', width: 1 }], threshold: 0.5 });
});

test('a missing column is named, with the nearest one', () => {
  const model = readModel(logistic());
  expect(() => inferSignature(model, { columns: ['age', 'incomes'] })).toThrow(/wants column income, .* mean incomes/);
});

test('a model of ours says its signature itself', () => {
  const model = readModel(logistic());
  const own: Signature = {
    ...inferSignature(model, { columns: ['age', 'income'] }),
    threshold: 0.3,
    classes: ['no', 'yes'],
  };
  const stored = readModel(logistic({ signature: own }));
  expect(inferSignature(stored, { columns: ['income', 'age'] })).toEqual(own);
});

test('the task of the definition must be the task of the model', () => {
  const model = readModel(readCorpus('lightgbm-multiclass').bytes);
  expect(() => inferSignature(model, { columns: six, task: 'regression' })).toThrow(/classifier of 0, 1, 2/);
  expect(() => inferSignature(model, { columns: six, task: 'binary' })).toThrow(/has 3 scores/);
});

test('labels alone are not enough', () => {
  const model = buildModel({
    nodes: [buildNode({ op: 'ArgMax', inputs: ['x'], outputs: ['label'], attributes: { axis: 1, keepdims: 0 } })],
    inputs: [buildValue('x', 'float32', ['N', 6])],
    outputs: [buildValue('label', 'int64', ['N'])],
  });
  expect(() => inferSignature(readModel(model), { columns: six })).toThrow(/no output holds float scores, found label/);
});
