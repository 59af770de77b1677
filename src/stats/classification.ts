/**
 * Quality of binary classifiers. Everything starts from *score groups*: distinct scores, ascending, with the weight of
 * positives and negatives at each. Raw rows are grouped exactly; the score histogram of a profile is already such groups,
 * so the same formulas serve both (with 1,000 bins the AUC is off by at most the ties inside a bin).
 */
import { finiteOr, lengthMismatch, type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';

export interface ScoreGroups {
  /** Ascending; for a histogram any ascending representative of each bin. */
  readonly scores: Numbers;
  readonly positives: Numbers;
  readonly negatives: Numbers;
}

/** Groups rows by score. Labels are 0 or 1; weights (Horvitz–Thompson, for sampled labels) default to 1. */
export function groupByScore(y: Numbers, score: Numbers, weights?: Numbers): Measured<ScoreGroups> {
  const problem =
    problemOf(y, score) ?? (weights === undefined ? null : lengthMismatch(y, weights, 'labels and weights'));
  if (problem !== null) return undefinedBecause(problem);
  const order = Uint32Array.from({ length: y.length }, (_, i) => i).sort((a, b) => score[a]! - score[b]!);
  const scores: number[] = [];
  const positives: number[] = [];
  const negatives: number[] = [];
  for (const row of order) {
    const value = score[row]!;
    if (scores.length === 0 || scores[scores.length - 1] !== value) {
      scores.push(value);
      positives.push(0);
      negatives.push(0);
    }
    const side = y[row] === 1 ? positives : negatives;
    side[side.length - 1]! += weights === undefined ? 1 : weights[row]!;
  }
  return measured({ scores, positives, negatives });
}

/** What keeps labels and scores from being judged together, or null. */
export function problemOf(y: Numbers, score: Numbers): string | null {
  const mismatch = lengthMismatch(y, score, 'labels and scores');
  if (mismatch !== null) return mismatch;
  if (y.length === 0) return 'no labelled rows';
  for (let i = 0; i < y.length; i++) {
    if (y[i] !== 0 && y[i] !== 1) return `label ${i} is ${y[i]}, expected 0 or 1`;
    if (!Number.isFinite(score[i])) return `score ${i} is ${score[i]}`;
  }
  return null;
}

function oneClass(positives: number, negatives: number): string | null {
  if (positives > 0 && negatives > 0) return null;
  return positives > 0 ? 'no negatives: only one class' : negatives > 0 ? 'no positives: only one class' : 'no rows';
}

/** Area under the ROC curve P(s⁺ > s⁻) + ½ P(s⁺ = s⁻), by midranks. */
export function rocAuc(y: Numbers, score: Numbers, weights?: Numbers): Measured {
  const groups = groupByScore(y, score, weights);
  return groups.value === null ? groups : rocAucOfGroups(groups.value);
}

export function rocAucOfGroups({ positives, negatives }: Omit<ScoreGroups, 'scores'>): Measured {
  const total = { positives: sum(positives), negatives: sum(negatives) };
  const problem = oneClass(total.positives, total.negatives);
  if (problem !== null) return undefinedBecause(problem);
  let below = 0;
  let wins = 0;
  for (let i = 0; i < positives.length; i++) {
    wins += positives[i]! * (below + negatives[i]! / 2);
    below += negatives[i]!;
  }
  return measured(Math.min(1, wins / (total.positives * total.negatives)));
}

/** Average precision Σ (R_k − R_(k−1)) P_k over distinct scores, from the top, without interpolation (scikit-learn's). */
export function averagePrecision(y: Numbers, score: Numbers, weights?: Numbers): Measured {
  const groups = groupByScore(y, score, weights);
  return groups.value === null ? groups : averagePrecisionOfGroups(groups.value);
}

export function averagePrecisionOfGroups({ positives, negatives }: Omit<ScoreGroups, 'scores'>): Measured {
  const total = sum(positives);
  if (!(total > 0)) return undefinedBecause('no positives');
  let truePositives = 0;
  let taken = 0;
  let area = 0;
  for (let i = positives.length - 1; i >= 0; i--) {
    truePositives += positives[i]!;
    taken += positives[i]! + negatives[i]!;
    if (positives[i]! > 0) area += (positives[i]! / total) * (truePositives / taken);
  }
  return measured(Math.min(1, area));
}

const PROBABILITY_MIN = 1e-15;

/** Mean −[y ln p + (1 − y) ln(1 − p)], p clipped to [1e-15, 1 − 1e-15]; of a sample the weighted mean. */
export function logLoss(y: Numbers, p: Numbers, weights?: Numbers): Measured {
  return meanOver({ y, p, weights }, logLossOf);
}

/** The log loss of one row. */
export function logLossOf(label: number, probability: number): number {
  const clipped = Math.min(1 - PROBABILITY_MIN, Math.max(PROBABILITY_MIN, probability));
  return label === 1 ? -Math.log(clipped) : -Math.log1p(-clipped);
}

/** Brier score: mean (p − y)². */
export function brierScore(y: Numbers, p: Numbers, weights?: Numbers): Measured {
  return meanOver({ y, p, weights }, (label, probability) => (probability - label) ** 2);
}

function meanOver(
  { y, p, weights }: { readonly y: Numbers; readonly p: Numbers; readonly weights: Numbers | undefined },
  loss: (label: number, probability: number) => number,
): Measured {
  const problem =
    problemOf(y, p) ??
    outsideUnit(p) ??
    (weights === undefined ? null : lengthMismatch(y, weights, 'labels and weights'));
  if (problem !== null) return undefinedBecause(problem);
  const losses = Array.from(y, (label, i) => loss(label, p[i]!) * (weights?.[i] ?? 1));
  return finiteOr(sum(losses) / (weights === undefined ? y.length : sum(weights)), 'the loss overflows');
}

/** Says which value is no probability, or null. */
export function outsideUnit(p: Numbers): string | null {
  for (let i = 0; i < p.length; i++) if (!(p[i]! >= 0 && p[i]! <= 1)) return `probability ${i} is ${p[i]}`;
  return null;
}

export interface Confusion {
  readonly truePositives: number;
  readonly falsePositives: number;
  readonly falseNegatives: number;
  readonly trueNegatives: number;
}

export interface DecisionQuality extends Confusion {
  readonly accuracy: Measured;
  readonly precision: Measured;
  readonly recall: Measured;
  readonly f1: Measured;
}

/** Confusion and its ratios when scores ≥ threshold are called positive. */
export function decisionQuality(groups: ScoreGroups, threshold: number): DecisionQuality {
  let [truePositives, falsePositives, falseNegatives, trueNegatives] = [0, 0, 0, 0];
  for (let i = 0; i < groups.scores.length; i++) {
    if (groups.scores[i]! >= threshold) {
      truePositives += groups.positives[i]!;
      falsePositives += groups.negatives[i]!;
    } else {
      falseNegatives += groups.positives[i]!;
      trueNegatives += groups.negatives[i]!;
    }
  }
  return ratiosOf({ truePositives, falsePositives, falseNegatives, trueNegatives });
}

/** Accuracy, precision, recall and F1 of a confusion table, each null where its denominator is 0. */
export function ratiosOf(table: Confusion): DecisionQuality {
  const { truePositives: tp, falsePositives: fp, falseNegatives: fn, trueNegatives: tn } = table;
  const ratio = (top: number, bottom: number, reason: string): Measured =>
    bottom > 0 ? measured(top / bottom) : undefinedBecause(reason);
  return {
    ...table,
    accuracy: ratio(tp + tn, tp + fp + fn + tn, 'no rows'),
    precision: ratio(tp, tp + fp, 'nothing was called positive'),
    recall: ratio(tp, tp + fn, 'no positives'),
    f1: ratio(2 * tp, 2 * tp + fp + fn, 'no positives, neither called nor true'),
  };
}

export interface TopQuality {
  readonly precision: number;
  readonly recall: number;
  /** Precision over the base rate. */
  readonly lift: number;
}

/** Precision, recall and lift among the k rows with the highest scores; ties at the cut count in proportion. */
export function qualityAtTop({ positives, negatives }: Omit<ScoreGroups, 'scores'>, k: number): Measured<TopQuality> {
  const allPositives = sum(positives);
  const rows = allPositives + sum(negatives);
  if (!(k > 0)) return undefinedBecause(`k is ${k}`);
  if (rows === 0) return undefinedBecause('no rows');
  if (allPositives === 0) return undefinedBecause('no positives');
  const taken = Math.min(k, rows);
  let left = taken;
  let hits = 0;
  for (let i = positives.length - 1; i >= 0 && left > 0; i--) {
    const group = positives[i]! + negatives[i]!;
    if (group === 0) continue;
    const used = Math.min(group, left);
    hits += (positives[i]! * used) / group;
    left -= used;
  }
  const precision = hits / taken;
  return measured({ precision, recall: hits / allPositives, lift: precision / (allPositives / rows) });
}
