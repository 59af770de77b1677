/** The Python example honours the contract of the command trainer. Its environment is made once, under .cache. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { InferenceSession } from 'onnxruntime-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { trainByCommand } from '../../src/trainers/command.ts';
import { Bench, column } from '../engine/support/fixtures.ts';

const call = promisify(execFile);
const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const python = at('.cache/python-trainer/bin/python');
let bench: Bench;

beforeAll(async () => {
  bench = await Bench.create();
  if (existsSync(python)) return;
  await call('python3', ['-m', 'venv', at('.cache/python-trainer')]);
  await call(python, ['-m', 'pip', 'install', '--quiet', '-r', at('examples/python-trainer/requirements.txt')]);
}, 600_000);
afterAll(() => bench.close());

test('trains, reports every round and leaves a model with its signature', { timeout: 300_000 }, async () => {
  const rows = await bench.parquet(
    'rows.parquet',
    `SELECT sin(i) AS wave, i % 5 AS digit, CASE i % 3 WHEN 0 THEN 'x' WHEN 1 THEN 'y' END AS kind,
       sin(i) + (i % 3 = 1)::INT > 0.4 AS late, 1 + i % 2 AS stands_for FROM range(2000) t(i)`,
  );
  const heard: number[] = [];
  const trained = await trainByCommand({
    argv: [python, at('examples/python-trainer/train.py')],
    spec: {
      schema: 'train-spec/1',
      model: 'late-payment',
      task: 'binary',
      seed: 7,
      label: { column: 'late', positive: '1', weight: 'stands_for' },
      classes: ['0', '1'],
      features: [column('wave'), column('digit', { type: 'int' }), column('kind', { type: 'category' })],
      parameters: { trees: 30 },
      trainFiles: [rows],
      holdoutFiles: [rows],
      outputFolder: join(bench.folder, 'python'),
    },
    workingFolder: bench.folder,
    environment: { PATH: '/usr/bin:/bin' },
    deadlineMs: 240_000,
    onProgress: ({ done }) => heard.push(done),
  });
  expect(heard).toEqual(Array.from({ length: 30 }, (_, index) => index + 1));
  expect(trained.metrics['auc']).toBeGreaterThan(0.95);
  expect(String(await readFile(trained.onnx))).toContain('"vocabulary": ["x", "y"]');
  const session = await InferenceSession.create(trained.onnx);
  expect(session.outputNames).toContain('probabilities');
  await session.release();
  const [golden] = await bench.sql(
    `SELECT count(*)::INT AS n, bool_and(score BETWEEN 0 AND 1) AS probabilities FROM read_parquet('${trained.golden}')`,
  );
  expect(golden).toEqual({ n: 256, probabilities: true });
});
