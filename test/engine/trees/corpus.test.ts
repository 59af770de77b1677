import { describe, expect, test } from 'vitest';
import { compileTrees } from '../../../src/engine/compile-trees.ts';
import { checkParity, paritySamples } from '../../../src/engine/trees/parity.ts';
import { readModel } from '../../../src/onnx/read.ts';
import { inferSignature } from '../../../src/onnx/signature.ts';
import { stripZipMap } from '../../../src/onnx/zipmap.ts';
import { corpusNames, floatsOf, onnxRunner, readCorpus, transpose } from '../../onnx/corpus.ts';

const withoutTrees = ['sklearn-logistic', 'sklearn-network', 'sklearn-linear-targets'];
const treeModels = corpusNames.filter(name => !withoutTrees.includes(name));

function compile(name: string) {
  const corpus = readCorpus(name);
  const model = stripZipMap(readModel(corpus.bytes));
  const columns = Array.from({ length: 6 }, (_, index) => `f${index}`);
  const output = inferSignature(model, { columns }).outputs[0]?.name ?? expect.fail('no output');
  const compiled = compileTrees(model, output);
  if (compiled.kind === 'fallback') expect.fail(compiled.reason);
  return { corpus, model, output, compiled };
}

describe('real exports compiled', () => {
  test.each(treeModels.filter(name => name !== 'sklearn-scaled-boosting'))('%s equals ONNX Runtime', async name => {
    const { corpus, model, output, compiled } = compile(name);
    const given = Object.values(corpus.inputs)[0] ?? expect.fail('no input');
    const [rows = 0, width = 0] = given.dims;
    const golden = { name: 'golden', rows, columns: transpose(floatsOf(given), rows, width) };
    const reference = await onnxRunner(model.bytes, output);
    const report = await checkParity({
      width: compiled.width,
      samples: [golden, ...paritySamples(compiled.ensemble)],
      score: compiled.score,
      reference,
    });
    expect(report).toMatchObject({ verdict: 'equal', rows: 60 + 2 * 2048 });
    expect(compiled.source.kind).toBe('inputs');
  });

  test.each(treeModels.filter(name => name !== 'sklearn-scaled-boosting'))('%s equals Python', name => {
    const { corpus, output, compiled } = compile(name);
    const given = Object.values(corpus.inputs)[0] ?? expect.fail('no input');
    const [rows = 0, width = 0] = given.dims;
    const expected = corpus.outputs[output];
    // ZipMap hides the probabilities from Python: nothing to compare there.
    if (expected === undefined) return expect(name).toMatch(/zipmap|catboost|forest-multiclass/);
    const out = new Float32Array(rows * compiled.width);
    compiled.score(transpose(floatsOf(given), rows, width), rows, rows, out);
    floatsOf(expected).forEach((value, index) => {
      expect(Math.abs((out[index] ?? Number.NaN) - value)).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(value)));
    });
  });

  test('a scaler in front stays with ONNX Runtime', async () => {
    const { corpus, compiled } = compile('sklearn-scaled-boosting');
    const { source } = compiled;
    if (source.kind !== 'prefix') return expect.fail('expected a prefix model');
    const given = Object.values(corpus.inputs)[0] ?? expect.fail('no input');
    const [rows = 0, width = 0] = given.dims;
    const scale = await onnxRunner(source.model, source.output);
    const scaled = await scale({ columns: transpose(floatsOf(given), rows, width), rows });
    const out = new Float32Array(rows * compiled.width);
    compiled.score(transpose(scaled, rows, width), rows, rows, out);
    const expected = floatsOf(corpus.outputs['probabilities'] ?? expect.fail('no probabilities'));
    expected.forEach((value, index) => {
      expect(Math.abs((out[index] ?? Number.NaN) - value)).toBeLessThanOrEqual(1e-6);
    });
  });

  test.each(withoutTrees)('%s falls back with a reason', name => {
    const model = readModel(readCorpus(name).bytes);
    const output = model.graph.output.at(-1)?.name ?? '';
    expect(compileTrees(model, output)).toEqual({ kind: 'fallback', reason: 'not a tree ensemble' });
  });
});

test('the gate reports a difference beyond the tolerance', async () => {
  const { compiled, model, output } = compile('lightgbm-regression');
  const reference = await onnxRunner(model.bytes, output);
  const report = await checkParity({
    width: compiled.width,
    samples: paritySamples(compiled.ensemble),
    score: (columns, stride, rows, out) => {
      compiled.score(columns, stride, rows, out);
      out[17] = (out[17] ?? 0) + 1e-3;
    },
    reference,
  });
  expect(report.verdict).toBe('different');
  expect(report.worst).toMatchObject({ sample: 'edge', row: 17 });
});
