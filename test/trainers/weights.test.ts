/** Rows that stand for several: learned from and measured as if they were there as often. */
import { describe, expect, test } from 'vitest';
import { trainerNamed, trainers } from '../../src/trainers/index.ts';
import { trainingMetrics } from '../../src/trainers/metrics.ts';
import { permutationImportance } from '../../src/trainers/permutation.ts';
import { seededRandom } from '../../src/trainers/random.ts';
import { encodeFeatures, relativeWeights, type Table, type TrainedModel } from '../../src/trainers/trainer.ts';
import { learnableTable, numbersTable, pickRows, tasks } from './tables.ts';

const taskNames = ['binary', 'multiclass', 'regression'] as const;
const cases = trainers.flatMap(trainer => taskNames.map(task => ({ trainer, task, name: `${trainer.name} ${task}` })));
/** Rows, or their hessians, decide nothing here: both tables are to have the same splits to choose from. */
const open: Readonly<Record<string, Record<string, unknown>>> = {
  gbdt: { trees: 15, min_leaf_rows: 1, min_leaf_hessian: 0, max_leaves: 8 },
  logistic: { tolerance: 1e-9 },
};

/** Values rounded to a grid: every value has a bin of its own, however often its rows are there. */
function coarse(table: Table): Table {
  const features = table.features.map(feature =>
    feature.kind === 'number'
      ? { ...feature, values: feature.values.map(value => Math.round(value * 20) / 20) }
      : feature,
  );
  return { ...table, features };
}

function drawCounts(rows: number, seed: number): readonly number[] {
  const random = seededRandom(seed);
  return Array.from({ length: rows }, () => 1 + Math.floor(3 * random()));
}

function repeated(table: Table, counts: readonly number[]): Table {
  return pickRows(
    table,
    counts.flatMap((count, row) => new Array<number>(count).fill(row)),
  );
}

function predictions(model: TrainedModel, table: Table): Float32Array {
  return model.predict(encodeFeatures(table.features, model.signature));
}

describe.each(cases)('$name', ({ trainer, task }) => {
  test('equal weights, whatever they are, give the model of no weights to the last bit', async () => {
    const table = learnableTable(task, 1_200);
    const parameters = trainer.name === 'gbdt' ? { trees: 10 } : {};
    const plain = await trainer.train(table, tasks[task], parameters, null);
    for (const weight of [1, 49]) {
      const weighted = { ...table, weights: new Float64Array(table.rows).fill(weight) };
      const model = await trainer.train(weighted, tasks[task], parameters, null);
      expect(Buffer.compare(model.toOnnx({}), plain.toOnnx({})), `weight ${weight}`).toBe(0);
    }
  });

  test.each([1, 2, 3])('a row of weight k is k rows: predictions and gains (seed %i)', async seed => {
    const table = coarse(learnableTable(task, 1_500, seed));
    const counts = drawCounts(table.rows, seed);
    const copies = repeated(table, counts);
    // Weights count by their mean, so the penalty of the copies, which are more rows, is as many times larger.
    const l2 = copies.rows / table.rows;
    const weights = Float64Array.from(counts, count => 100 * count);
    const learn = (rows: Table, penalty: number) =>
      trainer.train(rows, tasks[task], { ...open[trainer.name], l2: penalty }, null);
    const [one, other] = [await learn({ ...table, weights }, 1), await learn(copies, l2)];
    const unseen = coarse(learnableTable(task, 500, 99));
    const expected = predictions(other, unseen);
    // Gradients are fixed-point numbers, rounded by the number of the row.
    for (const [row, value] of predictions(one, unseen).entries()) expect(value).toBeCloseTo(expected[row]!, 2);
    for (const [at, share] of one.importance.values.entries()) {
      expect(share).toBeCloseTo(other.importance.values[at]!, 2);
    }
    const without = predictions(await learn(table, 1), unseen);
    expect(Math.max(...without.map((value, at) => Math.abs(value - expected[at]!)))).toBeGreaterThan(0.01);
  });

  test('metrics and permutation importance of weighted rows are those of the copies', async () => {
    const table = learnableTable(task, 800);
    const model = await trainer.train(table, tasks[task], open[trainer.name] ?? {}, null);
    const unseen = learnableTable(task, 600, 5);
    const counts = drawCounts(unseen.rows, 8);
    const copies = repeated(unseen, counts);
    const weights = Float64Array.from(counts);
    const weighted = trainingMetrics(task, predictions(model, unseen), unseen.labels, weights);
    const expected = trainingMetrics(task, predictions(model, copies), copies.labels, null);
    for (const [name, value] of Object.entries(expected)) expect(weighted[name], name).toBeCloseTo(value!, 10);
    const columns = encodeFeatures(unseen.features, model.signature);
    const alike = new Float64Array(unseen.rows).fill(7);
    const rises = (rows: Float64Array | null) =>
      permutationImportance(model, { columns, labels: unseen.labels, weights: rows }, 3);
    const plain = rises(null);
    for (const [feature, rise] of rises(alike).entries()) expect(rise).toBeCloseTo(plain[feature]!, 9);
    expect(rises(weights)).not.toEqual(rises(null));
  });
});

test.each(['gbdt', 'logistic'])('%s: a stratified sample with weights teaches the rate of all rows', async trainer => {
  const random = seededRandom(4);
  const x = Float32Array.from({ length: 40_000 }, () => 2 * random() - 1);
  const labels = x.map(value => (random() < 0.04 + 0.03 * value ? 1 : 0));
  const all = numbersTable({ x }, labels);
  // Every positive is labelled, and one negative in ten.
  const chosen = Array.from(labels.keys()).filter(row => labels[row] === 1 || random() < 0.1);
  const sample = pickRows(all, chosen);
  const weights = Float64Array.from(sample.labels, label => (label === 1 ? 1 : 10));
  const learn = (table: Table) =>
    trainerNamed(trainer).train(table, tasks.binary, trainer === 'gbdt' ? { trees: 30, max_leaves: 4 } : {}, null);
  const mean = async (table: Table) => {
    const scores = predictions(await learn(table), all);
    return scores.reduce((total, score) => total + score, 0) / scores.length;
  };
  const rate = labels.reduce((total, label) => total + label, 0) / labels.length;
  expect(await mean({ ...sample, weights })).toBeCloseTo(rate, 2);
  expect(await mean(sample)).toBeGreaterThan(5 * rate);
});

test('weights of very different size keep their proportions in fixed-point gradients', async () => {
  const table = learnableTable('binary', 4_000);
  const weights = Float64Array.from(table.labels, (_, row) => (row % 400 === 7 ? 100_000 : 1));
  const model = await trainerNamed('gbdt').train({ ...table, weights }, tasks.binary, { trees: 30 }, null);
  const mean = (values: Float32Array) =>
    values.reduce((total, value, row) => total + value * weights[row]!, 0) / weights.reduce((a, b) => a + b, 0);
  expect(mean(predictions(model, table))).toBeCloseTo(mean(table.labels), 1);
});

test('balanced classes are balanced by weight', async () => {
  const given = learnableTable('binary', 1_000);
  // Without its category, whose order follows the weighted label.
  const table = { ...given, features: given.features.filter(({ kind }) => kind === 'number') };
  const heavy = Float64Array.from(table.labels, label => (label === 1 ? 9 : 1));
  const balanced = { class_weights: 'balanced', trees: 20 };
  const model = (weights: Float64Array | null) =>
    trainerNamed('gbdt').train({ ...table, weights }, tasks.binary, balanced, null);
  // Within a class all rows weigh alike, so balancing takes the weights out again.
  const [one, other] = [predictions(await model(heavy), table), predictions(await model(null), table)];
  for (const [row, score] of one.entries()) expect(score).toBeCloseTo(other[row]!, 1);
});

test('weights that are none are refused by row, and only their proportions count', async () => {
  const table = learnableTable('binary', 20);
  const train = (weights: Float64Array) => trainerNamed('gbdt').train({ ...table, weights }, tasks.binary, {}, null);
  for (const wrong of [0, -1, Number.NaN, Infinity]) {
    const weights = new Float64Array(20).fill(1);
    weights[3] = wrong;
    await expect(train(weights)).rejects.toThrow(`training table: weight 3 is ${wrong}, expected a positive number`);
  }
  await expect(train(new Float64Array(19).fill(1))).rejects.toThrow('training table: 20 rows have 19 weights');
  expect(relativeWeights({ weights: Float64Array.of(1, 3) })).toEqual(Float64Array.of(0.5, 1.5));
  expect(relativeWeights({ weights: Float64Array.of(3, 3) })).toBeNull();
  expect(relativeWeights({})).toBeNull();
});
