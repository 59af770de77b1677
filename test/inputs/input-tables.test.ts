/** Declared tables on a real S3 server and in Delta's form: their partitions, their files, and those files on this machine. */
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EnginePool } from '../../src/engine/pool.ts';
import { InputTables, type TableFile } from '../../src/inputs/input-tables.ts';
import { S3Store } from '../../src/storage/s3.ts';
import { Bench } from '../engine/support/fixtures.ts';
import { type S3Server, startS3Server } from '../support/s3-server.ts';

let bench: Bench;
let server: S3Server;
let bucket: S3Store;
let engine: EnginePool;
let tables: InputTables;

beforeAll(async () => {
  [bench, server] = await Promise.all([Bench.create(), startS3Server()]);
  process.env['AWS_ACCESS_KEY_ID'] = server.credentials.accessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = server.credentials.secretAccessKey;
  const s3 = { endpoint: server.endpoint, region: server.region };
  bucket = new S3Store({ bucket: server.bucket, prefix: '' }, s3);
  engine = new EnginePool({ size: 1, scratch: bench.path('engine') });
  tables = new InputTables({ folder: bench.folder, s3, engine });
});
afterAll(async () => {
  await engine.close();
  bucket.close();
  await server.stop();
  bench.close();
});

const rows = (from: number, to: number) =>
  `SELECT i AS id, (i * 0.5)::DOUBLE AS a, md5(i::VARCHAR) || md5((i + 1)::VARCHAR) AS note FROM range(${from}, ${to}) t(i)`;

async function put(key: string, select: string, options = ''): Promise<void> {
  const local = bench.path('put.parquet');
  await bench.sql(`COPY (${select}) TO '${local}' (FORMAT parquet${options})`);
  expect(await bucket.upload(key, local)).toMatchObject({ kind: 'applied' });
}

const pinned = ({ path, bytes, etag }: TableFile) => ({ path, bytes, ...(etag === null ? {} : { etag }) });
const url = (key: string) => `s3://${server.bucket}/${key}`;

test('a table in a bucket has the partitions and files that match, and nothing hidden', async () => {
  for (const day of ['2026-01-01', '2026-01-02']) await put(`orders/day=${day}/a.parquet`, rows(0, 10));
  await put('orders/day=2026-01-02/b.parquet', rows(10, 30));
  await put('orders/day=2026-01-02/_tmp/c.parquet', rows(0, 1));
  await put('orders-old/day=2025-01-01/a.parquet', rows(0, 1));
  const table = { format: 'parquet', path: url('orders/day={date}/*.parquet') } as const;
  expect(await tables.partitions(table)).toEqual(['2026-01-01', '2026-01-02']);
  const files = await tables.files(table, ['2026-01-02', '2026-01-01']);
  expect(files.map(({ path, partition }) => [path, partition])).toEqual([
    [url('orders/day=2026-01-02/a.parquet'), '2026-01-02'],
    [url('orders/day=2026-01-02/b.parquet'), '2026-01-02'],
    [url('orders/day=2026-01-01/a.parquet'), '2026-01-01'],
  ]);
  expect(await tables.files(table, ['2026-01-03'])).toEqual([]);
});

test('of a wide file only the wanted columns and row groups travel; what was left out cannot be read as rows', async () => {
  await put('wide/day=2026-01-01.parquet', rows(0, 40_000), ', ROW_GROUP_SIZE 10240, COMPRESSION uncompressed');
  const table = { format: 'parquet', path: url('wide/day={date}.parquet') } as const;
  const [file] = await tables.files(table, ['2026-01-01']);
  const part = { rowGroups: [1, 3] as const, wantsColumn: (name: string) => name !== 'note' };
  const path = await tables.fetch(pinned(file!), { folder: bench.path('sparse'), format: 'parquet', part });
  const { size, blocks } = await stat(path);
  expect(size).toBe(file!.bytes);
  expect(blocks * 512).toBeLessThan(size / 4);
  const inGroups = 'WHERE file_row_number BETWEEN 10240 AND 30719';
  const read = (what: string, where = inGroups) =>
    bench.sql(`SELECT ${what} FROM read_parquet('${path}', file_row_number = true) ${where}`);
  expect(await read('count(*)::INT AS n, sum(id)::DOUBLE AS ids, sum(a)::DOUBLE AS a')).toEqual([
    { n: 20_480, ids: 419_420_160, a: 209_710_080 },
  ]);
  await expect(read('max(note)')).rejects.toThrow();
  await expect(read('sum(a)', '')).rejects.toThrow();
});

test('the footer alone is enough to inspect an object, also one longer than the first request', async () => {
  const columns = Array.from({ length: 2_000 }, (_, index) => `(i + ${index})::FLOAT AS feature_number_${index}`);
  await put('footer/day=2026-01-01.parquet', `SELECT ${columns.join(', ')} FROM range(50) t(i)`);
  const [file] = await tables.files({ format: 'parquet', path: url('footer/day={date}.parquet') }, ['2026-01-01']);
  const path = await tables.fetchFooter(pinned(file!), { folder: bench.path('footers'), format: 'parquet' });
  const { files } = await engine.run('inspect', { files: [{ path }], columnChunks: true }, { deadlineMs: 60_000 });
  expect(files[0]).toMatchObject({ rows: 50, bytes: file!.bytes });
  expect(files[0]?.columnChunks).toHaveLength(2_000);
  expect(Math.max(...(files[0]?.columnChunks ?? []).map(({ to }) => to))).toBeLessThan(file!.bytes);
});

test('an object that was replaced after it was pinned is refused, whole or in part, and leaves no file', async () => {
  await put('changing/day=2026-01-01.parquet', rows(0, 20_000));
  const [file] = await tables.files({ format: 'parquet', path: url('changing/day={date}.parquet') }, ['2026-01-01']);
  await bucket.delete('changing/day=2026-01-01.parquet');
  await put('changing/day=2026-01-01.parquet', rows(1, 20_001));
  const folder = bench.path('changing');
  const part = { rowGroups: [0, 1] as const };
  for (const options of [{ folder, format: 'parquet' } as const, { folder, format: 'parquet', part } as const]) {
    await expect(tables.fetch(pinned(file!), options)).rejects.toThrow(/expected the object that was pinned/);
  }
  await expect(tables.fetchFooter(pinned(file!), { folder, format: 'parquet' })).rejects.toThrow(/it changed/);
  expect(await readdir(folder)).toEqual([]);
});

test('an object that is no Parquet file is refused by name before anything reads it', async () => {
  expect(await bucket.put('broken/day=2026-01-01.parquet', Buffer.from('a,b\n1,2\n3,4\n5,6\n'))).toMatchObject({
    kind: 'applied',
  });
  const [file] = await tables.files({ format: 'parquet', path: url('broken/day={date}.parquet') }, ['2026-01-01']);
  await expect(tables.fetchFooter(pinned(file!), { folder: bench.path('broken'), format: 'parquet' })).rejects.toThrow(
    `${url('broken/day=2026-01-01.parquet')}: expected a Parquet file, but it does not end in PAR1`,
  );
});

/** Two days, the second replaced in version 1; files of no commit lie beside them. */
async function deltaTable(
  write: (name: string, select: string) => Promise<number>,
  log: (name: string, text: string) => Promise<void>,
) {
  const add = async (path: string, day: string, select: string) => ({
    add: { path, size: await write(path, select), partitionValues: { day }, modificationTime: 0, dataChange: true },
  });
  const protocol = { protocol: { minReaderVersion: 1, minWriterVersion: 2 } };
  const metaData = { metaData: { id: 'x', schemaString: '{}', partitionColumns: ['day'], configuration: {} } };
  const lines = (...actions: object[]) => actions.map(action => JSON.stringify(action)).join('\n');
  const first = await add('one.parquet', '2026-01-01', rows(0, 10));
  const second = await add('two.parquet', '2026-01-02', rows(10, 20));
  await log('00000000000000000000.json', lines(protocol, metaData, first, second));
  const replaced = await add('three.parquet', '2026-01-02', rows(20, 50));
  await log('00000000000000000001.json', lines({ remove: { path: 'two.parquet', dataChange: true } }, replaced));
}

test.each(['in the project', 'in a bucket'])('a Delta table %s: its log says which files a day has', async where => {
  const inBucket = where === 'in a bucket';
  const root = inBucket ? 'delta/sales' : 'sales';
  await deltaTable(
    async (name, select) => {
      if (inBucket) await put(`${root}/${name}`, select);
      const local = inBucket ? bench.path('put.parquet') : join(bench.path(root), name);
      await mkdir(dirname(local), { recursive: true });
      if (!inBucket) await bench.sql(`COPY (${select}) TO '${local}' (FORMAT parquet)`);
      return (await stat(local)).size;
    },
    async (name, text) => {
      if (inBucket) await bucket.put(`${root}/_delta_log/${name}`, Buffer.from(text));
      else {
        await mkdir(join(bench.path(root), '_delta_log'), { recursive: true });
        await writeFile(join(bench.path(root), '_delta_log', name), text);
      }
    },
  );
  const table = { format: 'delta', path: `${inBucket ? url(root) : root}/day={date}` } as const;
  expect(await tables.partitions(table)).toEqual(['2026-01-01', '2026-01-02']);
  const files = await tables.files(table, ['2026-01-02']);
  expect(files).toMatchObject([
    {
      path: `${inBucket ? url(root) : root}/three.parquet`,
      partition: '2026-01-02',
      constants: { day: '2026-01-02' },
      tableVersion: 1,
    },
  ]);
  const local = await tables.fetch(pinned(files[0]!), { folder: bench.path('delta-files'), format: 'parquet' });
  expect(await bench.sql(`SELECT count(*)::INT AS n FROM read_parquet('${local}')`)).toEqual([{ n: 30 }]);
  expect(await tables.files(table, ['2026-01-09'])).toEqual([]);
});

test('a bucket that does not let us in is named, with what to check', async () => {
  const s3 = { endpoint: server.endpoint, region: server.region };
  process.env['AWS_SECRET_ACCESS_KEY'] = 'wrong';
  try {
    const table = { format: 'parquet', path: url('orders/day={date}/*.parquet') } as const;
    const locked = new InputTables({ folder: bench.folder, s3, engine });
    await expect(locked.partitions(table)).rejects.toThrow(
      /s3:\/\/.*orders.*SignatureDoesNotMatch.*check the credentials/,
    );
  } finally {
    process.env['AWS_SECRET_ACCESS_KEY'] = server.credentials.secretAccessKey;
  }
});
