/** Metrics of predictions, by the task; undefined ones (one class only, no rows) are null. */
import type { Signature } from '../domain/signature.ts';
import { brierScore, logLoss, rocAuc } from '../stats/classification.ts';
import type { Numbers } from '../stats/measured.ts';
import { regressionQuality } from '../stats/regression.ts';

/** `predictions` are row-major `[rows, width]` as `TrainedModel.predict` gives them; null weighs all rows alike. */
export function trainingMetrics(
  task: Signature['task'],
  predictions: Float32Array,
  labels: Float32Array,
  weights: Numbers | null,
): Record<string, number | null> {
  if (labels.length === 0) return {};
  const weighed = weights ?? undefined;
  switch (task) {
    case 'binary':
      return {
        auc: rocAuc(labels, predictions, weighed).value,
        log_loss: logLoss(labels, predictions, weighed).value,
        brier: brierScore(labels, predictions, weighed).value,
      };
    case 'multiclass':
      return {
        accuracy: accuracy(predictions, labels, weights),
        log_loss: meanLoss(task, predictions, labels, weights),
      };
    case 'regression': {
      const quality = regressionQuality(labels, predictions, weighed);
      return quality.value === null ? {} : { rmse: quality.value.rmse, mae: quality.value.mae };
    }
  }
}

/** Log loss, or half the mean squared error: what the trainers minimise. */
export function meanLoss(
  task: Signature['task'],
  predictions: Float32Array,
  labels: Float32Array,
  weights: Numbers | null,
): number {
  const width = predictions.length / labels.length;
  let sum = 0;
  let total = 0;
  for (let row = 0; row < labels.length; row++) {
    const label = labels[row]!;
    const weight = weights === null ? 1 : weights[row]!;
    total += weight;
    if (task === 'regression') {
      sum += (weight * (predictions[row]! - label) ** 2) / 2;
    } else {
      const positive = predictions[row]!;
      const probability =
        task === 'binary' ? (label === 1 ? positive : 1 - positive) : predictions[row * width + label]!;
      sum -= weight * Math.log(Math.max(probability, 1e-15));
    }
  }
  return sum / total;
}

function accuracy(predictions: Float32Array, labels: Float32Array, weights: Numbers | null): number {
  const width = predictions.length / labels.length;
  let right = 0;
  let total = 0;
  for (let row = 0; row < labels.length; row++) {
    const scores = predictions.subarray(row * width, (row + 1) * width);
    const weight = weights === null ? 1 : weights[row]!;
    total += weight;
    if (scores.indexOf(Math.max(...scores)) === labels[row]) right += weight;
  }
  return right / total;
}
