import { describe, expect, test } from 'vitest';
import { type EvaluationInput, judgeChallenger, judgeQuality } from '../../src/checks/index.ts';
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
      finalShares: [],
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
