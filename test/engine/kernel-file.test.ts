import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compileTrees } from '../../src/engine/compile-trees.ts';
import { type KernelFile, KernelStore } from '../../src/engine/kernel-file.ts';
import { scoreChunk } from '../../src/engine/score.ts';
import { treeRegressorBlock } from '../../src/onnx/blocks.ts';
import { buildModel, buildValue } from '../../src/onnx/build.ts';
import { contextOf } from './batched/support.ts';
import { Bench, binarySignature, champion, column, contractOf, scoreJob } from './support/fixtures.ts';
import { randomEnsemble } from './trees/random-ensembles.ts';

const columns = ['a', 'b', 'c'];
const signature = binarySignature(columns);

function forest(seed: number): Uint8Array {
  const ensemble = randomEnsemble(seed, { features: columns.length, modes: ['BRANCH_LEQ'] });
  return buildModel({
    ...treeRegressorBlock({ input: 'x', output: 'p', ensemble }),
    inputs: [buildValue('x', 'float32', ['N', columns.length])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
  });
}

function kernelOf(model: Uint8Array): KernelFile {
  const compiled = compileTrees(model, 'p');
  if (compiled.kind === 'fallback') throw new Error(compiled.reason);
  return { image: compiled.image, gate: 'no difference', inputRows: 0 };
}

test('a file is for one model and signature, and a damaged one is as good as none', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kernels-'));
  const model = forest(1);
  const kernel = kernelOf(model);
  await new KernelStore(folder, model, signature).write(kernel);
  expect(await new KernelStore(folder, model, signature).read()).toEqual(kernel);
  expect(await new KernelStore(folder, forest(2), signature).read()).toBeNull();
  expect(await new KernelStore(folder, model, { ...signature, threshold: 0.4 }).read()).toBeNull();

  const [name] = await readdir(folder);
  const path = join(folder, name!);
  const bytes = await readFile(path);
  bytes[bytes.length >> 1]! ^= 1;
  await writeFile(path, bytes);
  expect(await new KernelStore(folder, model, signature).read()).toBeNull();
});

test('a folder keeps the newest files only', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kernels-'));
  const kernel = kernelOf(forest(1));
  for (let model = 0; model < 36; model++) {
    await new KernelStore(folder, Uint8Array.of(model), signature).write(kernel);
  }
  expect(await readdir(folder)).toHaveLength(32);
  expect(await new KernelStore(folder, Uint8Array.of(35), signature).read()).not.toBeNull();
});

test('an input is compared once: the next process opens the kept kernel and gives the same rows', async () => {
  const bench = await Bench.create();
  const kernels = bench.path('kernels');
  const input = await bench.parquet(
    'rows.parquet',
    'SELECT i AS id, sin(i)::FLOAT AS a, cos(i)::FLOAT AS b, (i % 7)::FLOAT AS c FROM range(3000) t(i)',
  );
  const score = async (onnx: string, name: string) => {
    const outputFolder = bench.path(name);
    await mkdir(outputFolder);
    const job = scoreJob({
      inputs: [{ path: input }],
      rows: 3_000,
      contract: contractOf(columns.map(feature => column(feature))),
      models: [champion(onnx, signature)],
      outputFolder,
    });
    return scoreChunk(job, { ...(await contextOf(bench)), kernels });
  };
  const model = forest(3);
  const first = await score(await bench.model('one.onnx', model), 'one');
  const [file] = await readdir(kernels);
  const kept = await new KernelStore(kernels, model, signature).read();
  expect(kept?.inputRows).toBe(1_024);

  // The same bytes under another name are the same model; a cache of this process does not know them.
  const second = await score(await bench.model('two.onnx', model), 'two');
  expect(await readdir(kernels)).toEqual([file]);
  expect(second.scorers).toMatchObject([{ scorer: 'trees', reason: first.scorers[0]!.reason }]);
  expect(second.predictions!.sha256).toBe(first.predictions!.sha256);
  bench.close();
});
