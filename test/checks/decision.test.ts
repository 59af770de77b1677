import { describe, expect, test } from 'vitest';
import { checkResult } from '../../src/checks/index.ts';
import { type DecisionInput, decide } from '../../src/domain/decision.ts';
import type { Evidence } from '../../src/domain/evidence.ts';
import type { ChangeClass, SubjectState } from '../../src/domain/incident.ts';
import { dayOf } from './support/monitoring.ts';

function quality(window: number, value: number, half = 0.02, changes: Partial<Evidence> = {}): Evidence {
  const check = checkResult('quality', {
    status: 'pass',
    value,
    interval: [value - half, value + half],
    rows: 1000,
    reason: 'auc',
  });
  return {
    schema: 'evidence/1',
    kind: 'quality',
    model: 'm',
    subject: { partition: dayOf(window), version: '1' },
    baseline: null,
    asOf: `${dayOf(window + 7)}T00:00:00Z`,
    checks: [check],
    verdict: 'pass',
    reasons: [],
    ...changes,
  };
}

function state(name: ChangeClass, since = 3): SubjectState {
  const persists = name !== 'none' && name !== 'noise';
  return {
    subject: 'logins_30d',
    class: name,
    cause: null,
    reason: 'because of the test',
    badWindows: name === 'data_bug' ? [dayOf(since)] : [],
    incidents: [],
    open: persists
      ? {
          subject: 'logins_30d',
          state: 'open',
          class: name,
          cause: null,
          since: dayOf(since),
          opened: dayOf(since + 2),
          closed: null,
          peak: 1,
          breaches: 3,
          reason: 'because of the test',
        }
      : null,
  };
}

const good = [0, 1, 2].map(window => quality(window, 0.8));
const poor = [3, 4, 5].map(window => quality(window, 0.66));

function input(changes: Partial<DecisionInput> & { min?: number | null } = {}): DecisionInput {
  const { min = 0.72, ...rest } = changes;
  return {
    definition: {
      model: 'm',
      monitor: {
        windowDays: 1,
        drift: { metric: 'psi', warn: 0.1, alert: 0.25, persistence: { k: 3, n: 5 }, minRows: 100 },
        quality: { metric: 'auc', min, minRows: 100 },
      },
      retrain: {
        when: [{ kind: 'quality_below' }, { kind: 'drift_with_loss' }, { kind: 'age', days: 90 }],
        cooldownDays: 7,
        budget: { runs: 4, days: 30 },
        minNewLabels: 100,
      },
    },
    partition: dayOf(20),
    asOf: `${dayOf(20)}T00:00:00Z`,
    champion: '1',
    trainedAt: `${dayOf(0)}T00:00:00Z`,
    evidence: [...good, ...poor],
    digests: ['sha256:1'],
    incidents: [state('step_change')],
    retrainings: [],
    inFlight: null,
    newLabels: 5000,
    ...rest,
  };
}

describe('what the policy concludes', () => {
  test.each<[string, Parameters<typeof input>[0], string, string | null]>([
    ['a step with a proven loss retrains', {}, 'retrain', 'quality_below'],
    ['drift with a proven loss retrains without a declared minimum', { min: null }, 'retrain', 'drift_with_loss'],
    ['a gradual change with a loss retrains', { incidents: [state('gradual')] }, 'retrain', 'quality_below'],
    ['nothing fires on a quiet model', { evidence: good, incidents: [state('none')] }, 'nothing', null],
    ['drift alone fires nothing', { evidence: good }, 'nothing', null],
    ['no evidence at all fires nothing', { evidence: [], incidents: [] }, 'nothing', null],
    [
      'a loss that is not proven fires nothing',
      { evidence: [3, 4, 5].map(w => quality(w, 0.7, 0.2)), min: 0.72 },
      'nothing',
      null,
    ],
    [
      'one poor cohort fires nothing',
      { incidents: [state('none')], evidence: [...good, quality(5, 0.6)] },
      'nothing',
      null,
    ],
    ['a data bug holds', { incidents: [state('data_bug')] }, 'hold', 'quality_below'],
    ['a season holds', { incidents: [state('seasonal')] }, 'hold', 'quality_below'],
    ['a passing event holds', { incidents: [state('event_spike')] }, 'hold', 'quality_below'],
    [
      'drift without a class holds the drift trigger',
      { min: null, incidents: [state('unknown')] },
      'hold',
      'drift_with_loss',
    ],
    ['the cooldown waits', { retrainings: [`${dayOf(18)}T00:00:00Z`] }, 'wait', 'quality_below'],
    [
      'a spent budget waits',
      { retrainings: [1, 3, 5, 7].map(day => `${dayOf(day)}T00:00:00Z`) },
      'wait',
      'quality_below',
    ],
    ['a training under way waits', { inFlight: 'train/m/x' }, 'wait', 'quality_below'],
    ['too few new labels wait', { newLabels: 99 }, 'wait', 'quality_below'],
    ['age fires by itself', { evidence: good, incidents: [], asOf: `${dayOf(91)}T00:00:00Z` }, 'retrain', 'age'],
    [
      'age does not fire during a data bug',
      { evidence: good, incidents: [state('data_bug')], asOf: `${dayOf(91)}T00:00:00Z` },
      'hold',
      'age',
    ],
    ['without a champion there is nothing to retrain', { champion: null }, 'nothing', 'quality_below'],
    [
      'evidence about another version does not count',
      { evidence: poor.map(item => ({ ...item, subject: { ...item.subject, version: '9' } })) },
      'nothing',
      null,
    ],
  ])('%s', (_, changes, action, trigger) => {
    const decision = decide(input(changes));
    expect([decision.action, decision.trigger], decision.reasons.join('; ')).toEqual([action, trigger]);
    expect(decision.reasons.length).toBeGreaterThan(0);
    expect(decision.considered).toHaveLength(3);
  });

  test('does nothing in words', () => {
    const { reasons } = decide(input({ evidence: good, incidents: [state('none')] }));
    expect(reasons[0]).toMatch(/^nothing, because auc is 0\.800 .*no cohort lies below.*no drift persists.*days old/);
  });

  test('a later look at a cohort replaces the earlier one', () => {
    const revised = poor.map(item => ({ ...quality(0, 0.8), subject: item.subject, asOf: `${dayOf(19)}T00:00:00Z` }));
    expect(decide(input({ evidence: [...revised, ...good, ...poor], incidents: [] })).action).toBe('nothing');
  });

  test('windows with a bug stay out of any training', () => {
    expect(decide(input({ incidents: [state('data_bug')] })).excludedWindows).toEqual([dayOf(3)]);
  });

  test('the order of the evidence changes nothing', () => {
    expect(decide(input({ evidence: [...poor, ...good].reverse() }))).toEqual(decide(input()));
  });
});

describe('the trigger behind_probe', () => {
  const cohort = (day: number, value: number, half: number, version = '1', sameAmount = true): Evidence => {
    const check = (name: string, changes: object) => ({
      check: name,
      status: 'pass' as const,
      weight: 'advisory' as const,
      column: null,
      slice: null,
      value: 0.8,
      limit: null,
      interval: [0.78, 0.82] as const,
      rows: 1000,
      reason: name,
      limitSource: null,
      severity: null,
      details: {},
      ...changes,
    });
    const checks = [
      check('quality', {}),
      check('behind_probe', { value, interval: [value - half, value + half] as const, details: { sameAmount } }),
    ];
    return {
      schema: 'evidence/1',
      kind: 'quality',
      model: 'm',
      subject: { partition: `2026-01-0${day}`, version },
      baseline: null,
      asOf: `2026-01-0${day}T12:00:00Z`,
      checks,
      verdict: 'pass',
      reasons: [],
    };
  };
  const decided = (evidence: readonly Evidence[]) =>
    decide({
      definition: {
        model: 'm',
        monitor: {
          windowDays: 1,
          drift: { metric: 'psi', warn: 0.1, alert: 0.25, persistence: { k: 3, n: 5 }, minRows: 100 },
          quality: { metric: 'auc', min: null, minRows: 100 },
        },
        retrain: {
          when: [{ kind: 'behind_probe', margin: 0.02 }],
          cooldownDays: 0,
          budget: { runs: 9, days: 9 },
          minNewLabels: 0,
        },
      },
      partition: '2026-01-09',
      asOf: '2026-01-10T00:00:00Z',
      champion: '1',
      trainedAt: '2026-01-01T00:00:00Z',
      evidence,
      digests: [],
      incidents: [],
      retrainings: [],
      inFlight: null,
      newLabels: null,
    });
  test.each([
    [
      'certain and more than the margin',
      [cohort(1, -0.05, 0.02), cohort(2, -0.04, 0.02)],
      'retrain',
      /lost 0\.090 .* over the newest 2 cohorts, 0\.020 allowed; newer rows help, by at least 0\.05/,
    ],
    ['one cohort, where it is beyond doubt', [cohort(1, 0.05, 0.02), cohort(2, -0.05, 0.02)], 'retrain', /lost 0\.050/],
    ['one cohort, where it is not', [cohort(1, 0.05, 0.05), cohort(2, -0.05, 0.05)], 'nothing', /certainty/],
    ['small losses, until they add up', [1, 2].map(day => cohort(day, -0.009, 0.005)), 'nothing', /lost 0\.018/],
    ['small losses that have added up', [1, 2, 3].map(day => cohort(day, -0.009, 0.005)), 'retrain', /lost 0\.027/],
    ['more than the margin, but not certain', [cohort(1, -0.05, 0.1), cohort(2, -0.04, 0.1)], 'nothing', /certainty/],
    [
      'what was lost long before is not held against it',
      [cohort(1, -0.3, 0.02), ...[2, 3, 4, 5, 6, 7, 8, 9].map(day => cohort(day, 0.001, 0.02))],
      'nothing',
      /is 0\.001 ahead of/,
    ],
    [
      'what a predecessor has shown is proof for the champion, whose own loss need be less certain',
      [cohort(1, -0.1, 0.02, '0'), cohort(2, -0.03, 0.04)],
      'retrain',
      /lost 0\.030 .* over the newest cohort, .* over the newest 2 cohorts with 99 %/,
    ],
    [
      'a predecessor that had learned from fewer rows has shown nothing',
      [cohort(1, -0.1, 0.02, '0', false), cohort(2, -0.03, 0.04)],
      'nothing',
      /lost 0\.030/,
    ],
    ['the same loss without a predecessor', [cohort(2, -0.03, 0.04)], 'nothing', /lost 0\.030/],
    [
      'what a predecessor has lost is not held against the champion',
      [cohort(1, -0.1, 0.02, '0'), cohort(2, 0, 0.02)],
      'nothing',
      /0\.000/,
    ],
    ['no comparison yet', [], 'nothing', /no cohort was compared/],
  ] as const)('%s', (_, evidence, action, reason) => {
    const decision = decided(evidence);
    expect(decision.action).toBe(action);
    expect(decision.reasons.join(' ')).toMatch(reason);
  });
});

describe('the trigger multivariate_drift', () => {
  const window = (day: number, status: 'pass' | 'warn', version = '1'): Evidence => ({
    ...quality(day, 0.8),
    kind: 'multivariate',
    subject: { partition: dayOf(day), version },
    checks: [checkResult('multivariate_drift', { status, value: 0.7, reason: 'it looks at x' })],
  });
  const decided = (kind: 'multivariate_drift' | 'drift', evidence: readonly Evidence[]) => {
    const given = input({ evidence, incidents: [] });
    const retrain = { ...given.definition.retrain, when: [{ kind }] };
    return decide({ ...given, definition: { ...given.definition, retrain } });
  };
  const apart = [1, 2, 3].map(day => window(day, 'warn'));

  test.each([
    ['three windows of three', apart, 'fired', /3 of the last 3 windows .* it looks at x/],
    ['two windows', apart.slice(1), 'quiet', /2 of the last 2 windows .* \(3 needed\)/],
    ['back again', [...apart, window(4, 'pass')], 'quiet', /3 of the last 4/],
    [
      'of a champion that is gone',
      apart.map(one => ({ ...one, subject: { ...one.subject, version: '7' } })),
      'unknown',
      /no window/,
    ],
    ['without evidence', [], 'unknown', /no window/],
  ] as const)('%s', (_, evidence, state, reason) => {
    const [considered] = decided('multivariate_drift', evidence).considered;
    expect(considered).toMatchObject({ trigger: 'multivariate_drift', state });
    expect(considered?.reason).toMatch(reason);
  });

  test('where it is not named it moves nothing', () => {
    expect(decided('multivariate_drift', apart).action).toBe('retrain');
    expect(decided('drift', apart).action).toBe('nothing');
  });
});
