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

/** Bounds of a leaf's value that monotone constraints of its ancestors left; ±Infinity without. */
export interface Bounds {
  readonly low: number;
  readonly high: number;
}

export interface LeafTotals extends Bounds {
  readonly gradient: number;
  readonly hessian: number;
  readonly rows: number;
}

export interface FeatureBins {
  readonly index: number;
  /** Bins of values; the one for missing values comes behind them. */
  readonly valueBins: number;
  /** -1, 0 or 1. */
  readonly monotone: number;
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

/** Value of a leaf: the Newton step -G / (H + λ), held inside the bounds of the leaf. */
export function leafValue(gradient: number, hessian: number, bounds: Bounds, l2: number): number {
  const denominator = hessian + l2;
  const value = denominator <= 0 ? 0 : -gradient / denominator;
  return Math.min(bounds.high, Math.max(bounds.low, value));
}

/** What stays the same while the bins of one feature are scanned. */
interface Scan {
  readonly feature: FeatureBins;
  readonly leaf: LeafTotals;
  readonly l2: number;
  readonly minHessian: number;
  /** Whether a constraint holds the values of the two sides. */
  readonly bounded: boolean;
  /** Score of the leaf as it is, and what a split must exceed. */
  readonly own: number;
  readonly threshold: number;
}

/**
 * Scans the bins of one feature and improves `best`. Missing values are tried on both sides; when the leaf has none they
 * follow the side with more weight. Rows per side are estimated from the hessian, as LightGBM does: counting them would
 * cost a third more per bin.
 */
export function findSplit(
  histograms: Float64Array,
  offset: number,
  feature: FeatureBins,
  leaf: LeafTotals,
  rules: SplitRules,
  best: Candidate,
): void {
  const { gradientUnit, hessianUnit } = rules;
  const scan = startScan(feature, leaf, rules);
  const missingSlot = offset + 2 * Math.min(feature.valueBins, BINS - 1);
  const missingHessian = histograms[missingSlot]! * hessianUnit;
  const missingGradient = histograms[missingSlot + 1]! * gradientUnit;
  const hasMissing = missingHessian > 0;
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
      consider(scan, bin, gradient, hessian, 0, best);
      if (bin < feature.valueBins - 1)
        consider(scan, bin, gradient + missingGradient, hessian + missingHessian, 1, best);
    } else {
      consider(scan, bin, gradient, hessian, 2 * hessian >= leaf.hessian ? 1 : 0, best);
    }
  }
}

function startScan(feature: FeatureBins, leaf: LeafTotals, rules: SplitRules): Scan {
  const { l2 } = rules;
  const bounded = feature.monotone !== 0 || leaf.low !== -Infinity || leaf.high !== Infinity;
  const rowsPerHessian = leaf.hessian > 0 ? leaf.rows / leaf.hessian : 0;
  const minHessian = Math.max(rules.minLeafHessian, (rules.minLeafRows - 0.5) / Math.max(rowsPerHessian, 1e-300));
  const own = bounded
    ? boundedScore(leaf.gradient, leaf.hessian + l2, leafValue(leaf.gradient, leaf.hessian, leaf, l2))
    : (leaf.gradient * leaf.gradient) / (leaf.hessian + l2);
  return { feature, leaf, l2, minHessian, bounded, own, threshold: own + rules.minGain };
}

/** Takes the split after `bin` for the best, when it is; gradient and hessian are those of its left side. */
function consider(
  scan: Scan,
  bin: number,
  gradient: number,
  hessian: number,
  missingLeft: number,
  best: Candidate,
): void {
  const { leaf, l2, own } = scan;
  const otherHessian = leaf.hessian - hessian;
  if (hessian < scan.minHessian || otherHessian < scan.minHessian) return;
  const otherGradient = leaf.gradient - gradient;
  let score: number;
  if (scan.bounded) {
    const left = leafValue(gradient, hessian, leaf, l2);
    const right = leafValue(otherGradient, otherHessian, leaf, l2);
    if (scan.feature.monotone * (right - left) < 0) return;
    score = boundedScore(gradient, hessian + l2, left) + boundedScore(otherGradient, otherHessian + l2, right);
  } else {
    score = (gradient * gradient) / (hessian + l2) + (otherGradient * otherGradient) / (otherHessian + l2);
  }
  if (score - scan.threshold <= 0 || score - own <= best.gain) return;
  best.gain = score - own;
  best.feature = scan.feature.index;
  best.bin = bin;
  best.missingLeft = missingLeft;
  best.leftGradient = gradient;
  best.leftHessian = hessian;
}

/** Twice the loss that a leaf of value w removes: -(2Gw + (H + λ)w²). */
function boundedScore(gradient: number, hessian: number, value: number): number {
  return -(2 * gradient * value + hessian * value * value);
}
