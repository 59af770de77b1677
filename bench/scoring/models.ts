/** The models of the scoring bench, built without Python so that a run needs nothing else for them. */
import { ensembleOf, type TreeNode } from '../../src/engine/trees/ensemble.ts';
import {
  concatBlock,
  gemmBlock,
  joinBlocks,
  oneHotBlock,
  sigmoidBlock,
  treeRegressorBlock,
} from '../../src/onnx/blocks.ts';
import { buildModel, buildNode, buildValue } from '../../src/onnx/build.ts';
import { FEATURES as NAMES, SEGMENTS } from './data.ts';

const FEATURES = NAMES.length;

/** One fixed sequence per model, so that every run scores the same one. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** sigmoid of dense layers with ReLU between them; [30, 1] is logistic regression. */
export function denseModel(sizes: readonly number[], seed: number): Uint8Array {
  const random = randomNumbers(seed);
  const blocks = [];
  let input = 'x';
  for (let layer = 0; layer + 1 < sizes.length; layer++) {
    const [from, to] = [sizes[layer]!, sizes[layer + 1]!];
    const scale = Math.sqrt(6 / from);
    const weights = Array.from({ length: from * to }, () => (random() - 0.5) * scale);
    const output = `layer${layer}`;
    blocks.push(gemmBlock({ input, output, weights, bias: new Array<number>(to).fill(0.01) }));
    input = output;
    if (layer + 2 < sizes.length) {
      input = `relu${layer}`;
      blocks.push({ nodes: [buildNode({ op: 'Relu', inputs: [output], outputs: [input] })], initializers: [] });
    }
  }
  blocks.push(sigmoidBlock({ input, output: 'p' }));
  return buildModel({
    ...joinBlocks(blocks),
    inputs: [buildValue('x', 'float32', ['N', FEATURES])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
  });
}

/** Answers its first input: what is measured with it is everything but a model. */
export function noModel(): Uint8Array {
  const weights = Array.from({ length: FEATURES }, (_, index) => (index === 0 ? 1 : 0));
  return buildModel({
    ...gemmBlock({ input: 'x', output: 'p', weights, bias: [0] }),
    inputs: [buildValue('x', 'float32', ['N', FEATURES])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
  });
}

/** Logistic regression over an input per feature and one text, one-hot encoded. */
export function namedModel(seed: number): Uint8Array {
  const random = randomNumbers(seed);
  const weights = Array.from({ length: FEATURES + SEGMENTS.length }, () => random() - 0.5);
  const blocks = joinBlocks([
    oneHotBlock({ input: 'seg', output: 'hot', categories: { strings: SEGMENTS } }),
    concatBlock({ inputs: [...NAMES, 'hot'], output: 'x' }),
    gemmBlock({ input: 'x', output: 'z', weights, bias: [0.01] }),
    sigmoidBlock({ input: 'z', output: 'p' }),
  ]);
  return buildModel({
    ...blocks,
    inputs: [...NAMES.map(name => buildValue(name, 'float32', ['N', 1])), buildValue('seg', 'string', ['N', 1])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
  });
}

/**
 * Trees grown leaf by leaf like those of a trainer, on 255 thresholds per feature taken from the ranges of the data; the
 * splits are random, which is the worst case for a kernel (no feature is used more than another).
 */
export function treeModel(trees: number, leaves: number, seed: number): Uint8Array {
  const random = randomNumbers(seed);
  const ensemble = ensembleOf({
    features: FEATURES,
    targets: 1,
    trees: Array.from({ length: trees }, () => grow(leaves, random)),
  });
  const blocks = joinBlocks([
    treeRegressorBlock({ input: 'x', output: 'z', ensemble }),
    sigmoidBlock({ input: 'z', output: 'p' }),
  ]);
  return buildModel({
    ...blocks,
    inputs: [buildValue('x', 'float32', ['N', FEATURES])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
  });
}

function grow(leaves: number, random: () => number): TreeNode {
  if (leaves === 1) return { mode: 'LEAF', weights: [{ target: 0, weight: (random() - 0.5) * 0.1 }] };
  const feature = Math.floor(random() * FEATURES);
  const left = 1 + Math.floor(random() * (leaves - 1));
  return {
    mode: 'BRANCH_LEQ',
    feature,
    threshold: threshold(feature, Math.floor(random() * 255)),
    onTrue: grow(left, random),
    onFalse: grow(leaves - left, random),
  };
}

/** f0–f9 are normal, f10–f19 rounded to two decimals within ±3, f20–f29 counts from -2 to 9. */
function threshold(feature: number, bin: number): number {
  const share = (bin + 1) / 256;
  if (feature < 10) return Math.fround(-2.5 + 5 * share);
  if (feature < 20) return Math.fround(Math.round((share - 0.5) * 600) / 100 + 0.005);
  return Math.floor(share * 11) - 1.5;
}
