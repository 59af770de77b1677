/** Facts from after the prediction, the split between training and test, and quality estimated before labels arrive. */
import { describe, expect, test } from 'vitest';
import {
  checkSplit,
  checkTemporalLeakage,
  estimateQualityOf,
  type SplitFacts,
  type TemporalFacts,
} from '../../src/checks/index.ts';
import { checkLabelsKnown } from '../../src/checks/leakage.ts';
import { foldVerdict } from '../../src/domain/evidence.ts';
import { rocAuc } from '../../src/stats/classification.ts';
import { createRandom } from '../../src/stats/random.ts';
import { contractOf, numericColumn } from './support/monitoring.ts';

const contract = contractOf([numericColumn('income')], { eventTime: 'at', knownAt: 'loaded_at' });
const clean: TemporalFacts = {
  rows: 1000,
  eventAfterPrediction: { rows: 0, leadHours: 0 },
  knownAfterPrediction: { rows: 0, leadHours: 0 },
  labelBeforePrediction: { rows: 0, immature: 0 },
  asOfRecomputation: { rows: 10, mismatches: { income: 0 } },
};

describe('temporal leakage', () => {
  test('rows that knew only what was known pass every test', () => {
    const checks = checkTemporalLeakage(contract, clean);
    expect(checks.map(({ check }) => check)).toEqual([
      'leakage_event_time',
      'leakage_known_at',
      'leakage_label_window',
      'leakage_as_of',
    ]);
    expect(checks.filter(({ status }) => status !== 'pass')).toEqual([]);
  });

  test.each([
    [
      'T1',
      { eventAfterPrediction: { rows: 20, leadHours: 5 } },
      'leakage_event_time',
      'fail',
      /20 rows \(2.* by up to 5 hours/,
    ],
    ['T2', { knownAfterPrediction: { rows: 1, leadHours: 72 } }, 'leakage_known_at', 'fail', /1 rows .* 72 hours/],
    [
      'T3',
      { labelBeforePrediction: { rows: 3, immature: 0 } },
      'leakage_label_window',
      'fail',
      /label window of 3 rows/,
    ],
    ['T3, immature', { labelBeforePrediction: { rows: 0, immature: 4 } }, 'leakage_label_window', 'warn', /4 rows/],
    [
      'T5',
      { asOfRecomputation: { rows: 10, mismatches: { income: 4 } } },
      'leakage_as_of',
      'fail',
      /4 of 10 .* has seen the future/,
    ],
  ] as const)('%s is named with its rows', (_, changes, check, status, reason) => {
    const checks = checkTemporalLeakage(contract, { ...clean, ...changes });
    const found = checks.find(one => one.check === check);
    expect(found?.status).toBe(status);
    expect(found?.reason).toMatch(reason);
    expect(foldVerdict(checks)).toBe(status === 'fail' ? 'fail' : 'warn');
  });

  test('without known_at a late backfill cannot be told from a fact known in time', () => {
    const blind = contractOf([numericColumn('income')], { eventTime: 'at', knownAt: null });
    const check = checkTemporalLeakage(blind, { ...clean, knownAfterPrediction: null }).find(
      one => one.check === 'leakage_known_at',
    );
    expect(check).toMatchObject({ status: 'warn', reason: expect.stringContaining('declares no known_at') });
  });

  test('no rows and no facts are insufficient, never a proof', () => {
    const none: TemporalFacts = {
      rows: 0,
      eventAfterPrediction: null,
      knownAfterPrediction: null,
      labelBeforePrediction: null,
      asOfRecomputation: null,
    };
    expect(foldVerdict(checkTemporalLeakage(contract, none))).toBe('insufficient');
  });
});

test.each([
  [1_000, 0, 'pass', /all 1000 labels were known as of 2026-02-01/],
  [1_000, 30, 'warn', /30 of 1000 labels became known only after 2026-02-01/],
  [0, 0, 'insufficient', /0 labels/],
] as const)('of %d labels %d were not known as of the training', (rows, late, status, reason) => {
  const check = checkLabelsKnown({ rows, late, asOf: '2026-02-01' });
  expect(check).toMatchObject({ check: 'leakage_label_known_at', status, weight: 'advisory' });
  expect(check.reason).toMatch(reason);
});

describe('the split', () => {
  const apart: SplitFacts = {
    trainMaxPrediction: '2026-01-10',
    testMinPrediction: '2026-01-20',
    horizonDays: 7,
    trainRows: 1000,
    testRows: 200,
    overlappingRows: 0,
    sharedKeys: 0,
    sharedEntities: 0,
    heldOut: 'by time',
    duplicatesInTrain: 0,
    testRowsInTrain: 0,
    conflictingLabels: 0,
  };
  test('an honest split passes', () => {
    expect(checkSplit(apart).filter(({ status }) => status !== 'pass' && status !== 'not_applicable')).toEqual([]);
  });
  test.each([
    ['a gap shorter than the horizon', { testMinPrediction: '2026-01-12' }, 'split_gap', 'fail'],
    ['rows before the last training row', { overlappingRows: 3 }, 'split_overlap', 'fail'],
    ['keys on both sides', { sharedKeys: 1 }, 'shared_keys', 'fail'],
  ] as const)('%s', (_, changes, check, status) => {
    expect(checkSplit({ ...apart, ...changes }).find(one => one.check === check)?.status).toBe(status);
  });
  test.each<[string, Partial<SplitFacts>, string, RegExp]>([
    [
      'the same customers every day',
      { sharedEntities: 150 },
      'not_applicable',
      /^150 of 200 .*predicted again in prod/,
    ],
    ['some, held out by row', { sharedEntities: 1, heldOut: 'by hash' }, 'warn', /^1 of 200 .*hold out days/],
    ['none', {}, 'pass', /^0 of 200 test rows belong to an entity that is in training$/],
    ['none, held out by row', { heldOut: 'by hash' }, 'pass', /^0 of 200/],
  ])('entities on both sides: %s', (_, changes, status, reason) => {
    const checks = checkSplit({ ...apart, ...changes });
    const check = checks.find(one => one.check === 'shared_entities');
    expect(check).toMatchObject({ status, weight: 'advisory', reason: expect.stringMatching(reason) });
    // It neither blocks nor passes anything.
    expect(foldVerdict(checks)).toBe(status === 'warn' ? 'warn' : 'pass');
  });
});

describe('estimated quality', () => {
  const random = createRandom(4);
  const probabilities = Float64Array.from({ length: 20_000 }, () => random.next());
  const options = { metric: 'auc', min: 0.7, probabilities, threshold: 0.5, deviation: 0.5, unknownShare: 0 } as const;

  test('calibrated probabilities give the AUC that the labels later give', () => {
    const labels = Float64Array.from(probabilities, p => (random.next() < p ? 1 : 0));
    const [estimate] = estimateQualityOf(options);
    const truth = rocAuc(labels, probabilities).value ?? 0;
    expect(estimate?.status).toBe('pass');
    expect(Math.abs((estimate?.value ?? 0) - truth)).toBeLessThan(0.01);
    expect(estimate?.interval?.[0]).toBeLessThan(truth);
    expect(estimate?.interval?.[1]).toBeGreaterThan(truth);
  });

  test('probabilities that hardly differ are estimated below the minimum, with certainty', () => {
    const flat = probabilities.map(p => 0.45 + 0.1 * p);
    expect(estimateQualityOf({ ...options, probabilities: flat })[0]).toMatchObject({
      status: 'warn',
      reason: expect.stringContaining('assumes that the concept has not changed'),
    });
  });

  test('it is blind to a new concept, and says what it assumes', () => {
    const reversed = Float64Array.from(probabilities, p => (random.next() < p ? 0 : 1));
    expect(rocAuc(reversed, probabilities).value).toBeLessThan(0.3);
    expect(estimateQualityOf(options)[0]).toMatchObject({ status: 'pass', details: { method: 'CBPE' } });
  });

  test.each([
    ['rows of regions the model never saw', { unknownShare: 0.2 }, /never learned/],
    ['no rows', { probabilities: new Float64Array() }, /no rows/],
    ['numbers that are no probabilities', { probabilities: Float64Array.of(0.2, 1.7) }, /./],
  ] as const)('no estimate for %s', (_, changes, reason) => {
    const [check] = estimateQualityOf({ ...options, ...changes });
    expect(check?.status).toBe('insufficient');
    expect(check?.value).toBeNull();
    expect(check?.reason).toMatch(reason);
  });
});
