/**
 * From sums of leaf weights to the values the operator answers: average, base values, post transform, second class. Every
 * step rounds to float32 in ONNX Runtime's order, because a threshold downstream may sit exactly on one of these values.
 */
import { leafMode, type TreeEnsemble } from './ensemble.ts';

const { fround } = Math;

export interface Finish {
  /** Values per row of the result. */
  readonly width: number;
  /** Sums of target t, row r at `sums[t * stride + r]` → `out[(first + r) * width …]`. */
  apply(sums: Float32Array, stride: number, rows: number, out: Float32Array, first: number): void;
}

/** What a target's accumulator starts with, so that it is neutral. */
export function startValue({ aggregate }: TreeEnsemble): number {
  if (aggregate === 'MIN') return Number.POSITIVE_INFINITY;
  return aggregate === 'MAX' ? Number.NEGATIVE_INFINITY : 0;
}

/** What the last step depends on; plain data. */
export interface FinishFacts extends Pick<TreeEnsemble, 'targets' | 'aggregate' | 'postTransform' | 'baseValues'> {
  readonly treeCount: number;
  readonly isClassifier: boolean;
  /** Whether any leaf scores the first and the second class. */
  readonly firstScored: boolean;
  readonly secondScored: boolean;
  readonly weightsPositive: boolean;
}

/** The facts of an ensemble, or the reason why its meaning is not settled well enough to repeat it. */
export function planFinish(ensemble: TreeEnsemble): FinishFacts | { readonly refused: string } {
  const reason = refusal(ensemble);
  if (reason !== null) return { refused: reason };
  const { targets, aggregate, postTransform, baseValues, roots, classifier, weightTarget, weights } = ensemble;
  return {
    ...{ targets, aggregate, postTransform, baseValues },
    treeCount: roots.length,
    isClassifier: classifier !== null,
    firstScored: weightTarget.includes(0),
    secondScored: weightTarget.includes(1),
    weightsPositive: weights.every(weight => weight >= 0),
  };
}

/** The last step of an ensemble. */
export function createFinish(facts: FinishFacts): Finish {
  if (facts.isClassifier && facts.targets === 2) return binaryFinish(facts);
  const scale = scaling(facts);
  // With one target ONNX Runtime knows PROBIT alone, and a single base value.
  return facts.targets === 1 ? singleFinish(facts, scale) : manyFinish(facts, scale);
}

function refusal(ensemble: TreeEnsemble): string | null {
  const { aggregate, baseValues, classifier, postTransform, targets, weights } = ensemble;
  if (classifier !== null && targets < 2) return `a classifier of ${targets} class`;
  if (baseValues.length > 0 && baseValues.length !== targets && !(classifier !== null && targets === 2)) {
    return `${baseValues.length} base values for ${targets} targets`;
  }
  if (classifier !== null && targets === 2) {
    if (!leavesAgree(ensemble)) return 'two classes, and leaves that score different ones';
    if (postTransform === 'PROBIT') return 'PROBIT of two classes';
  }
  if (weights.some(Number.isNaN)) return 'leaf weights that are not numbers';
  if ((aggregate === 'MIN' || aggregate === 'MAX') && weights.some(weight => !Number.isFinite(weight))) {
    return `${aggregate} over weights that are not finite`;
  }
  return null;
}

/** With two classes it matters whether a row got any score for a class; then all leaves must score the same ones. */
function leavesAgree({ modes, weightStart, weightTarget }: TreeEnsemble): boolean {
  const first = modes.indexOf(leafMode);
  const expectedFrom = weightStart[first]!;
  const expected = weightStart[first + 1]! - expectedFrom;
  for (let node = first; node < modes.length; node++) {
    if (modes[node] !== leafMode) continue;
    const from = weightStart[node]!;
    if (weightStart[node + 1]! - from !== expected) return false;
    for (let i = 0; i < expected; i++) if (weightTarget[from + i] !== weightTarget[expectedFrom + i]) return false;
  }
  return true;
}

/** The value of a target before its base: the sum, the average, or 0 where MIN and MAX met no weight. */
function scaling({ aggregate, treeCount }: FinishFacts): (sum: number) => number {
  const trees = fround(treeCount);
  switch (aggregate) {
    case 'SUM':
      return sum => sum;
    case 'AVERAGE':
      return sum => fround(sum / trees);
    case 'MIN':
    case 'MAX':
      return sum => (Number.isFinite(sum) ? sum : 0);
  }
}

function singleFinish(facts: FinishFacts, scale: (sum: number) => number): Finish {
  const base = facts.baseValues[0] ?? 0;
  const last = facts.postTransform === 'PROBIT' ? probit : (value: number) => value;
  return {
    width: 1,
    apply(sums, _stride, rows, out, first) {
      for (let row = 0; row < rows; row++) out[first + row] = last(fround(scale(sums[row]!) + base));
    },
  };
}

function manyFinish(facts: FinishFacts, scale: (sum: number) => number): Finish {
  const { targets, baseValues } = facts;
  const transform = rowTransform(facts);
  return {
    width: targets,
    apply(sums, stride, rows, out, first) {
      for (let row = 0; row < rows; row++) {
        const at = (first + row) * targets;
        for (let target = 0; target < targets; target++) {
          out[at + target] = fround(scale(sums[target * stride + row]!) + (baseValues[target] ?? 0));
        }
        transform(out, at, targets);
      }
    },
  };
}

/**
 * Two classes: usually one score, from which the operator makes the other. Base values of two classes follow ONNX Runtime
 * 1.30 to the letter, where the standard says nothing: a class without weights stays at 0, and two bases over weights for
 * the second class are read as one margin.
 */
function binaryFinish(facts: FinishFacts): Finish {
  const { baseValues, firstScored, secondScored } = facts;
  if (!secondScored && baseValues.length < 2) return oneScoreFinish(facts);
  const base0 = baseValues[0] ?? 0;
  const base1 = baseValues[1] ?? 0;
  const margin = baseValues.length === 2 && secondScored;
  const transform = rowTransform(facts);
  return {
    width: 2,
    apply(sums, stride, rows, out, first) {
      for (let row = 0; row < rows; row++) {
        const at = (first + row) * 2;
        const score = sums[row]!;
        if (margin) {
          out[at + 1] = base1 + score;
          out[at] = firstScored ? -out[at + 1]! : 0;
        } else {
          out[at] = firstScored ? score + base0 : 0;
          out[at + 1] = secondScored ? sums[stride + row]! : 0;
        }
        transform(out, at, 2);
      }
    },
  };
}

function oneScoreFinish({ baseValues, postTransform, weightsPositive }: FinishFacts): Finish {
  const base = baseValues[0] ?? 0;
  const logistic = postTransform === 'LOGISTIC';
  return {
    width: 2,
    apply(sums, _stride, rows, out, first) {
      for (let row = 0; row < rows; row++) {
        const at = (first + row) * 2;
        const score = fround(sums[row]! + base);
        if (logistic) {
          // One exponential for both classes.
          const upper = fround(1 / fround(1 + fround(Math.exp(-Math.abs(score)))));
          const lower = fround(1 - upper);
          out[at] = score <= 0 ? upper : lower;
          out[at + 1] = score < 0 ? lower : upper;
        } else {
          out[at] = weightsPositive ? 1 - score : -score;
          out[at + 1] = score;
        }
      }
    },
  };
}

function rowTransform({ postTransform }: FinishFacts): (out: Float32Array, at: number, width: number) => void {
  switch (postTransform) {
    case 'NONE':
      return () => {};
    case 'LOGISTIC':
      return eachValue(sigmoid);
    case 'PROBIT':
      return eachValue(probit);
    case 'SOFTMAX':
      return softmax;
    case 'SOFTMAX_ZERO':
      return softmaxZero;
  }
}

function eachValue(change: (value: number) => number) {
  return (out: Float32Array, at: number, width: number) => {
    for (let i = at; i < at + width; i++) out[i] = change(out[i]!);
  };
}

function sigmoid(value: number): number {
  const upper = fround(1 / fround(1 + fround(Math.exp(-Math.abs(value)))));
  return value < 0 ? fround(1 - upper) : upper;
}

/** The normal quantile by Winitzki's approximation of the inverse error function, as ONNX Runtime has it. */
function probit(value: number): number {
  const x = fround(fround(2 * value) - 1);
  const log = fround(Math.log(fround(fround(1 - x) * fround(1 + x))));
  // The coarse constant is theirs, and the results are to be theirs.
  // biome-ignore lint/suspicious/noApproximativeNumericConstant: see above.
  const a = fround(fround(2 / fround(fround(3.14159) * fround(0.147))) + fround(0.5 * log));
  const b = fround(fround(1 / fround(0.147)) * log);
  const c = fround(-a + fround(Math.sqrt(fround(fround(a * a) - b))));
  const root = fround(Math.sqrt(c));
  return fround(fround(Math.SQRT2) * (x < 0 ? -root : root));
}

function softmax(out: Float32Array, at: number, width: number): void {
  const max = largest(out, at, width);
  let sum = 0;
  for (let i = at; i < at + width; i++) {
    out[i] = Math.exp(fround(out[i]! - max));
    sum = fround(sum + out[i]!);
  }
  for (let i = at; i < at + width; i++) out[i] = out[i]! / sum;
}

/** A softmax that leaves values near zero near zero. */
function softmaxZero(out: Float32Array, at: number, width: number): void {
  const max = largest(out, at, width);
  const small = fround(Math.exp(-max));
  let sum = 0;
  for (let i = at; i < at + width; i++) {
    const value = out[i]!;
    if (value > fround(1e-7) || value < fround(-1e-7)) {
      out[i] = Math.exp(fround(value - max));
      sum = fround(sum + out[i]!);
    } else out[i] = value * small;
  }
  for (let i = at; i < at + width; i++) out[i] = out[i]! / sum;
}

function largest(out: Float32Array, at: number, width: number): number {
  let max = -3.4028234663852886e38;
  for (let i = at; i < at + width; i++) if (out[i]! > max) max = out[i]!;
  return max;
}
