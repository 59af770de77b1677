/** A table wider than any sane one: ten thousand columns take DuckDB ten seconds, so this is no test of the fast tier. */
import { mkdir } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EnginePool } from '../../src/engine/pool.ts';
import { Bench, binarySignature, champion, column, contractOf, logisticModel, scoreJob } from './support/fixtures.ts';

let bench: Bench;
let pool: EnginePool;
beforeAll(async () => {
  bench = await Bench.create();
  pool = new EnginePool({ size: 1, scratch: bench.path('scratch'), memoryMb: 1_500 });
});
afterAll(async () => {
  await pool.close();
  bench.close();
});

test('10,000 columns are scored', async () => {
  const names = Array.from({ length: 10_000 }, (_, i) => `c${i}`);
  const path = await bench.parquet(
    'wide.parquet',
    `SELECT i AS id, ${names.map((name, i) => `(i * ${i % 3})::FLOAT AS ${name}`).join(', ')} FROM range(5) t(i)`,
  );
  const onnx = await bench.model(
    'wide.onnx',
    logisticModel(
      names.map((_, i) => (i === 1 ? 1 : 0)),
      0,
    ),
  );
  await mkdir(bench.path('wide'));
  const job = scoreJob({
    inputs: [{ path }],
    rows: 5,
    contract: contractOf(names.map(name => column(name))),
    models: [champion(onnx, binarySignature(names))],
    outputFolder: bench.path('wide'),
  });
  const receipt = await pool.run('score-chunk', job, { deadlineMs: 200_000 });
  const rows = await bench.read(receipt.predictions!.path);
  expect(rows[4]!['score']).toBeCloseTo(1 / (1 + Math.exp(-4)), 6);
}, 240_000);
