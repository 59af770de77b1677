/**
 * The design matrix of a linear model, kept as columns: numbers centred and scaled with missing values at their mean, and
 * categories as codes that stand for one-hot columns. A missing or unseen category has no column and adds nothing.
 */
import { type Feature, relativeWeights, type Table } from '../trainer.ts';

export interface NumberTerm {
  readonly kind: 'number';
  /** Position of its weight. */
  readonly at: number;
  readonly mean: number;
  /** Standard deviation; 1 for a constant column, whose weight stays 0. */
  readonly scale: number;
  readonly values: Float32Array;
}

export interface CategoryTerm {
  readonly kind: 'category';
  /** Position of the weight of code 0. */
  readonly at: number;
  readonly vocabulary: readonly string[];
  /** Code of the vocabulary, or -1. */
  readonly codes: Int32Array;
}

export interface Design {
  readonly rows: number;
  readonly terms: readonly (NumberTerm | CategoryTerm)[];
  /** Number of weights of one output, the intercept (the last) not counted. */
  readonly weights: number;
}

export function buildDesign(table: Table, maxCategories: number): Design {
  const rowWeights = relativeWeights(table);
  let weights = 0;
  const terms = table.features.map(feature => {
    const at = weights;
    const term =
      feature.kind === 'number' ? numberTerm(feature, at, rowWeights) : categoryTerm(feature, at, maxCategories);
    weights += term.kind === 'number' ? 1 : term.vocabulary.length;
    return term;
  });
  return { rows: table.rows, terms, weights };
}

/** Weighted mean and deviation over finite values; infinities are left out here as missing values are. */
function numberTerm(
  { values }: Extract<Feature, { kind: 'number' }>,
  at: number,
  weights: Float64Array | null,
): NumberTerm {
  let count = 0;
  let sum = 0;
  for (let row = 0; row < values.length; row++) {
    if (!Number.isFinite(values[row])) continue;
    const weight = weights === null ? 1 : weights[row]!;
    count += weight;
    sum += weight * values[row]!;
  }
  // The graph subtracts a float32, so the fit does too.
  const mean = count === 0 ? 0 : Math.fround(sum / count);
  let squares = 0;
  for (let row = 0; row < values.length; row++) {
    if (Number.isFinite(values[row])) squares += (weights === null ? 1 : weights[row]!) * (values[row]! - mean) ** 2;
  }
  const deviation = count === 0 ? 0 : Math.sqrt(squares / count);
  const scale = deviation > 1e-7 * Math.max(1e-30, Math.abs(mean)) ? deviation : 1;
  const standardised = values.map(value => (Number.isFinite(value) ? (value - mean) / scale : 0));
  return { kind: 'number', at, mean, scale, values: standardised };
}

/** The most frequent values, in alphabetical order so that equal data gives an equal model. */
function categoryTerm(
  { codes, categories }: Extract<Feature, { kind: 'category' }>,
  at: number,
  maxCategories: number,
): CategoryTerm {
  const rows = new Float64Array(categories.length);
  for (const code of codes) if (code >= 0 && code < rows.length) rows[code]!++;
  const vocabulary = categories
    .map((value, code) => ({ value, rows: rows[code]! }))
    .filter(entry => entry.rows > 0)
    .sort((a, b) => b.rows - a.rows || (a.value < b.value ? -1 : 1))
    .slice(0, maxCategories)
    .map(entry => entry.value)
    .sort((a, b) => (a < b ? -1 : 1));
  const position = new Map(vocabulary.map((value, index) => [value, index]));
  const recode = categories.map(value => position.get(value) ?? -1);
  return { kind: 'category', at, vocabulary, codes: codes.map(code => (code < 0 ? -1 : (recode[code] ?? -1))) };
}

/** scores += X·w for one output; `weights` starts at that output's first weight and ends with its intercept. */
export function addScores(design: Design, weights: Float64Array, scores: Float64Array): void {
  const intercept = weights[design.weights]!;
  for (let row = 0; row < design.rows; row++) scores[row]! += intercept;
  for (const term of design.terms) {
    if (term.kind === 'number') {
      const { values } = term;
      const weight = weights[term.at]!;
      for (let row = 0; row < design.rows; row++) scores[row]! += weight * values[row]!;
    } else {
      const { codes, at } = term;
      for (let row = 0; row < design.rows; row++) if (codes[row]! >= 0) scores[row]! += weights[at + codes[row]!]!;
    }
  }
}

/** gradient += Xᵀ·residuals for one output. */
export function addGradient(design: Design, residuals: Float64Array, gradient: Float64Array): void {
  let total = 0;
  for (let row = 0; row < design.rows; row++) total += residuals[row]!;
  gradient[design.weights]! += total;
  for (const term of design.terms) {
    if (term.kind === 'number') {
      const { values } = term;
      let sum = 0;
      for (let row = 0; row < design.rows; row++) sum += residuals[row]! * values[row]!;
      gradient[term.at]! += sum;
    } else {
      const { codes, at } = term;
      for (let row = 0; row < design.rows; row++) if (codes[row]! >= 0) gradient[at + codes[row]!]! += residuals[row]!;
    }
  }
}
