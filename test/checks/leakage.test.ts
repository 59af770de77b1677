import { describe, expect, test } from 'vitest';
import { freezeBaseline, profileRows } from '../../src/backtest/profile-rows.ts';
import type { History } from '../../src/backtest/table.ts';
import { checkLabelLeakage, checkSplit } from '../../src/checks/index.ts';
import { histogram } from '../../src/stats/histogram.ts';
import { createRandom } from '../../src/stats/random.ts';
import { contractOf, numericColumn } from './support/monitoring.ts';

describe('label leakage', () => {
  const random = createRandom(1);
  const labels = Float32Array.from({ length: 4000 }, () => (random.next() < 0.3 ? 1 : 0));
  const honest = labels.map(label => 0.5 * label + random.normal());
  const leaking = labels.map(label => 6 * label + random.normal());
  test.each([
    ['an honest feature', honest, 'pass'],
    ['a feature that knows the label', leaking, 'fail'],
  ] as const)('%s', (_, values, status) => {
    const history: History = { columns: [{ kind: 'number', name: 'x', values }], labels };
    const baseline = freezeBaseline(history, 'test');
    const edges = baseline.columns['x'];
    const of = (label: number) =>
      histogram(
        values.filter((_, row) => labels[row] === label),
        edges?.kind === 'numeric' ? edges.edges : [],
      );
    const profile = {
      ...profileRows(history, { baseline, kind: 'train', window: null, scores: null }),
      byLabel: { x: { positives: of(1), negatives: of(0) } },
    };
    expect(
      checkLabelLeakage(contractOf([numericColumn('x')]), profile, baseline, null).map(check => check.status),
    ).toEqual([status]);
  });
});

test('a split without the label horizon between its sides fails', () => {
  const facts = {
    trainMaxPrediction: '2026-01-31',
    testMinPrediction: '2026-02-01',
    horizonDays: 30,
    testRows: 100,
    overlappingRows: 0,
    sharedKeys: 0,
    sharedEntities: 5,
    heldOut: 'by hash' as const,
    duplicatesInTrain: 0,
    testRowsInTrain: 0,
    conflictingLabels: 0,
    trainRows: 400,
  };
  const checks = checkSplit(facts);
  expect(checks.find(({ check }) => check === 'split_gap')?.status).toBe('fail');
  expect(checks.find(({ check }) => check === 'shared_entities')?.status).toBe('warn');
  expect(checkSplit({ ...facts, testMinPrediction: '2026-03-02' })[0]?.status).toBe('pass');
});
