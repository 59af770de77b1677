import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Baseline, Profile } from '../../src/domain/profile.ts';
import type { ScoreChunkJob } from '../../src/engine/job.ts';
import { scoreChunk } from '../../src/engine/score.ts';
import type { VerbContext } from '../../src/engine/verbs.ts';
import {
  Bench,
  binarySignature,
  champion,
  column,
  contractOf,
  logisticModel,
  scoreJob,
  sigmoid,
  softmaxModel,
} from './support/fixtures.ts';

let bench: Bench;
let context: VerbContext;
let logistic: string;
const contract = contractOf([column('a'), column('b')]);
const signature = binarySignature(['a', 'b']);

beforeAll(async () => {
  bench = await Bench.create();
  context = { progress: () => {}, scratch: bench.folder, memoryMb: 1024, signal: new AbortController().signal };
  logistic = await bench.model('logistic.onnx', logisticModel([1, -2], 0.25));
});
afterAll(() => bench.close());

async function folder(name: string): Promise<string> {
  await mkdir(bench.path(name), { recursive: true });
  return bench.path(name);
}

async function score(name: string, select: string, rows: number, overrides: Partial<ScoreChunkJob> = {}) {
  const path = await bench.parquet(`${name}.parquet`, select, ', ROW_GROUP_SIZE 4096');
  const job = scoreJob({
    inputs: [{ path }],
    rows,
    contract,
    models: [champion(logistic, signature)],
    outputFolder: await folder(name),
    ...overrides,
  });
  return scoreChunk(job, context);
}

const numbers = (rows: number) =>
  `SELECT i AS id, (i % 7)::FLOAT AS a, (i % 5)::FLOAT / 2 AS b, 'x' || i % 3 AS segment FROM range(${rows}) t(i)`;

test('scores every row in input order with the columns of the design', async () => {
  const receipt = await score('plain', numbers(10_000), 10_000, { outputColumns: ['id', 'segment'] });
  expect(receipt).toMatchObject({ rowsRead: 10_000, rowsScored: 10_000, rowsQuarantined: 0, quarantine: null });
  expect(receipt.columns).toEqual([
    { name: 'id', type: 'BIGINT' },
    { name: 'segment', type: 'VARCHAR' },
    { name: 'score', type: 'FLOAT' },
    { name: 'prediction', type: 'VARCHAR' },
    { name: 'model_version', type: 'INTEGER' },
    { name: 'scored_at', type: 'TIMESTAMP WITH TIME ZONE' },
  ]);
  const rows = await bench.read(receipt.predictions!.path);
  expect(rows).toHaveLength(10_000);
  for (const [index, row] of rows.entries()) {
    const expected = sigmoid((index % 7) - 2 * ((index % 5) / 2) + 0.25);
    expect(Number(row['id'])).toBe(index);
    expect(row['score']).toBeCloseTo(expected, 6);
    expect(row['prediction']).toBe(expected >= 0.5 ? 'yes' : 'no');
  }
  expect(rows[0]!['scored_at']).toEqual(new Date('2026-01-31T00:00:00Z'));
});

test('a NULL becomes NaN, a default or quarantine, as the contract says, never a number by itself', async () => {
  const select = `SELECT i AS id, CASE WHEN i % 10 = 3 THEN NULL ELSE 1::FLOAT END AS a, 1::FLOAT AS b FROM range(5000) t(i)`;
  await expect(score('null-nan', select, 5000)).rejects.toThrow(/version 1 returned NaN where a is missing/);

  const withDefault = contractOf([column('a', { nulls: { maxShare: 1, as: 'default', default: 4 } }), column('b')]);
  const filled = await score('null-default', select, 5000, { contract: withDefault });
  const rows = await bench.read(filled.predictions!.path);
  expect(rows[3]!['score']).toBeCloseTo(sigmoid(4 - 2 + 0.25), 6);
  expect(rows[4]!['score']).toBeCloseTo(sigmoid(1 - 2 + 0.25), 6);

  const apart = contractOf([column('a', { nulls: { maxShare: 1, as: 'quarantine', default: null } }), column('b')]);
  const split = await score('null-quarantine', select, 5000, { contract: apart });
  expect(split).toMatchObject({ rowsRead: 5000, rowsScored: 4500, rowsQuarantined: 500 });
  const quarantined = await bench.read(split.quarantine!.path);
  expect(quarantined).toHaveLength(500);
  expect(quarantined[0]).toMatchObject({ id: 3n, a: null, almanac_rule: 'a.null', almanac_reason: 'a is NULL' });
});

test('rows outside the bounds are split off with rule and reason; a warning only counts', async () => {
  const bounded = contractOf([column('a', { max: 5 }), column('b', { max: 1, onFail: 'warn' })]);
  const receipt = await score('bounds', numbers(7_000), 7_000, { contract: bounded });
  expect(receipt.rowsQuarantined).toBe(1_000);
  expect(receipt.rules).toEqual([
    { id: 'a.max', onFail: 'quarantine', rows: 7_000, bad: 1_000 },
    { id: 'b.max', onFail: 'warn', rows: 7_000, bad: 2_800 },
  ]);
  const [first] = await bench.read(receipt.quarantine!.path);
  expect(first).toMatchObject({ id: 6n, almanac_rule: 'a.max', almanac_reason: 'a = 6 is above the maximum 5' });
});

test('shadow versions see the same rows and write beside the predictions', async () => {
  const other = await bench.model('other.onnx', logisticModel([0, 1], -1));
  const bounded = contractOf([column('a', { max: 5 }), column('b')]);
  const receipt = await score('shadow', numbers(7_000), 7_000, {
    contract: bounded,
    models: [
      champion(logistic, signature),
      { version: 2, onnx: other, signature, scorer: 'auto', part: { kind: 'shadow' } },
    ],
  });
  const [shadow] = receipt.shadows;
  expect(shadow).toMatchObject({ version: 2, rows: 6_000 });
  const rows = await bench.read(shadow!.path);
  const served = await bench.read(receipt.predictions!.path);
  expect(rows.map(row => row['id'])).toEqual(served.map(row => row['id']));
  for (const row of rows) {
    expect(row['score']).toBeCloseTo(sigmoid((Number(row['id']) % 5) / 2 - 1), 6);
    expect(row['model_version']).toBe(2);
  }
});

test('a canary serves its share of keys, always the same ones', async () => {
  const other = await bench.model('canary.onnx', logisticModel([0, 0], -9));
  const models: ScoreChunkJob['models'] = [
    champion(logistic, signature),
    {
      version: 2,
      onnx: other,
      signature,
      scorer: 'auto',
      part: { kind: 'share', arm: 'canary', share: 0.2, salt: 's' },
    },
  ];
  const first = await score('canary-1', numbers(10_000), 10_000, { models });
  const second = await score('canary-2', `${numbers(10_000)} ORDER BY id DESC`, 10_000, { models });
  const armOf = async (path: string) =>
    new Map((await bench.read(path)).map(row => [row['id'], `${String(row['arm'])} ${String(row['model_version'])}`]));
  const arms = await armOf(first.predictions!.path);
  const canary = [...arms.values()].filter(arm => arm === 'canary 2').length;
  expect(canary).toBeGreaterThan(1_800);
  expect(canary).toBeLessThan(2_200);
  expect(new Map([...arms].sort())).toEqual(new Map([...(await armOf(second.predictions!.path))].sort()));
  for (const row of await bench.read(first.predictions!.path)) {
    if (row['arm'] === 'canary') expect(row['score']).toBeCloseTo(sigmoid(-9), 6);
    else expect(row['score']).toBeGreaterThan(0.01);
  }
});

test('each arm scores its own rows and no others: their scores, NULLs and quarantine are those of the version alone', async () => {
  const other = await bench.model('arm.onnx', logisticModel([-0.5, 3], 1));
  const select = `SELECT i AS id, CASE WHEN i % 3 > 0 THEN (i % 7)::FLOAT END AS a,
    CASE WHEN i % 10 > 0 THEN (i % 5)::FLOAT / 2 END AS b FROM range(5000) t(i)`;
  const nulls = contractOf([
    column('a', { nulls: { maxShare: 1, as: 'default', default: 4 } }),
    column('b', { nulls: { maxShare: 1, as: 'quarantine', default: null } }),
  ]);
  const baseline = { schema: 'baseline/1', columns: {}, score: [0.25, 0.5, 0.75], number: 1, reason: 'test' };
  await writeFile(bench.path('score-baseline.json'), JSON.stringify(baseline));
  const alone = async (name: string, onnx: string) => {
    const receipt = await score(name, select, 5_000, { contract: nulls, models: [champion(onnx, signature)] });
    return new Map((await bench.read(receipt.predictions!.path)).map(row => [row['id'], row['score']]));
  };
  const scores = { champion: await alone('arm-1', logistic), canary: await alone('arm-2', other) };
  const shared = await score('arms', select, 5_000, {
    contract: nulls,
    baseline: bench.path('score-baseline.json'),
    models: [
      champion(logistic, signature),
      { ...champion(other, signature, 2), part: { kind: 'share', arm: 'canary', share: 0.3, salt: 's' } },
    ],
  });
  expect(shared).toMatchObject({ rowsScored: 4_500, rowsQuarantined: 500 });
  const rows = await bench.read(shared.predictions!.path);
  for (const { id, arm, score: served } of rows) {
    if (arm !== 'champion' && arm !== 'canary') throw new Error(`row ${id} has arm ${arm}`);
    expect(served).toBe(scores[arm].get(id));
  }
  expect(new Set(rows.map(row => row['arm'])).size).toBe(2);
  const { score: profiled } = JSON.parse(await readFile(shared.profile!, 'utf8')) as Profile;
  const below = (bound: number) => rows.filter(row => Number(row['score']) <= bound).length;
  expect(profiled?.unlabelled.slice(0, 2)).toEqual([below(0.25), below(0.5) - below(0.25)]);
});

test('several classes get one score each and the most probable as prediction', async () => {
  const onnx = await bench.model('softmax.onnx', softmaxModel(2, [1, 0, -1, 0, 1, 0], [0, 0, 0]));
  const classes = ['red', 'green', 'blue'];
  const multiclass = {
    ...signature,
    task: 'multiclass' as const,
    classes,
    outputs: [{ name: 'p', type: 'float32' as const, width: 3, meaning: 'probabilities' as const }],
  };
  const receipt = await score('classes', numbers(3_000), 3_000, { models: [champion(onnx, multiclass)] });
  for (const row of await bench.read(receipt.predictions!.path)) {
    const i = Number(row['id']);
    const z = [i % 7, (i % 5) / 2, -(i % 7)];
    const total = z.reduce((sum, value) => sum + Math.exp(value), 0);
    expect(row['score_green']).toBeCloseTo(Math.exp(z[1]!) / total, 5);
    expect(row['prediction']).toBe(z[1]! > z[0]! ? 'green' : 'red');
  }
});

test('the transform gives the rows; row groups of a file are chunks', async () => {
  const path = await bench.parquet('groups.parquet', numbers(20_000), ', ROW_GROUP_SIZE 4096');
  const job = scoreJob({
    inputs: [{ path, rowGroups: [1, 3] }],
    rows: 8_192,
    contract,
    models: [champion(logistic, signature)],
    outputFolder: await folder('groups'),
    transform: 'SELECT id, a + 1 AS a, b FROM features WHERE id % 2 = 0',
  });
  const receipt = await scoreChunk(job, context);
  const rows = await bench.read(receipt.predictions!.path);
  expect(rows).toHaveLength(4_096);
  expect(rows[0]).toMatchObject({ id: 4_096n });
  expect(rows[0]!['score']).toBeCloseTo(sigmoid((4096 % 7) + 1 - (4096 % 5) + 0.25), 6);
});

test('without models the chunk is validated and nothing is written', async () => {
  const bounded = contractOf([column('a', { max: 5 }), column('b')]);
  const receipt = await score('validate', numbers(7_000), 7_000, { models: [], contract: bounded });
  expect(receipt).toMatchObject({ rowsRead: 7_000, rowsScored: 0, rowsQuarantined: 1_000, predictions: null });
});

test('no rows give an empty file with the right columns', async () => {
  const receipt = await score('empty', `${numbers(10)} WHERE i > 99`, 0);
  expect(receipt).toMatchObject({ rowsRead: 0, rowsScored: 0 });
  expect(receipt.predictions!.rows).toBe(0);
});

test('the profile of inputs and predictions comes with the pass', async () => {
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
  const profiled = contractOf([
    column('a', { nulls: { maxShare: 1, as: 'default', default: 0 } }),
    column('b'),
    column('segment', { type: 'category', role: 'ignore' }),
    column('day', { type: 'date', role: 'ignore' }),
  ]);
  const select = `SELECT i // 2 AS id, CASE WHEN i % 4 > 0 THEN (i % 4)::FLOAT END AS a, 0::FLOAT AS b,
    CASE WHEN i % 5 < 4 THEN 'x' || i % 5 END AS segment, DATE '2026-01-01' + (i % 2)::INT AS day FROM range(10000) t(i)`;
  const receipt = await score('profile', select, 10_000, {
    contract: profiled,
    baseline: bench.path('baseline.json'),
    sliceColumns: ['segment'],
  });
  const profile = JSON.parse(await readFile(receipt.profile!, 'utf8')) as Profile;
  expect(profile.rows).toBe(10_000);
  expect(profile.columns['a']).toMatchObject({ n: 10_000, nulls: 2_500, histogram: [2_500, 5_000, 0], min: 1, max: 3 });
  expect(profile.columns['segment']).toMatchObject({ nulls: 2_000, counts: [2_000, 2_000], unseen: 4_000 });
  expect(profile.columns['segment']).toMatchObject({
    unseenTop: [
      ['x2', 2_000],
      ['x3', 2_000],
    ],
  });
  expect(profile.columns['day']).toMatchObject({ days: { '2026-01-01': 5_000, '2026-01-02': 5_000 } });
  expect(profile.keys).toEqual({ columns: ['id'], duplicates: 5_000, exact: true });
  expect(profile.score?.unlabelled.reduce((sum, count) => sum + count)).toBe(10_000);
  expect(profile.slices.map(({ slice, rows }) => [slice, rows])).toEqual([
    ['segment=x0', 2_000],
    ['segment=x1', 2_000],
    ['segment=x2', 2_000],
    ['segment=x3', 2_000],
  ]);
});

test('a column that no file has is NULL, and every row is judged all the same', async () => {
  const select = 'SELECT i AS id, 1::FLOAT AS b FROM range(357) t(i)';
  const apart = contractOf([column('a', { nulls: { maxShare: 1, as: 'quarantine', default: null } }), column('b')]);
  const receipt = await score('absent', select, 357, { outputColumns: ['id'], contract: apart });
  expect(receipt).toMatchObject({ rowsRead: 357, rowsScored: 0, rowsQuarantined: 357 });
});
