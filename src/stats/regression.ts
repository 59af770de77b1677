/** Quality of regressions. */
import { finiteOr, lengthMismatch, type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';

export interface RegressionQuality {
  readonly n: number;
  readonly mae: number;
  readonly rmse: number;
  /** mean(prediction − y). */
  readonly bias: number;
  /** 1 − SS_residual / SS_total; null for a constant label. */
  readonly r2: Measured;
}

/** MAE, RMSE, bias and R² over rows in which both sides are finite. */
export function regressionQuality(y: Numbers, prediction: Numbers): Measured<RegressionQuality> {
  const mismatch = lengthMismatch(y, prediction, 'labels and predictions');
  if (mismatch !== null) return undefinedBecause(mismatch);
  const rows = Array.from({ length: y.length }, (_, i) => i).filter(
    i => Number.isFinite(y[i]) && Number.isFinite(prediction[i]),
  );
  if (rows.length === 0) return undefinedBecause('no rows with a finite label and prediction');
  const errors = rows.map(i => prediction[i]! - y[i]!);
  const center = sum(rows.map(i => y[i]!)) / rows.length;
  const residual = sum(errors.map(error => error * error));
  const total = sum(rows.map(i => (y[i]! - center) ** 2));
  const rmse = Math.sqrt(residual / rows.length);
  if (!Number.isFinite(rmse)) return undefinedBecause('the squared errors overflow a double');
  return measured({
    n: rows.length,
    mae: sum(errors.map(Math.abs)) / rows.length,
    rmse,
    bias: sum(errors) / rows.length,
    r2: total > 0 ? finiteOr(1 - residual / total, 'overflow') : undefinedBecause('the label is constant'),
  });
}
