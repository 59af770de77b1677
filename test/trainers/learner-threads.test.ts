/** Learning on threads: the same models, their own errors, and an end that is told. */
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { builtinLearner, type LabelledRows, type Lesson } from '../../src/trainers/learner.ts';
import { LearnerThreads } from '../../src/trainers/learner-threads.ts';
import { learnableTable } from './tables.ts';

const lesson: Lesson = { trainer: 'gbdt', parameters: { trees: 10 }, seed: 1 };
const rows = (seed: number): LabelledRows => {
  const { features, labels } = learnableTable('binary', 600, seed);
  return { columns: features, labels };
};
let threads: LearnerThreads;

beforeAll(() => {
  threads = new LearnerThreads(2);
});
afterAll(() => threads.close());

test('more trainings than threads give the scores that each gives alone', async () => {
  const seeds = [1, 2, 3, 4, 5];
  const here = builtinLearner('gbdt', lesson.parameters, lesson.seed);
  const there = builtinLearner('gbdt', lesson.parameters, lesson.seed, threads);
  expect(there.name).toBe(here.name);
  const models = await Promise.all(seeds.map(seed => there.fit(rows(seed))));
  for (const [index, seed] of seeds.entries()) {
    const alone = await here.fit(rows(seed));
    expect(await models[index]!.score(rows(9))).toEqual(await alone.score(rows(9)));
  }
});

test('the rows stay with the caller, and so do views of a larger table', async () => {
  const all = rows(1);
  const before = structuredClone(all);
  const half = {
    columns: all.columns.map(column =>
      column.kind === 'number'
        ? { ...column, values: column.values.subarray(100, 400) }
        : { ...column, codes: column.codes.subarray(100, 400) },
    ),
    labels: all.labels.subarray(100, 400),
  };
  const model = await threads.fit(lesson, half);
  await model.score(half);
  expect(all).toEqual(before);
});

test('an error of the trainer arrives in its own words, and the thread goes on', async () => {
  await expect(threads.fit(lesson, { columns: [], labels: new Float32Array(3) })).rejects.toThrow(
    'training table has no feature columns',
  );
  const model = await threads.fit(lesson, rows(1));
  expect(await model.score(rows(2))).toHaveLength(600);
});

test('a model that was let go cannot score', async () => {
  const model = await threads.fit(lesson, rows(1));
  model.close?.();
  await expect(async () => model.score(rows(2))).rejects.toThrow(
    /^model \d+ was let go before it was asked for scores$/,
  );
});

test('a thread that dies says so to the training under way and to those that wait', async () => {
  const dies = "require('node:worker_threads').parentPort.on('message', () => process.exit(3))";
  const mortal = new LearnerThreads(1, () => new Worker(dies, { eval: true }));
  const fits = await Promise.allSettled([1, 2].map(seed => mortal.fit(lesson, rows(seed))));
  for (const fit of fits) {
    expect(fit).toMatchObject({
      status: 'rejected',
      reason: { message: expect.stringContaining('a training thread ended (exit code 3) before it answered') },
    });
  }
});

test('a thread that throws is quoted', async () => {
  const throws = "require('node:worker_threads').parentPort.on('message', () => { throw new Error('no such module') })";
  const mortal = new LearnerThreads(1, () => new Worker(throws, { eval: true }));
  await expect(mortal.fit(lesson, rows(1))).rejects.toThrow('a training thread ended (no such module)');
});
