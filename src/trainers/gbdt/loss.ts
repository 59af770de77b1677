/** Losses with their derivatives by the raw score: log loss, softmax log loss, half squared error. */
import type { Signature } from '../../domain/signature.ts';
import { softmax } from '../activation.ts';
import { FIXED_MAX } from './kernel.ts';
import type { Workspace } from './layout.ts';

export type Task = Signature['task'];

/** What the first tree starts from: log odds, log priors or the mean; smoothed so that one class alone stays finite. */
export function baseScores(task: Task, workspace: Workspace, rows: Uint32Array): Float64Array {
  const { labels, weights, layout } = workspace;
  const sums = new Float64Array(Math.max(2, layout.outputs));
  let total = 0;
  for (const row of rows) {
    total += weights[row]!;
    if (task === 'regression') sums[0]! += weights[row]! * labels[row]!;
    else sums[labels[row]!]! += weights[row]!;
  }
  if (task === 'regression') return Float64Array.of(sums[0]! / total);
  if (task === 'binary') return Float64Array.of(Math.log((sums[1]! + 0.5) / (sums[0]! + 0.5)));
  return sums.map(sum => Math.log((sum + 0.5) / (total + 0.5 * layout.outputs)));
}

/** Fixed-point scales of one round: the largest possible gradient and hessian become FIXED_MAX. */
export function gradientScales(
  task: Task,
  workspace: Workspace,
  rows: Uint32Array,
  weightMax: number,
): { gradient: number; hessian: number } {
  const { outputs } = workspace.layout;
  switch (task) {
    case 'binary':
      return { gradient: FIXED_MAX / weightMax, hessian: FIXED_MAX / (weightMax / 4) };
    case 'multiclass':
      return { gradient: FIXED_MAX / weightMax, hessian: FIXED_MAX / ((weightMax / 4) * (outputs / (outputs - 1))) };
    case 'regression':
      // A perfect fit has gradient 0 everywhere; any scale will do.
      return { gradient: FIXED_MAX / (largestResidual(workspace, rows) || 1), hessian: FIXED_MAX / weightMax };
  }
}

function largestResidual({ labels, weights, scores }: Workspace, rows: Uint32Array): number {
  let largest = 0;
  for (const row of rows) largest = Math.max(largest, weights[row]! * Math.abs(scores[row]! - labels[row]!));
  return largest;
}

/**
 * Fixed-point gradients of rows [begin, end) for one output. Rounding is dithered with a Weyl sequence over the row numbers:
 * the rounding errors of many rows cancel, so a gradient far below one unit still counts for what it is in a sum.
 */
export function writeGradients(
  task: Task,
  workspace: Workspace,
  range: { readonly begin: number; readonly end: number },
  round: {
    readonly output: number;
    readonly gradientScale: number;
    readonly hessianScale: number;
    readonly salt: number;
  },
): void {
  const { labels, weights, scores, probabilities, gradients, layout } = workspace;
  const { output, gradientScale, hessianScale, salt } = round;
  const { outputs } = layout;
  const spread = outputs / (outputs - 1);
  for (let row = range.begin; row < range.end; row++) {
    const weight = weights[row]!;
    let gradient: number;
    let hessian: number;
    if (task === 'binary') {
      const probability = 1 / (1 + Math.exp(-scores[row]!));
      gradient = probability - labels[row]!;
      hessian = probability * (1 - probability);
    } else if (task === 'regression') {
      gradient = scores[row]! - labels[row]!;
      hessian = 1;
    } else {
      // Friedman's factor K / (K - 1) corrects for the redundant degree of freedom of K scores.
      const probability = probabilities[row * outputs + output]!;
      gradient = probability - (labels[row] === output ? 1 : 0);
      hessian = spread * probability * (1 - probability);
    }
    const dither = (Math.imul(row + salt, 0x9e3779b1) >>> 0) / 2 ** 32;
    gradients[2 * row] = Math.min(FIXED_MAX, Math.floor(weight * hessian * hessianScale + dither));
    gradients[2 * row + 1] = Math.min(FIXED_MAX, Math.floor(weight * gradient * gradientScale + dither));
  }
}

/** Softmax of the scores of rows [begin, end). */
export function writeProbabilities(
  workspace: Workspace,
  range: { readonly begin: number; readonly end: number },
): void {
  const { scores, probabilities, layout } = workspace;
  const { outputs } = layout;
  for (let row = range.begin; row < range.end; row++) {
    const first = row * outputs;
    softmax(scores, probabilities, first, outputs);
  }
}

/** Weighted mean loss of some rows. */
export function meanLoss(task: Task, workspace: Workspace, rows: Uint32Array): number {
  const { labels, weights, scores, layout } = workspace;
  const { outputs } = layout;
  const probabilities = new Float32Array(outputs);
  let sum = 0;
  let total = 0;
  for (const row of rows) {
    let loss: number;
    if (task === 'regression') {
      loss = (scores[row]! - labels[row]!) ** 2 / 2;
    } else if (task === 'binary') {
      const margin = labels[row] === 1 ? scores[row]! : -scores[row]!;
      loss = margin > 0 ? Math.log1p(Math.exp(-margin)) : Math.log1p(Math.exp(margin)) - margin;
    } else {
      softmax(scores.subarray(row * outputs, (row + 1) * outputs), probabilities, 0, outputs);
      loss = -Math.log(Math.max(probabilities[labels[row]!]!, 1e-30));
    }
    sum += weights[row]! * loss;
    total += weights[row]!;
  }
  return total > 0 ? sum / total : 0;
}
