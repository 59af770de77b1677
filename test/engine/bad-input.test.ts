/** Every way in which DuckDB's streams and ONNX Runtime lose rows or block without an error, and files people really have. */

import { existsSync } from 'node:fs';
import { copyFile, mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineFault } from '../../src/engine/fault.ts';
import type { ScoreChunkJob } from '../../src/engine/job.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { gemmBlock, joinBlocks } from '../../src/onnx/blocks.ts';
import { buildModel, buildNode, buildValue } from '../../src/onnx/build.ts';
import { Bench, binarySignature, champion, column, contractOf, logisticModel, scoreJob } from './support/fixtures.ts';

let bench: Bench;
let pool: EnginePool;
let logistic: string;
const signature = binarySignature(['a', 'b']);
const contract = contractOf([column('a'), column('b')]);

beforeAll(async () => {
  bench = await Bench.create();
  pool = new EnginePool({ size: 1, scratch: bench.path('scratch'), memoryMb: 1_500 });
  logistic = await bench.model('logistic.onnx', logisticModel([1, -2], 0.25));
});
afterAll(async () => {
  await pool.close();
  bench.close();
});

async function score(
  name: string,
  path: string,
  rows: number,
  overrides: Partial<ScoreChunkJob> = {},
  onProgress: () => void = () => {},
) {
  await mkdir(bench.path(name), { recursive: true });
  const job = scoreJob({
    inputs: [{ path }],
    rows,
    contract,
    models: [champion(logistic, signature)],
    outputFolder: bench.path(name),
    ...overrides,
  });
  return pool.run('score-chunk', job, { deadlineMs: 200_000, onProgress });
}

async function fault(promise: Promise<unknown>): Promise<EngineFault> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof EngineFault)) throw new Error(`expected an EngineFault, got ${String(error)}`);
  return error;
}

const rowsOf = (rows: number) =>
  `SELECT i AS id, (hash(i) % 1000003)::FLOAT AS a, (hash(i + 7) % 1000003)::FLOAT AS b FROM range(${rows}) t(i)`;

test('a corrupt page in the middle fails the chunk and leaves no file', async () => {
  // Values that compress: in pages stored raw, damage decodes to other numbers and only the plan's digests tell.
  const select = rowsOf(200_000).replaceAll('1000003', '97');
  const path = await bench.parquet('corrupt.parquet', select, ', ROW_GROUP_SIZE 20480, COMPRESSION zstd');
  const file = await open(path, 'r+');
  const { size } = await file.stat();
  await file.write(Buffer.alloc(4_096, 0x5a), 0, 4_096, Math.floor(size / 2));
  await file.close();
  const found = await fault(score('corrupt', path, 200_000));
  expect(found.kind).toBe('bad_input');
  expect(found.message).toMatch(/corrupt\.parquet: row group \d+, column (id|a|b) cannot be read/);
  expect(existsSync(bench.path('corrupt/predictions.parquet'))).toBe(false);
});

test('a truncated file is refused by name', async () => {
  const path = await bench.parquet('truncated.parquet', rowsOf(50_000));
  await truncate(path, 100_000);
  const found = await fault(score('truncated', path, 50_000));
  expect(found.kind).toBe('bad_input');
  expect(found.message).toMatch(/^\/.*truncated\.parquet: its footer cannot be read: .*; .* write or fetch it again$/);
});

test('a file that is not the planned one is refused: the footer says another number of rows', async () => {
  const path = await bench.parquet('other-rows.parquet', rowsOf(900));
  const found = await fault(score('other-rows', path, 1_000));
  expect(found.kind).toBe('bad_input');
  expect(found.message).toMatch(/say 900 rows, the plan says 1000/);
});

test('a file that changes while it is read never becomes a prediction', async () => {
  const path = await bench.parquet('changing.parquet', rowsOf(2_000_000));
  const other = await bench.parquet('changed.parquet', rowsOf(2_000_000).replace('1000003', '999983'));
  let running: Promise<EngineFault> | undefined;
  await new Promise<void>(reading => {
    running = fault(score('changing', path, 2_000_000, {}, reading));
  });
  await copyFile(other, path);
  const found = await running!;
  expect(found.kind).toBe('bad_input');
  expect(found.message).toContain('changing.parquet');
});

test('a row group that the plan knows and the file lacks is named', async () => {
  const path = await bench.parquet('groups.parquet', rowsOf(5_000), ', ROW_GROUP_SIZE 2048');
  const found = await fault(score('groups', path, 2_048, { inputs: [{ path, rowGroups: [7, 8] }] }));
  expect(found.kind).toBe('bad_input');
  expect(found.message).toMatch(/groups\.parquet/);
});

test('wrong types: a text that is no number is quarantined with its rule, a list is refused', async () => {
  const text = await bench.parquet(
    'text.parquet',
    `SELECT 1 AS id, 'x' AS a, 1::FLOAT AS b UNION ALL SELECT 2, '3.5', 1`,
  );
  const receipt = await score('text', text, 2);
  expect(receipt).toMatchObject({ rowsScored: 1, rowsQuarantined: 1 });
  const [row] = await bench.read(receipt.quarantine!.path);
  expect(row).toMatchObject({ id: 1, almanac_rule: 'a.type' });
  const list = await bench.parquet('list.parquet', 'SELECT 1 AS id, [1.0] AS a, 1::FLOAT AS b');
  const found = await fault(score('list', list, 1));
  expect(found.kind).toBe('bad_input');
  expect(found.message).toMatch(/column a is .*\[\], a number is wanted/);
});

test('a missing column is named, with the columns that are there', async () => {
  const path = await bench.parquet('missing.parquet', 'SELECT 1 AS id, 1::FLOAT AS a');
  const strict = contractOf([column('a'), column('b', { nulls: { maxShare: 0, as: 'nan', default: null } })]);
  const found = await fault(score('missing', path, 1, { contract: strict }));
  expect(found.message).toMatch(/no column b .*columns found: id, a/);
});

test('one row, and a column that is all NULL', async () => {
  const path = await bench.parquet('one.parquet', 'SELECT 1 AS id, NULL::FLOAT AS a, 1::FLOAT AS b');
  const filled = contractOf([column('a', { nulls: { maxShare: 1, as: 'default', default: 2 } }), column('b')]);
  const receipt = await score('one', path, 1, { contract: filled });
  const [row] = await bench.read(receipt.predictions!.path);
  expect(row!['score']).toBeCloseTo(1 / (1 + Math.exp(-0.25)), 6);
});

test('columns that are NULL in every row are scored by their default, or all rows go to quarantine', async () => {
  const select = 'SELECT i AS id, NULL::FLOAT AS a, NULL::FLOAT AS b FROM range(5000) t(i)';
  const path = await bench.parquet('all-null.parquet', select);
  const as = (nulls: { as: 'default' | 'quarantine'; default: number | null }) =>
    contractOf([column('a', { nulls: { maxShare: 1, ...nulls } }), column('b', { nulls: { maxShare: 1, ...nulls } })]);
  const filled = await score('all-default', path, 5_000, { contract: as({ as: 'default', default: 2 }) });
  expect(filled).toMatchObject({ rowsScored: 5_000, rowsQuarantined: 0 });
  const rows = await bench.read(filled.predictions!.path);
  expect(new Set(rows.map(row => Number(row['score']).toFixed(6)))).toEqual(new Set(['0.148047']));
  const apart = await score('all-apart', path, 5_000, { contract: as({ as: 'quarantine', default: null }) });
  expect(apart).toMatchObject({ rowsScored: 0, rowsQuarantined: 5_000, predictions: { rows: 0 } });
  expect((await fault(score('all-nan', path, 5_000))).message).toMatch(
    /returned NaN where a, b is missing; declare nulls/,
  );
});

test('a file without rows is scored to a file without rows', async () => {
  const path = await bench.parquet('no-rows.parquet', rowsOf(0));
  const receipt = await score('no-rows', path, 0);
  expect(receipt).toMatchObject({ rowsRead: 0, predictions: { rows: 0 } });
});

test('infinities go to the model as they are, or to quarantine where a bound says so', async () => {
  const path = await bench.parquet(
    'infinite.parquet',
    `SELECT 1 AS id, 'inf'::FLOAT AS a, 1::FLOAT AS b UNION ALL SELECT 2, 1, 1`,
  );
  const receipt = await score('infinite', path, 2);
  expect((await bench.read(receipt.predictions!.path)).map(row => row['score'])).toEqual([
    1,
    expect.closeTo(0.3208, 4),
  ]);
  const bounded = contractOf([column('a', { max: 1e9 }), column('b')]);
  expect(await score('bounded', path, 2, { contract: bounded })).toMatchObject({ rowsScored: 1, rowsQuarantined: 1 });
});

test('a number beyond float32 becomes an infinity, it does not kill the chunk', async () => {
  const path = await bench.parquet('huge.parquet', 'SELECT 1 AS id, 1e300::DOUBLE AS a, 1::FLOAT AS b');
  const receipt = await score('huge', path, 1);
  expect((await bench.read(receipt.predictions!.path))[0]!['score']).toBe(1);
});

test('a model that returns NaN for complete rows is at fault itself', async () => {
  const blocks = joinBlocks([gemmBlock({ input: 'x', output: 'z', weights: [1, 1], bias: [0] })]);
  const log = buildNode({ op: 'Log', inputs: ['negative'], outputs: ['p'] });
  const negative = buildNode({ op: 'Neg', inputs: ['z'], outputs: ['negative'] });
  const bytes = buildModel({
    nodes: [...blocks.nodes, negative, log],
    initializers: blocks.initializers,
    inputs: [buildValue('x', 'float32', ['N', 2])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
  });
  const onnx = await bench.model('nan.onnx', bytes);
  const path = await bench.parquet('nan.parquet', rowsOf(100));
  const found = await fault(score('nan', path, 100, { models: [champion(onnx, signature, 7)] }));
  expect(found.kind).toBe('bad_model');
  expect(found.message).toMatch(/model version 7 returned NaN; none of its features is missing/);
});

test('a decompression bomb ends as a fault of that job, and the pool lives', async () => {
  const path = await bench.parquet(
    'bomb.parquet',
    `SELECT i AS id, 1::FLOAT AS a, 1::FLOAT AS b, repeat('x', 100000) AS t FROM range(20000) r(i)`,
    ', COMPRESSION zstd, ROW_GROUP_SIZE 20480',
  );
  expect((await readFile(path)).length).toBeLessThan(5_000_000);
  const outcome = await score('bomb', path, 20_000, { outputColumns: ['id', 't'] }).then(
    receipt => receipt.rowsScored,
    (error: unknown) => (error instanceof EngineFault ? error.kind : String(error)),
  );
  expect([20_000, 'out_of_memory']).toContain(outcome);
  const small = await bench.parquet('after.parquet', rowsOf(10));
  expect((await score('after', small, 10)).rowsScored).toBe(10);
});

test('a path with a pattern character is refused, not expanded', async () => {
  await writeFile(bench.path('a*.parquet'), 'x');
  expect((await fault(score('pattern', bench.path('a*.parquet'), 1))).message).toMatch(/would be read as a pattern/);
});
