/** Delta tables as input: the log decides which files count, at which version; what would give other rows is refused. */
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scoreFiles } from '../../src/cli/score-file.ts';
import { type DeltaInputOptions, readDeltaInput } from '../../src/inputs/delta.ts';
import { LocalPlace } from '../../src/inputs/local-place.ts';
import { Bench, logisticModel } from '../engine/support/fixtures.ts';

let bench: Bench;
beforeAll(async () => {
  bench = await Bench.create();
});
afterAll(() => bench.close());

const rowsOf = (from: number, to: number) =>
  `SELECT i AS id, (i % 7)::FLOAT AS a, (i % 5)::FLOAT AS b FROM range(${from}, ${to}) t(i)`;

async function addFile(table: string, path: string, select: string, partitionValues = {}) {
  await mkdir(join(table, path, '..'), { recursive: true });
  await bench.sql(`COPY (${select}) TO '${join(table, path)}' (FORMAT parquet)`);
  const { size } = await stat(join(table, path));
  return { add: { path: encodeURI(path), size, partitionValues, modificationTime: 0, dataChange: true } };
}

async function commit(table: string, version: number, actions: readonly object[]): Promise<void> {
  await mkdir(join(table, '_delta_log'), { recursive: true });
  const path = join(table, '_delta_log', `${String(version).padStart(20, '0')}.json`);
  await writeFile(path, `${actions.map(action => JSON.stringify(action)).join('\n')}\n`);
}

const protocol = { protocol: { minReaderVersion: 1, minWriterVersion: 2 } };
const metaData = (configuration = {}) => ({
  metaData: { id: 'x', schemaString: '{}', partitionColumns: [], configuration },
});
const readTable = (table: string, options: DeltaInputOptions) => readDeltaInput(new LocalPlace(table), '', options);
const noCheckpoint = () => Promise.reject(new Error('no checkpoint is to be read'));
const names = (input: { readonly files: readonly { readonly path: string }[] }) =>
  input.files.map(({ path }) => basename(path));

/** v0: a and b; v1: b replaced by c. A file of no commit lies beside them. */
async function threeFiles(name: string): Promise<string> {
  const table = bench.path(name);
  const [a, b] = [
    await addFile(table, 'day=2026-01-01/a b.parquet', rowsOf(0, 10), { day: '2026-01-01' }),
    await addFile(table, 'day=__HIVE_DEFAULT_PARTITION__/b.parquet', rowsOf(10, 20), { day: null }),
  ];
  await commit(table, 0, [protocol, metaData(), a, b]);
  const c = await addFile(table, 'day=2026-01-02/c.parquet', rowsOf(20, 50), { day: '2026-01-02' });
  await commit(table, 1, [{ remove: { path: b.add.path, deletionTimestamp: 1, dataChange: true } }, c]);
  await addFile(table, 'day=2026-01-02/orphan.parquet', rowsOf(0, 1_000));
  return table;
}

test('each version has the files its log says, with the values of their partitions', async () => {
  const table = await threeFiles('versions');
  const newest = await readTable(table, { readCheckpoint: noCheckpoint });
  expect(newest.version).toBe(1);
  expect(names(newest)).toEqual(['a b.parquet', 'c.parquet']);
  expect(newest.files.map(file => file.constants)).toEqual([{ day: '2026-01-01' }, { day: '2026-01-02' }]);
  const first = await readTable(table, { version: 0, readCheckpoint: noCheckpoint });
  expect(names(first).sort()).toEqual(['a b.parquet', 'b.parquet']);
  expect(first.files.map(file => file.constants)).toContainEqual({});
});

test('score-file scores the pinned version of a table, and no file beside it', async () => {
  const input = await threeFiles('scored');
  const model = await bench.model('delta.onnx', logisticModel([1, -2], 0.25));
  const output = bench.path('scored-out');
  const options = { model, input, output, keys: ['day', 'id'], features: ['a', 'b'], processes: 1 };
  expect(await scoreFiles({ ...options, tableVersion: 0 }, () => {})).toMatchObject({ rows: 20, table_version: 0 });
  expect(await scoreFiles(options, () => {})).toMatchObject({ rows: 40, table_version: 1 });
  const [days] = await bench.sql(`SELECT count(DISTINCT day) AS n, max(id) AS last FROM '${output}/*.parquet'`);
  expect(days).toEqual({ n: 2n, last: 49n });
  await expect(scoreFiles({ ...options, tableVersion: 7 }, () => {})).rejects.toThrow(
    /version 7 is wanted, the newest is 1/,
  );
  const file = await bench.parquet('plain.parquet', rowsOf(0, 3));
  await expect(scoreFiles({ ...options, input: file, tableVersion: 1 }, () => {})).rejects.toThrow(/is no Delta table/);
});

test('a log that begins with a checkpoint is read from there', async () => {
  const input = await threeFiles('checkpointed');
  const log = join(input, '_delta_log');
  const { size } = await stat(join(input, 'day=2026-01-01/a b.parquet'));
  const c = await stat(join(input, 'day=2026-01-02/c.parquet'));
  const add = (path: string, bytes: number, day: string) =>
    `{path: '${path}', size: ${bytes}::BIGINT, partitionValues: MAP {'day': '${day}'}}`;
  await bench.sql(`COPY (
    SELECT ${add('day=2026-01-01/a%20b.parquet', size, '2026-01-01')} AS add,
      NULL::STRUCT(minReaderVersion INTEGER, minWriterVersion INTEGER) AS protocol
    UNION ALL SELECT ${add('day=2026-01-02/c.parquet', c.size, '2026-01-02')}, NULL
    UNION ALL SELECT NULL, {minReaderVersion: 1, minWriterVersion: 2}
  ) TO '${log}/00000000000000000001.checkpoint.parquet' (FORMAT parquet)`);
  await rm(join(log, '00000000000000000000.json'));
  await commit(input, 2, [await addFile(input, 'day=2026-01-03/d.parquet', rowsOf(50, 60), { day: '2026-01-03' })]);
  const model = await bench.model('delta.onnx', logisticModel([1, -2], 0.25));
  const options = { model, input, output: bench.path('checkpointed-out'), keys: ['id'], features: ['a', 'b'] };
  expect(await scoreFiles(options, () => {})).toMatchObject({ rows: 50, table_version: 2 });
  await expect(scoreFiles({ ...options, tableVersion: 0 }, () => {})).rejects.toThrow(/entry 0 of its log is gone/);
});

test.each([
  ['a deletion vector', { deletionVector: { storageType: 'u' } }, {}, [], /deleted rows \(a deletion vector\)/],
  ['mapped columns', {}, { 'delta.columnMapping.mode': 'name' }, [], /columns are mapped by name/],
  ['an unknown feature', {}, {}, ['rowTeleport'], /needs a reader of rowTeleport/],
])('%s is refused by name', async (label, extra, configuration, features, message) => {
  const table = bench.path(label);
  const { add } = await addFile(table, 'a.parquet', rowsOf(0, 10));
  const needs = { protocol: { minReaderVersion: 3, minWriterVersion: 7, readerFeatures: features } };
  await commit(table, 0, [needs, metaData(configuration), { add: { ...add, ...extra } }]);
  const reading = readTable(table, { readCheckpoint: noCheckpoint });
  await expect(reading).rejects.toThrow(message);
  await expect(reading).rejects.toMatchObject({ kind: 'bad_input' });
});

test('a table whose rows are all deleted says so', async () => {
  const table = await threeFiles('emptied');
  const removed = ['a%20b', 'c'].map(name => ({
    remove: { path: `day=2026-01-0${name === 'c' ? 2 : 1}/${name}.parquet` },
  }));
  await commit(table, 2, removed);
  await expect(readTable(table, { readCheckpoint: noCheckpoint })).rejects.toThrow(/no files at version 2/);
});

test('a file that is gone, or has another size than the log says, is no input', async () => {
  const table = await threeFiles('damaged');
  const path = join(table, 'day=2026-01-02/c.parquet');
  await writeFile(path, 'short');
  await expect(readTable(table, { readCheckpoint: noCheckpoint })).rejects.toThrow(/has 5 bytes, the log says \d+/);
  await rm(path);
  await expect(readTable(table, { readCheckpoint: noCheckpoint })).rejects.toThrow(/c\.parquet is gone/);
});
