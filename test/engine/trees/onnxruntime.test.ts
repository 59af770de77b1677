/** The meaning itself: random ensembles of both operator generations against onnxruntime-node. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileTrees } from '../../../src/engine/compile-trees.ts';
import type { TreeEnsemble } from '../../../src/engine/trees/ensemble.ts';
import { checkParity } from '../../../src/engine/trees/parity.ts';
import { treeClassifierBlock, treeEnsembleBlock, treeRegressorBlock } from '../../../src/onnx/blocks.ts';
import { buildModel, buildValue } from '../../../src/onnx/build.ts';
import { onnxRunner } from '../../onnx/corpus.ts';
import { type EnsembleShape, edgeColumns, randomEnsemble, seeds } from './random-ensembles.ts';

async function compare(model: Uint8Array, ensemble: TreeEnsemble, output: string, seed: number) {
  const compiled = compileTrees(model, output);
  if (compiled.kind === 'fallback') throw new Error(compiled.reason);
  const rows = 400;
  const columns = edgeColumns(seed, ensemble, rows);
  return checkParity({
    width: compiled.width,
    // ONNX Runtime cuts fractions off before it looks into a set; categories have none.
    samples: [{ name: 'edge', rows, columns: ensemble.sets.length > 0 ? columns.map(Math.round) : columns }],
    score: compiled.score,
    reference: await onnxRunner(model, output),
  });
}

const regressors: Readonly<Record<string, EnsembleShape>> = {
  'one mode': { modes: ['BRANCH_LEQ'], baseValues: true },
  'every branch mode': { baseValues: true },
  'several targets': { targets: 3, baseValues: true },
  average: { aggregate: 'AVERAGE', baseValues: true },
  'average of several targets': { aggregate: 'AVERAGE', targets: 2 },
  minimum: { aggregate: 'MIN', baseValues: true },
  'maximum of several targets': { aggregate: 'MAX', targets: 2 },
  logistic: { postTransform: 'LOGISTIC' },
  'logistic of several targets': { postTransform: 'LOGISTIC', targets: 3 },
  softmax: { postTransform: 'SOFTMAX', targets: 3, baseValues: true },
  'softmax without zeros': { postTransform: 'SOFTMAX_ZERO', targets: 3 },
};

describe('TreeEnsembleRegressor', () => {
  test.each(Object.entries(regressors))('%s', async (_, shape) => {
    await fc.assert(
      fc.asyncProperty(seeds, async seed => {
        const ensemble = randomEnsemble(seed, shape);
        const model = buildModel({
          ...treeRegressorBlock({ input: 'x', output: 'y', ensemble }),
          inputs: [buildValue('x', 'float32', ['N', ensemble.features])],
          outputs: [buildValue('y', 'float32', ['N', ensemble.targets])],
        });
        expect(await compare(model, ensemble, 'y', seed)).toMatchObject({ verdict: 'equal' });
      }),
      { numRuns: 15 },
    );
  });
});

/** All weights on one class, as boosting of two classes is exported, or on all. */
function asClassifier(
  ensemble: TreeEnsemble,
  classes: number,
  options: { oneTarget?: number; positive?: boolean; baseValues?: readonly number[] },
): TreeEnsemble {
  return {
    ...ensemble,
    targets: classes,
    baseValues: Float32Array.from(options.baseValues ?? []),
    weights: options.positive === true ? ensemble.weights.map(Math.abs) : ensemble.weights,
    weightTarget:
      options.oneTarget === undefined ? ensemble.weightTarget : ensemble.weightTarget.map(() => options.oneTarget ?? 0),
    classifier: { labels: { kind: 'int64', values: Array.from({ length: classes }, (_, index) => index) } },
  };
}

const classifiers = [
  ['two classes, one score', 2, 1, { oneTarget: 0 }],
  ['two classes, one score on the second', 2, 1, { oneTarget: 1 }],
  ['two classes, one positive score', 2, 1, { oneTarget: 0, positive: true }],
  ['two classes, both scored', 2, 2, {}],
  ['two classes, one score, one base', 2, 1, { oneTarget: 0, baseValues: [0.25] }],
  ['two classes, one score, two bases', 2, 1, { oneTarget: 0, baseValues: [0.25, -0.5] }],
  ['two classes, second scored, two bases', 2, 1, { oneTarget: 1, baseValues: [0.25, -0.5] }],
  ['two classes, both scored, one base', 2, 2, { baseValues: [0.25] }],
  ['two classes, both scored, two bases', 2, 2, { baseValues: [0.25, -0.5] }],
  ['three classes', 3, 3, {}],
  ['three classes with bases', 3, 3, { baseValues: [0.25, -0.5, 1] }],
] as const;

describe('TreeEnsembleClassifier', () => {
  const cases = classifiers.flatMap(([name, classes, targets, options]) =>
    (['NONE', 'LOGISTIC', 'SOFTMAX', 'SOFTMAX_ZERO'] as const).map(
      transform => [`${name}, ${transform}`, classes, targets, options, transform] as const,
    ),
  );
  test.each(cases)('%s', async (_, classes, targets, options, postTransform) => {
    await fc.assert(
      fc.asyncProperty(seeds, async seed => {
        const ensemble = asClassifier(randomEnsemble(seed, { targets, postTransform }), classes, options);
        const model = buildModel({
          ...treeClassifierBlock({ input: 'x', label: 'label', scores: 'scores', ensemble }),
          inputs: [buildValue('x', 'float32', ['N', ensemble.features])],
          outputs: [buildValue('label', 'int64', ['N']), buildValue('scores', 'float32', ['N', classes])],
        });
        expect(await compare(model, ensemble, 'scores', seed)).toMatchObject({ verdict: 'equal' });
      }),
      { numRuns: 6 },
    );
  });
});

const secondGeneration: Readonly<Record<string, EnsembleShape>> = {
  'every branch mode': {},
  'set membership': { members: true },
  'sets and several targets': { members: true, targets: 3, oneTargetLeaves: true },
  averages: { aggregate: 'AVERAGE', members: true },
  'softmax without zeros': { targets: 3, oneTargetLeaves: true, postTransform: 'SOFTMAX_ZERO' },
};

describe('TreeEnsemble of ai.onnx.ml 5', () => {
  test.each(Object.entries(secondGeneration))('%s', async (_, shape) => {
    await fc.assert(
      fc.asyncProperty(seeds, async seed => {
        const ensemble = randomEnsemble(seed, shape);
        const model = buildModel({
          ...treeEnsembleBlock({ input: 'x', output: 'y', ensemble }),
          inputs: [buildValue('x', 'float32', ['N', ensemble.features])],
          outputs: [buildValue('y', 'float32', ['N', ensemble.targets])],
          mlOpset: 5,
        });
        expect(await compare(model, ensemble, 'y', seed)).toMatchObject({ verdict: 'equal' });
      }),
      { numRuns: 15 },
    );
  });
});
