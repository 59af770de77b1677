/** A version on trial: may its answers differ from the champion's as much as they do? */
import { expect, test } from 'vitest';
import { judgeTrial, type TrialInput } from '../../src/checks/trial.ts';
import { foldVerdict } from '../../src/domain/evidence.ts';

const even = Array.from({ length: 10 }, () => 1_000);
const calm: TrialInput = {
  version: 2,
  champion: even,
  challenger: even.map((count, bin) => count + (bin % 2 === 0 ? 20 : -20)),
  unmatched: 0,
  changed: 100,
  heldOut: null,
  limits: { warn: 0.1, alert: 0.25, minRows: 500 },
};
/** PSI about 0.42: the upper half of the answers partly went to the lower. */
const moved = even.map((_, bin) => (bin < 5 ? 1_600 : 400));
const statusOf = (changes: Partial<TrialInput>, name: string) =>
  judgeTrial({ ...calm, ...changes }).find(({ check }) => check === name);

test('answers like those of the champion pass, and say how many decisions differ', () => {
  const checks = judgeTrial(calm);
  expect(checks.map(({ status }) => status)).toEqual(['pass', 'pass']);
  expect(checks[1]?.reason).toContain('1.0 % of the decisions are others');
});

test('rows that only one of the two answered fail the trial', () => {
  expect(foldVerdict(judgeTrial({ ...calm, unmatched: 3 }))).toBe('fail');
  // A canary serves rows of its own: there is nothing to match.
  expect(statusOf({ unmatched: null }, 'trial_rows')).toBeUndefined();
});

test.each([
  ['far from the champion', { challenger: moved }, 'fail'],
  ['as far as on the held-out rows', { challenger: moved, heldOut: 0.36 }, 'pass'],
  ['somewhat further than on the held-out rows', { challenger: moved, heldOut: 0.2 }, 'warn'],
  [
    'few rows, where chance moves as much',
    { champion: even.map(n => n / 100), challenger: moved.map(n => n / 100), limits: { ...calm.limits, minRows: 50 } },
    'pass',
  ],
  ['too few rows', { champion: [10, 10], challenger: [10, 10] }, 'insufficient'],
  ['no rows', { champion: [], challenger: [] }, 'insufficient'],
] as const)('%s', (_, changes, status) => {
  const found = statusOf(changes, 'trial_distribution');
  expect(found?.status, found?.reason).toBe(status);
});
