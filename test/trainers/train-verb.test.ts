/** The engine verb `train` on real Parquet: columns, categories, NULLs, files it leaves, and the ways it refuses. */
import { mkdir, readFile } from 'node:fs/promises';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GoldenRows, TrainJob } from '../../src/engine/job.ts';
import { run } from '../../src/engine/verbs/train.ts';
import type { Progress, VerbContext } from '../../src/engine/verbs.ts';
import { Bench, column } from '../engine/support/fixtures.ts';

let bench: Bench;
let context: VerbContext;
let progress: Progress[];

const rowsSql = (rows: number) => `
  SELECT i AS id, CAST(sin(i) AS FLOAT) AS wave, CASE WHEN i % 7 = 0 THEN NULL ELSE i % 10 END AS digit,
    i % 3 = 0 AS third, CASE i % 5 WHEN 0 THEN 'a "quoted"' WHEN 1 THEN 'b, c' WHEN 2 THEN NULL ELSE 'd' END AS kind,
    CASE WHEN i = 11 THEN NULL WHEN sin(i) + (i % 5 = 1)::INT > 0.3 THEN 1.0 ELSE 0.0 END AS late, DATE '2026-01-01' AS day
  FROM range(${rows}) t(i)`;

beforeAll(async () => {
  bench = await Bench.create();
  context = {
    progress: step => void progress.push(step),
    scratch: bench.folder,
    memoryMb: 1024,
    signal: new AbortController().signal,
  };
  await bench.parquet('train.parquet', rowsSql(3_000));
  await bench.parquet('holdout.parquet', `SELECT * REPLACE ('never seen' AS kind) FROM (${rowsSql(700)})`);
});
afterAll(() => bench.close());

async function jobNamed(name: string, overrides: Partial<TrainJob> = {}): Promise<TrainJob> {
  progress = [];
  const outputFolder = bench.path(name);
  await mkdir(outputFolder, { recursive: true });
  return {
    file: bench.path('train.parquet'),
    holdout: bench.path('holdout.parquet'),
    task: 'binary',
    label: { column: 'late', positive: '1' },
    features: [
      column('wave'),
      column('digit', { type: 'int', nulls: { maxShare: 1, as: 'default', default: -1 } }),
      column('third', { type: 'bool' }),
      column('kind', { type: 'category' }),
      column('day', { type: 'date' }),
    ],
    trainer: 'gbdt',
    parameters: { trees: 20 },
    seed: 7,
    threads: 1,
    metadata: { model: 'late-payment' },
    outputFolder,
    ...overrides,
  };
}

test.each(['gbdt', 'logistic'])('%s leaves a bundle whose golden rows ONNX Runtime reproduces', async trainer => {
  const job = await jobNamed(`bundle-${trainer}`, { trainer, parameters: {} });
  const trained = await run(job, context);
  expect(trained.rows).toBe(2_999);
  expect(trained.signature.classes).toEqual(['0.0', '1']);
  expect(trained.signature.inputs[0]?.columns.map(input => input.column)).toEqual(['wave', 'digit', 'third', 'kind']);
  expect(trained.metrics['auc']).toBeGreaterThan(0.8);
  expect(trained.metrics['train_auc']).toBeGreaterThan(0.9);
  expect(Object.keys(trained.importance)).toEqual(['wave', 'digit', 'third', 'kind']);
  expect(progress.at(-1)).toMatchObject({ unit: 'rounds' });

  expect(await largestDifference(trained.onnx, trained.golden)).toBeLessThanOrEqual(1e-6);
  const importance = JSON.parse(await readFile(bench.path(`bundle-${trainer}/importance.json`), 'utf8'));
  expect(importance.permutation.wave).toBeGreaterThan(importance.permutation.third);
  const [golden] = await bench.sql(
    `SELECT count(*)::INT AS n, min(score) AS low, max(score) AS high, any_value(kind) AS kind
     FROM read_parquet('${bench.path(`bundle-${trainer}/golden.parquet`)}')`,
  );
  const outputs = trained.golden.outputs;
  expect(golden).toMatchObject({ n: 256, low: Math.min(...outputs), high: Math.max(...outputs), kind: 'never seen' });
});

test('NULLs become what the contract says before the trainer sees them', async () => {
  const trained = await run(await jobNamed('nulls', { holdout: bench.path('train.parquet') }), context);
  const digits = trained.golden.inputs[1]!;
  expect(digits[0]).toBe(-1);
  expect(digits).not.toContain(null);
  expect(trained.golden.inputs[3]).toContain(null);
});

test('multiclass takes its classes from the labels, regression their values', async () => {
  const label = { column: 'kind', positive: null };
  const features = [column('wave'), column('id', { type: 'int' })];
  const multi = await run(await jobNamed('multi', { task: 'multiclass', label, features }), context);
  expect(multi.signature.classes).toEqual(['a "quoted"', 'b, c', 'd']);
  const regression = await run(
    await jobNamed('value', { task: 'regression', label: { column: 'digit', positive: null } }),
    context,
  );
  expect(regression.metrics['rmse']).toBeGreaterThan(0);
  expect(regression.signature.targets).toEqual(['prediction']);
});

test('rows count as often as their weights say: as if they were there as often', async () => {
  const weighted = await bench.parquet(
    'weighted.parquet',
    `SELECT *, 2 + 4 * (i % 2) AS stands_for FROM (SELECT *, id AS i FROM (${rowsSql(3_000)}))`,
  );
  const copied = await bench.parquet(
    'copied.parquet',
    `SELECT * FROM (${rowsSql(3_000)}), range(3) c(copy) WHERE copy = 0 OR id % 2 = 1 ORDER BY id`,
  );
  const features = [column('wave'), column('third', { type: 'bool' }), column('kind', { type: 'category' })];
  const parameters = { iterations: 2_000 };
  const learn = async (name: string, file: string, weight: string | null, l2: number) => {
    const label = { column: 'late', positive: '1', weight };
    const given = { file, holdout: file, label, features, trainer: 'logistic', parameters: { ...parameters, l2 } };
    return await run(await jobNamed(name, given), context);
  };
  const one = await learn('by-weight', weighted, 'stands_for', 1);
  const other = await learn('by-copies', copied, null, 2);
  expect([one.rows, one.effectiveRows, other.rows, other.effectiveRows]).toEqual([
    2_999,
    expect.closeTo(2_399, -1),
    5_997,
    null,
  ]);
  expect(one.metrics['auc']).toBeCloseTo(other.metrics['auc'] ?? 0, 4);
  expect(one.metrics['log_loss']).toBeCloseTo(other.metrics['log_loss'] ?? 0, 4);
  const unweighted = await learn('as-they-are', weighted, null, 1);
  expect(unweighted.metrics['log_loss']).not.toBeCloseTo(one.metrics['log_loss'] ?? 0, 5);
  expect(one.notes).toContainEqual(
    expect.stringMatching(/^each row counts by its stands_for: 2999 rows are worth 2[34]\d\d of equal weight$/),
  );
});

test('the same job gives the same bytes', async () => {
  const first = await run(await jobNamed('same-1'), context);
  const second = await run(await jobNamed('same-2'), context);
  expect(Buffer.compare(await readFile(first.onnx), await readFile(second.onnx))).toBe(0);
});

test('faults name the file, the column, what was expected and what was found', async () => {
  const missing = await jobNamed('missing', { features: [column('wave'), column('wavelength')] });
  await expect(run(missing, context)).rejects.toMatchObject({
    kind: 'bad_input',
    message: expect.stringMatching(/train\.parquet: expected column\(s\) wavelength, found id, wave, digit/),
  });
  const weight = await jobNamed('weight', { label: { column: 'late', positive: '1', weight: 'stands_for' } });
  await expect(run(weight, context)).rejects.toThrow(/expected column\(s\) stands_for, found id, wave/);
  const time = await jobNamed('time', { features: [column('day', { type: 'date' })] });
  await expect(run(time, context)).rejects.toMatchObject({
    kind: 'bad_job',
    message: 'expected a numeric or category feature to learn from, found day (date)',
  });
  const parameter = await jobNamed('parameter', { parameters: { tres: 5 } });
  await expect(run(parameter, context)).rejects.toMatchObject({
    kind: 'bad_job',
    message: expect.stringContaining('unknown parameter "tres" (did you mean "trees"?'),
  });
  const empty = await bench.parquet('empty.parquet', `${rowsSql(10)} WHERE i > 100`);
  await expect(run(await jobNamed('empty', { file: empty }), context)).rejects.toMatchObject({
    kind: 'bad_input',
    message: 'training table has 0 rows: widen the training window',
  });
});

async function largestDifference(onnx: string, { inputs, outputs }: GoldenRows): Promise<number> {
  const rows = inputs[0]!.length;
  const features = new Float32Array(rows * inputs.length);
  inputs.forEach((values, index) => {
    values.forEach((value, row) => {
      features[row * inputs.length + index] = value ?? Number.NaN;
    });
  });
  const session = await InferenceSession.create(onnx);
  const found = await session.run({ features: new Tensor('float32', features, [rows, inputs.length]) });
  await session.release();
  const scores = found['score']!.data as Float32Array;
  return Math.max(...outputs.map((value, index) => Math.abs(value - scores[index]!)));
}
