/**
 * Multivariate drift: can a classifier tell today's rows from the reference's? It sees joint changes that no column shows.
 * Logistic regression on one-hot bins, fitted by iteratively reweighted least squares, judged out of fold. Keys and times are
 * the caller's to leave out: they separate any two samples perfectly.
 */
import type { CheckResult } from '../domain/evidence.ts';
import { rocAuc } from '../stats/classification.ts';
import { severityOf } from '../stats/equivalence.ts';
import { createRandom } from '../stats/random.ts';
import { judgeTable, plain } from './result.ts';

export interface DomainSample {
  readonly names: readonly string[];
  /** Per column the group of each row (`checks/column-groups` or a vocabulary index), 0-based. */
  readonly groups: readonly Int32Array[];
}

export interface DomainClassifierInput {
  readonly reference: DomainSample;
  readonly current: DomainSample;
  readonly seed: number;
}

/** PSI 0.2 of a single feature is an AUC of 0.625: the severity that the scale calls worth an alert. */
const aucLimit = 0.625;
const rowsMax = 20_000;
const rowsMin = 200;
const folds = 3;
const ridge = 1;

export function checkDomainClassifier(input: DomainClassifierInput): CheckResult[] {
  return judgeTable('domain_classifier', () => {
    const sizes = [rowsOf(input.reference), rowsOf(input.current)];
    const size = Math.min(...sizes, rowsMax / 2);
    if (size < rowsMin)
      return {
        status: 'insufficient',
        rows: size,
        reason: `${size} rows per side, ${rowsMin} needed to tell two samples apart`,
      };
    const sample = drawSample(input, size);
    const scores = outOfFoldScores(sample);
    const auc = rocAuc(sample.labels, scores).value;
    if (auc === null) return { status: 'insufficient', rows: size, reason: 'the two samples could not be compared' };
    // Standard error of an AUC without any difference; 3.09 of them leave one false alarm in a thousand.
    const error = Math.sqrt((2 * size + 1) / (12 * size * size));
    const noise = 0.5 + 3.09 * error;
    const limit = Math.max(aucLimit, noise);
    const base = {
      value: auc,
      limit,
      limitSource: noise > aucLimit ? 'noise floor' : 'material floor',
      rows: 2 * size,
    };
    const severity = severityOf('auc', Math.max(0.5, auc)).value;
    const top = importanceOf(sample, input.reference.names);
    const text = `a classifier tells the window from the reference with an AUC of ${plain(auc)}, ${plain(limit)} is the limit`;
    return {
      ...base,
      status: auc >= limit ? 'warn' : 'pass',
      severity,
      reason:
        auc >= limit
          ? `${text}; it looks at ${top
              .slice(0, 3)
              .map(({ name }) => name)
              .join(', ')}`
          : text,
      details: {
        top: top.slice(0, 5),
        standardError: error,
        sampled:
          size < Math.max(...sizes) ? { rows: size, seed: input.seed, method: 'uniform without replacement' } : null,
      },
    };
  });
}

interface Design {
  readonly rows: number;
  readonly width: number;
  /** Column → first weight of its groups; weight 0 is the intercept. */
  readonly offsets: readonly number[];
  /** Active weights of each row, one per column. */
  readonly active: Int32Array;
  readonly columns: number;
  readonly labels: Uint8Array;
  readonly fold: Uint8Array;
}

function rowsOf(sample: DomainSample): number {
  return sample.groups[0]?.length ?? 0;
}

function drawSample({ reference, current, seed }: DomainClassifierInput, size: number): Design {
  const random = createRandom(seed);
  const columns = reference.groups.length;
  const offsets: number[] = [];
  let width = 1;
  for (let column = 0; column < columns; column++) {
    offsets.push(width);
    const largest = (groups: Int32Array) => groups.reduce((high, group) => Math.max(high, group), 0);
    width += Math.max(largest(reference.groups[column]!), largest(current.groups[column]!)) + 1;
  }
  const rows = 2 * size;
  const active = new Int32Array(rows * columns);
  const labels = new Uint8Array(rows);
  const fold = new Uint8Array(rows);
  [reference, current].forEach((side, label) => {
    const chosen = withoutReplacement(rowsOf(side), size, random);
    chosen.forEach((source, index) => {
      const row = label * size + index;
      labels[row] = label;
      fold[row] = index % folds;
      for (let column = 0; column < columns; column++)
        active[row * columns + column] = offsets[column]! + side.groups[column]![source]!;
    });
  });
  return { rows, width, offsets, active, columns, labels, fold };
}

function withoutReplacement(rows: number, size: number, random: { below(limit: number): number }): Uint32Array {
  const order = Uint32Array.from({ length: rows }, (_, row) => row);
  for (let at = 0; at < size; at++) {
    const other = at + random.below(rows - at);
    [order[at], order[other]] = [order[other]!, order[at]!];
  }
  return order.subarray(0, size);
}

function outOfFoldScores(design: Design): Float64Array {
  const scores = new Float64Array(design.rows);
  for (let left = 0; left < folds; left++) {
    const weights = fitLogistic(design, left);
    for (let row = 0; row < design.rows; row++)
      if (design.fold[row] === left) scores[row] = linear(design, weights, row);
  }
  return scores;
}

/** Newton steps on the penalised log likelihood; the ridge keeps empty groups and perfect separation finite. */
function fitLogistic(design: Design, leftOut: number): Float64Array {
  const { width, rows, columns, active } = design;
  const weights = new Float64Array(width);
  for (let iteration = 0; iteration < 8; iteration++) {
    const gradient = new Float64Array(width);
    const hessian = new Float64Array(width * width);
    for (let row = 0; row < rows; row++) {
      if (design.fold[row] === leftOut) continue;
      const p = 1 / (1 + Math.exp(-linear(design, weights, row)));
      const residual = design.labels[row]! - p;
      const curvature = Math.max(p * (1 - p), 1e-6);
      gradient[0]! += residual;
      hessian[0]! += curvature;
      for (let i = 0; i < columns; i++) {
        const first = active[row * columns + i]!;
        gradient[first]! += residual;
        hessian[first * width]! += curvature;
        for (let j = 0; j <= i; j++) hessian[first * width + active[row * columns + j]!]! += curvature;
      }
    }
    for (let weight = 1; weight < width; weight++) {
      gradient[weight]! -= ridge * weights[weight]!;
      hessian[weight * width + weight]! += ridge;
    }
    const step = solveCholesky(hessian, gradient, width);
    let largest = 0;
    for (let weight = 0; weight < width; weight++) {
      weights[weight]! += step[weight]!;
      largest = Math.max(largest, Math.abs(step[weight]!));
    }
    if (largest < 1e-4) break;
  }
  return weights;
}

function linear({ active, columns }: Design, weights: Float64Array, row: number): number {
  let total = weights[0]!;
  for (let column = 0; column < columns; column++) total += weights[active[row * columns + column]!]!;
  return total;
}

/** Solves H x = g for a symmetric positive definite H given by its lower triangle, which it overwrites. */
function solveCholesky(hessian: Float64Array, gradient: Float64Array, width: number): Float64Array {
  for (let i = 0; i < width; i++) {
    for (let j = 0; j <= i; j++) {
      let total = hessian[i * width + j]!;
      for (let k = 0; k < j; k++) total -= hessian[i * width + k]! * hessian[j * width + k]!;
      hessian[i * width + j] = i === j ? Math.sqrt(Math.max(total, 1e-12)) : total / hessian[j * width + j]!;
    }
  }
  const solution = Float64Array.from(gradient);
  for (let i = 0; i < width; i++) {
    for (let k = 0; k < i; k++) solution[i]! -= hessian[i * width + k]! * solution[k]!;
    solution[i]! /= hessian[i * width + i]!;
  }
  for (let i = width - 1; i >= 0; i--) {
    for (let k = i + 1; k < width; k++) solution[i]! -= hessian[k * width + i]! * solution[k]!;
    solution[i]! /= hessian[i * width + i]!;
  }
  return solution;
}

/** Columns by the spread of their weights: what the classifier looks at. */
function importanceOf(
  design: Design,
  names: readonly string[],
): readonly { readonly name: string; readonly spread: number }[] {
  const weights = fitLogistic(design, folds);
  return names
    .map((name, column) => {
      let total = 0;
      let squares = 0;
      for (let row = 0; row < design.rows; row++) {
        const weight = weights[design.active[row * design.columns + column]!]!;
        total += weight;
        squares += weight * weight;
      }
      return { name, spread: Math.sqrt(Math.max(0, squares / design.rows - (total / design.rows) ** 2)) };
    })
    .toSorted((left, right) => right.spread - left.spread);
}
