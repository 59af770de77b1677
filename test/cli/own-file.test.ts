/** What a newcomer does with a file of their own, through the command alone: init, validate, up, train, approve, score. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const loader = import.meta.resolve('tsx');
const days = 30;
const rowsPerDay = 60;
let project: string;
let up: ChildProcess | null = null;

/** Quotes, commas, missing values, a column name with quotes, and HTML in a text column. */
function customersCsv(): string {
  const lines = ['"Customer Id",signed_up,age,"plan ""type""",note,spent,churned'];
  for (let i = 0; i < days * rowsPerDay; i++) {
    const age = 18 + ((i * 37) % 60);
    const plan = ['basic', '"plus, yearly"', '<b>pro</b>', ''][i % 4];
    const spent = i % 9 === 0 ? '' : ((i * 7919) % 1000) / 10;
    const churned = (i * 7) % 100 < (age < 35 ? 60 : 15) ? 'yes' : 'no';
    const day = new Date(Date.UTC(2025, 0, 1 + Math.floor(i / rowsPerDay))).toISOString().slice(0, 10);
    lines.push(`${i},${day},${age},${plan},"He said ""hi"", <script>alert(${i})</script>",${spent},${churned}`);
  }
  return `${lines.join('\n')}\n`;
}

async function almanac(...argv: string[]) {
  const run = await promisify(execFile)(process.execPath, ['--import', loader, main, ...argv], {
    cwd: project,
    maxBuffer: 1e8,
  });
  return run.stdout;
}

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'almanac-own-'));
  await writeFile(join(project, 'customers.csv'), customersCsv());
});

afterAll(async () => {
  if (up !== null && up.exitCode === null) {
    const ended = new Promise(resolve => up?.once('exit', resolve));
    up.kill('SIGINT');
    await ended;
  }
  await rm(project, { recursive: true, force: true });
});

test('a CSV becomes a trained, approved and scored model without an edit', { timeout: 240_000 }, async () => {
  const made = JSON.parse(await almanac('init', '--from', 'customers.csv', '--yes', '--json'));
  expect(made).toMatchObject({
    model: 'customers',
    task: 'binary',
    label: 'churned',
    keys: ['Customer Id'],
    partitions: days,
  });

  const validated = JSON.parse(await almanac('validate', '--json'));
  expect(validated.models[0]).toMatchObject({ model: 'customers', rows: rowsPerDay, quarantined: 0, problems: [] });

  up = spawn(process.execPath, ['--import', loader, main, 'up', '--json'], {
    cwd: project,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve, reject) => {
    up?.stdout?.once('data', resolve);
    up?.once('exit', code => reject(new Error(`almanac up ended with ${code}`)));
  });

  const trained = JSON.parse(await almanac('train', 'customers', '--json'));
  expect(trained).toMatchObject({ kind: 'qualified', version: 1 });
  expect(JSON.parse(await almanac('approve', 'customers', '--json'))).toMatchObject({ kind: 'approved' });
  const promoted = JSON.parse(await almanac('promote', 'customers', 'v1', '--json'));
  expect(promoted).toMatchObject({ kind: 'promoted', version: 1 });

  const scored = JSON.parse(await almanac('score', 'customers', '--partition', '2025-01-30', '--json'));
  expect(scored).toMatchObject({ kind: 'committed', rows: rowsPerDay, versions: [1] });
  const again = JSON.parse(await almanac('score', 'customers', '--partition', '2025-01-30', '--json'));
  expect(again.tableVersion).toBe(scored.tableVersion);

  const read = JSON.parse(await almanac('table', 'read', 'customers', '--limit', '1000', '--json'));
  expect(read.columns).toEqual(['Customer Id', 'score', 'prediction', 'model_version', 'scored_at']);
  expect(new Set(read.rows.map((row: unknown[]) => row[0])).size).toBe(rowsPerDay);
});

test('a CSV without times or keys is one partition, judged on rows that the training left out', {
  timeout: 120_000,
}, async () => {
  const lines = Array.from(
    { length: 3_000 },
    (_, i) => `${(i * 37) % 101},${(i * 53) % 89},${(i * 37) % 101 > (i * 53) % 89}`,
  );
  await writeFile(join(project, 'plain.csv'), ['width,height,wide', ...lines].join('\n'));
  const made = JSON.parse(await almanac('init', '--from', 'plain.csv', '--json'));
  expect(made).toMatchObject({ label: 'wide', keys: ['row_number'], timeColumn: null, partitions: 1 });

  expect(JSON.parse(await almanac('train', 'plain', '--json'))).toMatchObject({ kind: 'qualified', version: 1 });
  const [run] = JSON.parse(await almanac('runs', 'plain', '--json')).runs;
  expect(run.rows.train + run.rows.holdout).toBe(3_000);
  expect(run.rows.holdout / 3_000).toBeCloseTo(0.2, 1);
});
