import { mkdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readEvaluation } from '../../src/engine/evaluation.ts';
import type { QueryJob } from '../../src/engine/job.ts';
import { run as evaluate } from '../../src/engine/verbs/evaluate.ts';
import { run as importTable } from '../../src/engine/verbs/import-table.ts';
import { run as inspect } from '../../src/engine/verbs/inspect.ts';
import { run as materialise } from '../../src/engine/verbs/materialise.ts';
import { run as queries } from '../../src/engine/verbs/queries.ts';
import { run as query } from '../../src/engine/verbs/query.ts';
import type { VerbContext } from '../../src/engine/verbs.ts';
import { Bench, binarySignature, column, contractOf, logisticModel, sigmoid } from './support/fixtures.ts';

let bench: Bench;
let context: VerbContext;

beforeAll(async () => {
  bench = await Bench.create();
  context = { progress: () => {}, scratch: bench.folder, memoryMb: 1024, signal: new AbortController().signal };
});
afterAll(() => bench.close());

async function folder(name: string): Promise<string> {
  await mkdir(bench.path(name), { recursive: true });
  return bench.path(name);
}

test('inspect reads footers: rows of each group, types, codecs, and the union of columns', async () => {
  const a = await bench.parquet(
    'i-a.parquet',
    'SELECT i AS id FROM range(5000) t(i)',
    ', ROW_GROUP_SIZE 2048, COMPRESSION zstd',
  );
  const b = await bench.parquet('i-b.parquet', 'SELECT i::DOUBLE AS id, 1 AS extra FROM range(10) t(i)');
  const found = await inspect({ files: [{ path: a }, { path: b }] }, context);
  expect(found.files[0]).toMatchObject({ rows: 5000, rowGroups: [2048, 2048, 904], codecs: ['ZSTD'] });
  expect(found.rows).toBe(5010);
  expect(found.columns).toEqual([
    { name: 'id', type: 'DOUBLE' },
    { name: 'extra', type: 'INTEGER' },
  ]);
});

test('inspect refuses Brotli unless it is allowed', async () => {
  const path = await bench.parquet('brotli.parquet', 'SELECT 1 AS id', ', COMPRESSION brotli');
  await expect(inspect({ files: [{ path }] }, context)).rejects.toThrow(/Brotli.*refused/);
  expect((await inspect({ files: [{ path }], allowBrotli: true }, context)).rows).toBe(1);
});

test('imports a CSV of people: quotes, commas, line breaks, HTML and NULLs survive; days become partitions', async () => {
  await writeFile(
    bench.path('people.csv'),
    [
      'day,name,note,amount',
      '2026-01-02,"Smith, Ann","<b onclick=""x()"">hi, ""you""</b>",1.5',
      '2026-01-01,Bob,"two',
      'lines",NA',
      '2026-01-02,Çelik,,-3',
      '',
    ].join('\n'),
  );
  const out = await folder('people');
  const job = {
    files: [bench.path('people.csv')],
    format: 'csv',
    partitionBy: { column: 'day' },
    outputFolder: out,
  } as const;
  const receipt = await importTable(job, context);
  expect(receipt.rows).toBe(3);
  expect(receipt.partitions.map(({ partition, rows }) => [partition, rows])).toEqual([
    ['2026-01-01', 1],
    ['2026-01-02', 2],
  ]);
  const rows = await bench.read(receipt.partitions[1]!.path);
  expect(rows.map(({ name, note, amount }) => [name, note, amount])).toEqual([
    ['Smith, Ann', '<b onclick="x()">hi, "you"</b>', 1.5],
    ['Çelik', null, -3],
  ]);
  expect((await bench.read(receipt.partitions[0]!.path))[0]).toMatchObject({ note: 'two\nlines', amount: null });
  // The same import again gives the same bytes.
  expect((await importTable(job, context)).partitions).toEqual(receipt.partitions);
});

test('an import refuses rows without a date and columns that are not there', async () => {
  await writeFile(bench.path('undated.csv'), 'day,x\n2026-01-01,1\nsoon,2\n');
  const job = { files: [bench.path('undated.csv')], format: 'csv', outputFolder: await folder('undated') } as const;
  await expect(importTable({ ...job, partitionBy: { column: 'day' } }, context)).rejects.toThrow(
    /1 row\(s\) have no date in day/,
  );
  await expect(importTable({ ...job, partitionBy: { column: 'date' } }, context)).rejects.toThrow(
    /no column date; columns found: day, x/,
  );
});

test('a training set joins each partition with its own tables and labels, through transform and contract', async () => {
  const features = async (day: number, scale: number) => ({
    path: await bench.parquet(`f-${day}.parquet`, `SELECT i AS id, (i * ${scale})::FLOAT AS a FROM range(1000) t(i)`),
  });
  const labels = async (day: number) => ({
    files: [
      {
        path: await bench.parquet(
          `l-${day}.parquet`,
          `SELECT i AS id, (i % 2 = ${day % 2})::INT AS late FROM range(800) t(i)`,
        ),
      },
    ],
    keys: ['id'],
    column: 'late',
    positive: '1',
    only: null,
  });
  const partition = async (day: number, scale: number) => ({
    partition: `2026-01-0${day}`,
    inputs: [await features(day, scale)],
    rows: 1000,
    tables: { plus: [await bench.parquet(`plus-${day}.parquet`, 'SELECT 1 AS plus')] },
    labels: await labels(day),
  });
  const set = await materialise(
    {
      partitions: [await partition(1, 1), await partition(2, 10)],
      transform: 'SELECT id, a + plus AS a FROM features CROSS JOIN plus',
      contract: contractOf([column('a', { max: 5001 })]),
      outputFolder: await folder('training'),
    },
    context,
  );
  expect(set).toMatchObject({ rowsRead: 2000, rowsUnlabelled: 200, rowsQuarantined: 499 });
  expect(set.columns.map(known => known.name)).toEqual(['partition', 'id', 'a', 'late']);
  const rows = await bench.sql(
    `SELECT partition, count(*)::INT AS n, sum((late = (id + 1) % 2)::INT)::INT AS even, max(a) AS m FROM read_parquet('${set.file.path}') GROUP BY ALL ORDER BY 1`,
  );
  expect(rows).toEqual([
    { partition: '2026-01-01', n: 800, even: 0, m: 800 },
    { partition: '2026-01-02', n: 501, even: 501, m: 5001 },
  ]);
});

test('two labels for one key are refused: they would double a row', async () => {
  const inputs = [{ path: await bench.parquet('d-f.parquet', 'SELECT 1 AS id, 1::FLOAT AS a') }];
  const files = [{ path: await bench.parquet('d-l.parquet', 'SELECT 1 AS id, unnest([0, 1]) AS late') }];
  const labels = { files, keys: ['id'], column: 'late', positive: '1', only: null };
  const job = {
    partitions: [{ partition: 'p', inputs, rows: 1, tables: {}, labels }],
    transform: null,
    contract: contractOf([column('a')]),
    outputFolder: await folder('doubled'),
  };
  await expect(materialise(job, context)).rejects.toThrow(/1 key\(s\) of id have more than one label/);
});

test('an evaluation gives aligned arrays of labels, scores of each model, slices and partitions', async () => {
  const partition = async (name: string, labelled: number) => ({
    partition: name,
    inputs: [
      {
        path: await bench.parquet(
          `e-${name}.parquet`,
          `SELECT i AS id, (i % 7)::FLOAT AS a, CASE WHEN i % 3 > 0 THEN 's' || i % 3 END AS seg FROM range(3000) t(i)`,
        ),
      },
    ],
    rows: 3000,
    tables: {},
    labels: {
      files: [
        {
          path: await bench.parquet(
            `el-${name}.parquet`,
            `SELECT i AS id, CASE WHEN i % 7 > 3 THEN 'yes' ELSE 'no' END AS y FROM range(${labelled}) t(i) ORDER BY i DESC`,
          ),
        },
      ],
      keys: ['id'],
      column: 'y',
      positive: 'yes',
      only: null,
    },
  });
  const signature = binarySignature(['a']);
  const evaluation = await evaluate(
    {
      partitions: [await partition('d1', 3000), await partition('d2', 1000)],
      transform: null,
      contract: contractOf([column('a'), column('seg', { type: 'category', role: 'ignore' })]),
      models: [
        { version: 2, onnx: await bench.model('e2.onnx', logisticModel([1], -3.5)), signature },
        { version: 1, onnx: await bench.model('e1.onnx', logisticModel([-1], 0)), signature },
      ],
      sliceColumns: ['seg'],
      outputFolder: await folder('evaluation'),
      batchRows: 2048,
    },
    context,
  );
  expect(evaluation).toMatchObject({ rows: 4000, rowsUnlabelled: 2000 });
  const rows = await readEvaluation(evaluation);
  const [second, first] = rows.scores;
  for (let row = 0; row < rows.rows; row++) {
    const score = second!.values[row]!;
    expect(rows.labels[row]).toBe(score > 0.5 ? 1 : 0);
    const a = Math.round(Math.log(score / (1 - score)) + 3.5);
    expect(first!.values[row]).toBeCloseTo(sigmoid(-a), 6);
  }
  expect(rows.partitions.filter(partition => partition === 1)).toHaveLength(1000);
  const [segments] = rows.slices;
  expect([...segments!.values].sort()).toEqual(['s1', 's2']);
  expect(segments!.codes.filter(code => code === -1)).toHaveLength(1000 + 334);
});

test.each([
  ["SELECT * FROM read_text('/etc/passwd')", /calls read_text\(\)/],
  ["SELECT * FROM 'secret.parquet'", /reads secret\.parquet, which is not declared/],
  ["SELECT getenv('HOME')", /calls getenv\(\)/],
  ['SELECT now()', /another value at every run/],
  ['SELECT current_date', /another value at every run/],
  ['SELECT random()', /another value at every run/],
  ["COPY (SELECT 1) TO 'x'", /must be one SELECT/],
  ['SELECT 1; SELECT 2', /2 statements/],
  ["ATTACH 'x.db'", /must be one SELECT/],
  ['SELECT * FROM t USING SAMPLE 10', /samples rows/],
  ["SELECT * FROM query('SELECT 1')", /calls query\(\)/],
  ['SELECT * FROM duckdb_settings()', /calls duckdb_settings\(\)/],
  ['SELECT * FROM information_schema.tables', /reads information_schema\.tables/],
])('the checker refuses %s', async (sql, message) => {
  const t = await bench.parquet('t.parquet', 'SELECT 1 AS a');
  await expect(query({ sql, tables: { t: [t] } }, context)).rejects.toThrow(message);
});

test('the checker lets ordinary SQL through: common tables, joins, windows, unnest', async () => {
  const t = await bench.parquet('t2.parquet', 'SELECT i AS a FROM range(4) r(i)');
  const sql = `WITH doubled AS (SELECT a * 2 AS b FROM t) SELECT d.b, row_number() OVER (ORDER BY d.b) AS n
    FROM doubled d JOIN t ON t.a * 2 = d.b, unnest([1]) u(x) ORDER BY 1`;
  const result = await query({ sql, tables: { t: [t] } }, context);
  expect(result.rows).toHaveLength(4);
});

test('queries are answered in their order, each over its own files of the same names', async () => {
  const files = await Promise.all(
    [3, 5].map(n => bench.parquet(`q${n}.parquet`, `SELECT i AS a FROM range(${n}) t(i)`)),
  );
  const sql = 'SELECT count(*) FROM t';
  const both = files.map(path => ({ sql, tables: { t: [path] } }));
  expect((await queries({ queries: both }, context)).map(({ rows }) => rows)).toEqual([[['3']], [['5']]]);
  const leaking: QueryJob[] = [
    { sql, tables: { t: files, u: files } },
    { sql: 'SELECT count(*) FROM u', tables: { t: files } },
  ];
  await expect(queries({ queries: leaking }, context)).rejects.toThrow(
    /reads u, which is not declared \(declared: t\)/,
  );
});

describe('labels of a weighted sample', () => {
  const signature = binarySignature(['a']);
  const evaluated = async (name: string, weights: string) => {
    const rows = `SELECT i AS id, (i % 7)::FLOAT AS a FROM range(100) t(i)`;
    const path = await bench.parquet(
      `w-${name}.parquet`,
      `SELECT i AS id, (i % 2)::INT AS y, ${weights} FROM range(50) t(i) ORDER BY i DESC`,
    );
    const labels = { files: [{ path }], keys: ['id'], column: 'y', positive: '1', only: null, weight: 'pi_inverse' };
    const inputs = [{ path: await bench.parquet(`wf-${name}.parquet`, rows) }];
    const job = {
      partitions: [{ partition: 'd', inputs, rows: 100, tables: {}, labels }],
      transform: null,
      contract: contractOf([column('a')]),
      models: [{ version: 1, onnx: await bench.model('w.onnx', logisticModel([1], 0)), signature }],
      sliceColumns: [],
      outputFolder: await folder(`weights-${name}`),
      batchRows: 2048,
    };
    return await readEvaluation(await evaluate(job, context));
  };

  test('an evaluation gives the weights beside the labels', async () => {
    const { rows, labels, weights, scores } = await evaluated('good', '(1 + i % 2 + i % 7)::DOUBLE AS pi_inverse');
    expect(rows).toBe(50);
    for (let row = 0; row < rows; row++) {
      const score = scores[0]?.values[row] ?? Number.NaN;
      const a = Math.round(Math.log(score / (1 - score)));
      expect(weights?.[row]).toBe(1 + (labels[row] ?? 0) + a);
    }
  });

  test.each([
    [
      'nought',
      'CASE WHEN i = 7 THEN 0 ELSE 2 END',
      /column pi_inverse of .*w-nought\.parquet: 1 of 50 .*\(1 0 or less\)/,
    ],
    ['missing', 'CASE WHEN i < 3 THEN NULL ELSE 2 END', /3 of 50 labelled rows have no usable weight \(3 NULL\)/],
    [
      'worse',
      "CASE WHEN i < 2 THEN 'nan'::DOUBLE WHEN i = 2 THEN '-inf'::DOUBLE WHEN i = 3 THEN -1 ELSE 2 END",
      /4 of 50 .*\(2 NaN, 1 infinite, 1 0 or less\)/,
    ],
    ['text', "CASE WHEN i = 5 THEN 'many' ELSE '2' END", /1 of 50 .*\(1 no numbers\)/],
  ])('%s weights are refused, with column and file', async (name, weights, message) => {
    await expect(evaluated(name, `${weights} AS pi_inverse`)).rejects.toThrow(message);
  });

  test('a training set keeps them beside the label, as numbers', async () => {
    const path = await bench.parquet(
      'w-kept.parquet',
      'SELECT i AS id, i % 2 AS y, 1 + i % 3 AS pi_inverse FROM range(6) t(i)',
    );
    const set = await materialise(
      {
        partitions: [
          {
            partition: '2026-01-01',
            inputs: [
              { path: await bench.parquet('w-kept-f.parquet', 'SELECT i AS id, i::FLOAT AS a FROM range(9) t(i)') },
            ],
            rows: 9,
            tables: {},
            labels: { files: [{ path }], keys: ['id'], column: 'y', positive: '1', only: null, weight: 'pi_inverse' },
          },
        ],
        transform: null,
        contract: contractOf([column('a')]),
        outputFolder: await folder('weights-kept'),
      },
      context,
    );
    expect(set.columns.slice(-2).map(({ name, type }) => [name, type])).toEqual([
      ['y', 'BIGINT'],
      ['pi_inverse', 'DOUBLE'],
    ]);
    const rows = await bench.sql(`SELECT pi_inverse AS w FROM read_parquet('${set.file.path}') ORDER BY id`);
    expect(rows.map(({ w }) => w)).toEqual([1, 2, 3, 1, 2, 3]);
  });

  test('a column of weights that is not there is named, with those that are', async () => {
    await expect(evaluated('none', '1 AS weight')).rejects.toThrow(
      /w-none\.parquet has no column pi_inverse for weights; its columns are id, y, weight/,
    );
  });
});
