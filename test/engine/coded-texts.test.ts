import { mkdir } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ContractColumn } from '../../src/domain/contract.ts';
import type { Signature } from '../../src/domain/signature.ts';
import { scoreChunk } from '../../src/engine/score.ts';
import type { VerbContext } from '../../src/engine/verbs.ts';
import {
  type Block,
  concatBlock,
  gemmBlock,
  joinBlocks,
  oneHotBlock,
  reshapeBlock,
  sigmoidBlock,
  treeRegressorBlock,
} from '../../src/onnx/blocks.ts';
import { buildModel, buildNode, buildValue, mlDomain } from '../../src/onnx/build.ts';
import { codeTexts } from '../../src/onnx/coded-texts.ts';
import { readModel } from '../../src/onnx/read.ts';
import { int64Tensor, stringTensor } from '../../src/onnx/tensor.ts';
import { Bench, champion, column, contractOf, scoreJob } from './support/fixtures.ts';
import { randomEnsemble } from './trees/random-ensembles.ts';

let bench: Bench;
let context: VerbContext;
beforeAll(async () => {
  bench = await Bench.create();
  const { signal } = new AbortController();
  const folders = { scratch: bench.folder, kernels: bench.path('kernels') };
  context = { progress: () => {}, ...folders, memoryMb: 1024, signal };
});
afterAll(() => bench.close());

const towns = ['Bern', "L'Aquila", 'Łódź', ''];
const channels = ['web', 'shop', 'Bern'];
const signature: Signature = {
  schema: 'signature/1',
  task: 'binary',
  inputs: [
    { name: 'town', type: 'string', rank: 2, columns: [{ kind: 'string', column: 'town' }] },
    { name: 'channel', type: 'string', rank: 2, columns: [{ kind: 'string', column: 'channel' }] },
    { name: 'x', type: 'float32', rank: 2, columns: [{ kind: 'number', column: 'x' }] },
  ],
  outputs: [{ name: 'p', type: 'float32', width: 1, meaning: 'positive' }],
  classes: ['no', 'yes'],
  targets: [],
  threshold: 0.5,
};

/** Column `index` of a joined text input, as sklearn-onnx takes it out. */
function pick(index: number, output: string): Block {
  return {
    nodes: [
      buildNode({
        op: 'ArrayFeatureExtractor',
        domain: mlDomain,
        inputs: ['texts', `${output}.at`],
        outputs: [output],
      }),
    ],
    initializers: [int64Tensor(`${output}.at`, [1], [index])],
  };
}

/** Two texts joined, taken apart, one-hot encoded; one of them also numbered; and a number. */
const encoded = joinBlocks([
  concatBlock({ inputs: ['town', 'channel'], output: 'texts' }),
  pick(0, 'towns'),
  pick(1, 'channels'),
  oneHotBlock({ input: 'towns', output: 'town.hot', categories: { strings: towns } }),
  oneHotBlock({ input: 'channels', output: 'channel.hot', categories: { strings: channels } }),
  {
    nodes: [
      buildNode({
        op: 'LabelEncoder',
        domain: mlDomain,
        inputs: ['channels'],
        outputs: ['rank.any'],
        attributes: {
          keys_strings: { strings: channels },
          values_floats: { floats: [0.25, 3, -2] },
          default_float: { float: 7 },
        },
      }),
    ],
    initializers: [],
  },
  reshapeBlock({ input: 'rank.any', output: 'rank', width: 1 }),
  concatBlock({ inputs: ['town.hot', 'channel.hot', 'rank', 'x'], output: 'features' }),
]);
const width = towns.length + channels.length + 2;
const inputs = [
  buildValue('town', 'string', ['N', 1]),
  buildValue('channel', 'string', ['N', 1]),
  buildValue('x', 'float32', ['N', 1]),
];
const outputs = [buildValue('p', 'float32', ['N', 1])];

const linear = () =>
  buildModel({
    ...joinBlocks([
      encoded,
      gemmBlock({
        input: 'features',
        output: 'z',
        weights: Array.from({ length: width }, (_, i) => 0.3 * i - 1),
        bias: [0.1],
      }),
      sigmoidBlock({ input: 'z', output: 'p' }),
    ]),
    inputs,
    outputs,
  });
const forest = () =>
  buildModel({
    ...joinBlocks([
      encoded,
      treeRegressorBlock({
        input: 'features',
        output: 'p',
        ensemble: randomEnsemble(5, { features: width, modes: ['BRANCH_LEQ'] }),
      }),
    ]),
    inputs,
    outputs,
  });

/** Known, unknown and empty texts, in 5,000 rows of several vectors. */
const rows = `SELECT i AS id, (i % 11)::FLOAT - 5 AS x,
  ['Bern', 'L''Aquila', 'Łódź', '', 'bern', 'Oslo', 'Bern '][1 + i % 7] AS town,
  ['web', 'shop', 'Bern', 'fax', ''][1 + (i // 7) % 5] AS channel FROM range(5000) t(i)`;

async function score(
  name: string,
  parts: { onnx: string; scorer: 'auto' | 'onnxruntime'; select?: string; town?: Partial<ContractColumn> },
) {
  await mkdir(bench.path(name));
  const path = await bench.parquet(`${name}.parquet`, parts.select ?? rows);
  const text = (name: string, more: Partial<ContractColumn> = {}) => column(name, { type: 'text', ...more });
  const receipt = await scoreChunk(
    scoreJob({
      inputs: [{ path }],
      rows: 5_000,
      contract: contractOf([text('town', parts.town), text('channel'), column('x')]),
      models: [{ ...champion(parts.onnx, signature), scorer: parts.scorer }],
      outputFolder: bench.path(name),
    }),
    context,
  );
  return { receipt, rows: receipt.predictions === null ? [] : await bench.read(receipt.predictions.path) };
}

test.each([
  { name: 'a linear model', model: linear, scorer: 'onnxruntime' },
  { name: 'trees', model: forest, scorer: 'trees' },
])('$name scores texts as codes to the bit as ONNX Runtime scores the texts', async ({ name, model, scorer }) => {
  const onnx = await bench.model(`${name}.onnx`, model());
  const coded = await score(`${name}-coded`, { onnx, scorer: 'auto' });
  const texts = await score(`${name}-texts`, { onnx, scorer: 'onnxruntime' });
  expect(coded.receipt.scorers).toMatchObject([{ scorer }]);
  expect(coded.rows).toEqual(texts.rows);
  expect(new Set(coded.rows.map(row => row['score'])).size).toBeGreaterThan(20);
  // A second chunk finds the model loaded, and its rows are no longer compared.
  expect((await score(`${name}-again`, { onnx, scorer: 'auto' })).rows).toEqual(texts.rows);
  // Another process finds what was compiled.
  const copy = await bench.model(`${name}-copy.onnx`, model());
  expect((await score(`${name}-kept`, { onnx: copy, scorer: 'auto' })).rows).toEqual(texts.rows);
});

test('a missing text is what the contract says, or the message names the column', async () => {
  const onnx = await bench.model('missing.onnx', linear());
  const select = `SELECT * REPLACE (CASE WHEN id % 3 = 0 THEN NULL ELSE town END AS town) FROM (${rows})`;
  for (const value of ['Bern', 'Oslo']) {
    const town = { nulls: { maxShare: 1, as: 'default', default: value } } as const;
    const coded = await score(`default-${value}-coded`, { onnx, scorer: 'auto', select, town });
    const texts = await score(`default-${value}-texts`, { onnx, scorer: 'onnxruntime', select, town });
    expect(coded.rows).toEqual(texts.rows);
  }
  const quarantine = { nulls: { maxShare: 0, as: 'quarantine', default: null } } as const;
  const { receipt } = await score('quarantined', { onnx, scorer: 'auto', select, town: quarantine });
  expect(receipt.rowsQuarantined).toBe(1_667);
  for (const scorer of ['auto', 'onnxruntime'] as const) {
    await expect(score(`refused-${scorer}`, { onnx, scorer, select })).rejects.toThrow(
      'column town has a NULL, and input town takes texts',
    );
  }
});

test('the codes are positions in one list of all categories', () => {
  expect(codeTexts(readModel(linear()))?.vocabulary).toEqual(['Bern', "L'Aquila", 'Łódź', '', 'web', 'shop']);
});

const hot = oneHotBlock({ input: 'text', output: 'p', categories: { strings: ['a', 'b'] } });
const textInput = { inputs: [buildValue('text', 'string', ['N', 1])], outputs: [buildValue('p', 'float32', ['N', 2])] };
test.each([
  [
    'has no texts',
    {
      ...gemmBlock({ input: 'x', output: 'p', weights: [1], bias: [0] }),
      inputs: [buildValue('x', 'float32', ['N', 1])],
      outputs,
    },
  ],
  [
    'changes a text',
    {
      ...textInput,
      ...joinBlocks([
        {
          nodes: [
            buildNode({
              op: 'StringNormalizer',
              inputs: ['text'],
              outputs: ['lower'],
              attributes: { case_change_action: 'LOWER' },
            }),
          ],
          initializers: [],
        },
        oneHotBlock({ input: 'lower', output: 'p', categories: { strings: ['a', 'b'] } }),
      ]),
    },
  ],
  [
    'gives a text back',
    { ...textInput, ...hot, outputs: [...textInput.outputs, buildValue('text', 'string', ['N', 1])] },
  ],
  [
    'joins a text with a constant one',
    {
      ...textInput,
      ...joinBlocks([
        {
          nodes: [buildNode({ op: 'Concat', inputs: ['text', 'more'], outputs: ['both'], attributes: { axis: 0 } })],
          initializers: [stringTensor('more', [1, 1], ['a'])],
        },
        oneHotBlock({ input: 'both', output: 'p', categories: { strings: ['a', 'b'] } }),
      ]),
    },
  ],
  [
    'knows a category with a NUL',
    { ...textInput, ...oneHotBlock({ input: 'text', output: 'p', categories: { strings: ['a\0b', 'b'] } }) },
  ],
])('a model that %s is left as it is', (_, parts) => {
  expect(codeTexts(readModel(buildModel(parts)))).toBeNull();
});
