/**
 * The inner loops of training, as WebAssembly over the shared memory. They do three things:
 *
 *   histogram   for the rows of a leaf, sum (gradient, hessian) per bin of each feature of one group
 *   subtract    sibling = parent - child, so that only the smaller child is ever counted
 *   partition   split the row list of a leaf by a table over the 256 bins
 *
 * Gradients are 32-bit fixed-point pairs in one 64-bit word, hessian low and gradient high, so one integer addition counts
 * both, and sums are exact: they do not depend on the order of rows or on the number of threads. A word holds the sums of at
 * most `BLOCK_ROWS` rows; after each block the words are emptied into pairs of doubles, which stay exact to 2^53.
 */
import { assembleModule, type Code, loopUntil, type WasmFunction, wasm, whenLess } from './wasm.ts';

/** Bins of a feature, the one for missing values included. One byte per value. */
export const BINS = 256;
/** Bytes of one feature in a histogram: per bin a double for the hessian and one for the gradient. */
export const FEATURE_BYTES = BINS * 16;
/** Features of a group at most, and bytes of its bins per row: one vector, which never straddles two cache lines. */
export const GROUP_BYTES = 16;
const SCRATCH_BYTES = BINS * 8;
const GATHER_ROWS = 256;
/** A thread's scratch: one word per bin of a group, then the bins and gradients of the gathered rows. */
export const THREAD_BYTES = GROUP_BYTES * SCRATCH_BYTES + GATHER_ROWS * (GROUP_BYTES + 8);
export const BLOCK_ROWS = 1 << 14;
/** Largest fixed-point magnitude of one row: BLOCK_ROWS of them fit into 31 bits. */
export const FIXED_MAX = 2 ** 17 - 1;

export interface Kernel {
  /** Adds rows[begin, end) to the histogram of a group of `size` features at `histogram`; `bins` has GROUP_BYTES per row. */
  histogram(size: number, job: HistogramJob): void;
  /** parent -= child, for `bytes` bytes. */
  subtract(parent: number, child: number, bytes: number): void;
  /**
   * Rows with table[bin] = 1 move to the front of rows[begin, end), the others to `aside`, both in their order; gives the
   * number of rows in front. `bins` has one byte per row.
   */
  partition(job: PartitionJob): number;
}

/** Byte addresses in the shared memory, except `begin` and `end`, which count rows. */
export interface HistogramJob {
  readonly rows: number;
  readonly begin: number;
  readonly end: number;
  readonly gradients: number;
  readonly bins: number;
  readonly histogram: number;
}

export interface PartitionJob {
  readonly rows: number;
  readonly begin: number;
  readonly end: number;
  readonly bins: number;
  readonly table: number;
  readonly aside: number;
}

/** Compiles the kernel for the given group sizes; `scratch` is this thread's own area of THREAD_BYTES. */
export function compileKernel(memory: WebAssembly.Memory, sizes: readonly number[], scratch: number): Kernel {
  const pages = memory.buffer.byteLength / 65_536;
  const functions = [...sizes.map(size => histogramFunction(size, scratch)), subtractFunction, partitionFunction];
  const module = new WebAssembly.Module(assembleModule(functions, pages));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const entry = (name: string): ((...values: number[]) => number) => {
    const found = exports[name];
    if (typeof found !== 'function') throw new Error(`histogram kernel has no function ${name}`);
    return found as (...values: number[]) => number;
  };
  const histograms = new Map(sizes.map(size => [size, entry(`histogram${size}`)]));
  const [subtract, partition] = [entry('subtract'), entry('partition')];
  return {
    histogram(size, { rows, begin, end, gradients, bins, histogram }) {
      const run = histograms.get(size);
      if (run === undefined) throw new Error(`histogram kernel was not compiled for groups of ${size} features`);
      for (let block = begin; block < end; block += BLOCK_ROWS) {
        run(rows + 4 * block, rows + 4 * Math.min(end, block + BLOCK_ROWS), gradients, bins, histogram);
      }
    },
    subtract(parent, child, bytes) {
      subtract(parent, parent + bytes, child);
    },
    partition({ rows, begin, end, bins, table, aside }) {
      const front = rows + 4 * begin;
      return (partition(front, rows + 4 * end, bins, table, aside) - front) / 4;
    },
  };
}

/**
 * (row, rowEnd, gradients, bins, histogram): at most BLOCK_ROWS rows.
 *
 * The rows of a leaf lie scattered in memory. A tight loop first brings a few hundred of them together, so that many cache
 * misses are under way at once; counting straight from where they lie would wait for nearly every row.
 */
function histogramFunction(size: number, scratch: number): WasmFunction {
  const [row, rowEnd, gradients, bins, histogram] = [0, 1, 2, 3, 4];
  const [index, end, gathered, bin, word] = [5, 6, 7, 8, 9];
  const gatheredBins = scratch + GROUP_BYTES * SCRATCH_BYTES;
  const gatheredWords = gatheredBins + GATHER_ROWS * GROUP_BYTES;
  const gather: Code = [
    ...[...wasm.get(row), ...wasm.load(0), ...wasm.set(index)],
    ...[...wasm.get(gathered), ...wasm.constant(1), ...wasm.shiftLeft],
    ...[
      ...wasm.get(index),
      ...wasm.constant(4),
      ...wasm.shiftLeft,
      ...wasm.get(bins),
      ...wasm.add,
      ...wasm.loadVector(0),
    ],
    ...wasm.storeVector(gatheredBins),
    ...wasm.get(gathered),
    ...[
      ...wasm.get(index),
      ...wasm.constant(3),
      ...wasm.shiftLeft,
      ...wasm.get(gradients),
      ...wasm.add,
      ...wasm.load64(0),
    ],
    ...wasm.store64(gatheredWords),
    ...[...wasm.get(gathered), ...wasm.constant(8), ...wasm.add, ...wasm.set(gathered)],
    ...[...wasm.get(row), ...wasm.constant(4), ...wasm.add, ...wasm.set(row)],
  ];
  const count: Code = [
    ...[...wasm.get(index), ...wasm.load64(gatheredWords), ...wasm.set(word)],
    ...[...wasm.get(index), ...wasm.constant(1), ...wasm.shiftLeft, ...wasm.set(end)],
    ...Array.from({ length: size }, (_, feature): Code => {
      const slot = scratch + feature * SCRATCH_BYTES;
      const at: Code = [
        ...wasm.get(end),
        ...wasm.load8(gatheredBins + feature),
        ...wasm.constant(3),
        ...wasm.shiftLeft,
      ];
      return [
        ...[...at, ...wasm.tee(bin), ...wasm.get(bin), ...wasm.load64(slot)],
        ...[...wasm.get(word), ...wasm.add64, ...wasm.store64(slot)],
      ];
    }).flat(),
    ...[...wasm.get(index), ...wasm.constant(8), ...wasm.add, ...wasm.set(index)],
  ];
  const empty: Code = [
    ...[...wasm.get(histogram), ...wasm.get(histogram), ...wasm.loadVector(0)],
    ...[...wasm.get(index), ...wasm.loadVectorLow(scratch), ...wasm.doublesOfLowIntegers, ...wasm.addDoubles],
    ...wasm.storeVector(0),
    ...[...wasm.get(index), ...wasm.constant64(0), ...wasm.store64(scratch)],
    ...[...wasm.get(histogram), ...wasm.constant(16), ...wasm.add, ...wasm.set(histogram)],
    ...[...wasm.get(index), ...wasm.constant(8), ...wasm.add, ...wasm.set(index)],
  ];
  const batch: Code = [
    // end = min(row + GATHER_ROWS rows, rowEnd)
    ...[...wasm.get(row), ...wasm.constant(4 * GATHER_ROWS), ...wasm.add, ...wasm.tee(end), ...wasm.get(rowEnd)],
    ...[...wasm.get(end), ...wasm.get(rowEnd), ...wasm.lessUnsigned, ...wasm.select, ...wasm.set(end)],
    ...[...wasm.constant(0), ...wasm.set(gathered)],
    ...loopUntil(row, end, gather),
    ...[...wasm.constant(0), ...wasm.set(index)],
    ...loopUntil(index, gathered, count),
  ];
  return {
    name: `histogram${size}`,
    parameters: 5,
    locals: 4,
    locals64: 1,
    returns: false,
    body: [
      ...whenLess(wasm.get(row), wasm.get(rowEnd), loopUntil(row, rowEnd, batch)),
      ...[...wasm.constant(0), ...wasm.set(index), ...wasm.constant(size * SCRATCH_BYTES), ...wasm.set(end)],
      ...loopUntil(index, end, empty),
    ],
  };
}

/** (address, end, child) */
const subtractFunction: WasmFunction = {
  name: 'subtract',
  parameters: 3,
  locals: 0,
  locals64: 0,
  returns: false,
  body: loopUntil(0, 1, [
    ...[...wasm.get(0), ...wasm.get(0), ...wasm.loadVector(0), ...wasm.get(2), ...wasm.loadVector(0)],
    ...[...wasm.subtractDoubles, ...wasm.storeVector(0)],
    ...[...wasm.get(0), ...wasm.constant(16), ...wasm.add, ...wasm.set(0)],
    ...[...wasm.get(2), ...wasm.constant(16), ...wasm.add, ...wasm.set(2)],
  ]),
};

/** (row, rowEnd, bins, table, aside) → address after the last row in front */
const partitionFunction: WasmFunction = (() => {
  const [row, rowEnd, bins, table, aside, front, current, goes] = [0, 1, 2, 3, 4, 5, 6, 7];
  const perRow: Code = [
    ...[...wasm.get(row), ...wasm.load(0), ...wasm.set(current)],
    ...[...wasm.get(current), ...wasm.get(bins), ...wasm.add, ...wasm.load8(0)],
    ...[...wasm.get(table), ...wasm.add, ...wasm.load8(0), ...wasm.constant(2), ...wasm.shiftLeft, ...wasm.set(goes)],
    // Written to both sides; only one pointer moves. The front never overtakes the row being read.
    ...[...wasm.get(front), ...wasm.get(current), ...wasm.store(0)],
    ...[...wasm.get(aside), ...wasm.get(current), ...wasm.store(0)],
    ...[...wasm.get(front), ...wasm.get(goes), ...wasm.add, ...wasm.set(front)],
    ...[...wasm.get(aside), ...wasm.constant(4), ...wasm.add, ...wasm.get(goes), ...wasm.subtract, ...wasm.set(aside)],
    ...[...wasm.get(row), ...wasm.constant(4), ...wasm.add, ...wasm.set(row)],
  ];
  return {
    name: 'partition',
    parameters: 5,
    locals: 3,
    locals64: 0,
    returns: true,
    body: [
      ...[...wasm.get(row), ...wasm.set(front)],
      ...whenLess(wasm.get(row), wasm.get(rowEnd), loopUntil(row, rowEnd, perRow)),
      ...wasm.get(front),
    ],
  };
})();
