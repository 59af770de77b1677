/**
 * The way of a GPU, exercised without one: ONNX Runtime's WebGPU provider on SwiftShader, a Vulkan driver in software. The
 * code is that of CUDA but for the provider's name. Needs libvulkan1 and chromium-common of Debian, or another driver's
 * manifest in VK_ICD_FILENAMES.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scoreFiles } from '../../../src/cli/score-file.ts';
import type { Signature } from '../../../src/domain/signature.ts';
import { EngineFault } from '../../../src/engine/fault.ts';
import type { ModelToScore, ScoreChunkJob } from '../../../src/engine/job.ts';
import { EnginePool } from '../../../src/engine/pool.ts';
import { gemmBlock, joinBlocks, scalerBlock } from '../../../src/onnx/blocks.ts';
import { buildModel, buildNode, buildValue } from '../../../src/onnx/build.ts';
import { readModel } from '../../../src/onnx/read.ts';
import { inferSignature } from '../../../src/onnx/signature.ts';
import { Bench, binarySignature, champion, column, contractOf, scoreJob } from '../support/fixtures.ts';
import { corpusFile, expectSameResults, expectSameRows, networkModel } from './support.ts';

const driver = process.env['VK_ICD_FILENAMES'] ?? '/usr/lib/chromium/vk_swiftshader_icd.json';
const rows = 7_000;
let bench: Bench;
let pool: EnginePool;
let path: string;
let network: string;
const names = ['f0', 'f1', 'f2', 'f3', 'f4', 'f5'];
const contract = contractOf(names.map(name => column(name)));
const signature = binarySignature(names);

beforeAll(async () => {
  if (!existsSync(driver)) throw new Error(`no Vulkan driver at ${driver}: apt-get install libvulkan1 chromium-common`);
  bench = await Bench.create();
  const environment = { VK_ICD_FILENAMES: driver, VK_DRIVER_FILES: driver };
  pool = new EnginePool({ size: 1, scratch: bench.path('scratch'), environment });
  const features = names.map((name, index) => `((hash(i + ${index}) % 2001)::FLOAT / 1000 - 1) AS ${name}`);
  path = await bench.parquet('rows.parquet', `SELECT i AS id, ${features.join(', ')} FROM range(${rows}) t(i)`);
  network = await bench.model('network.onnx', networkModel(names.length, 32));
});
afterAll(async () => {
  await pool?.close();
  bench?.close();
});

async function score(name: string, models: readonly ModelToScore[], overrides: Partial<ScoreChunkJob> = {}) {
  const outputFolder = bench.path(name);
  await mkdir(outputFolder, { recursive: true });
  const job = scoreJob({ inputs: [{ path }], rows, contract, models, outputFolder, provider: 'webgpu', ...overrides });
  return pool.run('score-chunk', job, { deadlineMs: 120_000 });
}

test('require: the GPU scores, with the results of the CPU, and the receipt tells batch and placement', async () => {
  const onCpu = await score('cpu', [champion(network, signature)]);
  const onGpu = await score('gpu', [champion(network, signature)], { device: 'require' });
  await expectSameResults(bench, onCpu, onGpu);
  expect(onGpu.scorers).toMatchObject([
    {
      scorer: 'onnxruntime',
      reason: expect.stringMatching(/^on webgpu, as required; rows per second by batch: 2048: \d+\/s/),
      operators: { WebGpuExecutionProvider: ['Gemm', 'Relu', 'Sigmoid'] },
    },
  ]);
  expect(onGpu.scorers[0]?.providers['CPUExecutionProvider']).toBeUndefined();
  expect(onGpu.scorers[0]?.batchRows).toBeGreaterThanOrEqual(2_048);
});

test('quarantine, shadow, canary, profile and a transform go the same way', async () => {
  const baseline = { schema: 'baseline/1', columns: {}, score: [0.25, 0.5, 0.75], number: 1, reason: 'test' };
  await writeFile(bench.path('baseline.json'), JSON.stringify(baseline));
  const other = await bench.model('other.onnx', networkModel(names.length, 8));
  const [alone, shadow] = [{ ...champion(network, signature) }, { ...champion(other, signature, 2) }];
  const models: ModelToScore[] = [
    alone,
    { ...shadow, part: { kind: 'shadow' } },
    { ...shadow, version: 3, part: { kind: 'share', arm: 'canary', share: 0.3, salt: 's' } },
  ];
  const overrides = {
    contract: contractOf([column('f0', { max: 0.9 }), ...names.slice(1).map(name => column(name))]),
    baseline: bench.path('baseline.json'),
    transform: 'SELECT * REPLACE (f1 * 2 AS f1) FROM features WHERE id % 5 > 0',
  };
  const onCpu = await score('rich-cpu', models, overrides);
  const onGpu = await score('rich-gpu', models, { ...overrides, device: 'require' });
  expect(onCpu.rowsQuarantined).toBeGreaterThan(100);
  expect(onGpu.scorers.map(({ providers }) => Object.keys(providers))).toEqual([
    ['WebGpuExecutionProvider'],
    ['WebGpuExecutionProvider'],
    ['WebGpuExecutionProvider'],
  ]);
  // Scores near an edge of the histogram may fall on its other side: the profile is compared without them.
  await expectSameResults(bench, { ...onCpu, profile: null }, { ...onGpu, profile: null });
  const profile = JSON.parse(await readFile(onGpu.profile!, 'utf8'));
  expect(profile.rows).toBe(onGpu.rowsRead);
});

test('prefer: an operator that the GPU lacks runs on the CPU, and both are named', async () => {
  const blocks = joinBlocks([
    scalerBlock({ input: 'x', output: 's', offset: [0, 0, 0, 0, 0, 0], scale: [2, 1, 1, 1, 1, 1] }),
    gemmBlock({ input: 's', output: 'z', weights: [1, -1, 0.5, 0.25, 0, 2], bias: [0.1] }),
  ]);
  const nodes = [...blocks.nodes, buildNode({ op: 'Sigmoid', inputs: ['z'], outputs: ['p'] })];
  const bytes = buildModel({
    ...{ nodes, initializers: blocks.initializers },
    inputs: [buildValue('x', 'float32', ['N', 6])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
  });
  const scaled = champion(await bench.model('scaled.onnx', bytes), signature);
  const onGpu = await score('mixed-gpu', [scaled], { device: 'prefer' });
  await expectSameResults(bench, await score('mixed-cpu', [scaled]), onGpu);
  expect(onGpu.scorers[0]?.operators).toEqual({
    CPUExecutionProvider: ['Scaler'],
    WebGpuExecutionProvider: expect.arrayContaining(['Gemm', 'Sigmoid']),
  });
  await expect(score('mixed-require', [scaled], { device: 'require' })).rejects.toThrow(/webgpu has no Scaler/);
});

test('trees stay on the CPU and say so; required on the GPU they are refused', async () => {
  const bytes = await readFile(corpusFile('lightgbm-binary.onnx'));
  const trees: Signature = inferSignature(readModel(bytes), { columns: names });
  const model = champion(await bench.model('trees.onnx', bytes), trees);
  const preferred = await score('trees', [model], { device: 'prefer' });
  expect(preferred.scorers).toMatchObject([
    { scorer: 'trees', reason: expect.stringContaining('on the CPU, where compiled trees are faster than on a GPU') },
  ]);
  await expect(score('trees-require', [model], { device: 'require' })).rejects.toThrow(/webgpu has no TreeEnsemble/);
});

test('score-file --device require scores on the GPU, and says so', async () => {
  process.env['VK_ICD_FILENAMES'] = driver;
  const options = { model: network, input: path, keys: ['id'], features: names, processes: 1 };
  const onCpu = await scoreFiles({ ...options, output: bench.path('file-cpu') }, () => {});
  const onGpu = await scoreFiles(
    { ...options, output: bench.path('file-gpu'), device: 'require', provider: 'webgpu' },
    () => {},
  );
  expect(onGpu).toMatchObject({ rows, scorer_reason: expect.stringMatching(/^on webgpu, as required/) });
  expect(onGpu.files.length).toBe(onCpu.files.length);
  for (const [index, { path: file }] of onCpu.files.entries())
    await expectSameRows(bench, file, onGpu.files[index]!.path);
});

test('without its driver the GPU is absent: required it fails, preferred it says why', async () => {
  const blind = new EnginePool({ size: 1, scratch: bench.path('blind'), environment: { VK_ICD_FILENAMES: '/none' } });
  try {
    const outputFolder = bench.path('blind');
    const parts = { inputs: [{ path }], rows, contract, models: [champion(network, signature)], outputFolder };
    const run = (device: 'require' | 'prefer') =>
      blind.run('score-chunk', scoreJob({ ...parts, device, provider: 'webgpu' }), { deadlineMs: 60_000 });
    const fault = await run('require').catch((error: unknown) => error);
    expect(fault).toBeInstanceOf(EngineFault);
    expect(fault).toMatchObject({ kind: 'device', facts: { wanted: 'webgpu' } });
    const { scorers } = await run('prefer');
    expect(scorers[0]?.reason).toMatch(/on the CPU: the provider webgpu does not serve it/);
    expect(Object.keys(scorers[0]?.providers ?? {})).toEqual(['CPUExecutionProvider']);
  } finally {
    await blind.close();
  }
});
