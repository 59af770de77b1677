/** The best split of one leaf on one feature, from its histogram. Formulas: Chen & Guestrin 2016 (XGBoost), section 2.2. */
import { BINS } from './kernel.ts';

export interface SplitRules {
  /** Fixed-point units → numbers. */
  readonly gradientUnit: number;
  readonly hessianUnit: number;
  readonly l2: number;
  readonly minLeafRows: number;
  readonly minLeafHessian: number;
  readonly minGain: number;
}

export interface LeafTotals {
  readonly gradient: number;
  readonly hessian: number;
  readonly rows: number;
  /** Bounds of the leaf's value that monotone constraints of its ancestors left; ±Infinity without. */
  readonly low: number;
  readonly high: number;
}

export interface Candidate {
  /** Gain of the loss, 0 when the leaf cannot be split. */
  gain: number;
  feature: number;
  /** Values up to this bin go left. */
  bin: number;
  missingLeft: number;
  leftGradient: number;
  leftHessian: number;
}

/** Value of a leaf: the Newton step -G / (H + λ), held inside the leaf's bounds. */
export function leafValue(leaf: Omit<LeafTotals, 'rows'>, l2: number): number {
  const denominator = leaf.hessian + l2;
  const value = denominator <= 0 ? 0 : -leaf.gradient / denominator;
  return Math.min(leaf.high, Math.max(leaf.low, value));
}

/**
 * Scans the bins of one feature and improves `best`. Missing values are tried on both sides; when the leaf has none they
 * follow the side with more weight. Rows per side are estimated from the hessian, as LightGBM does: counting them would
 * cost a third more per bin.
 */
export function findSplit(
  histograms: Float64Array,
  offset: number,
  feature: { readonly index: number; readonly valueBins: number; readonly monotone: number },
  leaf: LeafTotals,
  rules: SplitRules,
  best: Candidate,
): void {
  const { gradientUnit, hessianUnit, l2 } = rules;
  const missingSlot = offset + 2 * Math.min(feature.valueBins, BINS - 1);
  const missingHessian = histograms[missingSlot]! * hessianUnit;
  const missingGradient = histograms[missingSlot + 1]! * gradientUnit;
  const hasMissing = missingHessian > 0;
  const bounded = feature.monotone !== 0 || leaf.low !== -Infinity || leaf.high !== Infinity;
  const rowsPerHessian = leaf.hessian > 0 ? leaf.rows / leaf.hessian : 0;
  const minHessian = Math.max(rules.minLeafHessian, (rules.minLeafRows - 0.5) / Math.max(rowsPerHessian, 1e-300));
  const own = bounded
    ? boundedScore(leaf.gradient, leaf.hessian + l2, leafValue(leaf, l2))
    : (leaf.gradient * leaf.gradient) / (leaf.hessian + l2);
  const threshold = own + rules.minGain;

  const consider = (bin: number, gradient: number, hessian: number, missingLeft: number) => {
    const otherHessian = leaf.hessian - hessian;
    if (hessian < minHessian || otherHessian < minHessian) return;
    const otherGradient = leaf.gradient - gradient;
    let score: number;
    if (bounded) {
      const left = leafValue({ gradient, hessian, low: leaf.low, high: leaf.high }, l2);
      const right = leafValue({ gradient: otherGradient, hessian: otherHessian, low: leaf.low, high: leaf.high }, l2);
      if (feature.monotone * (right - left) < 0) return;
      score = boundedScore(gradient, hessian + l2, left) + boundedScore(otherGradient, otherHessian + l2, right);
    } else {
      score = (gradient * gradient) / (hessian + l2) + (otherGradient * otherGradient) / (otherHessian + l2);
    }
    if (score - threshold <= 0 || score - own <= best.gain) return;
    best.gain = score - own;
    best.feature = feature.index;
    best.bin = bin;
    best.missingLeft = missingLeft;
    best.leftGradient = gradient;
    best.leftHessian = hessian;
  };

  let gradient = 0;
  let hessian = 0;
  // With missing values, the split after the last bin is "present against missing".
  const last = hasMissing ? feature.valueBins : feature.valueBins - 1;
  for (let bin = 0; bin < last; bin++) {
    const binHessian = histograms[offset + 2 * bin]!;
    if (binHessian === 0) continue;
    hessian += binHessian * hessianUnit;
    gradient += histograms[offset + 2 * bin + 1]! * gradientUnit;
    if (hasMissing) {
      consider(bin, gradient, hessian, 0);
      if (bin < feature.valueBins - 1) consider(bin, gradient + missingGradient, hessian + missingHessian, 1);
    } else {
      consider(bin, gradient, hessian, 2 * hessian >= leaf.hessian ? 1 : 0);
    }
  }
}

/** Twice the loss that a leaf of value w removes: -(2Gw + (H + λ)w²). */
function boundedScore(gradient: number, hessian: number, value: number): number {
  return -(2 * gradient * value + hessian * value * value);
}
