/** A probe ahead of the champion: by how much, and how surely, before it is an alarm. */
import { describe, expect, test } from 'vitest';
import { judgeProbe } from '../../src/checks/index.ts';
import { createRandom } from '../../src/stats/random.ts';

/** Scores that know the label through this much noise; the two share a part of it, as two models of one table do. */
function judged(
  seed: number,
  noise: { readonly champion: number; readonly probe: number },
  rows: number,
  minRows = 100,
) {
  const random = createRandom(seed);
  const labels = Float32Array.from({ length: rows }, () => random.below(2));
  const shared = Float32Array.from({ length: rows }, () => random.normal());
  const scores = (size: number) =>
    Float32Array.from(labels, (label, row) => label + shared[row]! + size * random.normal());
  const championScores = scores(noise.champion);
  const [check] = judgeProbe({
    metric: 'auc',
    labels,
    championScores,
    probeScores: scores(noise.probe),
    margin: 0.02,
    minRows,
    champion: 'the champion',
    probe: 'a model of newer rows',
    learned: { champion: 2_000, probe: 2_000 },
    threshold: null,
    seed,
  });
  return check;
}

describe('the champion', () => {
  test('is behind when its interval ends below the margin', () => {
    const check = judged(1, { champion: 2, probe: 0.1 }, 2_000);
    expect(check?.status, check?.reason).toBe('warn');
    expect(check?.interval?.[1]).toBeLessThan(-0.02);
    expect(check?.reason).toMatch(/behind by 0\.\d+ \(-0\.\d+ to -0\.\d+ with 99 % confidence\)/);
  });

  test('is not behind when it is only certain to be behind at all: that much is granted', () => {
    const check = judged(3, { champion: 0.5, probe: 0.1 }, 20_000);
    expect(check?.interval?.[1]).toBeLessThan(0);
    expect(check?.status, check?.reason).toBe('pass');
  });

  test('is not judged on few rows', () => {
    expect(judged(1, { champion: 2, probe: 0.1 }, 80)?.status).toBe('insufficient');
  });
});

test('a probe that is no better, or better by less than the margin, alarms in at most one window of a hundred', () => {
  const seeds = Array.from({ length: 1_000 }, (_, index) => index + 1);
  const alarms = (champion: number) =>
    seeds.filter(seed => judged(seed, { champion, probe: 0.3 }, 336)?.status === 'warn').length;
  expect(alarms(0.3)).toBeLessThanOrEqual(1);
  // Two hundredths of AUC behind, the margin itself: the worst of what is granted.
  expect(alarms(0.55)).toBeLessThanOrEqual(10);
});
