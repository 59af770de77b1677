import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BinSearch } from '../../../src/engine/profile/bin-search.ts';
import { binOf } from '../../../src/stats/histogram.ts';

const number = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.double({ min: -1, max: 2, noNaN: true }),
  fc.integer({ min: -3, max: 1003 }).map(i => i / 1000),
);
const edgeList = fc
  .array(number, { maxLength: 40 })
  .map(list => [...new Set(list.map(edge => edge + 0))].sort((a, b) => a - b));

test('finds the bin that the binary search finds, on any edges and for the edges themselves', () => {
  fc.assert(
    fc.property(edgeList, fc.array(number, { maxLength: 200 }), (edges, values) => {
      const search = new BinSearch(edges);
      for (const value of [...values, ...edges]) expect(search.binOf(value)).toBe(binOf(value, edges));
    }),
  );
});

test('finds the bins of a grid of probabilities in 64 and in 32 bits', () => {
  const grid = Array.from({ length: 1001 }, (_, i) => i / 1000);
  const search = new BinSearch(grid);
  const values = grid.flatMap(edge => [edge, Math.fround(edge), edge - 1e-9, edge + 1e-9]);
  expect(values.map(value => search.binOf(value))).toEqual(values.map(value => binOf(value, grid)));
});
