/**
 * Categories become codes whose order carries meaning: sorted by how the label behaves in them, so that `code <= cut` splits
 * off the best set of categories (Fisher 1958; exact for binary and regression labels). Rare categories come last and share
 * one bin with the values nobody has seen yet: the code of an unseen value is the first after the vocabulary.
 */
import { type Feature, relativeWeights, type Table, type TrainingTask } from '../trainer.ts';

/** Weight of the overall mean in a category's mean, in rows: a handful of rows says little about its place. */
const SMOOTHING_ROWS = 10;
const POWER_ITERATIONS = 30;

export interface OrderedCategories {
  readonly vocabulary: readonly string[];
  /** The first `frequent` codes have bins of their own. */
  readonly frequent: number;
}

export function orderCategories(
  feature: Extract<Feature, { kind: 'category' }>,
  table: Table,
  task: TrainingTask,
  minRows: number,
): OrderedCategories {
  const statistics = labelStatistics(feature, table, task);
  const { rows, positions, overall } = statistics;
  const codes = Array.from(feature.categories, (_, code) => code).filter(code => rows[code]! > 0);
  const name = (code: number) => feature.categories[code]!;
  const frequent = codes
    .filter(code => rows[code]! >= minRows)
    .sort((a, b) => positions[a]! - positions[b]! || (name(a) < name(b) ? -1 : 1));
  // Values nobody has seen fall in with the last code: let that be the end nearer to the average.
  const [first, last] = [frequent[0], frequent.at(-1)];
  if (first !== undefined && last !== undefined) {
    if (Math.abs(positions[first]! - overall) < Math.abs(positions[last]! - overall)) frequent.reverse();
  }
  const rare = codes.filter(code => rows[code]! < minRows);
  return { vocabulary: [...frequent, ...rare].map(name), frequent: frequent.length };
}

interface LabelStatistics {
  /** Rows of each category as they are: a heavy row alone does not tell where its category belongs. */
  readonly rows: Float64Array;
  /** Place of each category on one axis: its smoothed mean label, or the first principal component of its class shares. */
  readonly positions: Float64Array;
  readonly overall: number;
}

function labelStatistics(
  feature: Extract<Feature, { kind: 'category' }>,
  table: Table,
  { task, classes }: TrainingTask,
): LabelStatistics {
  const { labels } = table;
  const weights = relativeWeights(table);
  const size = feature.categories.length;
  const width = task === 'multiclass' ? classes.length : 1;
  const rows = new Float64Array(size);
  const masses = new Float64Array(size);
  const sums = new Float64Array(size * width);
  const totals = new Float64Array(width);
  for (let row = 0; row < labels.length; row++) {
    const code = feature.codes[row]!;
    const output = width === 1 ? 0 : labels[row]!;
    const weight = weights === null ? 1 : weights[row]!;
    const value = width === 1 ? weight * labels[row]! : weight;
    totals[output]! += value;
    if (code < 0 || code >= size) continue;
    rows[code]!++;
    masses[code]! += weight;
    sums[code * width + output]! += value;
  }
  const means = totals.map(total => total / labels.length);
  const smoothed = sums.map((sum, index) => {
    const mass = masses[Math.floor(index / width)]!;
    return (sum + SMOOTHING_ROWS * means[index % width]!) / (mass + SMOOTHING_ROWS);
  });
  if (width === 1) return { rows, positions: smoothed, overall: means[0]! };
  const axis = principalAxis(smoothed, means, masses);
  const project = (at: number, values: Float64Array) =>
    axis.reduce((sum, weight, output) => sum + weight * values[at + output]!, 0);
  return { rows, positions: rows.map((_, code) => project(code * width, smoothed)), overall: project(0, means) };
}

/** First principal component of the rows of `shares` around `means`, weighted (Coppersmith et al. 1999), by power iteration. */
function principalAxis(shares: Float64Array, means: Float64Array, weights: Float64Array): Float64Array {
  const width = means.length;
  let axis = Float64Array.from(means, (_, index) => 1 / (index + 1));
  for (let iteration = 0; iteration < POWER_ITERATIONS; iteration++) {
    const next = new Float64Array(width);
    weights.forEach((weight, code) => {
      let along = 0;
      for (let output = 0; output < width; output++) {
        along += axis[output]! * (shares[code * width + output]! - means[output]!);
      }
      for (let output = 0; output < width; output++) {
        next[output]! += weight * along * (shares[code * width + output]! - means[output]!);
      }
    });
    const length = Math.hypot(...next);
    if (length === 0) break;
    axis = next.map(value => value / length);
  }
  return axis;
}
