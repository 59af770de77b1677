/** The classifier on rows whose truth is known: joint changes are seen, on few rows and many alike. */
import { describe, expect, test } from 'vitest';
import { judgeSeparation, type Separation } from '../../src/checks/domain-classifier.ts';
import { tellApart } from '../../src/engine/domain-classifier.ts';
import { createRandom } from '../../src/stats/random.ts';
import type { Feature } from '../../src/trainers/trainer.ts';

/** Normal columns; the first two are correlated from `reference` on. */
function correlated(rows: number, rho: number, seed: number): Feature[] {
  const random = createRandom(seed);
  const columns = Array.from({ length: 5 }, () => Float32Array.from({ length: 2 * rows }, () => random.normal()));
  for (let row = rows; row < 2 * rows; row++)
    columns[1]![row] = rho * columns[0]![row]! + Math.sqrt(1 - rho * rho) * columns[1]![row]!;
  return columns.map((values, index) => ({ kind: 'number', name: `x${index}`, values }));
}

function compare(rows: number, features: readonly Feature[]): Promise<Separation> {
  return tellApart({ features, reference: rows, current: rows, rowsMax: 5_000, seed: 1 });
}

describe('a dependence that no column shows', () => {
  test('is seen, and the columns are named', async () => {
    const found = await compare(2_000, correlated(2_000, 0.8, 3));
    expect(found.auc).toBeGreaterThan(0.66);
    expect(
      found.top
        .slice(0, 2)
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(['x0', 'x1']);
    expect(judgeSeparation(found, { limit: 0.625 })[0]?.status).toBe('warn');
  });

  test('is not seen where there is none, and the interval says how sure that is', async () => {
    const { auc, interval } = await compare(2_000, correlated(2_000, 0, 3));
    expect(auc).toBeGreaterThan(0.47);
    expect(auc).toBeLessThan(0.53);
    expect((interval?.[1] ?? 1) - (interval?.[0] ?? 0)).toBeLessThan(0.05);
  });
});

test('new categories and missing values are seen as well', async () => {
  const codes = Int32Array.from({ length: 2_000 }, (_, row) => (row < 1_000 ? row % 3 : row % 4));
  const values = Float32Array.from({ length: 2_000 }, (_, row) => (row >= 1_000 && row % 2 === 0 ? Number.NaN : 1));
  const category: Feature = { kind: 'category', name: 'c', codes, categories: ['a', 'b', 'c'] };
  expect((await compare(1_000, [category])).auc).toBeGreaterThan(0.6);
  expect((await compare(1_000, [{ kind: 'number', name: 'x', values }])).auc).toBeGreaterThan(0.7);
});

test('the sides are drawn alike, bounded, and the same every time', async () => {
  const features = correlated(1_000, 0.5, 4);
  const given = { features, reference: 1_000, current: 1_000, rowsMax: 300, seed: 9 };
  const found = await tellApart(given);
  expect(found).toMatchObject({ rows: 300, of: { reference: 1_000, current: 1_000 }, columns: 5 });
  expect(await tellApart(given)).toEqual(found);
});
