/**
 * The table opens with readers nobody here wrote: `deltalake` (delta-rs) reads the log, and both PyArrow and Polars read the
 * rows. Their environment is made once, under .cache.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EnginePool } from '../../../src/engine/pool.ts';
import { sha256 } from '../../../src/storage/digest.ts';
import { LocalStore } from '../../../src/storage/local.ts';
import { systemPorts } from '../../../src/storage/ports.ts';
import { checkpointActions, publishCheckpoint } from '../../../src/storage/table/checkpoint.ts';
import { type CommitRequest, type PartFile, PredictionsTable } from '../../../src/storage/table/predictions-table.ts';
import type { TableColumn } from '../../../src/storage/table/schema.ts';

const call = promisify(execFile);
const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const environment = at('../../../.cache/delta-venv');
const python = join(environment, 'bin/python');
const requirements = at('read-delta-requirements.txt');
const root = 'predictions/late-payment';
const columns: readonly TableColumn[] = [
  { name: 'id', type: 'long' },
  { name: 'score', type: 'double' },
  { name: 'label', type: 'string' },
  { name: 'seen', type: 'timestamp' },
];
const select = `SELECT i::BIGINT AS id, i / 8 AS score, CASE WHEN i % 2 = 1 THEN 'late' END AS label,
  TIMESTAMPTZ '2026-01-31 12:00:00.25+00' AS seen`;

interface Seen {
  readonly version: number;
  readonly columns: Readonly<Record<string, string>>;
  readonly partitionColumns: readonly string[];
  readonly files: readonly string[];
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  readonly rowsOfPolars: readonly Readonly<Record<string, unknown>>[];
  readonly operations: readonly string[];
}

let folder: string;
let store: LocalStore;
let table: PredictionsTable;
let instance: DuckDBInstance;

beforeAll(async () => {
  await makeEnvironment();
  folder = await mkdtemp(join(tmpdir(), 'almanac-delta-'));
  store = new LocalStore(folder);
  table = new PredictionsTable(systemPorts(store), root);
  instance = await DuckDBInstance.create();
}, 600_000);
afterAll(async () => {
  instance?.closeSync();
  await rm(folder, { recursive: true, force: true });
});

test('foreign readers see exactly the rows of every version', { timeout: 120_000 }, async () => {
  // Version 0 creates the table, every line below is one more.
  await table.abort({ partition: '2026-01-29', generation: 1, reason: 'cancelled before any file was written' });
  await table.commit(
    await scored('2026-01-30', 1, [`${select} FROM range(0, 3) t(i)`, `${select} FROM range(3, 5) t(i)`]),
  );
  await table.commit(await scored('2026-01-31', 1, [`${select} FROM range(10, 12) t(i)`]));
  const grown = [...columns, { name: 'arm', type: 'string' as const }];
  const replacement = [`${select}, 'b' AS arm FROM range(1, 3) t(i)`];
  const second = await scored('2026-01-30', 2, replacement, grown);
  await table.commit(second);
  await scored('2026-02-01', 1, [`${select} FROM range(90, 99) t(i)`]);
  await table.abort({ partition: '2026-02-01', generation: 1, reason: 'its files stay in the folder, unseen' });

  const [created, aborted, first, both, replaced, newest] = await readers(['0', '1', '2', '3', '4', 'newest']);
  expect([created, aborted].map(seen => seen?.rows)).toEqual([[], []]);
  expect(first?.rows).toEqual([0, 1, 2, 3, 4].map(id => row('2026-01-30', id)));
  const other = [10, 11].map(id => row('2026-01-31', id));
  expect(both?.rows).toEqual([...[0, 1, 2, 3, 4].map(id => row('2026-01-30', id)), ...other]);
  const now = [
    ...[1, 2].map(id => ({ ...row('2026-01-30', id), arm: 'b' })),
    ...other.map(old => ({ ...old, arm: null })),
  ];
  expect(replaced?.rows).toEqual(now);
  expect(newest?.rows).toEqual(now);
  for (const seen of [created, aborted, first, both, replaced, newest]) expect(seen?.rowsOfPolars).toEqual(seen?.rows);

  expect(newest).toMatchObject({
    version: 5,
    partitionColumns: ['partition'],
    columns: { id: 'long', score: 'double', label: 'string', seen: 'timestamp', arm: 'string', partition: 'string' },
    operations: ['ABORT', 'WRITE', 'WRITE', 'WRITE', 'ABORT', 'CREATE TABLE'],
  });
  // What we say ourselves about every version.
  for (const seen of [first, both, replaced, newest]) {
    const ours = await table.snapshot({ version: seen!.version });
    expect(seen?.rows).toHaveLength(ours.rows);
    expect(seen?.files).toEqual(ours.files.map(file => file.path.split('/').at(-1)).toSorted());
  }
});

test('a partition with any name reads as it was written', { timeout: 120_000 }, async () => {
  const partition = '2026-02-01T06:00 é%41/~';
  await table.commit(await scored(partition, 1, [`${select} FROM range(5, 7) t(i)`]));
  const [newest] = await readers(['newest']);
  // Polars takes the value from the name of the folder, where it stands escaped; the log has it as it is.
  expect(newest?.rows.slice(-2)).toEqual([5, 6].map(id => ({ ...row(partition, id), arm: null })));
  expect(newest?.rowsOfPolars.map(({ id, score }) => [id, score])).toEqual(
    newest?.rows.map(({ id, score }) => [id, score]),
  );
});

test('readers that start from a checkpoint see what the whole log says', { timeout: 120_000 }, async () => {
  const before = await table.snapshot();
  const state = await table.stateAt(before.version);
  const actions = checkpointActions(state);
  const [lines, output] = [join(folder, 'actions.ndjson'), join(folder, 'checkpoint.parquet')];
  await writeFile(lines, actions.map(action => `${JSON.stringify(action)}\n`).join(''));
  const engine = new EnginePool({ size: 1, scratch: join(folder, 'engine') });
  await engine.run('delta-checkpoint', { actions: lines, rows: actions.length, output }, { deadlineMs: 60_000 });
  await engine.close();
  const [whole] = await readers(['newest']);
  const ports = systemPorts(store);
  for (const _ of ['once', 'twice'])
    await publishCheckpoint(ports, root, { version: before.version, actions: actions.length, file: output });
  expect((await new PredictionsTable(ports, root).snapshot()).files).toEqual(before.files);
  await table.commit(await scored('2026-02-02', 1, [`${select} FROM range(20, 22) t(i)`]));

  // A copy without the entries that the checkpoint replaces: who reads it has read the checkpoint.
  const copy = join(folder, 'copy');
  await cp(join(folder, root), copy, { recursive: true });
  for (let version = 0; version < before.version; version += 1)
    await rm(join(copy, '_delta_log', `${String(version).padStart(20, '0')}.json`));
  const grown = [20, 21].map(id => ({ ...row('2026-02-02', id), arm: null }));
  for (const place of [join(folder, root), copy]) {
    const [seen] = await readersAt(place, [String(before.version + 1)]);
    expect(seen?.rows).toEqual([...(whole?.rows ?? []), ...grown]);
    expect(seen?.columns).toEqual(whole?.columns);
  }
  expect(before.version).toBeGreaterThan(5);
});

/** Writes one part file per query and describes the commit of them. */
async function scored(
  partition: string,
  generation: number,
  queries: readonly string[],
  written: readonly TableColumn[] = columns,
): Promise<CommitRequest> {
  const connection = await instance.connect();
  const files: PartFile[] = [];
  for (const [chunk, query] of queries.entries()) {
    const local = join(folder, 'part.parquet');
    await connection.run(`COPY (${query}) TO '${local}' (FORMAT parquet)`);
    const { path, key } = table.newPartFile({ partition, generation, chunk, attempt: 1 });
    expect(await store.upload(key, local)).toMatchObject({ kind: 'applied' });
    const counted = await connection.runAndReadAll(`SELECT count(*)::INT FROM '${local}'`);
    const rows = Number(counted.getRows()[0]?.[0]);
    files.push({ path, bytes: (await stat(local)).size, rows, sha256: sha256(await readFile(local)) });
  }
  connection.closeSync();
  const asOf = '2026-02-01T00:00:00Z';
  const job = { workflowId: `score/late-payment/${partition}`, runId: 'r', attempt: 1, asOf };
  return { partition, generation, planDigest: sha256(partition), columns: written, files, ...job };
}

function row(partition: string, id: number): Readonly<Record<string, unknown>> {
  return {
    id,
    score: id / 8,
    label: id % 2 === 1 ? 'late' : null,
    seen: '2026-01-31T12:00:00.250000+00:00',
    partition,
  };
}

async function readers(versions: readonly string[]): Promise<readonly Seen[]> {
  return await readersAt(join(folder, root), versions);
}

async function readersAt(place: string, versions: readonly string[]): Promise<readonly Seen[]> {
  const { stdout } = await call(python, [at('read-delta.py'), place, ...versions]);
  return JSON.parse(stdout);
}

/** Installs the readers unless these very versions stand there already. */
async function makeEnvironment(): Promise<void> {
  const wanted = await readFile(requirements, 'utf8');
  const done = join(environment, 'almanac-requirements.txt');
  if (existsSync(done) && (await readFile(done, 'utf8')) === wanted) return;
  await call('python3', ['-m', 'venv', environment]);
  await call(python, ['-m', 'pip', 'install', '--quiet', '-r', requirements]);
  await writeFile(done, wanted);
}
