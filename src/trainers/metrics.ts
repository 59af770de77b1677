/** Metrics of predictions, by the task; undefined ones (one class only, no rows) are null. */
import type { Signature } from '../domain/signature.ts';
import { brierScore, logLoss, rocAuc } from '../stats/classification.ts';
import { regressionQuality } from '../stats/regression.ts';

/** `predictions` are row-major `[rows, width]` as `TrainedModel.predict` gives them. */
export function trainingMetrics(
  task: Signature['task'],
  predictions: Float32Array,
  labels: Float32Array,
): Record<string, number | null> {
  if (labels.length === 0) return {};
  switch (task) {
    case 'binary':
      return {
        auc: rocAuc(labels, predictions).value,
        log_loss: logLoss(labels, predictions).value,
        brier: brierScore(labels, predictions).value,
      };
    case 'multiclass':
      return { accuracy: accuracy(predictions, labels), log_loss: meanLoss(task, predictions, labels) };
    case 'regression': {
      const quality = regressionQuality(labels, predictions);
      return quality.value === null ? {} : { rmse: quality.value.rmse, mae: quality.value.mae };
    }
  }
}

/** Log loss, or half the mean squared error: what the trainers minimise. */
export function meanLoss(task: Signature['task'], predictions: Float32Array, labels: Float32Array): number {
  const width = predictions.length / labels.length;
  let sum = 0;
  for (let row = 0; row < labels.length; row++) {
    const label = labels[row]!;
    if (task === 'regression') {
      sum += (predictions[row]! - label) ** 2 / 2;
    } else {
      const positive = predictions[row]!;
      const probability =
        task === 'binary' ? (label === 1 ? positive : 1 - positive) : predictions[row * width + label]!;
      sum -= Math.log(Math.max(probability, 1e-15));
    }
  }
  return sum / labels.length;
}

function accuracy(predictions: Float32Array, labels: Float32Array): number {
  const width = predictions.length / labels.length;
  let right = 0;
  for (let row = 0; row < labels.length; row++) {
    const scores = predictions.subarray(row * width, (row + 1) * width);
    if (scores.indexOf(Math.max(...scores)) === labels[row]) right++;
  }
  return right / labels.length;
}
