import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ScorerRecord } from '../../src/domain/model-version.ts';
import { compileTrees } from '../../src/engine/compile-trees.ts';
import { type KernelFile, KernelStore, TREE_COMPILER } from '../../src/engine/kernel-file.ts';
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
  return {
    image: compiled.image,
    texts: null,
    compared: { rows: 512, largestDifference: 0, tolerance: 1e-6 },
    inputRows: 0,
  };
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

async function rowsOf(bench: Bench): Promise<string> {
  return bench.parquet(
    'rows.parquet',
    'SELECT i AS id, sin(i)::FLOAT AS a, cos(i)::FLOAT AS b, (i % 7)::FLOAT AS c FROM range(3000) t(i)',
  );
}

async function scoreRows(
  bench: Bench,
  of: {
    readonly input: string;
    readonly onnx: string;
    readonly name: string;
    readonly kernels: string;
    readonly recorded?: ScorerRecord;
  },
) {
  const outputFolder = bench.path(of.name);
  await mkdir(outputFolder);
  const job = scoreJob({
    inputs: [{ path: of.input }],
    rows: 3_000,
    contract: contractOf(columns.map(feature => column(feature))),
    models: [{ ...champion(of.onnx, signature), recorded: of.recorded }],
    outputFolder,
  });
  return scoreChunk(job, { ...(await contextOf(bench)), kernels: of.kernels });
}

test('an input is compared once: the next process opens the kept kernel and gives the same rows', async () => {
  const bench = await Bench.create();
  const kernels = bench.path('kernels');
  const input = await rowsOf(bench);
  const score = async (onnx: string, name: string) => scoreRows(bench, { input, onnx, name, kernels });
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

test('what was recorded at registration is followed, and compared anew only for another compiler', async () => {
  const bench = await Bench.create();
  const input = await rowsOf(bench);
  const model = forest(3);
  const compared = { rows: 2_048, largestDifference: 0, tolerance: 1e-6 };
  const score = async (name: string, recorded: ScorerRecord) => {
    const kernels = bench.path(`kernels-${name}`);
    const onnx = await bench.model(`${name}.onnx`, model);
    const { scorers } = await scoreRows(bench, { input, onnx, name, kernels, recorded });
    return { used: scorers[0]!, kept: await new KernelStore(kernels, model, signature).read() };
  };
  const equal: ScorerRecord = { scorer: 'trees', reason: 'equal', compared, compiler: TREE_COMPILER };

  const followed = await score('followed', equal);
  expect(followed.used).toMatchObject({ scorer: 'trees', compared });
  expect(followed.used.reason).toMatch(/at registration: no difference on 2048 rows/);
  expect(followed.kept?.inputRows).toBe(0);

  const different = { ...equal, scorer: 'onnxruntime', reason: 'the trees differ by 0.1' } as const;
  const refused = await score('refused', different);
  expect(refused.used).toMatchObject({
    scorer: 'onnxruntime',
    reason: 'recorded at registration: the trees differ by 0.1',
    compared,
  });
  expect(refused.kept).toBeNull();

  const older = await score('older', { ...different, compiler: 'another' });
  expect(older.used).toMatchObject({ scorer: 'trees' });
  expect(older.kept?.inputRows).toBe(1_024);
  expect(older.used.compared!.rows).toBeGreaterThan(1_024);
  bench.close();
});
