import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandFailure } from '../../src/cli/output.ts';
import { type ScoreFileOptions, scoreFiles } from '../../src/cli/score-file.ts';
import { Bench, logisticModel, sigmoid } from './support/fixtures.ts';

let bench: Bench;
let model: string;

beforeAll(async () => {
  bench = await Bench.create();
  model = await bench.model('model.onnx', logisticModel([1, -2], 0.25));
});
afterAll(() => bench.close());

const rowsOf = (from: number, to: number) =>
  `SELECT i AS id, 'n' || i AS name, (i % 7)::FLOAT AS a, (i % 5)::INT AS b FROM range(${from}, ${to}) t(i)`;

function run(parts: Partial<ScoreFileOptions> & { readonly input: string; readonly output: string }) {
  return scoreFiles({ model, keys: ['id'], processes: 2, ...parts }, () => {});
}

test('a huge file is cut into parts in input order, with keys and prediction columns', async () => {
  const input = await bench.parquet('huge.parquet', rowsOf(0, 50_000), ', ROW_GROUP_SIZE 4096');
  const output = bench.path('huge-out');
  const result = await run({ input, output, chunkRows: 10_000 });
  expect(result).toMatchObject({ rows: 50_000, scorer: 'onnxruntime', scorer_reason: 'not a tree ensemble' });
  expect(await readdir(output)).toEqual(result.files.map((_, i) => `part-0000${i}.parquet`));
  expect(result.files.length).toBeGreaterThan(3);
  let id = 0;
  for (const { path } of result.files) {
    for (const row of await bench.read(path)) {
      expect(Object.keys(row)).toEqual(['id', 'score', 'prediction']);
      expect(Number(row['id'])).toBe(id);
      expect(row['score']).toBeCloseTo(sigmoid((id % 7) - 2 * (id % 5) + 0.25), 6);
      id += 1;
    }
  }
  expect(id).toBe(50_000);
  // Again into the same folder: the earlier output is replaced.
  expect((await run({ input, output })).rows).toBe(50_000);
});

test('a folder of hive partitions and a pattern give the same rows; the partition can be a key', async () => {
  await mkdir(bench.path('table/day=2026-01-01'), { recursive: true });
  await mkdir(bench.path('table/day=2026-01-02'), { recursive: true });
  await bench.parquet('table/day=2026-01-01/x.parquet', rowsOf(0, 10));
  await bench.parquet('table/day=2026-01-02/x.parquet', rowsOf(10, 30));
  const options = { keys: ['day', 'id'], output: bench.path('table-out') };
  const folder = await run({ ...options, input: bench.path('table') });
  expect(folder.rows).toBe(30);
  const rows = await bench.sql(
    `SELECT day, count(*)::INT AS n FROM '${bench.path('table-out')}/*.parquet' GROUP BY ALL ORDER BY 1`,
  );
  expect(rows).toEqual([
    { day: '2026-01-01', n: 10 },
    { day: '2026-01-02', n: 20 },
  ]);
  expect((await run({ ...options, input: bench.path('table/**/*.parquet') })).rows).toBe(30);
});

test('CSV and JSON lines are inputs too', async () => {
  await bench.sql(`COPY (${rowsOf(0, 100)}) TO '${bench.path('rows.csv')}'`);
  await bench.sql(`COPY (${rowsOf(0, 100)}) TO '${bench.path('rows.jsonl')}' (FORMAT json)`);
  for (const name of ['rows.csv', 'rows.jsonl']) {
    const output = bench.path(`${name}-out`);
    expect((await run({ input: bench.path(name), output })).rows).toBe(100);
    const [row] = await bench.sql(`SELECT * FROM '${output}/*.parquet' WHERE id = 13`);
    expect(row!['score']).toBeCloseTo(sigmoid(6 - 6 + 0.25), 6);
  }
});

test('--profile writes one profile over all chunks, on edges that another run can take up', async () => {
  const input = await bench.parquet('profiled.parquet', rowsOf(0, 20_000), ', ROW_GROUP_SIZE 4096');
  const output = bench.path('profiled-out');
  const first = await run({ input, output, profile: true, chunkRows: 5_000 });
  expect(first).toMatchObject({ rows: 20_000, profile: `${output}/profile.json` });
  expect(first.files.length).toBeGreaterThan(2);
  const read = async (name: string) => JSON.parse(await readFile(`${output}/${name}`, 'utf8'));
  const profile = await read('profile.json');
  expect(profile).toMatchObject({
    schema: 'profile/1',
    dataset: 'profiled.parquet',
    rows: 20_000,
    columns: { a: { n: 20_000, nulls: 0, min: 0, max: 6 }, b: { n: 20_000, min: 0, max: 4 } },
    score: { n: 20_000 },
  });
  expect(profile.baseline).toBe(
    createHash('sha256')
      .update(await readFile(`${output}/baseline.json`))
      .digest('hex'),
  );

  await bench.sql(`COPY (${rowsOf(0, 300)}) TO '${bench.path('other.csv')}'`);
  const baseline = bench.path('kept-baseline.json');
  await copyFile(`${output}/baseline.json`, baseline);
  await run({ input: bench.path('other.csv'), output, baseline });
  expect(await read('profile.json')).toMatchObject({ rows: 300, baseline: profile.baseline });
  // CSV can be the reference too; and without the option no profile is left behind.
  await run({ input: bench.path('other.csv'), output, profile: true });
  expect((await read('profile.json')).rows).toBe(300);
  await run({ input, output });
  expect((await readdir(output)).filter(name => name.endsWith('.json'))).toEqual([]);
});

test('wrong use ends with exit code 2 and the next step', async () => {
  const input = await bench.parquet('use.parquet', rowsOf(0, 10));
  const output = bench.path('use-out');
  const codeAndMessage = (options: Parameters<typeof run>[0]) =>
    run(options).then(
      () => null,
      (error: unknown) => (error instanceof CommandFailure ? [error.code, error.message] : error),
    );
  expect(await codeAndMessage({ input, output, keys: ['nobody'] })).toEqual([
    2,
    expect.stringMatching(/no column nobody .*id, name, a, b/),
  ]);
  expect(await codeAndMessage({ input, output, features: ['a'] })).toEqual([
    2,
    expect.stringMatching(/takes 2 features, the data has 1/),
  ]);
  expect(await codeAndMessage({ input, output, model: 'none.onnx' })).toEqual([
    2,
    expect.stringMatching(/no such model/),
  ]);
  expect(await codeAndMessage({ input: bench.path('none'), output })).toEqual([
    1,
    expect.stringMatching(/no such file/),
  ]);
  await mkdir(bench.path('precious/keep'), { recursive: true });
  expect(await codeAndMessage({ input, output: bench.path('precious') })).toEqual([
    2,
    expect.stringMatching(/holds keep/),
  ]);
});

test('a failing run leaves no output', async () => {
  const input = await bench.parquet('nulls.parquet', 'SELECT 1 AS id, NULL::FLOAT AS a, 1::FLOAT AS b');
  await expect(run({ input, output: bench.path('nulls-out') })).rejects.toThrow(/returned NaN where a is missing/);
  expect(await readdir(bench.folder)).not.toContain('nulls-out');
  expect((await readdir(bench.folder)).filter(name => name.includes('.partial'))).toEqual([]);
});
