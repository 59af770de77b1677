import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { ensembleOf } from '../../src/engine/trees/ensemble.ts';
import {
  concatBlock,
  gemmBlock,
  imputerBlock,
  joinBlocks,
  oneHotBlock,
  scalerBlock,
  sigmoidBlock,
  softmaxBlock,
  treeClassifierBlock,
  treeRegressorBlock,
} from '../../src/onnx/blocks.ts';
import { buildModel, buildValue } from '../../src/onnx/build.ts';
import { readModel, summarizeModel } from '../../src/onnx/read.ts';

async function score(model: Uint8Array, feeds: Record<string, ort.Tensor>, output: string): Promise<number[]> {
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const result = await session.run(feeds, [output]);
  const { data } = result[output] ?? expect.fail(`no output ${output}`);
  return Array.from(data as Float32Array);
}

const twoByTwo = new ort.Tensor('float32', Float32Array.of(1, Number.NaN, 3, 4), [2, 2]);

describe('models built from blocks run in ONNX Runtime', () => {
  test('impute, scale, Gemm and Sigmoid make a logistic regression', async () => {
    const graph = joinBlocks([
      imputerBlock({ input: 'x', output: 'filled', values: [0, 2] }),
      scalerBlock({ input: 'filled', output: 'scaled', offset: [1, 2], scale: [0.5, 2] }),
      gemmBlock({ input: 'scaled', output: 'margin', weights: [3, -1], bias: [0.25] }),
      sigmoidBlock({ input: 'margin', output: 'score' }),
    ]);
    const model = buildModel({
      ...graph,
      inputs: [buildValue('x', 'float32', ['N', 2])],
      outputs: [buildValue('score', 'float32', ['N', 1])],
    });
    const sigmoid = (margin: number) => 1 / (1 + Math.exp(-margin));
    const scores = await score(model, { x: twoByTwo }, 'score');
    expect(scores[0]).toBeCloseTo(sigmoid(0.25), 6);
    expect(scores[1]).toBeCloseTo(sigmoid(3 * 1 - 4 + 0.25), 6);
  });

  test('a string column is one-hot encoded beside the numbers; an unknown category is all zeros', async () => {
    const graph = joinBlocks([
      oneHotBlock({ input: 'channel', output: 'encoded', categories: { strings: ['web', 'shop'] } }),
      concatBlock({ inputs: ['x', 'encoded'], output: 'features' }),
      gemmBlock({ input: 'features', output: 'margins', weights: [1, 0, 2, 0, 0, 3], bias: [0, 0] }),
      softmaxBlock({ input: 'margins', output: 'probabilities' }),
    ]);
    const model = buildModel({
      ...graph,
      inputs: [buildValue('x', 'float32', ['N', 1]), buildValue('channel', 'string', ['N', 1])],
      outputs: [buildValue('probabilities', 'float32', ['N', 2])],
    });
    const feeds = {
      x: new ort.Tensor('float32', Float32Array.of(1, 1, 1), [3, 1]),
      channel: new ort.Tensor('string', ['web', 'shop', 'fax'], [3, 1]),
    };
    const scores = await score(model, feeds, 'probabilities');
    const softmax = (a: number, b: number) => Math.exp(a) / (Math.exp(a) + Math.exp(b));
    for (const [row, expected] of [softmax(3, 0), softmax(1, 3), softmax(1, 0)].entries()) {
      expect(scores[2 * row]).toBeCloseTo(expected, 6);
    }
  });

  const stump = (feature: number, low: number, high: number, target = 0) =>
    ({
      mode: 'BRANCH_LEQ',
      feature,
      threshold: 2,
      missingTrue: true,
      onTrue: { mode: 'LEAF', weights: [{ target, weight: low }] },
      onFalse: { mode: 'LEAF', weights: [{ target, weight: high }] },
    }) as const;

  test('an ensemble becomes a TreeEnsembleRegressor with its missing-value routing', async () => {
    const ensemble = ensembleOf({ trees: [stump(0, 1, 2), stump(1, 10, 20)], features: 2, baseValues: [0.5] });
    const model = buildModel({
      ...treeRegressorBlock({ input: 'x', output: 'value', ensemble }),
      inputs: [buildValue('x', 'float32', ['N', 2])],
      outputs: [buildValue('value', 'float32', ['N', 1])],
    });
    expect(await score(model, { x: twoByTwo }, 'value')).toEqual([11.5, 22.5]);
  });

  test('an ensemble becomes a TreeEnsembleClassifier with labels', async () => {
    const ensemble = ensembleOf({
      trees: [stump(0, 1, 2, 0), stump(1, 10, 20, 1), stump(1, 3, 1, 2)],
      features: 2,
      targets: 3,
      classifier: { labels: { kind: 'string', values: ['a', 'b', 'c'] } },
    });
    const model = buildModel({
      ...treeClassifierBlock({ input: 'x', label: 'label', scores: 'scores', ensemble }),
      inputs: [buildValue('x', 'float32', ['N', 2])],
      outputs: [buildValue('label', 'string', ['N']), buildValue('scores', 'float32', ['N', 3])],
    });
    expect(await score(model, { x: twoByTwo }, 'scores')).toEqual([1, 10, 3, 2, 20, 1]);
  });
});

test('a summary tells what a file holds', () => {
  const ensemble = ensembleOf({ trees: [{ mode: 'LEAF', weights: [{ target: 0, weight: 1 }] }], features: 3 });
  const model = buildModel({
    ...treeRegressorBlock({ input: 'x', output: 'value', ensemble }),
    inputs: [buildValue('x', 'float32', ['N', 3])],
    outputs: [buildValue('value', 'float32', ['N', 1])],
    metadata: { purpose: 'test' },
  });
  expect(summarizeModel(readModel(model))).toEqual({
    producer: 'almanac',
    irVersion: 8,
    opsets: { 'ai.onnx': 17, 'ai.onnx.ml': 3 },
    metadata: { purpose: 'test' },
    inputs: [{ name: 'x', type: 'float32', dims: ['N', 3] }],
    outputs: [{ name: 'value', type: 'float32', dims: ['N', 1] }],
    operators: { 'ai.onnx.ml::TreeEnsembleRegressor': 1 },
    initializerBytes: 0,
    sizeBytes: model.length,
  });
});

test.each([
  ['empty', new Uint8Array(0)],
  ['text', new TextEncoder().encode('this is no model at all')],
  ['cut', buildModel({ nodes: [], inputs: [buildValue('x', 'float32', ['N', 3])], outputs: [] }).subarray(0, 30)],
])('refuses bytes that are no model: %s', (_, bytes) => {
  expect(() => readModel(bytes)).toThrow(/not an ONNX model \(\d+ bytes\)/);
});
