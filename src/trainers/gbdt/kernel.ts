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
import { FunctionBody, i32, i64, ModuleBuilder } from '../../engine/wasm/encoder.ts';

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
  const builder = new ModuleBuilder();
  for (const size of sizes) builder.add(histogramFunction(size, scratch), `histogram${size}`);
  builder.add(subtractFunction(), 'subtract');
  builder.add(partitionFunction(), 'partition');
  const module = new WebAssembly.Module(builder.encode(pages, 'shared'));
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
function histogramFunction(size: number, scratch: number): FunctionBody {
  const f = new FunctionBody({ parameters: [i32, i32, i32, i32, i32] });
  const [row, rowEnd, gradients, bins, histogram] = [0, 1, 2, 3, 4];
  const [index, end, gathered, bin, word] = [f.local(i32), f.local(i32), f.local(i32), f.local(i32), f.local(i64)];
  const gatheredBins = scratch + GROUP_BYTES * SCRATCH_BYTES;
  const gatheredWords = gatheredBins + GATHER_ROWS * GROUP_BYTES;
  const advance = (local: number, bytes: number) => f.get(local).i32(bytes).op('i32.add').set(local);

  f.whileBelow(row, rowEnd, () => {
    // end = min(row + GATHER_ROWS rows, rowEnd)
    f.get(row)
      .i32(4 * GATHER_ROWS)
      .op('i32.add')
      .tee(end)
      .get(rowEnd);
    f.get(end).get(rowEnd).op('i32.lt_u').op('select').set(end);
    f.i32(0).set(gathered);
    f.whileBelow(row, end, () => {
      f.get(row).memory('i32.load', 0).set(index);
      f.get(gathered).i32(1).op('i32.shl');
      f.get(index).i32(4).op('i32.shl').get(bins).op('i32.add').memory('v128.load', 0);
      f.memory('v128.store', gatheredBins);
      f.get(gathered);
      f.get(index).i32(3).op('i32.shl').get(gradients).op('i32.add').memory('i64.load', 0);
      f.memory('i64.store', gatheredWords);
      advance(gathered, 8);
      advance(row, 4);
    });
    f.i32(0).set(index);
    f.whileBelow(index, gathered, () => {
      f.get(index).memory('i64.load', gatheredWords).set(word);
      f.get(index).i32(1).op('i32.shl').set(end);
      for (let feature = 0; feature < size; feature++) {
        const slot = scratch + feature * SCRATCH_BYTES;
        f.get(end)
          .memory('i32.load8_u', gatheredBins + feature)
          .i32(3)
          .op('i32.shl')
          .tee(bin);
        f.get(bin).memory('i64.load', slot).get(word).op('i64.add').memory('i64.store', slot);
      }
      advance(index, 8);
    });
  });

  // The words of the block become doubles, and are cleared for the next.
  f.i32(0)
    .set(index)
    .i32(size * SCRATCH_BYTES)
    .set(end);
  f.whileBelow(index, end, () => {
    f.get(histogram).get(histogram).memory('v128.load', 0);
    f.get(index).memory('v128.load64_zero', scratch).op('f64x2.convert_low_i32x4_s').op('f64x2.add');
    f.memory('v128.store', 0);
    f.get(index).i64(0).memory('i64.store', scratch);
    advance(histogram, 16);
    advance(index, 8);
  });
  return f;
}

/** (address, end, child) */
function subtractFunction(): FunctionBody {
  const f = new FunctionBody({ parameters: [i32, i32, i32] });
  const [address, end, child] = [0, 1, 2];
  return f.whileBelow(address, end, () => {
    f.get(address).get(address).memory('v128.load', 0).get(child).memory('v128.load', 0);
    f.op('f64x2.sub').memory('v128.store', 0);
    f.get(address).i32(16).op('i32.add').set(address);
    f.get(child).i32(16).op('i32.add').set(child);
  });
}

/** (row, rowEnd, bins, table, aside) → address after the last row in front */
function partitionFunction(): FunctionBody {
  const f = new FunctionBody({ parameters: [i32, i32, i32, i32, i32], results: [i32] });
  const [row, rowEnd, bins, table, aside] = [0, 1, 2, 3, 4];
  const [front, current, goes] = [f.local(i32), f.local(i32), f.local(i32)];
  f.get(row).set(front);
  f.whileBelow(row, rowEnd, () => {
    f.get(row).memory('i32.load', 0).set(current);
    f.get(current).get(bins).op('i32.add').memory('i32.load8_u', 0);
    f.get(table).op('i32.add').memory('i32.load8_u', 0).i32(2).op('i32.shl').set(goes);
    // Written to both sides; only one pointer moves. The front never overtakes the row being read.
    f.get(front).get(current).memory('i32.store', 0);
    f.get(aside).get(current).memory('i32.store', 0);
    f.get(front).get(goes).op('i32.add').set(front);
    f.get(aside).i32(4).op('i32.add').get(goes).op('i32.sub').set(aside);
    f.get(row).i32(4).op('i32.add').set(row);
  });
  return f.get(front);
}
