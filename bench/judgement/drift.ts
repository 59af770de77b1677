/** Drift of two ready profiles: every metric of every column from counts alone. */
import { performance } from 'node:perf_hooks';
import {
  hellinger,
  jsDistanceBase2,
  lInfinity,
  psi,
  psiSignificance,
  totalVariation,
} from '../../src/stats/divergence.ts';
import { coarsen, sumGroups } from '../../src/stats/histogram.ts';
import { ksBinned, ksSignificance } from '../../src/stats/kolmogorov-smirnov.ts';
import { createRandom } from '../../src/stats/random.ts';
import { wassersteinBinned } from '../../src/stats/wasserstein.ts';

/** Best of five: milliseconds for two profiles of so many columns of 104 bins. */
export function driftMilliseconds(columns: number): number {
  const random = createRandom(1);
  const edges = Array.from({ length: 103 }, (_, i) => i / 10);
  const side = () =>
    Array.from({ length: columns }, () => Array.from({ length: 104 }, () => 9000 + Math.floor(2000 * random.next())));
  const [reference, current] = [side(), side()];
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const began = performance.now();
    for (let column = 0; column < columns; column++) judge(reference[column]!, current[column]!, edges);
    best = Math.min(best, performance.now() - began);
  }
  return best;
}

function judge(reference: readonly number[], current: readonly number[], edges: readonly number[]): void {
  const groups = coarsen(reference, 10);
  const [p, q] = [sumGroups(reference, groups), sumGroups(current, groups)];
  const size = { n: 1e6, m: 1e6, bins: p.length };
  const index = psi(p, q);
  if (index.value !== null) psiSignificance(index.value.psi, size);
  const ks = ksBinned(reference, current);
  if (ks.value !== null) ksSignificance(ks.value.d, size.n, size.m);
  jsDistanceBase2(reference, current);
  hellinger(reference, current);
  totalVariation(reference, current);
  lInfinity(reference, current);
  wassersteinBinned({ counts: reference, min: -1, max: 11 }, { counts: current, min: -1, max: 11 }, edges);
}
