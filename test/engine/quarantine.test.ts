/** Quarantined rows in the form of their table, and repairs laid over the files of a partition. */
import { mkdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run as quarantine } from '../../src/engine/verbs/quarantine.ts';
import { run as repair } from '../../src/engine/verbs/repair.ts';
import type { VerbContext } from '../../src/engine/verbs.ts';
import { Bench } from './support/fixtures.ts';

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

async function csv(name: string, lines: readonly string[]): Promise<{ path: string; format: 'csv' }> {
  await writeFile(bench.path(name), `${lines.join('\n')}\n`);
  return { path: bench.path(name), format: 'csv' };
}

test('a quarantined row is kept whole as JSON, NaN and infinity as texts, without personal data', async () => {
  const file = await bench.parquet(
    'q.parquet',
    `SELECT 7::BIGINT AS id, 'nan'::DOUBLE AS a, '-inf'::FLOAT AS b, NULL::INT AS c, '<b>"x"</b>' AS d, 'ann@x' AS mail,
      DATE '2026-01-02' AS e, 'a.min' AS almanac_rule, 'a is low' AS almanac_reason`,
  );
  const out = await quarantine({ file, keys: ['id'], personal: ['mail'], outputFolder: await folder('q') }, context);
  expect(out.columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
    'id BIGINT',
    'almanac_rule VARCHAR',
    'almanac_reason VARCHAR',
    'almanac_row VARCHAR',
  ]);
  const [row] = await bench.read(out.file.path);
  expect(row).toMatchObject({ id: 7n, almanac_rule: 'a.min', almanac_reason: 'a is low' });
  expect(JSON.parse(String(row?.['almanac_row']))).toEqual({
    id: 7,
    a: 'nan',
    b: '-inf',
    c: null,
    d: '<b>"x"</b>',
    e: '2026-01-02',
  });
});

async function partition(name: string) {
  const select = (from: number) =>
    `SELECT i::INT AS id, i::DOUBLE AS a, 'v' || i AS b FROM range(${from}, ${from + 5000}) t(i)`;
  return [
    { path: await bench.parquet(`${name}-0.parquet`, select(0)) },
    { path: await bench.parquet(`${name}-1.parquet`, select(5000)) },
  ];
}

test('a repair changes the named rows in place and leaves all other rows and files alone', async () => {
  const inputs = await partition('p');
  const repairs = [await csv('fix.csv', ['id,a', '17,0.5', '4999,', '3,9'])];
  const job = { inputs, repairs, keys: ['id'], outputFolder: await folder('p') };
  const out = await repair(job, context);
  expect(out).toMatchObject({ repaired: 3, files: [{ index: 0, file: { rows: 5000 }, rowGroups: [5000] }] });
  const rows = await bench.read(out.files[0]!.file.path);
  expect(rows.map(row => row['id'])).toEqual(Array.from({ length: 5000 }, (_, id) => id));
  const changed = rows.filter(row => row['a'] !== row['id']);
  expect(changed).toEqual([
    { id: 3, a: 9, b: 'v3' },
    { id: 17, a: 0.5, b: 'v17' },
    { id: 4999, a: null, b: 'v4999' },
  ]);
  // The same repair over the same files gives the same bytes: a retried plan names the same artifact.
  expect((await repair({ ...job, outputFolder: await folder('p2') }, context)).files[0]?.file.sha256).toBe(
    out.files[0]?.file.sha256,
  );
});

test('a later repair starts from what the earlier ones made', async () => {
  const inputs = await partition('later');
  const repairs = [await csv('first.csv', ['id,a,b', '1,10,x', '6000,10,x']), await csv('second.csv', ['id,b', '1,y'])];
  const out = await repair({ inputs, repairs, keys: ['id'], outputFolder: await folder('later') }, context);
  expect(out.files.map(({ index }) => index)).toEqual([0, 1]);
  const [first, second] = await Promise.all(out.files.map(({ file }) => bench.read(file.path)));
  expect(first?.find(row => row['id'] === 1)).toEqual({ id: 1, a: 10, b: 'y' });
  expect(second?.find(row => row['id'] === 6000)).toEqual({ id: 6000, a: 10, b: 'x' });
});

test.each([
  [
    'a key that no row has',
    ['id,a', '1,2', '99999,2'],
    /1 of 2 rows have a key \(id\) that no row of the partition has/,
  ],
  ['a key twice', ['id,a', '1,2', '1,3'], /1 key\(s\) occur twice/],
  ['no key', ['a,b', '1,2'], /the key id is missing/],
  ['keys only', ['id', '1'], /keys only/],
  ['a column of its own', ['id,balance', '1,2'], /column balance is not in the partition; it has id, a, b/],
  ['a value of another type', ['id,a', '1,many'], /Conversion.*many/s],
])('refuses a repair with %s', async (name, lines, message) => {
  const inputs = await partition(name.replaceAll(' ', '-'));
  const repairs = [await csv(`${name.replaceAll(' ', '-')}.csv`, lines)];
  const job = { inputs, repairs, keys: ['id'], outputFolder: await folder(`refused-${name.length}`) };
  await expect(repair(job, context)).rejects.toThrow(message);
});

test('refuses to change rows that are not in quarantine', async () => {
  const inputs = await partition('fine');
  const quarantined = [await bench.parquet('held.parquet', `SELECT 1::INT AS id, 'a.min' AS almanac_rule`)];
  const repairs = [await csv('fine.csv', ['id,a', '1,2', '2,2'])];
  const job = { inputs, repairs, keys: ['id'], quarantined, outputFolder: await folder('fine') };
  await expect(repair(job, context)).rejects.toThrow('2 are not in quarantine');
});
