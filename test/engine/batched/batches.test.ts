/** The parts of strategy B on their own: the sweep, the placement, and sessions on their thread. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { BatchModel } from '../../../src/engine/batched/messages.ts';
import { placementOf } from '../../../src/engine/batched/placement.ts';
import { BatchSession } from '../../../src/engine/batched/session.ts';
import { batchCandidates, tuneBatch } from '../../../src/engine/batched/tune.ts';
import { logisticModel, sigmoid } from '../support/fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'almanac-batches-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A device that takes `callMs` for a call and `rowMs` for a row, and a clock that it drives. */
function device(callMs: number, rowMs: number) {
  let clock = 0;
  const calls: number[] = [];
  const run = (rows: number) => {
    calls.push(rows);
    clock += callMs + rows * rowMs;
  };
  return { run, now: () => clock, calls };
}

test('the candidates grow fourfold up to the bound, which is one of them', () => {
  expect(batchCandidates(2_048, 131_072)).toEqual([2_048, 8_192, 32_768, 131_072]);
  expect(batchCandidates(2_048, 10_000)).toEqual([2_048, 8_192, 10_000]);
  expect(batchCandidates(2_048, 500)).toEqual([500]);
});

test('a device with dear calls gets the largest batch, one with cheap calls the first', () => {
  const dear = device(5, 1e-4);
  expect(tuneBatch([2_048, 8_192, 32_768], dear.run, dear.now)).toMatchObject({ rows: 32_768 });
  const cheap = device(0, 1e-4);
  expect(tuneBatch([2_048, 8_192, 32_768], cheap.run, cheap.now).rows).toBe(2_048);
  expect(cheap.calls).toEqual([2_048, 2_048, 8_192, 8_192]);
});

test('a slow device is not kept busy with batches that would take long', () => {
  const slow = device(1, 0.3);
  const { rows, tried } = tuneBatch([2_048, 8_192, 32_768], slow.run, slow.now);
  expect(rows).toBe(2_048);
  expect(tried.map(batch => batch.rows)).toEqual([2_048]);
});

test('nodes are counted once per provider, however often they ran', () => {
  const kernel = (name: string, provider: string, operator: string) => ({
    cat: 'Node',
    name: `${name}_kernel_time`,
    args: { provider, op_name: operator },
  });
  const events = [
    { cat: 'Session', name: 'model_run', args: {} },
    ...[kernel('g1', 'WebGpu', 'Gemm'), kernel('g2', 'WebGpu', 'Gemm'), kernel('s', 'CPU', 'Scaler')],
    kernel('g1', 'WebGpu', 'Gemm'),
  ];
  expect(placementOf(events)).toEqual({
    nodes: { WebGpu: 2, CPU: 1 },
    operators: { WebGpu: ['Gemm'], CPU: ['Scaler'] },
  });
  expect(placementOf('no list')).toEqual({ nodes: {}, operators: {} });
});

function logistic(parts: Partial<BatchModel> = {}): BatchModel {
  return {
    model: logisticModel([1, -2], 0.25),
    label: 'logistic',
    provider: 'cpu',
    feeds: [{ name: 'x', type: 'float32', width: 2, rank: 2 }],
    output: 'p',
    profilePrefix: join(folder, 'profile'),
    batchRows: 4,
    ...parts,
  };
}

test('sessions share a thread and answer in order, with the buffers they were given', async () => {
  const [one, two] = await Promise.all([BatchSession.open(logistic()), BatchSession.open(logistic({ label: 'two' }))]);
  const inputs = [0, 1, 2, 3].map(value => Float32Array.of(value, 1, value, 2));
  const answers = await Promise.all(inputs.map((data, index) => (index % 2 === 0 ? one : two).run(2, [data])));
  for (const [index, { output, data }] of answers.entries()) {
    expect(output.data[0]).toBeCloseTo(sigmoid(index - 2 + 0.25), 6);
    expect(output.data[1]).toBeCloseTo(sigmoid(index - 4 + 0.25), 6);
    expect(data).toEqual([Float32Array.of(index, 1, index, 2)]);
    // Handed over, not copied.
    expect(inputs[index]).toHaveLength(0);
  }
  one.close();
  two.close();
});

test('a session that fails says so to every call after, and the others go on', async () => {
  const [broken, healthy] = [await BatchSession.open(logistic()), await BatchSession.open(logistic())];
  await expect(broken.run(3, [new Float32Array(2)])).rejects.toMatchObject({ kind: 'bad_model' });
  await expect(broken.run(1, [new Float32Array(2)])).rejects.toMatchObject({ kind: 'bad_model' });
  expect((await healthy.run(1, [new Float32Array(2)])).output.data[0]).toBeCloseTo(sigmoid(0.25), 6);
});

test('a provider that is not there, or bytes that are no model, reject the opening', async () => {
  await expect(BatchSession.open(logistic({ provider: 'cuda' }))).rejects.toThrow(
    /logistic: ONNX Runtime does not load/,
  );
  await expect(BatchSession.open(logistic({ model: Uint8Array.of(1, 2, 3) }))).rejects.toMatchObject({
    kind: 'bad_model',
  });
});
