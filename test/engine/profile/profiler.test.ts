import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { NumericProfile, Profile } from '../../../src/domain/profile.ts';
import { mergeProfile, mergeProfiles } from '../../../src/domain/profile-merge.ts';
import { edgeFor, floorToSingle, nextDown } from '../../../src/engine/profile/floats.ts';
import { createProfiler, type ProfiledColumn } from '../../../src/engine/profile/profiler.ts';
import { histogram } from '../../../src/stats/histogram.ts';
import { createRandom } from '../../../src/stats/random.ts';

interface Setting {
  readonly edges: readonly number[];
  readonly pivot?: number;
  readonly sentinels?: readonly number[];
  readonly type?: 'FLOAT' | 'DOUBLE' | 'BIGINT';
  readonly byLabel?: boolean;
}

const COLUMNS: readonly ProfiledColumn[] = [
  { name: 'x', type: 'DOUBLE', kind: 'numeric' },
  { name: 'c', type: 'VARCHAR', kind: 'category' },
];

function profilerOf({ edges, pivot = 0, sentinels = [], type = 'DOUBLE', byLabel = false }: Setting) {
  return createProfiler({
    dataset: 'test',
    kind: 'window',
    engine: 'test',
    baseline: {
      schema: 'baseline/1',
      columns: {
        x: { kind: 'numeric', edges, pivot, fences: null, sentinels },
        c: { kind: 'category', vocabulary: ['a', 'b'] },
      },
      score: [0, 0.25, 0.5, 0.75, 1],
      number: 1,
      reason: 'test',
    },
    baselineDigest: 'digest',
    columns: COLUMNS.map(column => (column.kind === 'numeric' ? { ...column, type } : column)),
    byLabel,
  });
}

function numericOf(profile: Profile): NumericProfile {
  const column = profile.columns['x'];
  if (column?.kind !== 'numeric') throw new Error('no numeric column');
  return column;
}

/** A profile of rows given in blocks; NULL is null. */
function profileBlocks(blocks: readonly (readonly (number | null)[])[], setting: Setting): Profile {
  const profiler = profilerOf(setting);
  for (const block of blocks) {
    profiler.beginBlock(block.length);
    const nullRows = Int32Array.from(block.flatMap((value, row) => (value === null ? [row] : [])));
    // A NULL's slot holds garbage.
    const doubles = Float64Array.from(block, item => item ?? -2.02);
    profiler.addNumbers(0, setting.type === 'FLOAT' ? new Float32Array(doubles) : doubles, nullRows);
    profiler.addTexts(
      1,
      block.map(value => (value === null ? null : value > 0 ? 'a' : value < 0 ? 'b' : 'zero')),
    );
    profiler.addScores(block.map(value => Math.min(1, Math.abs(value ?? 0) % 1)));
  }
  return profiler.finish();
}

const special = fc.constantFrom(Number.NaN, Infinity, -Infinity, 0, -0, 1, -1, 1e308, -1e308, 5e-324, 1e30);
const value = fc.oneof(
  { weight: 6, arbitrary: fc.double({ min: -100, max: 100, noNaN: true }) },
  { weight: 2, arbitrary: fc.integer({ min: -5, max: 5 }) },
  { weight: 1, arbitrary: special },
);
const cell = fc.option(value, { nil: null, freq: 10 });
const edgeList = fc
  .array(fc.oneof(fc.double({ min: -120, max: 120, noNaN: true }), fc.integer({ min: -6, max: 6 })), { maxLength: 60 })
  .map(list => [...new Set(list.flatMap(edge => (Number.isInteger(edge) ? [nextDown(edge), edge + 0] : [edge])))])
  .map(list => list.sort((a, b) => a - b));

describe('the kernel', () => {
  test.each(['FLOAT', 'DOUBLE'] as const)('counts %s values as the definition does, on any edges', type => {
    fc.assert(
      fc.property(fc.array(cell, { maxLength: 5000 }), edgeList, (rows, edges) => {
        const x = numericOf(profileBlocks([rows], { edges, type }));
        const read = rows.flatMap(row => (row === null ? [] : [type === 'FLOAT' ? Math.fround(row) : row]));
        const finite = read.filter(Number.isFinite);
        expect(x.histogram).toEqual(histogram(finite, edges));
        expect([x.n, x.nulls, x.nan]).toEqual([
          rows.length,
          rows.length - read.length,
          read.filter(Number.isNaN).length,
        ]);
        expect(x.positiveInfinity).toBe(read.filter(item => item === Infinity).length);
        expect(x.min).toBe(finite.length === 0 ? null : finite.reduce((a, b) => Math.min(a, b)) + 0);
        expect(x.max).toBe(finite.length === 0 ? null : finite.reduce((a, b) => Math.max(a, b)) + 0);
      }),
      { numRuns: 60 },
    );
  });

  test.each([
    ['quantiles of a normal', Array.from({ length: 99 }, (_, i) => (i - 49) / 20)],
    ['edges that crowd one cell', Array.from({ length: 40 }, (_, i) => 1e-7 * i)],
    ['edges over 600 decades', [-1e300, -1, -1e-300, 1e-300, 1, 1e300]],
    ['no edges', []],
  ])('counts a hundred thousand rows on %s', (_, edges) => {
    const random = createRandom(9);
    const rows = Array.from({ length: 100_003 }, () => random.normal());
    for (const type of ['FLOAT', 'DOUBLE'] as const) {
      const read = type === 'FLOAT' ? rows.map(Math.fround) : rows;
      expect(numericOf(profileBlocks([rows], { edges, type })).histogram).toEqual(histogram(read, edges));
    }
  });

  test.each([1, 5, 40, 300])(
    'one NULL, NaN or infinity in about %d rows is counted apart, wherever it stands',
    every => {
      const random = createRandom(every);
      const odd = [null, Number.NaN, Infinity, -Infinity];
      const rows = Array.from({ length: 9_001 }, (_, i) => (random.next() < 1 / every ? odd[i % 4]! : random.normal()));
      const finite = rows.filter(row => row !== null && Number.isFinite(row)) as number[];
      const edges = Array.from({ length: 99 }, (_, i) => (i - 49) / 20);
      const x = numericOf(profileBlocks([rows], { edges }));
      expect(x.histogram).toEqual(histogram(finite, edges));
      expect([x.nulls, x.nan, x.positiveInfinity, x.negativeInfinity]).toEqual(
        odd.map(value => rows.filter(row => Object.is(row, value)).length),
      );
      const squares = finite.reduce((total, value) => total + value * value, 0);
      expect(Math.abs(x.s2 - squares)).toBeLessThanOrEqual(1e-12 * squares);
    },
  );

  test.each([
    ['one edge in a cell', Array.from({ length: 50 }, (_, i) => i + 0.5)],
    ['point bins: two edges in a cell', Array.from({ length: 50 }, (_, i) => [nextDown(i), i]).flat()],
    ['point bins among crowds', [...Array.from({ length: 9 }, (_, i) => 3 + i * 1e-9), nextDown(7), 7, 1e6]],
  ])('%s', (_, edges) => {
    const random = createRandom(4);
    const rows = Array.from({ length: 10_000 }, (_, i) =>
      i % 3 === 0 ? 3 + i * 1e-12 : Math.floor(50 * random.next()),
    );
    for (const type of ['FLOAT', 'DOUBLE'] as const) {
      const read = type === 'FLOAT' ? rows.map(Math.fround) : rows;
      expect(numericOf(profileBlocks([rows], { edges, type })).histogram).toEqual(histogram(read, edges));
    }
  });

  test.each(['FLOAT', 'DOUBLE'] as const)('decides for %s values on an edge and right beside it', type => {
    const precision = type === 'FLOAT' ? 'f32' : 'f64';
    const nextUp = (value: number): number => -edgeFor(nextDown(-value), precision);
    const scale = fc.constantFrom(1e-40, 1e-12, 1e-3, 1, 7, 1e9, 1e30);
    const shift = fc.constantFrom(0, -6.5, 1e-7, 1e6);
    fc.assert(
      fc.property(edgeList, scale, shift, (list, factor, offset) => {
        const scaled = list.map(edge => edge * factor + offset);
        const edges = [...new Set(type === 'FLOAT' ? scaled.map(Math.fround) : scaled)].sort((a, b) => a - b);
        const near = edges.flatMap(edge => [edgeFor(nextDown(edge), precision), edge, nextUp(edge)]);
        // More than one vector of values, and in no order that the kernel could profit from.
        const rows = [...near, 0, -0, ...near.reverse(), ...near];
        const x = numericOf(profileBlocks([rows], { edges, type, sentinels: [7, -0] }));
        expect(x.histogram).toEqual(histogram(rows, edges));
        expect(x.sentinels).toEqual({
          '0': rows.filter(row => row === 0).length,
          '7': rows.filter(row => row === 7).length,
        });
      }),
      { numRuns: 200 },
    );
  });

  test('sums that overflow in a whole block leave the counts right', () => {
    const rows = Array.from({ length: 3_000 }, (_, i) => (i % 2 === 0 ? 1e200 : -1e200));
    const x = numericOf(profileBlocks([rows], { edges: [0] }));
    expect([x.histogram, x.min, x.max, x.s2]).toEqual([[1_500, 1_500], -1e200, 1e200, Number.MAX_VALUE]);
  });

  test('moments are the exact sums to 1e-13', () => {
    const random = createRandom(10);
    const rows = Array.from({ length: 50_000 }, () => 1e6 + random.normal());
    const x = numericOf(profileBlocks([rows], { edges: [1e6], pivot: 1e6 }));
    // Whole numbers of 2^-100 add up without rounding.
    const exact = (power: number): number => {
      let total = 0n;
      for (const row of rows) total += BigInt(Math.round((row - 1e6) ** power * 2 ** 40));
      return Number(total) / 2 ** 40;
    };
    expect(Math.abs(x.s2 / exact(2) - 1)).toBeLessThan(1e-12);
    expect(Math.abs(x.s4 / exact(4) - 1)).toBeLessThan(1e-12);
    expect(Math.abs(x.s1 - exact(1))).toBeLessThan(1e-12 * rows.length);
  });

  test('64-bit integers are rounded once, whatever their size and sign', () => {
    const values = [0n, -1n, 2n ** 53n + 1n, -(2n ** 62n) - 12345n, 2n ** 63n - 1n, -(2n ** 63n)];
    for (const single of values) {
      const profiler = profilerOf({ edges: [0], type: 'BIGINT' });
      profiler.beginBlock(1);
      profiler.addNumbers(0, BigInt64Array.of(single));
      expect(numericOf(profiler.finish()).max).toBe(Number(single));
    }
  });

  test('sentinels are counted inside coarser edges without splitting the histogram', () => {
    const x = numericOf(profileBlocks([[-1, 0, 999, -1, 5, 998]], { edges: [0, 10], sentinels: [-1, 999] }));
    expect(x.sentinels).toEqual({ '-1': 2, '999': 1 });
    expect(x.histogram).toEqual([3, 1, 2]);
  });

  test('a sentinel right below an edge is counted alone', () => {
    const x = numericOf(profileBlocks([[-5e-324, 0, 0, 5e-324, 1]], { edges: [0, 5e-324], sentinels: [0] }));
    expect(x.sentinels).toEqual({ '0': 2 });
    expect(x.histogram).toEqual([3, 1, 1]);
  });
});

describe('merge', () => {
  test('over random splits equals the profile of all rows', () => {
    fc.assert(
      fc.property(
        fc.array(cell, { maxLength: 3000 }),
        fc.array(fc.nat(3000), { maxLength: 5 }),
        edgeList,
        (rows, cuts, edges) => {
          const at = [0, ...cuts.map(cut => Math.min(cut, rows.length)).sort((a, b) => a - b), rows.length];
          const parts = at.slice(1).map((to, i) => profileBlocks([rows.slice(at[i], to)], { edges }));
          const whole = profileBlocks([rows], { edges });
          const merged = mergeProfiles(parts);
          expect(inexactRemoved(merged)).toEqual(inexactRemoved(whole));
          const [a, b] = [numericOf(merged), numericOf(whole)];
          const even = (got: number, expected: number) =>
            expect(Math.abs(got - expected)).toBeLessThanOrEqual(1e-12 * expected);
          even(a.s2, b.s2);
          even(a.s4, b.s4);
          // Odd powers cancel, so they are judged on the scale of their terms: |Σ d³| ≤ √(Σ d² Σ d⁴).
          expect(Math.abs(a.s1 - b.s1)).toBeLessThanOrEqual(1e-12 * Math.sqrt(b.n * b.s2));
          expect(Math.abs(a.s3 - b.s3)).toBeLessThanOrEqual(1e-12 * Math.sqrt(b.s2) * Math.sqrt(b.s4));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('over random splits holds for labels, slices and times too', () => {
    const record = fc.record({
      x: cell,
      label: fc.constantFrom(0, 1, Number.NaN),
      slice: fc.constantFrom('web', 'app', null),
      day: fc.option(fc.integer({ min: -40_000, max: 60_000 }), { nil: null }),
    });
    fc.assert(
      fc.property(fc.array(record, { maxLength: 400 }), fc.array(fc.nat(400), { maxLength: 4 }), (rows, cuts) => {
        const at = [0, ...cuts.map(cut => Math.min(cut, rows.length)).sort((a, b) => a - b), rows.length];
        const parts = at.slice(1).map((to, i) => profileRecords(rows.slice(at[i], to)));
        const [merged, whole] = [mergeProfiles(parts), profileRecords(rows)];
        expect(inexactRemoved(merged)).toEqual(inexactRemoved(whole));
        expect(JSON.stringify(mergeProfiles(parts))).toBe(JSON.stringify(merged));
      }),
      { numRuns: 60 },
    );
  });

  test('is associative on what it counts', () => {
    const [a, b, c] = [[1, null, 3], [Number.NaN, -4], [7]].map(rows => profileBlocks([rows], { edges: [0, 2] }));
    const left = mergeProfile(mergeProfile(a!, b!), c!);
    const right = mergeProfile(a!, mergeProfile(b!, c!));
    expect(inexactRemoved(left)).toEqual(inexactRemoved(right));
  });
});

interface Row {
  readonly x: number | null;
  readonly label: number;
  readonly slice: string | null;
  readonly day: number | null;
}

/** A profile of one block with labels, slices and days. */
function profileRecords(rows: readonly Row[]): Profile {
  const profiler = createProfiler({
    dataset: 'test',
    kind: 'window',
    engine: 'test',
    baseline: {
      schema: 'baseline/1',
      columns: { x: { kind: 'numeric', edges: [-1, 0, 2], pivot: 0, fences: null, sentinels: [1] } },
      score: null,
      number: 1,
      reason: 'test',
    },
    baselineDigest: 'digest',
    columns: [
      { name: 'x', type: 'DOUBLE', kind: 'numeric' },
      { name: 'day', type: 'DATE', kind: 'time' },
    ],
    byLabel: true,
    eventTime: 'day',
    asOf: '2000-01-01T00:00:00Z',
  });
  const where = (chosen: (row: Row) => boolean): Int32Array =>
    Int32Array.from(rows.flatMap((row, i) => (chosen(row) ? [i] : [])));
  const names = [...new Set(rows.flatMap(({ slice }) => (slice === null ? [] : [slice])))];
  profiler.beginBlock(rows.length, {
    labels: rows.map(({ label }) => label),
    slices: new Map(names.map(name => [`channel=${name}`, where(({ slice }) => slice === name)])),
  });
  profiler.addNumbers(
    0,
    Float64Array.from(rows, ({ x }) => x ?? 9e9),
    where(({ x }) => x === null),
  );
  profiler.addTimes(
    1,
    Int32Array.from(rows, ({ day }) => day ?? 7),
    where(({ day }) => day === null),
  );
  return profiler.finish();
}

/** The document without sums, which are equal to rounding only. */
function inexactRemoved(profile: Profile): unknown {
  return JSON.parse(
    JSON.stringify(profile, (key, item: unknown) => (/^(s[1-4]|sum|logLossSum|brierSum)$/.test(key) ? 0 : item)),
  );
}

describe('labels and slices', () => {
  test('rows of each class and slice are counted in their own histograms', () => {
    const profiler = profilerOf({ edges: [0, 10], byLabel: true });
    const slices = new Map([
      ['c=a', Int32Array.of(0, 1, 2)],
      ['c=b', Int32Array.of(3)],
    ]);
    profiler.beginBlock(5, { labels: [1, 0, 1, Number.NaN, 0], slices });
    profiler.addNumbers(0, Float64Array.of(5, 15, -5, 5, Number.NaN), Int32Array.of(2));
    profiler.addTexts(1, ['a', 'a', 'a', 'b', null]);
    profiler.addScores([0.1, 0.2, 0.9, 0.5, 0.3]);
    const profile = profiler.finish();
    expect(profile.byLabel).toEqual({
      x: { positives: [0, 1, 0, 1], negatives: [0, 0, 1, 1] },
      c: { positives: [2, 0, 0, 0], negatives: [1, 0, 0, 1] },
    });
    expect(numericOf(profile).histogram).toEqual([0, 2, 1]);
    expect(profile.slices.map(slice => [slice.slice, slice.rows, numericOf(slice).histogram])).toEqual([
      ['c=a', 3, [0, 1, 1]],
      ['c=b', 1, [0, 1, 0]],
    ]);
    expect(profile.slices[0]?.score).toMatchObject({
      n: 3,
      positives: [0, 1, 0, 0, 1, 0],
      negatives: [0, 1, 0, 0, 0, 0],
    });
  });

  test('a column of another kind is refused by name', () => {
    const profiler = profilerOf({ edges: [] });
    profiler.beginBlock(1);
    expect(() => profiler.addNumbers(1, [1])).toThrow(
      'profile column c is category, but numeric values were added to it',
    );
  });
});

test('neighbours of numbers', () => {
  expect([nextDown(1), nextDown(0), nextDown(-1)]).toEqual([1 - 2 ** -53, -5e-324, -1 - 2 ** -52]);
  expect(floorToSingle(0.1)).toBe(Math.fround(0.1) - 2 ** -27);
  expect([floorToSingle(0.5), floorToSingle(1e39), floorToSingle(-1e39)]).toEqual([
    0.5,
    3.4028234663852886e38,
    -Infinity,
  ]);
});
