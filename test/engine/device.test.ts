/** `score.device` on a machine without a GPU, as all test machines are: said aloud, never a silent fallback. */
import { mkdir } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { assertGpuHasOperators } from '../../src/engine/device.ts';
import { EngineFault, isPermanent } from '../../src/engine/fault.ts';
import type { ScoreChunkJob } from '../../src/engine/job.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { Bench, binarySignature, champion, column, contractOf, logisticModel, scoreJob } from './support/fixtures.ts';

let bench: Bench;
let pool: EnginePool;
let path: string;
let onnx: string;
beforeAll(async () => {
  bench = await Bench.create();
  pool = new EnginePool({ size: 1, scratch: bench.path('scratch'), memoryMb: 1_500 });
  path = await bench.parquet('rows.parquet', 'SELECT i AS id, i::FLOAT AS a, 1::FLOAT AS b FROM range(100) t(i)');
  onnx = await bench.model('logistic.onnx', logisticModel([1, -2], 0.25));
});
afterAll(async () => {
  await pool.close();
  bench.close();
});

async function score(device: ScoreChunkJob['device'], scorer: 'auto' | 'onnxruntime' = 'auto') {
  const outputFolder = bench.path(`${device}-${scorer}`);
  await mkdir(outputFolder, { recursive: true });
  const models = [{ ...champion(onnx, binarySignature(['a', 'b'])), scorer }];
  const contract = contractOf([column('a'), column('b')]);
  const job = scoreJob({ inputs: [{ path }], rows: 100, contract, models, outputFolder, device });
  return await pool.run('score-chunk', job, { deadlineMs: 60_000 });
}

test('require without a GPU is a permanent fault with the provider wanted, those found and the next step', async () => {
  const fault = await score('require').then(
    () => null,
    (error: unknown) => error,
  );
  if (!(fault instanceof EngineFault)) throw new Error(`expected an EngineFault, got ${String(fault)}`);
  expect(fault.kind).toBe('device');
  expect(isPermanent(fault)).toBe(true);
  expect(fault.message).toMatch(
    /model version 1 .* is require, but the provider cuda does not serve it \(found cpu, .*almanac doctor gpu/s,
  );
  expect(fault.facts).toMatchObject({
    wanted: 'cuda',
    found: expect.arrayContaining([{ name: 'cpu', bundled: true }]),
  });
});

test.each(['auto', 'onnxruntime'] as const)('prefer scores on the CPU and says why (scorer %s)', async scorer => {
  const { rowsScored, scorers } = await score('prefer', scorer);
  expect(rowsScored).toBe(100);
  expect(scorers).toMatchObject([{ scorer: 'onnxruntime', providers: { CPUExecutionProvider: expect.any(Number) } }]);
  expect(scorers[0]?.reason).toMatch(/on the CPU: the provider cuda does not serve it \(found cpu/);
});

test('off looks for no GPU', async () => {
  const { scorers } = await score('off', 'onnxruntime');
  expect(scorers[0]?.reason).toBe('demanded');
});

test('a model that a GPU would hand to the CPU in silence is refused by operator', () => {
  const gemm = { domain: '', opType: 'Gemm' };
  const trees = { domain: 'ai.onnx.ml', opType: 'TreeEnsembleClassifier' };
  expect(() => assertGpuHasOperators([gemm, trees], 'model version 3', 'cuda')).toThrow(
    /model version 3: .* has no TreeEnsembleClassifier, which would run on the CPU; use device: prefer or off/,
  );
  assertGpuHasOperators([gemm, { domain: 'ai.onnx.ml', opType: 'LabelEncoder' }], 'model version 3', 'cuda');
});
