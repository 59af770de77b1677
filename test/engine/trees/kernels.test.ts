import { deserialize, serialize } from 'node:v8';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileEnsemble, openScorer, type ScorerImage } from '../../../src/engine/trees/compile.ts';
import { ensembleOf, type TreeEnsemble, type TreeNode } from '../../../src/engine/trees/ensemble.ts';
import { interpretTrees } from '../../../src/engine/trees/interpret.ts';
import {
  type EnsembleShape,
  edgeColumns,
  manyThresholds,
  numbersFrom,
  randomEnsemble,
  scatteredThresholds,
  seeds,
} from './random-ensembles.ts';

const kernels = ['bits', 'flat', 'measured'] as const;

function scored(
  ensemble: TreeEnsemble,
  kernel: (typeof kernels)[number],
  columns: Float32Array,
  rows: number,
): Float32Array {
  const compiled = compileEnsemble(ensemble, { kernel });
  if (compiled.kind === 'refused') throw new Error(compiled.reason);
  const out = new Float32Array(rows * compiled.scorer.width);
  compiled.scorer.score(columns, rows, rows, out);
  return out;
}

/** As another process would find it in a file. */
function elsewhere(image: ScorerImage): ScorerImage {
  return deserialize(serialize(image)) as ScorerImage;
}

const shapes: Readonly<Record<string, EnsembleShape>> = {
  'every branch mode': { baseValues: true },
  'set membership': { members: true },
  'several targets': { targets: 3, baseValues: true },
  averages: { aggregate: 'AVERAGE', baseValues: true },
  'the smallest weight': { aggregate: 'MIN', targets: 2 },
  'the largest weight': { aggregate: 'MAX', baseValues: true },
  softmax: { targets: 4, postTransform: 'SOFTMAX' },
  'many thresholds on a feature': { features: 2, thresholds: manyThresholds, members: true },
  'thresholds far apart': { features: 2, thresholds: scatteredThresholds },
  'codes of eight bits': { depthMax: 8, treesMax: 12, modes: ['BRANCH_LEQ'] },
};

describe.each(kernels)('the image of the %s kernel, opened elsewhere, gives the same bits', kernel => {
  test.each(Object.entries(shapes))('%s', (_, shape) => {
    const rows = 200;
    const ensemble = randomEnsemble(11, shape);
    const columns = edgeColumns(11, ensemble, rows);
    const compiled = compileEnsemble(ensemble, { kernel });
    if (compiled.kind === 'refused') throw new Error(compiled.reason);
    const scorer = openScorer(elsewhere(compiled.image));
    const out = new Float32Array(rows * scorer.width);
    scorer.score(columns, rows, rows, out);
    expect(out).toEqual(scored(ensemble, kernel, columns, rows));
  });
});

describe.each(kernels)('the %s kernel gives what the interpreter gives, bit by bit', kernel => {
  test.each(Object.entries(shapes))('%s', (_, shape) => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 300 }), (seed, rows) => {
        const ensemble = randomEnsemble(seed, shape);
        const columns = edgeColumns(seed, ensemble, rows);
        expect(scored(ensemble, kernel, columns, rows)).toEqual(interpretTrees(ensemble, columns, rows, rows));
      }),
      { numRuns: 25 },
    );
  });

  test('many thresholds per feature, more rows than a block', () => {
    const random = numbersFrom(7);
    const tree = (depth: number): TreeNode =>
      depth === 0
        ? { mode: 'LEAF', weights: [{ target: 0, weight: random() - 0.5 }] }
        : {
            mode: 'BRANCH_LEQ',
            feature: Math.floor(random() * 6),
            // Skewed: most thresholds share a few buckets of an even grid.
            threshold: Math.exp(random() * 8) - 3,
            missingTrue: random() < 0.5,
            onTrue: tree(depth - 1),
            onFalse: tree(depth - 1),
          };
    const ensemble = ensembleOf({ trees: Array.from({ length: 60 }, () => tree(6)), features: 6 });
    const rows = 2500;
    const columns = edgeColumns(7, ensemble, rows);
    expect(scored(ensemble, kernel, columns, rows)).toEqual(interpretTrees(ensemble, columns, rows, rows));
  });

  test('one leaf, no branch', () => {
    const ensemble = ensembleOf({ trees: [{ mode: 'LEAF', weights: [{ target: 0, weight: 2 }] }], features: 1 });
    expect([...scored(ensemble, kernel, new Float32Array(3), 3)]).toEqual([2, 2, 2]);
  });

  test('no rows', () => {
    expect(scored(randomEnsemble(1), kernel, new Float32Array(8), 0)).toHaveLength(0);
  });
});

describe('refuses what it cannot mean', () => {
  const leaf = (target: number): TreeNode => ({ mode: 'LEAF', weights: [{ target, weight: 1 }] });
  test.each([
    [
      'a feature that does not exist',
      ensembleOf({
        trees: [{ mode: 'BRANCH_LEQ', feature: 9, threshold: 1, onTrue: leaf(0), onFalse: leaf(0) }],
        features: 2,
      }),
      /feature 9 of 2/,
    ],
    ['a target that does not exist', ensembleOf({ trees: [leaf(3)], features: 2 }), /target 3 of 1/],
    ['no trees', ensembleOf({ trees: [], features: 2 }), /no trees/],
    [
      'base values of another number',
      ensembleOf({ trees: [leaf(0)], features: 1, targets: 3, baseValues: [1, 2] }),
      /2 base values for 3 targets/,
    ],
  ])('%s', (_, ensemble, reason) => {
    expect(compileEnsemble(ensemble)).toEqual({ kind: 'refused', reason: expect.stringMatching(reason) });
  });

  test('a cycle between nodes', () => {
    const ensemble = ensembleOf({
      trees: [{ mode: 'BRANCH_LEQ', feature: 0, threshold: 1, onTrue: leaf(0), onFalse: leaf(0) }],
      features: 1,
    });
    ensemble.onTrue[0] = 0;
    expect(compileEnsemble(ensemble)).toEqual({
      kind: 'refused',
      reason: expect.stringMatching(/node 0 is reached twice/),
    });
  });
});

test('rows that do not fit are an error, not a wrong answer', () => {
  const compiled = compileEnsemble(randomEnsemble(3, { features: 4 }));
  if (compiled.kind === 'refused') throw new Error(compiled.reason);
  const { scorer } = compiled;
  expect(() => scorer.score(new Float32Array(39), 10, 10, new Float32Array(10))).toThrow(/10 rows of 4 columns/);
  expect(() => scorer.score(new Float32Array(40), 10, 10, new Float32Array(9))).toThrow(/10 rows × 1 values/);
});
