/** What every built-in trainer promises. A new trainer joins by its line in `src/trainers/index.ts`. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { trainerNamed, trainers } from '../../src/trainers/index.ts';
import {
  encodeFeatures,
  type Feature,
  type Table,
  type TrainedModel,
  type TrainingProgress,
  type TrainingTask,
} from '../../src/trainers/trainer.ts';
import { learnableTable, numbersTable, tasks } from './tables.ts';

const silent = () => {};
const taskNames = ['binary', 'multiclass', 'regression'] as const;
const cases = trainers.flatMap(trainer => taskNames.map(task => ({ trainer, task, name: `${trainer.name} ${task}` })));

describe.each(cases)('$name', ({ trainer, task }) => {
  const train = (table: Table, other: Partial<TrainingTask> = {}, parameters: Record<string, unknown> = {}) =>
    trainer.train(table, { ...tasks[task], ...other }, parameters, silent);

  test('learns more than the average', async () => {
    const model = await train(learnableTable(task, 4_000));
    const unseen = learnableTable(task, 2_000, 99);
    const predictions = model.predict(encodeFeatures(unseen.features, model.signature));
    expect(quality(task, predictions, unseen.labels)).toBeGreaterThan(0.8);
  });

  test('gives the predictions of its ONNX file, on seen, missing, unseen and extreme rows', async () => {
    const model = await train(learnableTable(task, 3_000));
    const columns = encodeFeatures([...learnableTable(task, 500, 5).features], model.signature);
    const edge = edgeRows(model);
    const rows = columns.map((column, index) => Float32Array.from([...column, ...edge[index]!]));
    expect(await largestDifference(model, rows)).toBeLessThanOrEqual(1e-6);
  });

  test('is the same model for the same seed', async () => {
    const table = learnableTable(task, 1_500);
    const [first, second] = [await train(table), await train(table)];
    expect(Buffer.compare(first.toOnnx({}), second.toOnnx({}))).toBe(0);
  });

  test('says what it did, round by round, with a falling loss', async () => {
    const reported: TrainingProgress[] = [];
    const model = await trainer.train(learnableTable(task, 1_500), tasks[task], {}, progress =>
      reported.push(progress),
    );
    expect(model.rounds).toEqual(reported);
    expect(reported.at(-1)!.loss).toBeLessThan(reported[0]!.loss);
    expect(reported.map(progress => progress.round)).toEqual(reported.map((_, index) => index + 1));
  });

  test('gives the same model when nobody asks for its rounds', async () => {
    const table = learnableTable(task, 1_500);
    const quiet = await trainer.train(table, tasks[task], {}, null);
    expect(quiet.rounds).toEqual([]);
    expect(Buffer.compare(quiet.toOnnx({}), (await train(table)).toOnnx({}))).toBe(0);
  });

  test('finds the columns that matter', async () => {
    const { importance } = await train(learnableTable(task, 3_000));
    expect(importance.values).toHaveLength(4);
    expect(importance.values.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 6);
    const [a = 0, b = 0, noise = 0, colour = 0] = importance.values;
    expect(Math.min(a, b, colour)).toBeGreaterThan(noise);
  });

  test('keeps features that are constant or missing in every row harmless', async () => {
    const base = learnableTable(task, 800);
    const useless: Feature[] = [
      { kind: 'number', name: 'constant', values: new Float32Array(800).fill(5) },
      { kind: 'number', name: 'absent', values: new Float32Array(800).fill(Number.NaN) },
      { kind: 'category', name: 'empty', codes: new Int32Array(800).fill(-1), categories: [] },
    ];
    const model = await train({ ...base, features: [...base.features, ...useless] });
    expect(model.importance.values.slice(-3)).toEqual([0, 0, 0]);
    const columns = encodeFeatures([...base.features, ...useless], model.signature);
    expect(await largestDifference(model, columns)).toBeLessThanOrEqual(1e-6);
  });

  test('predicts the average when every feature is missing', async () => {
    const labels = learnableTable(task, 300).labels;
    const table = { ...numbersTable({ x: new Float32Array(300).fill(Number.NaN) }, labels), labels };
    const model = await train(table);
    const predictions = model.predict(encodeFeatures(table.features, model.signature));
    const mean = labels.reduce((sum, label) => sum + label, 0) / labels.length;
    const share = labels.filter(label => label === 0).length / labels.length;
    expect(predictions[0]).toBeCloseTo(task === 'multiclass' ? share : mean, 2);
    expect(await largestDifference(model, [...encodeFeatures(table.features, model.signature)])).toBeLessThanOrEqual(
      1e-6,
    );
  });

  test('makes a model of one row, and of one label only', async () => {
    const one = await train(numbersTable({ x: [3] }, [1]));
    const same = await train(
      numbersTable({ x: Array.from({ length: 60 }, (_, row) => row) }, new Float32Array(60).fill(1)),
    );
    for (const model of [one, same]) {
      const columns = [Float32Array.of(-1e6, 0, 3, 1e6, Number.NaN)];
      expect([...model.predict(columns)].every(Number.isFinite)).toBe(true);
      expect(await largestDifference(model, columns)).toBeLessThanOrEqual(1e-6);
    }
  });

  test('refuses tables it cannot learn from', async () => {
    const none = numbersTable({ x: [] }, []);
    await expect(train(none)).rejects.toThrow('0 rows');
    await expect(train({ ...none, features: [] })).rejects.toThrow();
    await expect(train(numbersTable({ x: [1, 2] }, [Number.NaN, 1]))).rejects.toThrow('label of row 0 is NaN');
    await expect(train(numbersTable({ x: [1] }, [0, 1]))).rejects.toThrow(
      'feature "x" has 1 values, the table has 2 rows',
    );
    if (task !== 'regression') {
      await expect(train(numbersTable({ x: [1, 2] }, [0, 7]))).rejects.toThrow('label of row 1 is 7');
    }
  });

  test('refuses parameters it does not know, and values out of range', async () => {
    const table = learnableTable(task, 50);
    const [parameter] = trainer.parameters;
    const misspelt = `${parameter!.name}x`;
    await expect(train(table, {}, { [misspelt]: 1 })).rejects.toThrow(
      `trainer ${trainer.name}: unknown parameter "${misspelt}" (did you mean "${parameter!.name}"?`,
    );
    await expect(train(table, {}, { l2: -1 })).rejects.toThrow(`trainer ${trainer.name}: parameter "l2" is -1: `);
  });
});

test('an unknown trainer names the known ones', () => {
  expect(() => trainerNamed('gbtd')).toThrow('unknown trainer "gbtd" (did you mean "gbdt"? known: logistic, gbdt)');
});

test('every parameter has a default and a description', () => {
  for (const { parameters } of trainers) {
    expect(parameters.filter(({ about, default: value }) => about === '' || value === undefined)).toEqual([]);
  }
});

/** Accuracy, or for regressions the share of variance explained. */
function quality(task: TrainingTask['task'], predictions: Float32Array, labels: Float32Array): number {
  if (task === 'regression') {
    const mean = labels.reduce((sum, label) => sum + label, 0) / labels.length;
    const squares = labels.reduce((sum, label) => sum + (label - mean) ** 2, 0);
    return 1 - labels.reduce((sum, label, row) => sum + (label - predictions[row]!) ** 2, 0) / squares;
  }
  const width = predictions.length / labels.length;
  const right = labels.filter((label, row) => {
    const scores = predictions.subarray(row * width, (row + 1) * width);
    return label === (width === 1 ? (scores[0]! >= 0.5 ? 1 : 0) : scores.indexOf(Math.max(...scores)));
  });
  return right.length / labels.length;
}

/** For each column: very large and small numbers, zeros of both signs, NaN; for categories unseen codes. */
function edgeRows(model: TrainedModel): number[][] {
  return model.signature.inputs[0]!.columns.map(column =>
    column.kind === 'code'
      ? [0, 1, column.vocabulary.length, Number.NaN, 0, 1, column.vocabulary.length]
      : [1e3, -1e3, 1e-40, -0, 0, Number.NaN, 1e-20],
  );
}

/** Largest |ours - ONNX Runtime's| / max(1, largest |output|). */
async function largestDifference(model: TrainedModel, columns: readonly Float32Array[]): Promise<number> {
  const rows = columns[0]!.length;
  const own = model.predict(columns);
  const features = new Float32Array(rows * columns.length);
  columns.forEach((column, index) => {
    for (let row = 0; row < rows; row++) features[row * columns.length + index] = column[row]!;
  });
  const session = await InferenceSession.create(model.toOnnx({ trainer: 'test' }), { intraOpNumThreads: 1 });
  const outputs = await session.run({ features: new Tensor('float32', features, [rows, columns.length]) });
  await session.release();
  const theirs = outputs[model.signature.outputs[0]!.name]!.data as Float32Array;
  expect(theirs).toHaveLength(own.length);
  const scale = Math.max(1, ...theirs.map(Math.abs));
  return Math.max(...own.map((value, index) => Math.abs(value - theirs[index]!))) / scale;
}
