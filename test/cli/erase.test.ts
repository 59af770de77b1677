/** The erasure of a subject through the command: tables, quarantine, training copies, profiles; proved by opening what is left. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readDefinition } from '../../src/config/model-definition.ts';
import { verifyStore } from '../../src/storage/audit.ts';
import { Catalog } from '../../src/storage/catalog.ts';
import { sha256OfFile } from '../../src/storage/digest.ts';
import { finishErasures } from '../../src/storage/erasure.ts';

import { listAll, type ObjectStore } from '../../src/storage/object-store.ts';
import { openStore } from '../../src/storage/open.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { PredictionsTable } from '../../src/storage/table/predictions-table.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const subject = 'c-0007';
const definition = `model: late
task: binary
data:
  features: { path: "data/features/date={date}/*.csv", format: csv, keys: [customer_id] }
  labels: { path: "data/labels/date={date}/*.csv", format: csv, keys: [customer_id], column: late, horizon: 7d }
contract:
  columns: [{ name: balance, type: double }]
train: { trainer: { builtin: logistic } }
`;

let project: string;
let store: ObjectStore;
let catalog: Catalog;
let sql: (text: string) => Promise<readonly (readonly unknown[])[]>;
/** What the store held before: the training set and the profile of the subject, and those of others. */
let held: { training: string; others: string; repair: string; profile: string; otherProfile: string };

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'almanac-erase-'));
  mkdirSync(join(project, 'models'), { recursive: true });
  mkdirSync(join(project, 'data/features/date=2025-01-01'), { recursive: true });
  writeFileSync(join(project, 'almanac.yaml'), '');
  writeFileSync(join(project, 'models/late.yaml'), definition);
  writeFileSync(
    join(project, 'data/features/date=2025-01-01/part.csv'),
    `customer_id,balance\nc-0001,1.5\n${subject},2.5\n`,
  );
  const duckdb = await (await DuckDBInstance.create()).connect();
  sql = async text => (await duckdb.runAndReadAll(text)).getRowsJson();

  store = openStore(join(project, '.almanac/store'));
  const ports = systemPorts(store);
  catalog = new Catalog(ports);
  await catalog.putDefinition(readDefinition(project, 'late'));
  const rowsOf = (ids: readonly string[]) =>
    `SELECT id AS customer_id, length(id)::FLOAT AS score FROM (VALUES ${ids.map(id => `('${id}')`).join(', ')}) t(id)`;
  const parquet = async (select: string) => {
    const path = join(project, `${Math.random()}.parquet`);
    await sql(`COPY (${select}) TO '${path}' (FORMAT parquet)`);
    return path;
  };
  const publish = async (
    root: string,
    partition: string,
    generation: number,
    parts: readonly (readonly string[])[],
  ) => {
    const table = new PredictionsTable(ports, root);
    const files = [];
    for (const [chunk, ids] of parts.entries()) {
      const local = await parquet(rowsOf(ids));
      const { path, key } = table.newPartFile({ partition, generation, chunk, attempt: 1 });
      expect((await store.upload(key, local)).kind).toBe('applied');
      const bytes = readFileSync(local).length;
      files.push({ path, bytes, rows: ids.length, sha256: await sha256OfFile(local) });
    }
    const planDigest = await catalog.documents.put('plan', { schema: 'plan/1' });
    const columns = [
      { name: 'customer_id', type: 'string' as const },
      { name: 'score', type: 'float' as const },
    ];
    const said = { planDigest, asOf: '2025-01-02T00:00:00Z', workflowId: 'w', runId: 'r', attempt: 1 };
    expect(await table.commit({ partition, generation, columns, files, ...said })).toMatchObject({ kind: 'committed' });
  };
  await publish('predictions/late', '2025-01-01', 1, [['c-0001', subject], ['c-0003']]);
  await publish('predictions/late', '2025-01-01', 2, [['c-0001', subject, 'c-0002'], ['c-0003']]);
  await publish('predictions/late', '2025-01-02', 1, [['c-0001', 'c-00077']]);
  await publish('quarantine/late', '2025-01-01', 1, [[subject], ['c-0009']]);
  const csv = join(project, 'repair.csv');
  writeFileSync(csv, `customer_id,balance\n${subject},2.5\n`);
  held = {
    training: await catalog.putArtifact(await parquet(rowsOf(['c-0001', subject]))),
    others: await catalog.putArtifact(await parquet(rowsOf(['c-0001', 'c-00077']))),
    repair: await catalog.putArtifact(csv),
    profile: await catalog.documents.put('profile', { columns: { customer_id: { unseenTop: [[subject, 1]] } } }),
    otherProfile: await catalog.documents.put('profile', { columns: { customer_id: { unseenTop: [['c-00077', 1]] } } }),
  };
});
afterAll(async () => await rm(project, { recursive: true, force: true }));

async function erase(...argv: string[]): Promise<Record<string, unknown>> {
  const command = ['--import', 'tsx', main, 'erase', '--project', project, '--json', '--key', subject, ...argv];
  return JSON.parse((await promisify(execFile)(process.execPath, command)).stdout);
}

async function objects(): Promise<readonly string[]> {
  const listing = await listAll(store, '');
  return listing.kind === 'found' ? listing.value.map(({ key }) => key) : [];
}

test('an erased subject is in no object any more, and whoever asks for one hears when it was erased', async () => {
  const before = await objects();
  const rehearsed = await erase('--dry-run');
  expect(await objects()).toEqual(before);

  const report = await erase();
  expect(report).toMatchObject({ remaining: [], sources: ['data/features/date=2025-01-01/part.csv'] });
  expect(report['rewritten']).toEqual([
    { table: 'predictions/late', partition: '2025-01-01', generation: 3 },
    { table: 'quarantine/late', partition: '2025-01-01', generation: 2 },
  ]);
  // Two generations of predictions, the quarantine, the training copy, the repair and the profile.
  expect(report['deleted']).toHaveLength(6);
  expect(rehearsed['deleted']).toEqual((report['deleted'] as string[]).toSorted());

  // The command's own proof searched all that is left, but for the audit entry that it wrote afterwards.
  expect(report['searched']).toBe((await objects()).length);

  // Every object that is left, opened by other means than the command's.
  for (const key of await objects()) {
    const path = join(project, '.almanac/store', key);
    const found = key.endsWith('.parquet') || readFileSync(path).subarray(0, 4).toString() === 'PAR1';
    const rows = found ? await sql(`SELECT * FROM read_parquet('${path}')`) : [[readFileSync(path, 'utf8')]];
    expect(JSON.stringify(rows), key).not.toMatch(/c-0007\b/);
  }
  const table = new PredictionsTable(systemPorts(store), 'predictions/late');
  const files = (await table.snapshot()).files.map(
    ({ path }) => `'${join(project, '.almanac/store', table.root, path)}'`,
  );
  const left = await sql(`SELECT customer_id FROM read_parquet([${files.join(', ')}]) ORDER BY ALL`);
  expect(left.flat()).toEqual(['c-0001', 'c-0001', 'c-0002', 'c-0003', 'c-00077']);

  await expect(table.snapshot({ version: 1 })).rejects.toThrow(/erased on \d{4}/);
  await expect(catalog.documents.get('profile', held.profile)).rejects.toThrow(/erased on \d{4}/);
  await expect(catalog.fetchArtifact(held.training, join(project, 'x'))).rejects.toThrow(/erased on \d{4}/);
  await catalog.fetchArtifact(held.others, join(project, 'others'));
  await catalog.documents.get('profile', held.otherProfile);
  expect((await verifyStore(store)).findings).toEqual([]);

  const again = await erase();
  expect(again).toMatchObject({ rewritten: [], deleted: [], remaining: [] });
});

test('what a late attempt brings back is deleted again by retention, which knows no subject', async () => {
  const profile = { columns: { customer_id: { unseenTop: [[subject, 1]] } } };
  expect(await catalog.documents.put('profile', profile)).toBe(held.profile);
  const { deleted } = await finishErasures(systemPorts(store));
  expect(deleted).toEqual([`documents/profile/${held.profile}.json`]);
});
