/** The WebAssembly loops against plain loops, and the bins they count. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findCuts } from '../../src/trainers/gbdt/bins.ts';
import { BINS } from '../../src/trainers/gbdt/kernel.ts';
import { giveBackMemory, openWorkspace, planLayout, takeMemory } from '../../src/trainers/gbdt/layout.ts';
import { seededRandom } from '../../src/trainers/random.ts';

function smallWorkspace(rows: number, features: number) {
  const layout = planLayout({ rows, features, outputs: 1, leaves: 2, threads: 1 });
  const workspace = openWorkspace(takeMemory(layout), layout, 0);
  const random = seededRandom(rows);
  for (const group of layout.groups) {
    for (let at = 0; at < rows * 16; at++) workspace.bytes[group.bins + at] = Math.floor(256 * random());
  }
  for (let row = 0; row < rows; row++) {
    workspace.order[row] = row;
    workspace.gradients[2 * row] = Math.floor(1000 * random());
    workspace.gradients[2 * row + 1] = Math.floor(2000 * random()) - 1000;
  }
  return workspace;
}

test.each([
  [1, 1],
  [257, 3],
  [40_000, 16],
])('counts every row of a leaf once: %i rows, %i features', (rows, features) => {
  const { layout, kernel, bytes, gradients, order, histograms } = smallWorkspace(rows, features);
  const [group] = layout.groups;
  // A leaf of every third row.
  const leaf = Array.from({ length: Math.ceil(rows / 3) }, (_, index) => 3 * index);
  order.set(leaf);
  const job = { rows: layout.order, begin: 0, end: leaf.length, gradients: layout.gradients, bins: group!.bins };
  kernel.histogram(group!.size, { ...job, histogram: layout.histograms });

  const expected = new Float64Array(features * BINS * 2);
  for (const row of leaf) {
    for (let feature = 0; feature < features; feature++) {
      const at = 2 * (feature * BINS + bytes[group!.bins + 16 * row + feature]!);
      expected[at]! += gradients[2 * row]!;
      expected[at + 1]! += gradients[2 * row + 1]!;
    }
  }
  expect(Buffer.from(histograms.slice(0, expected.length).buffer).equals(Buffer.from(expected.buffer))).toBe(true);

  const second = layout.histograms + layout.histogramBytes;
  kernel.histogram(group!.size, { ...job, histogram: second });
  kernel.subtract(layout.histograms, second, layout.histogramBytes);
  expect(histograms.slice(0, expected.length).every(value => value === 0)).toBe(true);
});

test('a partition keeps the order of both sides', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 300 }),
      fc.integer({ min: 0, max: 255 }),
      (bins, cut) => {
        const rows = Math.max(1, bins.length);
        const { layout, kernel, bytes, table, order, aside } = smallWorkspace(rows, 1);
        bytes.set(bins, layout.columns);
        for (let bin = 0; bin < BINS; bin++) table[bin] = bin <= cut ? 1 : 0;
        const job = { rows: layout.order, begin: 0, end: bins.length, bins: layout.columns, table: layout.table };
        const left = kernel.partition({ ...job, aside: layout.aside });
        const all = [...bins.keys()];
        expect([...order.slice(0, left)]).toEqual(all.filter(row => bins[row]! <= cut));
        expect([...aside.slice(0, bins.length - left)]).toEqual(all.filter(row => bins[row]! > cut));
      },
    ),
    { numRuns: 60 },
  );
});

const cutsOf = (values: readonly number[], maxBins = 255) =>
  findCuts(Float32Array.from(values), maxBins, seededRandom(1));

test('cuts lie between values that occur, in float32', () => {
  const float = fc.float({ noNaN: true, noDefaultInfinity: false });
  fc.assert(
    fc.property(
      fc.array(float, { minLength: 1, maxLength: 400 }),
      fc.integer({ min: 2, max: 20 }),
      (values, maxBins) => {
        const cuts = cutsOf(values, maxBins);
        const distinct = [...new Set(Float32Array.from(values).map(value => value + 0))];
        expect(cuts.length).toBeLessThan(maxBins);
        cuts.forEach((cut, index) => {
          expect(cut).toBeGreaterThan(cuts[index - 1] ?? -Infinity);
          expect(distinct.some(value => value <= cut)).toBe(true);
          expect(distinct.some(value => value > cut)).toBe(true);
        });
      },
    ),
  );
});

test.each([
  ['no value', [], []],
  ['one value', [3, 3, 3], []],
  ['missing only', [Number.NaN, Number.NaN], []],
  ['two values', [1, 2, 2, Number.NaN], [1.5]],
  [
    'infinities',
    [-Infinity, 0, Infinity],
    [Math.fround(-3.4028234663852886e38 / 2), Math.fround(3.4028234663852886e38 / 2)],
  ],
  ['neighbours', [1, 1 + 2 ** -23], [1]],
])('%s', (_name, values, cuts) => {
  expect([...cutsOf(values)]).toEqual(cuts);
});

test('every value has a bin of its own while they fit, then bins are of equal weight', () => {
  expect(cutsOf(Array.from({ length: 255 }, (_, index) => index))).toHaveLength(254);
  const many = cutsOf(
    Array.from({ length: 10_000 }, (_, index) => index),
    10,
  );
  expect(many).toHaveLength(9);
  const distances = Array.from(many, (cut, index) => Math.abs(cut - 1_000 * (index + 1)));
  expect(Math.max(...distances)).toBeLessThan(20);
});

test('a value that fills half of the rows leaves the other bins to the rest', () => {
  const values = [...new Array<number>(5_000).fill(0), ...Array.from({ length: 5_000 }, (_, index) => index + 1)];
  const cuts = cutsOf(values, 11);
  expect(cuts[0]).toBe(0.5);
  expect(cuts).toHaveLength(10);
});

test('the memory of one training serves the next that fits into it, and comes back empty', () => {
  const layoutOf = (rows: number) => planLayout({ rows, features: 3, outputs: 1, leaves: 2, threads: 1 });
  const first = takeMemory(layoutOf(40_000));
  new Uint8Array(first.buffer).fill(7);
  giveBackMemory(first);
  const second = takeMemory(layoutOf(20_000));
  expect(second).toBe(first);
  expect(new Uint8Array(second.buffer, 0, layoutOf(20_000).bytes).every(byte => byte === 0)).toBe(true);
  // Taken once, and too small for more rows.
  expect(takeMemory(layoutOf(20_000))).not.toBe(first);
  giveBackMemory(second);
  expect(takeMemory(layoutOf(80_000))).not.toBe(first);
});
