import fc from 'fast-check';
import { expect, test } from 'vitest';
import { planChunks } from '../../src/domain/scoring.ts';

test('one huge file is cut at its row groups', () => {
  const chunks = planChunks([{ path: 'a', rowGroups: [100, 100, 100, 100, 50] }], { chunkRows: 200 });
  expect(chunks).toEqual([
    { inputs: [{ path: 'a', rowGroups: [0, 2] }], rows: 200 },
    { inputs: [{ path: 'a', rowGroups: [2, 3] }], rows: 100 },
    { inputs: [{ path: 'a', rowGroups: [3, 5] }], rows: 150 },
  ]);
});

test('ten thousand tiny files are grouped, by rows and by number', () => {
  const files = Array.from({ length: 10_000 }, (_, i) => ({ path: `f${i}`, rowGroups: [10] }));
  expect(planChunks(files, { chunkRows: 1_000_000 })).toHaveLength(10);
  expect(planChunks(files, { chunkRows: 5_000 })).toHaveLength(20);
});

test('a small job is cut finer when more chunks are wanted, down to a row group', () => {
  const files = [{ path: 'a', rowGroups: [10, 10, 10, 10] }];
  expect(planChunks(files, { chunkRows: 1_000, chunksWanted: 2 })).toHaveLength(2);
  expect(planChunks(files, { chunkRows: 1_000, chunksWanted: 99 })).toHaveLength(4);
});

test('the number of chunks is a multiple of the workers that share them, and their shares are equal to a row group', () => {
  const files = [{ path: 'a', rowGroups: Array.from({ length: 25 }, () => 100) }];
  const chunks = planChunks(files, { chunkRows: 1_000, chunksWanted: 2 });
  expect(chunks.map(chunk => chunk.rows)).toEqual([600, 700, 600, 600]);
});

test('chunks that end early, for their number of files, do not make those after them larger', () => {
  const tiny = Array.from({ length: 25 }, (_, i) => ({ path: `f${i}`, rowGroups: [1] }));
  const files = [...tiny, { path: 'big', rowGroups: [50, 50, 50, 50, 50, 50] }];
  const chunks = planChunks(files, { chunkRows: 100, filesMax: 10 });
  expect(chunks.map(chunk => chunk.rows)).toEqual([10, 10, 55, 100, 50, 100]);
});

test('no rows at all still give one chunk with a file to take the columns from', () => {
  expect(
    planChunks(
      [
        { path: 'a', rowGroups: [] },
        { path: 'b', rowGroups: [0] },
      ],
      { chunkRows: 10 },
    ),
  ).toEqual([{ inputs: [{ path: 'a' }], rows: 0 }]);
  expect(planChunks([], { chunkRows: 10 })).toEqual([]);
});

test('every row group is in exactly one chunk, in order, whatever the sizes', () => {
  const groups = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 8 });
  fc.assert(
    fc.property(fc.array(groups, { maxLength: 12 }), fc.integer({ min: 1, max: 1_000 }), (sizes, chunkRows) => {
      const files = sizes.map((rowGroups, i) => ({ path: `f${i}`, rowGroups }));
      const chunks = planChunks(files, { chunkRows });
      const seen = chunks.flatMap(chunk =>
        chunk.inputs.flatMap(({ path, rowGroups }) => {
          const all = files.find(file => file.path === path)!.rowGroups;
          const [from, to] = rowGroups ?? [0, all.length];
          return all.slice(from, to).map((_, i) => `${path}:${from + i}`);
        }),
      );
      const withRows = files.filter(file => file.rowGroups.some(rows => rows > 0));
      if (withRows.length > 0) {
        expect(seen).toEqual(withRows.flatMap(file => file.rowGroups.map((_, i) => `${file.path}:${i}`)));
      }
      if (withRows.length > 0) expect(chunks.every(chunk => chunk.rows > 0)).toBe(true);
      const total = sizes.flat().reduce((sum, rows) => sum + rows, 0);
      expect(chunks.reduce((sum, chunk) => sum + chunk.rows, 0)).toBe(total);
    }),
  );
});
