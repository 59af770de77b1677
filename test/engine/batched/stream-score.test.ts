/** Strategy B on the CPU gives what strategy A gives: same rows, same order, same files beside them. */
import { open, readdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Baseline } from '../../../src/domain/profile.ts';
import { EngineFault } from '../../../src/engine/fault.ts';
import type { ModelToScore } from '../../../src/engine/job.ts';
import {
  Bench,
  binarySignature,
  champion,
  column,
  contractOf,
  logisticModel,
  softmaxModel,
} from '../support/fixtures.ts';
import { expectSameResults, networkModel, scoreTwice } from './support.ts';

let bench: Bench;
let network: string;
let logistic: string;
const signature = binarySignature(['a', 'b']);
const contract = contractOf([column('a'), column('b')]);
/** No multiple of a vector, and less than all rows. */
const batchRows = 5_000;

beforeAll(async () => {
  bench = await Bench.create();
  network = await bench.model('network.onnx', networkModel(2, 16));
  logistic = await bench.model('logistic.onnx', logisticModel([1, -2], 0.25));
});
afterAll(() => bench.close());

const numbers = (rows: number) =>
  `SELECT i AS id, (i % 7)::FLOAT AS a, (i % 5)::FLOAT / 2 AS b, 'x' || i % 3 AS segment FROM range(${rows}) t(i)`;

const file = (name: string, select: string) => bench.parquet(`${name}.parquet`, select, ', ROW_GROUP_SIZE 4096');

test('large batches run on a thread of their own, and the receipt says which provider ran what', async () => {
  const inputs = [{ path: await file('plain', numbers(23_456)) }];
  const parts = { inputs, rows: 23_456, contract, models: [champion(network, signature)] };
  const { oneByOne, inBatches } = await scoreTwice(
    bench,
    'plain',
    { ...parts, outputColumns: ['id', 'segment'] },
    {
      batchRows,
    },
  );
  await expectSameResults(bench, oneByOne, inBatches);
  expect(inBatches.scorers).toMatchObject([
    {
      scorer: 'onnxruntime',
      batchRows,
      reason: expect.stringContaining('in batches larger than a vector'),
      operators: { CPUExecutionProvider: expect.arrayContaining(['FusedGemm']) },
    },
  ]);
  expect(oneByOne.scorers[0]?.batchRows).toBeUndefined();
  expect((await readdir(bench.path('scratch'))).filter(name => name.startsWith('placement'))).toEqual([]);
});

test('quarantine, shadow and profile come from the same pass', async () => {
  const baseline: Baseline = {
    schema: 'baseline/1',
    columns: {
      a: { kind: 'numeric', edges: [1, 3], pivot: 0, fences: null, sentinels: [] },
      segment: { kind: 'category', vocabulary: ['x0', 'x1'] },
    },
    score: [0.25, 0.5, 0.75],
    number: 1,
    reason: 'test',
  };
  await writeFile(bench.path('baseline.json'), JSON.stringify(baseline));
  const inputs = [{ path: await file('rich', numbers(17_000)) }];
  const bounded = contractOf([
    column('a', { max: 5 }),
    column('b', { max: 1, onFail: 'warn' }),
    column('segment', { type: 'category', role: 'ignore' }),
  ]);
  const models: ModelToScore[] = [
    champion(logistic, signature),
    { version: 2, onnx: network, signature, scorer: 'auto', part: { kind: 'shadow' } },
  ];
  const parts = { inputs, rows: 17_000, contract: bounded, models, baseline: bench.path('baseline.json') };
  const { oneByOne, inBatches } = await scoreTwice(
    bench,
    'rich',
    { ...parts, sliceColumns: ['segment'] },
    { batchRows },
  );
  expect(oneByOne.rowsQuarantined).toBeGreaterThan(2_000);
  await expectSameResults(bench, oneByOne, inBatches);
});

test('a canary in batches serves the same keys', async () => {
  const inputs = [{ path: await file('arms', numbers(12_000)) }];
  const models: ModelToScore[] = [
    champion(network, signature),
    {
      ...{ version: 2, onnx: logistic, signature, scorer: 'auto' },
      part: { kind: 'share', arm: 'canary', share: 0.2, salt: 's' },
    },
  ];
  const { oneByOne, inBatches } = await scoreTwice(
    bench,
    'arms',
    { inputs, rows: 12_000, contract, models },
    { batchRows },
  );
  await expectSameResults(bench, oneByOne, inBatches);
});

test('several classes, texts of a transform with filter, join and aggregate, and a row group range', async () => {
  const onnx = await bench.model('softmax.onnx', softmaxModel(2, [1, 0, -1, 0, 1, 0], [0, 0, 0]));
  const multiclass = {
    ...signature,
    task: 'multiclass' as const,
    classes: ['red', 'green', 'blue'],
    outputs: [{ name: 'p', type: 'float32' as const, width: 3, meaning: 'probabilities' as const }],
  };
  const inputs = [{ path: await file('joined', numbers(40_000)), rowGroups: [1, 9] as const }];
  const transform = `SELECT f.id, f.a + m.top AS a, f.b FROM features f
    JOIN (SELECT segment, max(a) AS top FROM features GROUP BY segment) m USING (segment) WHERE f.id % 3 > 0`;
  const parts = { inputs, rows: 32_768, contract, models: [champion(onnx, multiclass)], transform };
  const { oneByOne, inBatches } = await scoreTwice(bench, 'joined', parts, { batchRows });
  expect(inBatches.predictions?.rows).toBe(oneByOne.predictions?.rows);
  // A join promises no order: compared by key.
  for (const receipt of [oneByOne, inBatches]) {
    const { path } = receipt.predictions!;
    await bench.sql(`COPY (FROM '${path}' ORDER BY id) TO '${path}.sorted' (FORMAT parquet)`);
  }
  const sorted = (receipt: typeof oneByOne) => ({
    ...receipt,
    predictions: { ...receipt.predictions!, path: `${receipt.predictions!.path}.sorted` },
  });
  await expectSameResults(bench, sorted(oneByOne), sorted(inBatches));
});

test('CSV, several files with other columns, and no rows at all', async () => {
  await bench.sql(`COPY (${numbers(9_000)}) TO '${bench.path('rows.csv')}'`);
  const models = [champion(network, signature)];
  const csv = { inputs: [{ path: bench.path('rows.csv'), format: 'csv' as const }], rows: 9_000, contract, models };
  const fromCsv = await scoreTwice(bench, 'csv', csv, { batchRows });
  await expectSameResults(bench, fromCsv.oneByOne, fromCsv.inBatches);

  const filled = contractOf([column('a'), column('b', { nulls: { maxShare: 1, as: 'default', default: 1 } })]);
  const some = await bench.parquet('no-b.parquet', 'SELECT 7 AS id, 2::FLOAT AS a');
  const inputs = [{ path: some }, { path: await file('with-b', numbers(8_000)) }];
  const several = { inputs, rows: 8_001, contract: filled, models };
  const fromSeveral = await scoreTwice(bench, 'several', several, { batchRows });
  await expectSameResults(bench, fromSeveral.oneByOne, fromSeveral.inBatches);

  const none = { inputs: [{ path: await file('none', `${numbers(5)} WHERE i > 9`) }], rows: 0, contract, models };
  const fromNone = await scoreTwice(bench, 'none', none, { batchRows });
  expect(fromNone.inBatches.predictions?.rows).toBe(0);
});

test('a NULL that reaches the model is found in batches too, with its column', async () => {
  const select = 'SELECT i AS id, CASE WHEN i <> 9000 THEN 1::FLOAT END AS a, 1::FLOAT AS b FROM range(20000) t(i)';
  const inputs = [{ path: await file('null', select) }];
  const models = [champion(logistic, signature)];
  await expect(scoreTwice(bench, 'null', { inputs, rows: 20_000, contract, models, batchRows }, {})).rejects.toThrow(
    /version 1 returned NaN where a is missing/,
  );
});

test('a stream that a corrupt page cuts short never becomes a file of predictions', async () => {
  const path = await bench.parquet(
    'corrupt.parquet',
    `SELECT i AS id, (hash(i) % 97)::FLOAT AS a, (hash(i + 7) % 97)::FLOAT AS b FROM range(200000) t(i)`,
    ', ROW_GROUP_SIZE 20480, COMPRESSION zstd',
  );
  const damaged = await open(path, 'r+');
  const { size } = await damaged.stat();
  await damaged.write(Buffer.alloc(4_096, 0x5a), 0, 4_096, Math.floor(size / 2));
  await damaged.close();
  const models = [champion(network, signature)];
  const failure: unknown = await scoreTwice(
    bench,
    'corrupt',
    { inputs: [{ path }], rows: 200_000, contract, models, batchRows },
    {},
  ).catch((error: unknown) => error);
  if (!(failure instanceof EngineFault)) throw new Error(`expected an EngineFault, got ${String(failure)}`);
  expect(failure.kind).toBe('bad_input');
  expect(failure.message).toMatch(/corrupt\.parquet: row group \d+, column (id|a|b) cannot be read/);
  expect((await readdir(bench.path('corrupt-a'))).filter(name => name.endsWith('.parquet'))).toEqual([]);
});
