/** Alerts: a specification that contradicts itself is named, and the same evidence opens and closes it at the same windows. */
import { describe, expect, test } from 'vitest';
import { checkResult } from '../../src/checks/result.ts';
import { type AlertSpecification, alertProblems, followAlert } from '../../src/domain/alert.ts';
import { decide } from '../../src/domain/decision.ts';
import type { Evidence } from '../../src/domain/evidence.ts';

const alert: AlertSpecification = {
  id: 'late-scores',
  scope: 'feature',
  metric: 'drift:balance',
  minRows: 500,
  normal: { low: 0, high: 0.05, source: '20 accepted weeks' },
  warn: 0.1,
  critical: 0.25,
  direction: 'above',
  persistence: { k: 2, n: 3 },
  exit: 0.07,
  cooldownWindows: 2,
  owner: 'group:risk',
  action: { runbook: 'check the bureau feed', automation: 'none' },
};

const day = (index: number) => `2026-01-${String(index + 1).padStart(2, '0')}`;

/** One window a value; null is a window without one. */
function windows(values: readonly (number | null)[], { rows = 1_000, version = '1' } = {}): readonly Evidence[] {
  return values.map((value, index) => ({
    schema: 'evidence/1',
    kind: 'drift',
    model: 'm',
    subject: { partition: day(index), version },
    baseline: null,
    asOf: `${day(index)}T00:00:00Z`,
    checks: [checkResult('drift', { status: 'pass', column: 'balance', value, rows, reason: '' })],
    verdict: 'pass',
    reasons: [],
  }));
}

describe('a specification', () => {
  test('that is complete and agrees with itself has no problems', () => expect(alertProblems(alert)).toEqual([]));
  test.each([
    [{ critical: 0.05 }, /critical 0.05 is milder than warn 0.1/],
    [{ exit: 0.2 }, /exit 0.2 lies beyond warn 0.1/],
    [{ warn: 0.01, exit: 0 }, /warn 0.01 lies inside normal/],
    [{ normal: { low: 1, high: 0, source: 'x' } }, /normal.low 1 lies above normal.high 0/],
    [{ persistence: { k: 4, n: 3 } }, /4 of 3 cannot be met/],
    [{ metric: 'drift' }, /of scope feature it is check:feature/],
    [{ scope: 'model' as const }, /of scope model it is a check alone/],
    [{ direction: 'below' as const }, /critical 0.25 is milder/],
  ])('%o is told', (wrong, problem) => expect(alertProblems({ ...alert, ...wrong }).join('\n')).toMatch(problem));
});

describe('an alert', () => {
  test.each([
    ['is unknown before any window counts', [], 'unknown', null],
    ['stays quiet over one bad window', [0.02, 0.3], 'ok', null],
    ['opens with the second of three, since the first', [0.02, 0.12, 0.03, 0.13], 'warn', day(1)],
    ['is critical while its value is', [0.12, 0.3], 'critical', day(0)],
    ['is a warning again when the value falls, without leaving', [0.12, 0.3, 0.09], 'warn', day(0)],
    ['closes at its exit', [0.12, 0.3, 0.07], 'ok', null],
    ['does not open again within its cooldown', [0.12, 0.3, 0.01, 0.2, 0.2], 'ok', null],
    ['opens again after it', [0.12, 0.3, 0.01, 0.2, 0.2, 0.2], 'warn', day(3)],
    ['passes over windows without a value', [0.12, null, 0.13], 'warn', day(0)],
  ])('%s', (_what, values, state, since) => {
    expect(followAlert(alert, windows(values))).toMatchObject({ state, since });
  });

  test('counts no window with too few rows', () => {
    expect(followAlert(alert, windows([0.3, 0.3], { rows: 499 })).state).toBe('unknown');
  });

  test('looks below when that is where the bad values lie', () => {
    const low = {
      ...alert,
      direction: 'below',
      normal: { low: 0.8, high: 1, source: 'x' },
      warn: 0.7,
      critical: 0.6,
      exit: 0.75,
    } as const;
    expect(followAlert(low, windows([0.9, 0.65, 0.55]))).toMatchObject({ state: 'critical', since: day(1) });
  });

  test('says what was found, what is normal and who says so, whose it is and what to do', () => {
    expect(followAlert(alert, windows([0.12, 0.3])).reason).toBe(
      'alert late-scores is critical since 2026-01-01: drift:balance is 0.3 in 2026-01-02, normal is 0 to 0.05 (20 accepted weeks), ' +
        'limit 0.25; group:risk: check the bureau feed',
    );
  });
});

describe('what an open alert does', () => {
  const decided = (automation: AlertSpecification['action']['automation'], values: readonly number[], version = '1') =>
    decide({
      definition: {
        model: 'm',
        monitor: {
          windowDays: 1,
          drift: { metric: 'psi', warn: 0.1, alert: 0.25, persistence: { k: 3, n: 5 }, minRows: 500 },
          quality: { metric: 'auc', min: null, minRows: 500 },
          alerts: [{ ...alert, action: { ...alert.action, automation } }],
        },
        retrain: { when: [{ kind: 'age', days: 30 }], cooldownDays: 0, budget: { runs: 4, days: 30 }, minNewLabels: 0 },
      },
      partition: day(values.length - 1),
      asOf: '2026-03-01T00:00:00Z',
      champion: '1',
      trainedAt: '2026-02-20T00:00:00Z',
      evidence: windows(values, { version }),
      digests: [],
      incidents: [],
      retrainings: [],
      inFlight: null,
      newLabels: null,
    });

  test('with none it is told, and nothing else happens', () => {
    const decision = decided('none', [0.12, 0.3]);
    expect(decision).toMatchObject({ action: 'nothing', alerts: [{ state: 'critical' }] });
    expect(decision.reasons.at(-1)).toMatch(/^alert late-scores is critical/);
  });
  test('open_retraining retrains when it is critical, not before', () => {
    expect(decided('open_retraining', [0.12, 0.13]).action).toBe('nothing');
    expect(decided('open_retraining', [0.12, 0.3])).toMatchObject({ action: 'retrain', trigger: 'alert' });
  });
  test('rollback asks for the champion before when it is critical', () => {
    expect(decided('rollback', [0.12, 0.13]).action).toBe('nothing');
    expect(decided('rollback', [0.12, 0.3]).action).toBe('rollback');
  });
  test('block_training holds what another trigger wants', () => {
    expect(decided('block_training', [0.12, 0.12])).toMatchObject({ action: 'nothing' });
  });
  test('what an earlier version did opens nothing', () => {
    expect(decided('rollback', [0.3, 0.3], '0')).toMatchObject({ action: 'nothing', alerts: [{ state: 'unknown' }] });
  });
});
