/** Random ensembles and rows that sit where kernels go wrong. */
import fc from 'fast-check';
import {
  type Aggregate,
  ensembleOf,
  type PostTransform,
  type TreeEnsemble,
  type TreeNode,
} from '../../../src/engine/trees/ensemble.ts';
import { floatBelow } from '../../../src/engine/trees/normalize.ts';

const modes = ['BRANCH_LEQ', 'BRANCH_LT', 'BRANCH_GTE', 'BRANCH_GT', 'BRANCH_EQ', 'BRANCH_NEQ'] as const;

/** Few distinct values, so that trees share thresholds and rows hit them. */
const thresholds = [
  -3.5,
  -1,
  -1e-35,
  -0,
  0,
  1e-45,
  0.1,
  1,
  2,
  3,
  4,
  1e30,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
];

/** Enough of them on one feature to be searched, not compared one by one; on a grid, edges included. */
export const manyThresholds: readonly number[] = [
  ...thresholds.filter(value => value !== 1e30),
  ...Array.from({ length: 80 }, (_, index) => Math.fround(index / 7 - 4)),
];

/** The same, but over a range so wide that no grid tells them apart. */
export const scatteredThresholds: readonly number[] = [...manyThresholds, 1e30, -1e30];

export interface EnsembleShape {
  readonly thresholds?: readonly number[];
  readonly features?: number;
  readonly targets?: number;
  readonly treesMax?: number;
  readonly depthMax?: number;
  readonly modes?: readonly (typeof modes)[number][];
  readonly members?: boolean;
  readonly aggregate?: Aggregate;
  readonly postTransform?: PostTransform;
  readonly baseValues?: boolean;
  /** Each leaf scores one target only. */
  readonly oneTargetLeaves?: boolean;
}

/** A reproducible stream of numbers in [0, 1). */
export function numbersFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function randomEnsemble(seed: number, shape: EnsembleShape = {}): TreeEnsemble {
  const random = numbersFrom(seed);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const features = shape.features ?? 1 + Math.floor(random() * 5);
  const targets = shape.targets ?? 1;
  const weight = () => Math.fround((random() - 0.5) * 4);
  const leaf = (): TreeNode => ({
    mode: 'LEAF',
    weights:
      shape.oneTargetLeaves === true
        ? [{ target: Math.floor(random() * targets), weight: weight() }]
        : Array.from({ length: targets }, (_, target) => ({ target, weight: weight() })),
  });
  const tree = (depth: number): TreeNode => {
    if (depth === 0 || random() < 0.15) return leaf();
    const branch = {
      feature: Math.floor(random() * features),
      missingTrue: random() < 0.4,
      onTrue: tree(depth - 1),
      onFalse: tree(depth - 1),
    };
    if (shape.members === true && random() < 0.4) {
      const members = Array.from({ length: 1 + Math.floor(random() * 6) }, () => Math.floor(random() * 10) - 1);
      return { mode: 'BRANCH_MEMBER', members, ...branch };
    }
    return { mode: pick(shape.modes ?? modes), threshold: pick(shape.thresholds ?? thresholds), ...branch };
  };
  const trees = Array.from({ length: 1 + Math.floor(random() * (shape.treesMax ?? 20)) }, () =>
    tree(Math.floor(random() * ((shape.depthMax ?? 6) + 1))),
  );
  return ensembleOf({
    trees,
    features,
    targets,
    ...(shape.baseValues === true ? { baseValues: Array.from({ length: targets }, weight) } : {}),
    ...(shape.aggregate === undefined ? {} : { aggregate: shape.aggregate }),
    ...(shape.postTransform === undefined ? {} : { postTransform: shape.postTransform }),
  });
}

/** Column-major rows: on thresholds, one float beside them, NaN, infinities, zeros, subnormals, ordinary numbers. */
export function edgeColumns(seed: number, ensemble: TreeEnsemble, rows: number): Float32Array {
  const random = numbersFrom(seed ^ 0x5bd1e995);
  const own = ensemble.thresholds.length === 0 ? [0] : ensemble.thresholds;
  const value = (): number => {
    const kind = random();
    const threshold = own[Math.floor(random() * own.length)]!;
    if (kind < 0.3) return threshold;
    if (kind < 0.4) return floatBelow(threshold);
    if (kind < 0.5) return -floatBelow(-threshold);
    if (kind < 0.6) return Number.NaN;
    if (kind < 0.65) return random() < 0.5 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    if (kind < 0.7) return random() < 0.5 ? 0 : -0;
    if (kind < 0.75) return random() < 0.5 ? 1e-45 : -1e-45;
    if (kind < 0.9) return Math.floor(random() * 12) - 2;
    return (random() - 0.5) * 10;
  };
  return Float32Array.from({ length: ensemble.features * rows }, value);
}

export const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });
