/** Networks are called with as many rows as a core's cache holds between two layers; the predictions do not tell. */
import { mkdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callRows } from '../../src/engine/call-rows.ts';
import { OnnxSession } from '../../src/engine/onnx-session.ts';
import { scoreChunk } from '../../src/engine/score.ts';
import { gemmBlock, joinBlocks, sigmoidBlock } from '../../src/onnx/blocks.ts';
import { buildModel, buildValue } from '../../src/onnx/build.ts';
import { readModel } from '../../src/onnx/read.ts';
import { contextOf } from './batched/support.ts';
import { Bench, binarySignature, champion, column, contractOf, scoreJob } from './support/fixtures.ts';

let bench: Bench;
beforeAll(async () => {
  bench = await Bench.create();
});
afterAll(() => bench.close());

/** Layers of these widths from `x` to `p`, with weights that differ. */
function network(widths: readonly number[]): Uint8Array {
  const layers = widths.slice(1).map((outputs, layer) => {
    const inputs = widths[layer]!;
    const weights = Float32Array.from({ length: inputs * outputs }, (_, i) => Math.sin(i + layer) / Math.sqrt(inputs));
    const bias = Float32Array.from({ length: outputs }, (_, i) => Math.cos(i));
    return gemmBlock({ input: layer === 0 ? 'x' : `h${layer}`, output: `h${layer + 1}`, weights, bias });
  });
  const blocks = joinBlocks([...layers, sigmoidBlock({ input: `h${layers.length}`, output: 'p' })]);
  return buildModel({
    ...blocks,
    inputs: [buildValue('x', 'float32', ['N', widths[0]!])],
    outputs: [buildValue('p', 'float32', ['N', widths.at(-1)!])],
  });
}

describe('rows per call follow from the widest pair of layers', () => {
  test.each([
    { widths: [30, 1], rows: null },
    { widths: [3_000, 1], rows: null },
    { widths: [30, 256, 128, 1], rows: 512 },
    { widths: [30, 64, 64, 1], rows: 2_048 },
    { widths: [100, 1_000, 1_000, 1], rows: 256 },
  ])('$widths → $rows', ({ widths, rows }) => {
    expect(callRows(readModel(network(widths)).graph)).toBe(rows);
  });
});

test.each(['auto', 'onnxruntime'] as const)('a wide network in several calls equals one call (%s)', async scorer => {
  const rows = 5_000;
  const features = ['f0', 'f1', 'f2'];
  const bytes = network([features.length, 256, 128, 1]);
  const input = await bench.parquet(
    'rows.parquet',
    `SELECT i AS id, ${features.map((name, n) => `CAST(sin(i * ${n + 1}) AS FLOAT) AS ${name}`).join(', ')} FROM range(${rows}) t(i)`,
  );
  const onnx = await bench.model('network.onnx', bytes);
  const outputFolder = bench.path(`network-${scorer}`);
  await mkdir(outputFolder);
  const job = scoreJob({
    inputs: [{ path: input, format: 'parquet' }],
    rows,
    contract: contractOf(features.map(name => column(name))),
    models: [{ ...champion(onnx, binarySignature(features)), scorer }],
    outputFolder,
    batchRows: 2_048,
    outputForm: 'predictions',
  });
  const { predictions } = await scoreChunk(job, await contextOf(bench));

  const table = await bench.read(input);
  const session = OnnxSession.load(bytes, 'the network');
  const x = Float32Array.from(table.flatMap(row => features.map(name => Number(row[name]))));
  const { p } = session.run({ x: session.tensor('float32', x, [rows, features.length]) }, ['p']);
  const written = await bench.read(predictions!.path);
  expect(written.map(row => row['id'])).toEqual(table.map(row => row['id']));
  const differences = written.map((row, i) => Math.abs(Number(row['score']) - Number(p!.data[i])));
  expect(differences).toHaveLength(rows);
  expect(Math.max(...differences)).toBeLessThanOrEqual(1e-6);
});
