/** What is particular to boosted trees. */
import { expect, test } from 'vitest';
import { gbdt } from '../../src/trainers/gbdt/index.ts';
import { seededRandom } from '../../src/trainers/random.ts';
import { encodeFeatures, type Feature, type Table, type TrainedModel } from '../../src/trainers/trainer.ts';
import { learnableTable, numbersTable, tasks } from './tables.ts';

const train = (table: Table, parameters: Record<string, unknown> = {}, task = tasks.binary) =>
  gbdt.train(table, task, parameters, () => {});
const predict = (model: TrainedModel, ...columns: readonly (readonly number[])[]) =>
  Array.from(model.predict(columns.map(column => Float32Array.from(column))));

test('the model does not depend on the number of threads', async () => {
  const rows = 80_000;
  const random = seededRandom(4);
  const columns = Array.from({ length: 26 }, () => Float32Array.from({ length: rows }, random));
  const labels = Float32Array.from({ length: rows }, (_, row) =>
    columns[3]![row]! + columns[20]![row]! * random() > 0.8 ? 1 : 0,
  );
  const table = numbersTable(Object.fromEntries(columns.map((column, index) => [`f${index}`, column])), labels);
  const models = [];
  for (const threads of [1, 2, 3]) models.push(await train(table, { trees: 5 }, { ...tasks.binary, threads }));
  const [one, two, three] = models.map(model => Buffer.from(model.toOnnx({})));
  expect(one!.equals(two!) && one!.equals(three!)).toBe(true);
});

test('missing values get the direction the data asks for', async () => {
  const x = Array.from({ length: 400 }, (_, row) => (row % 4 === 0 ? Number.NaN : row / 400));
  const labels = x.map(value => (Number.isNaN(value) || value > 0.8 ? 1 : 0));
  const [missing = 0, low = 0, high = 0] = predict(await train(numbersTable({ x }, labels)), [Number.NaN, 0.1, 0.95]);
  expect(missing).toBeGreaterThan(0.9);
  expect(high).toBeGreaterThan(0.9);
  expect(low).toBeLessThan(0.1);
});

test('the only signal may be that a value is missing, and infinities are values', async () => {
  const x = Array.from({ length: 400 }, (_, row) => (row % 2 === 0 ? Number.NaN : Infinity));
  const model = await train(
    numbersTable(
      { x },
      x.map(value => (Number.isNaN(value) ? 1 : 0)),
    ),
  );
  const [missing = 0, infinite = 0, finite = 0] = predict(model, [Number.NaN, Infinity, 5]);
  expect(missing).toBeGreaterThan(0.95);
  expect(infinite).toBeLessThan(0.05);
  expect(finite).toBe(infinite);
});

test.each([1, -1])('a monotone constraint of %i holds everywhere, also against the data', async direction => {
  const random = seededRandom(11);
  const x = Array.from({ length: 3_000 }, () => random());
  const z = Array.from({ length: 3_000 }, () => random());
  const labels = x.map((value, row) => Math.sin(9 * value) + z[row]! + 0.1 * random());
  const table = numbersTable({ x, z }, labels);
  const model = await train(table, { monotone: { x: direction }, trees: 60 }, tasks.regression);
  const grid = Array.from({ length: 200 }, (_, index) => index / 200);
  for (const fixed of [0.1, 0.5, 0.9]) {
    const line = predict(
      model,
      grid,
      grid.map(() => fixed),
    );
    const steps = line.slice(1).map((value, index) => direction * (value - line[index]!));
    expect(Math.min(...steps)).toBeGreaterThanOrEqual(0);
  }
  const free = predict(
    await train(table, { trees: 60 }, tasks.regression),
    grid,
    grid.map(() => 0.5),
  );
  expect(Math.min(...free.slice(1).map((value, index) => direction * (value - free[index]!)))).toBeLessThan(-0.1);
});

test('monotone names a numeric feature, and is refused for several classes', async () => {
  const table = learnableTable('binary', 100);
  await expect(train(table, { monotone: { colour: 1 } })).rejects.toThrow('unknown numeric feature "colour"');
  await expect(train(table, { monotone: { a: 2 } })).rejects.toThrow('parameter "monotone.a" is 2');
  const multiclass = learnableTable('multiclass', 100);
  await expect(train(multiclass, { monotone: { a: 1 } }, tasks.multiclass)).rejects.toThrow(
    'no meaning for a multiclass',
  );
});

test('early stopping keeps the best round and says so', async () => {
  const random = seededRandom(2);
  const x = Array.from({ length: 1_000 }, () => random());
  const noisy = numbersTable(
    { x },
    x.map(value => (value + 2 * random() > 1.5 ? 1 : 0)),
  );
  const parameters = { trees: 500, early_stopping_rounds: 5, learning_rate: 0.3 };
  const model = await train(noisy, parameters);
  const losses = model.rounds.map(round => round.validationLoss!);
  const best = losses.indexOf(Math.min(...losses)) + 1;
  expect(model.rounds).toHaveLength(best + 5);
  expect(model.notes).toContain(`stopped early after ${best + 5} rounds; the best round is kept`);
  expect((await gbdt.train(noisy, tasks.binary, parameters, null)).notes).toEqual(model.notes);
  const short = await train(noisy, { ...parameters, trees: best });
  expect(Buffer.from(model.toOnnx({})).equals(Buffer.from(short.toOnnx({})))).toBe(true);
});

test('class weights move the average prediction to where the weighted classes balance', async () => {
  const x = Array.from({ length: 1_000 }, (_, row) => row % 10);
  const table = numbersTable(
    { x },
    x.map((_, row) => (row % 20 === 0 ? 1 : 0)),
  );
  const mean = (scores: readonly number[]) => scores.reduce((sum, score) => sum + score, 0) / scores.length;
  const constant = { trees: 1, max_depth: 1, min_leaf_rows: 1_000 };
  expect(mean(predict(await train(table, constant), x))).toBeCloseTo(0.05, 2);
  expect(mean(predict(await train(table, { ...constant, class_weights: 'balanced' }), x))).toBeCloseTo(0.5, 2);
  expect(mean(predict(await train(table, { ...constant, class_weights: { yes: 19 } }), x))).toBeCloseTo(0.5, 2);
  await expect(train(table, { class_weights: { yess: 2 } })).rejects.toThrow(
    'unknown class "yess" (did you mean "yes"?',
  );
});

test('a category splits by its label rate in few leaves, rare and unseen values together', async () => {
  const categories = [...'abcdefghij', 'rare1', 'rare2'];
  const positive = new Set(['b', 'd', 'f', 'h', 'rare1', 'rare2']);
  const codes = Int32Array.from({ length: 1_012 }, (_, row) => (row < 1_000 ? row % 10 : 10 + (row % 2)));
  const feature: Feature = { kind: 'category', name: 'c', codes, categories };
  const labels = Float32Array.from(codes, code => (positive.has(categories[code]!) ? 1 : 0));
  const table = { rows: codes.length, features: [feature], labels };
  const model = await train(table, { max_leaves: 3, min_leaf_rows: 5, min_category_rows: 8 });
  const [column] = model.signature.inputs[0]!.columns;
  const vocabulary = column?.kind === 'code' ? column.vocabulary : [];
  expect(vocabulary.slice(-2)).toEqual(['rare1', 'rare2']);
  const scores = predict(model, [...vocabulary.keys(), vocabulary.length]);
  vocabulary.forEach((value, code) => {
    expect(Math.round(scores[code]!), value).toBe(positive.has(value) ? 1 : 0);
  });
  expect(scores.at(-1)).toBe(scores.at(-2));
  const seen = encodeFeatures([{ ...feature, codes: Int32Array.of(-1, 12, 0) }], model.signature)[0];
  expect([...seen!]).toEqual([Number.NaN, 12, vocabulary.indexOf('a')]);
});

test('row and column sampling are seeded and still learn', async () => {
  const table = learnableTable('binary', 2_000);
  const parameters = { row_share: 0.5, column_share: 0.5, trees: 60 };
  const first = await train(table, parameters);
  const second = await train(table, parameters);
  const other = await train(table, parameters, { ...tasks.binary, seed: 8 });
  expect(Buffer.from(first.toOnnx({})).equals(Buffer.from(second.toOnnx({})))).toBe(true);
  expect(Buffer.from(first.toOnnx({})).equals(Buffer.from(other.toOnnx({})))).toBe(false);
  expect(first.rounds.at(-1)!.loss).toBeLessThan(0.4);
});

test('one wild label does not blur what is learned from the others', async () => {
  const x = Array.from({ length: 2_000 }, (_, row) => row % 100);
  const labels = x.map((value, row) => (row === 0 ? 1e6 : value < 50 ? 0 : 1));
  const model = await train(numbersTable({ x }, labels), { min_leaf_rows: 1, trees: 200 }, tasks.regression);
  const [low = 0, high = 0] = predict(model, [20, 80]);
  expect(high - low).toBeGreaterThan(0.5);
});

test('more than 4 GiB is refused with what to do about it', async () => {
  const wide = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`f${index}`, [1, 2, 3]]));
  await expect(train(numbersTable(wide, [0, 1, 0]), { max_leaves: 4_096, min_leaf_rows: 1 })).rejects.toThrow(
    /4096 leaves need \d+ MB, the limit is 4,096 MB/,
  );
});
