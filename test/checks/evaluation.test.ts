import { describe, expect, test } from 'vitest';
import { type EvaluationInput, judgeChallenger, judgeQuality, measureQuality } from '../../src/checks/index.ts';
import { foldVerdict } from '../../src/domain/evidence.ts';
import { createRandom } from '../../src/stats/random.ts';

/** Calibrated scores of strength `signal`, labels drawn from the strongest of them. */
function paired(rows: number, challengerNoise: number, championNoise: number, seed = 3) {
  const random = createRandom(seed);
  const labels = new Float64Array(rows);
  const challenger = new Float64Array(rows);
  const champion = new Float64Array(rows);
  const logistic = (value: number) => 1 / (1 + Math.exp(-value));
  for (let row = 0; row < rows; row++) {
    const truth = 2 * random.normal();
    labels[row] = random.next() < logistic(truth) ? 1 : 0;
    challenger[row] = logistic((truth + challengerNoise * random.normal()) / (1 + challengerNoise ** 2 / 4));
    champion[row] = logistic((truth + championNoise * random.normal()) / (1 + championNoise ** 2 / 4));
  }
  return { labels, challenger, champion };
}

function evaluate(sample: ReturnType<typeof paired>, changes: Partial<EvaluationInput> = {}) {
  return judgeChallenger({
    metric: 'auc',
    min: 0.7,
    champion: { nonInferiorBy: 0.01, confidence: 0.95 },
    labels: sample.labels,
    challengerScores: sample.challenger,
    championScores: sample.champion,
    clusters: null,
    slices: [],
    minSliceRows: 100,
    threshold: 0.5,
    seed: 1,
    ...changes,
  });
}

const statusOf = (checks: ReturnType<typeof evaluate>, name: string) =>
  checks.find(({ check }) => check === name)?.status;

describe('champion against challenger', () => {
  test.each([
    ['a better challenger', 0.1, 2, 'pass'],
    ['a worse challenger', 2, 0.1, 'fail'],
  ])('%s', (_, challenger, champion, status) => {
    expect(statusOf(evaluate(paired(4000, challenger, champion)), 'non_inferiority')).toBe(status);
  });

  test('the champion against itself passes everything', () => {
    const sample = paired(2000, 1, 1);
    const checks = evaluate({ ...sample, challenger: sample.champion });
    expect(checks.map(({ status }) => status)).toEqual(checks.map(() => 'pass'));
  });

  test('few rows cannot show that it is not worse', () => {
    expect(statusOf(evaluate(paired(60, 1, 1)), 'non_inferiority')).not.toBe('pass');
  });

  test('without a champion the comparison is insufficient and the gate decides', () => {
    const sample = paired(2000, 0.5, 1);
    const gated = evaluate(sample, { championScores: null });
    expect(statusOf(gated, 'non_inferiority')).toBe('insufficient');
    expect(foldVerdict(gated)).toBe('pass');
    expect(foldVerdict(evaluate(sample, { championScores: null, min: null }))).toBe('insufficient');
    expect(foldVerdict(evaluate(sample, { championScores: null, min: 0.99 }))).toBe('fail');
  });

  test('a slice that got worse blocks although the whole got better', () => {
    const sample = paired(6000, 0.1, 1.5);
    const random = createRandom(5);
    const ids = Int32Array.from(sample.labels, (_, row) => (row % 5 === 0 ? 0 : 1));
    ids.forEach((id, row) => {
      if (id === 0) sample.challenger[row] = random.next();
    });
    const checks = evaluate(sample, { slices: [{ column: 'channel', ids, values: ['web', 'app', 'none'] }] });
    const slices = checks.filter(({ check }) => check === 'slice_non_inferiority');
    expect(slices.map(({ slice, status }) => [slice, status])).toEqual([
      ['channel=web', 'fail'],
      ['channel=app', 'pass'],
    ]);
    expect(foldVerdict(checks)).toBe('fail');
  });

  test('scores that promise too much are no calibration', () => {
    const sample = paired(4000, 0.5, 0.5);
    const boastful = sample.challenger.map(score => (score > 0.5 ? 0.99 : 0.4));
    expect(statusOf(evaluate({ ...sample, challenger: boastful }), 'calibration')).toBe('fail');
  });

  test('one class leaves the AUC undefined and the evidence insufficient', () => {
    const sample = paired(500, 1, 1);
    const checks = evaluate({ ...sample, labels: sample.labels.fill(1) });
    expect(foldVerdict(checks)).toBe('insufficient');
    expect(JSON.parse(JSON.stringify(checks))).toEqual(checks);
  });

  test('a metric other than AUC is compared by bootstrap, clusters drawn whole', () => {
    const sample = paired(800, 0.1, 2);
    const clusters = Int32Array.from(sample.labels, (_, row) => row % 40);
    const checks = evaluate(sample, { metric: 'log_loss', min: 0.8, clusters });
    const compared = checks.find(({ check }) => check === 'non_inferiority');
    expect(compared?.status).toBe('pass');
    expect(compared?.details['method']).toBe('bootstrap over 40 clusters');
  });

  test('unknown metrics and unpaired rows are faults of the caller', () => {
    const sample = paired(100, 1, 1);
    expect(() => evaluate(sample, { metric: 'acu' })).toThrow(/known metrics: auc/);
    expect(() => evaluate({ ...sample, champion: sample.champion.slice(1) })).toThrow(/100 labels.*99/);
  });
});

describe('realised quality', () => {
  const judge = (rows: number, changes: Partial<Parameters<typeof judgeQuality>[0]> = {}) => {
    const { labels, challenger } = paired(rows, 0.5, 1);
    return judgeQuality({
      metric: 'auc',
      min: 0.7,
      minRows: 100,
      cohort: { partition: '2026-01-01', scored: rows, labelled: rows },
      asOf: '2026-02-15T00:00:00Z',
      horizonDays: 30,
      end: null,
      wanted: 1,
      labels,
      scores: challenger,
      unlabelledScores: null,
      weights: null,
      clusters: null,
      threshold: 0.5,
      seed: 1,
      ...changes,
    }).find(({ check }) => check === 'quality');
  };

  test.each<[string, number, Partial<Parameters<typeof judgeQuality>[0]>, string]>([
    ['well above the minimum', 1000, {}, 'pass'],
    ['certainly below it', 1000, { min: 0.95 }, 'fail'],
    ['below by the value, not by the interval', 200, { min: 0.87 }, 'warn'],
    ['an immature cohort', 1000, { asOf: '2026-01-15T00:00:00Z' }, 'insufficient'],
    ['too few rows', 50, {}, 'insufficient'],
    ['no rows', 0, {}, 'insufficient'],
    ['no declared minimum', 1000, { min: null }, 'pass'],
  ])('%s', (_, rows, changes, status) => {
    expect(judge(rows, changes)?.status, judge(rows, changes)?.reason).toBe(status);
  });
});

describe('labels of a weighted sample', () => {
  /** Positives are labelled three times as often as negatives, and weigh a third. */
  function sampled(rows: number, challengerNoise: number, championNoise: number) {
    const all = paired(rows, challengerNoise, championNoise);
    const random = createRandom(9);
    const kept = [...all.labels.keys()].filter(row => random.next() < (all.labels[row] === 1 ? 0.9 : 0.3));
    const of = (values: Float64Array) => Float64Array.from(kept, row => values[row]!);
    const labels = of(all.labels);
    const unlabelled = all.challenger.filter((_, row) => !kept.includes(row));
    const weights = labels.map(label => (label === 1 ? 1 / 0.9 : 1 / 0.3));
    return { all, labels, challenger: of(all.challenger), champion: of(all.champion), weights, unlabelled };
  }

  function quality(sample: ReturnType<typeof sampled>, changes: Partial<Parameters<typeof judgeQuality>[0]> = {}) {
    const labelled = sample.labels.length;
    return judgeQuality({
      metric: 'log_loss',
      min: null,
      minRows: 100,
      cohort: { partition: '2026-01-01', scored: sample.all.labels.length, labelled },
      asOf: '2026-02-15T00:00:00Z',
      horizonDays: 30,
      end: null,
      wanted: 1,
      labels: sample.labels,
      scores: sample.challenger,
      unlabelledScores: sample.unlabelled,
      weights: sample.weights,
      clusters: null,
      threshold: 0.5,
      seed: 1,
      ...changes,
    });
  }

  test('quality is that of all rows, with what the sample is worth; without weights it is another', () => {
    const sample = sampled(3_000, 0.5, 1);
    const truth = measureQuality('log_loss', sample.all.labels, sample.all.challenger).value ?? Number.NaN;
    const found = quality(sample).find(({ check }) => check === 'quality');
    expect(found?.interval?.[0]).toBeLessThan(truth);
    expect(found?.interval?.[1]).toBeGreaterThan(truth);
    expect(found?.reason).toMatch(/, a weighted sample worth \d+ rows of equal weight/);
    expect(found?.details).toMatchObject({ sample: 'weighted', baseRate: expect.closeTo(0.5, 1) });
    expect(Number(found?.details['population'])).toBeCloseTo(3_000, -3);
    const alike = quality(sample, { metric: 'auc', weights: null }).find(({ check }) => check === 'quality');
    expect(alike?.details).toMatchObject({ baseRate: expect.closeTo(0.75, 1) });
  });

  test('what it is worth decides whether it is enough, not how many rows it has', () => {
    const sample = sampled(400, 0.5, 1);
    const rows = sample.labels.length;
    const found = quality(sample, { metric: 'auc', minRows: rows }).find(({ check }) => check === 'quality');
    expect(found).toMatchObject({ status: 'insufficient', rows });
    expect(
      quality(sample, { metric: 'auc', minRows: rows, weights: null }).find(({ check }) => check === 'quality')?.status,
    ).toBe('pass');
  });

  test('a metric without a linear form is resampled with its weights', () => {
    const sample = sampled(600, 0.5, 1);
    const found = quality(sample, { metric: 'average_precision' }).find(({ check }) => check === 'quality');
    const point = measureQuality('average_precision', sample.labels, sample.challenger, { weights: sample.weights });
    expect(found?.value).toBeCloseTo(point.value ?? Number.NaN, 12);
    expect(found?.interval?.[0]).toBeLessThan(found?.value ?? 0);
  });

  test('a selection by score is fine as long as the weights make up for it', () => {
    const sample = sampled(3_000, 0.5, 1);
    const selection = (weights: Float64Array | null) =>
      quality(sample, { metric: 'auc', weights }).find(({ check }) => check === 'label_selection');
    expect(selection(sample.weights)?.status).toBe('pass');
    expect(selection(null)).toMatchObject({ status: 'warn', reason: expect.stringContaining('data.labels.weight') });
    expect(selection(sample.weights.map(weight => 1 / weight))).toMatchObject({
      status: 'warn',
      reason: expect.stringContaining('do not make up'),
    });
  });

  test.each([
    ['auc', 'pass'],
    ['log_loss', 'pass'],
  ])('a better challenger is better by %s', (metric, status) => {
    const sample = sampled(3_000, 0.1, 2);
    const checks = evaluate(sample as ReturnType<typeof paired>, { metric, min: null, weights: sample.weights });
    const compared = checks.find(({ check }) => check === 'non_inferiority');
    expect(compared?.status).toBe(status);
    expect(compared?.details['effectiveRows']).toBeLessThan(sample.labels.length);
    expect(checks.find(({ check }) => check === 'mcnemar')).toMatchObject({
      details: { method: 'linearisation of weighted rows; McNemar counts all rows alike' },
    });
    const delong = metric === 'auc' ? '; DeLong counts all rows alike' : '';
    expect(compared?.details['method']).toBe(`linearisation of weighted rows${delong}`);
    expect(statusOf(checks, 'calibration')).toBe('pass');
  });

  test('calibration is judged on the weighted rows: the sample alone has too many positives', () => {
    const sample = sampled(8_000, 0.1, 0.1);
    const checks = (weights: Float64Array | null) =>
      evaluate(sample as ReturnType<typeof paired>, { weights }).find(({ check }) => check === 'calibration');
    expect(checks(sample.weights)?.value).toBeLessThan(0.03);
    expect(checks(null)?.value).toBeGreaterThan(0.1);
  });
});
