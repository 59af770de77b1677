/** Networks exported by PyTorch and TensorFlow, scored by the engine and compared with what Python's onnxruntime answered. */
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scoreChunk } from '../../src/engine/score.ts';
import { run as prepareModel } from '../../src/engine/verbs/prepare-model.ts';
import { type CorpusModel, readCorpus } from '../onnx/corpus.ts';
import { contextOf } from './batched/support.ts';
import { Bench, champion, column, contractOf, scoreJob } from './support/fixtures.ts';

const folder = fileURLToPath(new URL('../onnx/fixtures/networks', import.meta.url));
const names = readdirSync(folder).flatMap(name => (name.endsWith('.onnx') ? [name.slice(0, -5)] : []));

let bench: Bench;
beforeAll(async () => {
  bench = await Bench.create();
});
afterAll(() => bench.close());

/** The inputs as a file: a matrix as columns f0, f1, …; an input of one column under its own name. */
function inputFile(name: string, { inputs }: CorpusModel) {
  const tensors = Object.entries(inputs);
  const rows = tensors[0]?.[1].dims[0] ?? 0;
  const features = tensors.flatMap(([input, { dims, values }]) => {
    const width = dims[1] ?? 1;
    return Array.from({ length: width }, (_, index) => ({
      name: width === 1 ? input : `f${index}`,
      values: values.filter((_value, position) => position % width === index),
    }));
  });
  const lines = Array.from({ length: rows }, (_, row) =>
    JSON.stringify({ id: row, ...Object.fromEntries(features.map(feature => [feature.name, feature.values[row]])) }),
  );
  const path = bench.path(`${name}.jsonl`);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return { path, rows, columns: features.map(feature => feature.name) };
}

describe.each(names)('%s', name => {
  test.each([2_048, 4_096])('equals Python (batch rows: %s)', async batchRows => {
    const corpus = readCorpus(`networks/${name}`);
    const { path, rows, columns } = inputFile(name, corpus);
    const outputFolder = bench.path(`${name}-out`);
    await mkdir(outputFolder, { recursive: true });
    const { onnx, signature } = await prepareModel(
      { onnx: `${folder}/${name}.onnx`, columns, outputFolder },
      await contextOf(bench),
    );
    const contract = contractOf(columns.map(feature => column(feature)));
    const inputs = [{ path, format: 'json' as const }];
    const models = [champion(onnx, signature)];
    const job = scoreJob({ inputs, rows, contract, models, outputFolder, batchRows, outputForm: 'predictions' });
    const receipt = await scoreChunk(job, await contextOf(bench));
    expect(receipt).toMatchObject({ rowsScored: rows, scorers: [{ scorer: 'onnxruntime' }] });

    const [expected] = Object.values(corpus.outputs);
    if (expected === undefined) throw new Error(`${name}.json has no outputs`);
    const width = expected.dims[1] ?? 1;
    const wanted = expected.values.map(Number);
    const tolerance = 1e-6 * wanted.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
    const ours = (await bench.read(receipt.predictions!.path)).flatMap(row =>
      Object.entries(row).flatMap(([column, value]) =>
        // Regressions predict numbers; classifiers have scores beside the predicted class.
        column !== 'id' && typeof value === 'number' ? [value] : [],
      ),
    );
    expect(ours).toHaveLength(rows * width);
    const worst = ours.reduce((most, value, index) => Math.max(most, Math.abs(value - wanted[index]!)), 0);
    expect(worst).toBeLessThanOrEqual(tolerance);
  });
});

test('both frameworks are there, binary and not, within a megabyte', () => {
  const wanted = ['pytorch-binary', 'pytorch-embedding', 'tensorflow-multiclass', 'tensorflow-targets'];
  expect(names).toEqual(expect.arrayContaining(wanted));
  const bytes = readdirSync(folder).reduce((sum, name) => sum + statSync(`${folder}/${name}`).size, 0);
  expect(bytes).toBeLessThan(2 ** 20);
});
