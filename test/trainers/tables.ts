/** Small seeded tables whose labels follow from their features. */
import { seededRandom } from '../../src/trainers/random.ts';
import type { Feature, Table, TrainingTask } from '../../src/trainers/trainer.ts';

export const tasks: Readonly<Record<TrainingTask['task'], TrainingTask>> = {
  binary: { task: 'binary', classes: ['no', 'yes'], seed: 7, threads: 1 },
  multiclass: { task: 'multiclass', classes: ['low', 'middle', 'high'], seed: 7, threads: 1 },
  regression: { task: 'regression', classes: [], seed: 7, threads: 1 },
};

/** Two numbers that matter (one with missing values that matter), a category that matters, and noise. */
export function learnableTable(task: TrainingTask['task'], rows: number, seed = 1): Table {
  const random = seededRandom(seed);
  const draw = () => Float32Array.from({ length: rows }, () => 2 * random() - 1);
  const [a, b, noise] = [draw(), draw(), draw()];
  const missing = b.map(value => (random() < 0.2 ? Number.NaN : value));
  const categories = ['red', 'green', 'blue', 'rare'];
  const effects = [-0.8, 0.9, 0, 0];
  const codes = Int32Array.from({ length: rows }, (_, row) =>
    row < 3 ? 3 : random() < 0.05 ? -1 : Math.floor(3 * random()),
  );
  const features: Feature[] = [
    { kind: 'number', name: 'a', values: a },
    { kind: 'number', name: 'b', values: missing },
    { kind: 'number', name: 'noise', values: noise },
    { kind: 'category', name: 'colour', codes, categories },
  ];
  const value = (row: number) =>
    1.5 * a[row]! + (Number.isNaN(missing[row]!) ? 0.7 : missing[row]!) + (effects[codes[row]!] ?? 0);
  const labels = Float32Array.from({ length: rows }, (_, row) => {
    const noisy = value(row) + 0.3 * (random() - 0.5);
    if (task === 'regression') return noisy;
    if (task === 'binary') return noisy > 0.2 ? 1 : 0;
    return noisy < -0.5 ? 0 : noisy < 0.8 ? 1 : 2;
  });
  return { rows, features, labels };
}

export function numbersTable(columns: Readonly<Record<string, ArrayLike<number>>>, labels: ArrayLike<number>): Table {
  const features = Object.entries(columns).map(
    ([name, values]): Feature => ({ kind: 'number', name, values: Float32Array.from(values) }),
  );
  return { rows: labels.length, features, labels: Float32Array.from(labels) };
}

/** The same columns under every row order and subset: rows of a table by their numbers. */
export function pickRows(table: Table, rows: readonly number[]): Table {
  return {
    rows: rows.length,
    features: table.features.map(feature =>
      feature.kind === 'number'
        ? { ...feature, values: Float32Array.from(rows, row => feature.values[row]!) }
        : { ...feature, codes: Int32Array.from(rows, row => feature.codes[row]!) },
    ),
    labels: Float32Array.from(rows, row => table.labels[row]!),
  };
}
