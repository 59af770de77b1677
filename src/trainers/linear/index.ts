/**
 * `builtin: logistic`: L2-regularised logistic regression (binary and multinomial) and, for regressions, ridge. Numbers are
 * standardised and categories one-hot encoded inside the model; both are folded into the exported graph.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as z from 'zod';
import { finishScores } from '../activation.ts';
import { classWeights, describeParameters, parseParameters, rowWeights } from '../parameters.ts';
import {
  builtinSignature,
  checkTable,
  relativeWeights,
  type Table,
  type Trainer,
  type TrainingProgress,
  type TrainingTask,
} from '../trainer.ts';
import { addGradient, addScores, buildDesign, type Design } from './design.ts';
import { exportLinear, foldModel, linearScores } from './graph.ts';
import { minimise, type Objective } from './lbfgs.ts';

const name = 'logistic';

const logisticParameters = z.object({
  l2: z
    .number()
    .min(0)
    .default(1)
    .describe('L2 penalty on the weights of standardised features: l2/2 · |w|², summed loss'),
  iterations: z.int().min(1).max(100_000).default(500).describe('L-BFGS iterations at most'),
  tolerance: z
    .number()
    .positive()
    .default(1e-7)
    .describe('largest component of the mean loss gradient at which to stop'),
  class_weights: classWeights.describe('none, balanced, or a weight per class name'),
  max_categories: z
    .int()
    .min(1)
    .max(10_000)
    .default(1_000)
    .describe('values of a category with a weight of their own, the most frequent ones'),
});

export const logistic: Trainer = {
  name,
  tasks: ['binary', 'multiclass', 'regression'],
  parameters: describeParameters(logisticParameters),
  check: parameters => void parseParameters(name, logisticParameters, parameters),
  async train(table, task, given, report) {
    const parameters = parseParameters(name, logisticParameters, given);
    checkTable(table, task);
    const design = buildDesign(table, parameters.max_categories);
    const outputs = task.task === 'multiclass' ? task.classes.length : 1;
    const weights = rowWeights(name, parameters.class_weights, table, task);
    const objective = objectiveOf(design, { task, labels: table.labels, weights, l2: parameters.l2, outputs });
    const rounds: TrainingProgress[] = [];
    const size = (design.weights + 1) * outputs;
    const solved = await minimise(objective, startOf(design, size, table, task), parameters, async (round, loss) => {
      if (report !== null) {
        const progress = { round, rounds: parameters.iterations, loss, validationLoss: null };
        rounds.push(progress);
        report(progress);
      }
      await nextTurn();
    });
    const signature = builtinSignature(
      task,
      table.features,
      design.terms.map(term => (term.kind === 'category' ? term.vocabulary : null)),
    );
    const model = foldModel(design, solved.point, outputs);
    return {
      signature,
      predict: columns => finishScores(task.task, linearScores(model, columns), outputs),
      toOnnx: metadata => exportLinear(model, signature, metadata),
      importance: { kind: 'coefficient', values: weightShares(design, solved.point, outputs) },
      rounds,
      notes: solved.converged
        ? []
        : [`did not converge in ${solved.iterations} iterations; raise "iterations" or "l2" to be sure of the weights`],
    };
  },
};

/** Mean weighted loss plus the penalty, with its gradient; the intercepts are not penalised. */
function objectiveOf(
  design: Design,
  given: {
    readonly task: TrainingTask;
    readonly labels: Float32Array;
    readonly weights: Float64Array;
    readonly l2: number;
    readonly outputs: number;
  },
): Objective {
  const { labels, weights, l2, outputs } = given;
  const { rows } = design;
  const stride = design.weights + 1;
  const scores = Array.from({ length: outputs }, () => new Float64Array(rows));
  return (point, gradient) => {
    scores.forEach((column, output) => {
      column.fill(0);
      addScores(design, point.subarray(output * stride, (output + 1) * stride), column);
    });
    const loss = lossAndResiduals(given.task.task, scores, labels, weights);
    gradient.fill(0);
    scores.forEach((residuals, output) => {
      addGradient(design, residuals, gradient.subarray(output * stride, (output + 1) * stride));
    });
    let penalty = 0;
    for (let at = 0; at < point.length; at++) {
      const penalised = at % stride !== design.weights;
      if (penalised) penalty += (l2 / 2) * point[at]! ** 2;
      gradient[at] = (gradient[at]! + (penalised ? l2 * point[at]! : 0)) / rows;
    }
    return (loss + penalty) / rows;
  };
}

/** Summed loss; the scores are overwritten by their derivatives. */
function lossAndResiduals(
  task: TrainingTask['task'],
  scores: readonly Float64Array[],
  labels: Float32Array,
  weights: Float64Array,
): number {
  const [first = new Float64Array()] = scores;
  let loss = 0;
  for (let row = 0; row < first.length; row++) {
    const weight = weights[row]!;
    const label = labels[row]!;
    if (task === 'regression') {
      const residual = first[row]! - label;
      loss += (weight * residual * residual) / 2;
      first[row] = weight * residual;
    } else if (task === 'binary') {
      const score = first[row]!;
      const margin = label === 1 ? score : -score;
      loss += weight * (margin > 0 ? Math.log1p(Math.exp(-margin)) : Math.log1p(Math.exp(margin)) - margin);
      first[row] = weight * (1 / (1 + Math.exp(-score)) - label);
    } else {
      let largest = -Infinity;
      for (const column of scores) largest = Math.max(largest, column[row]!);
      let sum = 0;
      for (const column of scores) sum += Math.exp(column[row]! - largest);
      loss += weight * (Math.log(sum) + largest - scores[label]![row]!);
      scores.forEach((column, output) => {
        column[row] = weight * (Math.exp(column[row]! - largest) / sum - (output === label ? 1 : 0));
      });
    }
  }
  return loss;
}

/** A regression starts from the label's mean, so that a large offset costs no iterations. */
function startOf(design: Design, size: number, table: Table, task: TrainingTask): Float64Array {
  const start = new Float64Array(size);
  const weights = relativeWeights(table);
  if (task.task === 'regression') {
    const total = table.labels.reduce((sum, label, row) => sum + label * (weights?.[row] ?? 1), 0);
    start[design.weights] = total / table.rows;
  }
  return start;
}

/** Share of each feature in the summed magnitude of the weights; features are on one scale, so weights compare. */
function weightShares(design: Design, weights: Float64Array, outputs: number): number[] {
  const stride = design.weights + 1;
  const magnitudes = design.terms.map(term => {
    const size = term.kind === 'number' ? 1 : term.vocabulary.length;
    let sum = 0;
    for (let output = 0; output < outputs; output++) {
      for (let at = term.at; at < term.at + size; at++) sum += Math.abs(weights[output * stride + at]!);
    }
    return sum;
  });
  const total = magnitudes.reduce((sum, magnitude) => sum + magnitude, 0);
  return magnitudes.map(magnitude => (total > 0 ? magnitude / total : 0));
}
