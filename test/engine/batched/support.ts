/** One chunk scored by both strategies: vector by vector, and in batches on a thread of their own. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import type { ChunkReceipt, ScoreChunkJob } from '../../../src/engine/job.ts';
import { scoreChunk } from '../../../src/engine/score.ts';
import type { VerbContext } from '../../../src/engine/verbs.ts';
import { gemmBlock, joinBlocks, sigmoidBlock } from '../../../src/onnx/blocks.ts';
import { buildModel, buildNode, buildValue } from '../../../src/onnx/build.ts';
import { seededRandom } from '../../../src/trainers/random.ts';
import { type Bench, scoreJob } from '../support/fixtures.ts';

/** sigmoid(W2 · relu(W1 · x + b1) + b2) with random weights. */
export function networkModel(inputs: number, hidden: number): Uint8Array {
  const random = seededRandom(1);
  const weights = (count: number) => Array.from({ length: count }, () => (random() - 0.5) / 2);
  const blocks = joinBlocks([
    gemmBlock({ input: 'x', output: 'h', weights: weights(inputs * hidden), bias: weights(hidden) }),
    { nodes: [buildNode({ op: 'Relu', inputs: ['h'], outputs: ['r'] })], initializers: [] },
    gemmBlock({ input: 'r', output: 'z', weights: weights(hidden), bias: weights(1) }),
    sigmoidBlock({ input: 'z', output: 'p' }),
  ]);
  return buildModel({
    ...blocks,
    inputs: [buildValue('x', 'float32', ['N', inputs])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
  });
}

type Parts = Parameters<typeof scoreJob>[0];

export async function scoreTwice(
  bench: Bench,
  name: string,
  parts: Omit<Parts, 'outputFolder'>,
  batched: Partial<ScoreChunkJob>,
) {
  const run = async (label: string, overrides: Partial<ScoreChunkJob>) => {
    const outputFolder = bench.path(`${name}-${label}`);
    await mkdir(outputFolder, { recursive: true });
    return scoreChunk(scoreJob({ ...parts, outputFolder, ...overrides }), await contextOf(bench));
  };
  return { oneByOne: await run('a', {}), inBatches: await run('b', batched) };
}

export async function contextOf(bench: Bench): Promise<VerbContext> {
  const scratch = bench.path('scratch');
  await mkdir(scratch, { recursive: true });
  return { progress: () => {}, scratch, memoryMb: 1_024, signal: new AbortController().signal };
}

/** Same rows, same order; numbers within 1e-6 × max(1, largest |output|), everything else equal. */
export async function expectSameRows(bench: Bench, a: string, b: string): Promise<void> {
  const [ours, theirs] = [await bench.read(a), await bench.read(b)];
  expect(theirs).toHaveLength(ours.length);
  const isScore = (name: string) => name.startsWith('score') && name !== 'scored_at';
  const largest = (name: string) => ours.reduce((most, row) => Math.max(most, Math.abs(Number(row[name]))), 1);
  const tolerance = new Map(Object.keys(ours[0] ?? {}).map(name => [name, isScore(name) ? 1e-6 * largest(name) : 0]));
  for (const [index, row] of ours.entries()) {
    for (const [name, value] of Object.entries(row)) {
      const other = theirs[index]![name];
      const isSame = isScore(name)
        ? Math.abs(Number(other) - Number(value)) <= tolerance.get(name)!
        : isDeepStrictEqual(other, value);
      // Thousands of assertions would take longer than the scoring.
      if (!isSame) expect.fail(`row ${index}, ${name}: ${String(value)} and ${String(other)}`);
    }
  }
}

/** All that a chunk gives, but times and what served it. */
export async function expectSameResults(bench: Bench, a: ChunkReceipt, b: ChunkReceipt): Promise<void> {
  const counts = ({ rowsRead, rowsScored, rowsQuarantined, rules, columns }: ChunkReceipt) => ({
    ...{ rowsRead, rowsScored, rowsQuarantined, rules, columns },
  });
  expect(counts(b)).toEqual(counts(a));
  await expectSameRows(bench, a.predictions!.path, b.predictions!.path);
  expect(b.shadows.map(({ version, rows }) => ({ version, rows }))).toEqual(
    a.shadows.map(({ version, rows }) => ({ version, rows })),
  );
  for (const [index, shadow] of a.shadows.entries()) await expectSameRows(bench, shadow.path, b.shadows[index]!.path);
  expect(b.quarantine?.rows).toEqual(a.quarantine?.rows);
  if (a.quarantine !== null) await expectSameRows(bench, a.quarantine.path, b.quarantine!.path);
  expect(b.profile === null).toBe(a.profile === null);
  if (a.profile !== null && b.profile !== null) {
    const read = async (path: string): Promise<unknown> => JSON.parse(await readFile(path, 'utf8'));
    expect(await read(b.profile)).toEqual(await read(a.profile));
  }
}

export const corpusFile = (name: string) => join(import.meta.dirname, '../../onnx/fixtures', name);
