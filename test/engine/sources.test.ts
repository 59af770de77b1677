/** What an input may be made of: codecs, many small files, files that do not agree, partitions in folder names. */
import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { planChunks } from '../../src/domain/scoring.ts';
import { findInputFiles } from '../../src/engine/input-files.ts';
import type { InputRange } from '../../src/engine/job.ts';
import { scoreChunk } from '../../src/engine/score.ts';
import { run as inspect } from '../../src/engine/verbs/inspect.ts';
import { contextOf } from './batched/support.ts';
import { Bench, binarySignature, champion, column, contractOf, logisticModel, scoreJob } from './support/fixtures.ts';

let bench: Bench;
let model: string;
const signature = binarySignature(['a', 'b']);
const contract = contractOf([column('a'), column('b', { nulls: { maxShare: 1, as: 'default', default: 1 } })]);

beforeAll(async () => {
  bench = await Bench.create();
  model = await bench.model('model.onnx', logisticModel([1, -2], 0.25));
});
afterAll(() => bench.close());

const rowsOf = (from: number, to: number) =>
  `SELECT i AS id, (i % 7)::FLOAT AS a, (i % 5)::FLOAT AS b FROM range(${from}, ${to}) t(i)`;

async function score(name: string, inputs: readonly InputRange[], rows: number, keys: readonly string[] = ['id']) {
  const outputFolder = bench.path(`${name}-out`);
  await mkdir(outputFolder, { recursive: true });
  const job = scoreJob({
    inputs,
    rows,
    contract,
    models: [champion(model, signature)],
    outputFolder,
    outputColumns: keys,
  });
  const receipt = await scoreChunk(job, await contextOf(bench));
  return bench.read(receipt.predictions!.path);
}

test.each(['zstd', 'snappy', 'gzip', 'lz4_raw', 'uncompressed'])('pages of %s are read', async codec => {
  const path = await bench.parquet(`${codec}.parquet`, rowsOf(0, 3_000), `, COMPRESSION ${codec}`);
  const { files } = await inspect({ files: [{ path }] }, await contextOf(bench));
  expect(files[0]?.codecs).toEqual([codec.toUpperCase()]);
  expect(await score(codec, [{ path }], 3_000)).toHaveLength(3_000);
});

test('six hundred tiny files of two schemas are looked at together and scored as one chunk, in order', async () => {
  await mkdir(bench.path('tiny'));
  const count = 600;
  // Numbered so that the order of the names is the order of the rows.
  const names = Array.from({ length: count }, (_, index) => `f${String(index).padStart(4, '0')}.parquet`);
  for (const [index, name] of names.entries()) {
    const columns = index % 2 === 0 ? 'id, a, b' : 'id, a::DOUBLE AS a';
    await bench.parquet(`tiny/${name}`, `SELECT ${columns} FROM (${rowsOf(index * 3, index * 3 + 3)})`);
  }
  const found = await findInputFiles(bench.path('tiny'));
  const { files, rows, columns } = await inspect({ files: found }, await contextOf(bench));
  expect(rows).toBe(3 * count);
  expect(files.map(file => file.columns.length)).toEqual(names.map((_, index) => (index % 2 === 0 ? 3 : 2)));
  expect(columns.map(({ name, type }) => `${name} ${type}`)).toEqual(['id BIGINT', 'a DOUBLE', 'b FLOAT']);
  const chunks = planChunks(files, { chunkRows: 1_000_000 });
  expect(chunks).toHaveLength(1);
  const scored = await score('tiny', chunks[0]!.inputs, rows);
  expect(scored.map(row => Number(row['id']))).toEqual(Array.from({ length: rows }, (_, index) => index));
});

test('one huge file gives row-group ranges that together are the file', async () => {
  const path = await bench.parquet('huge.parquet', rowsOf(0, 50_000), ', ROW_GROUP_SIZE 4096');
  const { files } = await inspect({ files: [{ path }] }, await contextOf(bench));
  const chunks = planChunks(files, { chunkRows: 12_000 });
  expect(chunks.length).toBeGreaterThan(3);
  let next = 0;
  for (const [index, chunk] of chunks.entries()) {
    for (const row of await score(`huge-${index}`, chunk.inputs, chunk.rows)) expect(Number(row['id'])).toBe(next++);
  }
  expect(next).toBe(50_000);
});

test('folders named key=value are columns, with escaped values and across formats', async () => {
  const folders = ['region=north%20west/day=1', 'region=south/day=2'];
  for (const folder of folders) await mkdir(bench.path(join('hive', folder)), { recursive: true });
  await bench.parquet(`hive/${folders[0]}/x.parquet`, rowsOf(0, 5));
  await bench.sql(`COPY (${rowsOf(5, 9)}) TO '${bench.path(`hive/${folders[1]}/y.jsonl`)}' (FORMAT json)`);
  await bench.sql(`COPY (${rowsOf(9, 10)}) TO '${bench.path(`hive/${folders[1]}/z.csv`)}'`);
  const found = await findInputFiles(bench.path('hive'));
  expect(found.map(({ format, constants }) => [format, constants])).toEqual([
    ['parquet', { region: 'north west', day: '1' }],
    ['json', { region: 'south', day: '2' }],
    ['csv', { region: 'south', day: '2' }],
  ]);
  const rows = await score('hive', found, 10, ['id', 'region', 'day']);
  expect(rows.map(row => `${String(row['id'])} ${String(row['region'])} ${String(row['day'])}`)).toEqual([
    ...[0, 1, 2, 3, 4].map(id => `${id} north west 1`),
    ...[5, 6, 7, 8, 9].map(id => `${id} south 2`),
  ]);
});

test('links in a folder are followed, and one that leads nowhere or round in a circle is named, never left out', async () => {
  await mkdir(bench.path('linked'));
  await mkdir(bench.path('elsewhere/deep'), { recursive: true });
  await bench.parquet('elsewhere/a.parquet', rowsOf(0, 5));
  await bench.parquet('elsewhere/deep/b.parquet', rowsOf(5, 9));
  await symlink('../elsewhere/a.parquet', bench.path('linked/a.parquet'));
  await symlink('../elsewhere/deep', bench.path('linked/deep'));
  const found = await findInputFiles(bench.path('linked'));
  const { rows } = await inspect({ files: found }, await contextOf(bench));
  expect((await score('linked', found, rows)).map(row => Number(row['id']))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);

  await symlink('../linked', bench.path('linked/round'));
  await expect(findInputFiles(bench.path('linked'))).rejects.toThrow(/round links to .*linked, which it lies in/);
  await rm(bench.path('linked/round'));
  await symlink('nowhere.parquet', bench.path('linked/c.parquet'));
  await expect(findInputFiles(bench.path('linked'))).rejects.toThrow(/c\.parquet links to nothing/);
});
