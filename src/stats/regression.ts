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

/** MAE, RMSE, bias and R² over rows in which both sides are finite; of a sample weighted by `weights`. */
export function regressionQuality(y: Numbers, prediction: Numbers, weights?: Numbers): Measured<RegressionQuality> {
  const mismatch =
    lengthMismatch(y, prediction, 'labels and predictions') ??
    (weights === undefined ? null : lengthMismatch(y, weights, 'labels and weights'));
  if (mismatch !== null) return undefinedBecause(mismatch);
  const rows = Array.from({ length: y.length }, (_, i) => i).filter(
    i => Number.isFinite(y[i]) && Number.isFinite(prediction[i]),
  );
  if (rows.length === 0) return undefinedBecause('no rows with a finite label and prediction');
  const weightOf = (i: number) => weights?.[i] ?? 1;
  const size = weights === undefined ? rows.length : sum(rows.map(weightOf));
  const over = (of: (i: number) => number) => sum(rows.map(i => of(i) * weightOf(i)));
  const errorOf = (i: number) => prediction[i]! - y[i]!;
  const center = over(i => y[i]!) / size;
  const residual = over(i => errorOf(i) ** 2);
  const total = over(i => (y[i]! - center) ** 2);
  const rmse = Math.sqrt(residual / size);
  if (!Number.isFinite(rmse)) return undefinedBecause('the squared errors overflow a double');
  return measured({
    n: rows.length,
    mae: over(i => Math.abs(errorOf(i))) / size,
    rmse,
    bias: over(errorOf) / size,
    r2: total > 0 ? finiteOr(1 - residual / total, 'overflow') : undefinedBecause('the label is constant'),
  });
}
