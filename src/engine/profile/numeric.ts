/**
 * Counts, moments and an exact histogram of numeric columns, fed block by block. All columns of a profile share one
 * WebAssembly memory: an input block, a scratch area, and per column a lookup table, edges and counters.
 */
import type { NumericEdges, NumericProfile } from '../../domain/profile.ts';
import { binOf } from '../../stats/histogram.ts';
import { BIN_BYTES, CELL_BYTES, COUNTERS, LANES, type Precision } from './count-bins.ts';
import { edgeFor, nextDown } from './floats.ts';
import {
  COLUMN_BYTES,
  createKernel,
  EDGES_AT,
  EXTREMES_AT,
  type Fold,
  type Kernel,
  LAST_CELL_AT,
  LOST_AT,
  LOW_AT,
  PIVOT_AT,
  SCALE_AT,
  SCRATCH_BYTES,
  SUMS_AT,
  TABLE_AT,
} from './kernel.ts';
import { chooseLookupTable, coarseBins, type LookupTable, writeLookupTable } from './lookup-table.ts';
import { widen } from './widen.ts';

/** Rows that pass through the kernel at once: DuckDB's vector size, so that a block stays in the first-level cache. */
const BLOCK_ROWS = 2048;
const BLOCK_BYTES = BLOCK_ROWS * 8;
const INPUT = 64;
const GAPS = INPUT + BLOCK_BYTES;
const SCRATCH = INPUT + 2 * BLOCK_BYTES;
const COLUMNS = SCRATCH + SCRATCH_BYTES;

/** Counters are 32-bit in the kernel; they move to doubles before they can overflow. */
const ROWS_UNTIL_SPILL = 2 ** 30;

/** Which rows a histogram counts; moments and extremes are over all of them. */
export const ROW_CLASSES = ['unlabelled', 'negative', 'positive'] as const;
export type RowClass = 0 | 1 | 2;

/** Addresses of a column, its lookup table and its edges, and per row class of the counters of its bins. */
interface Layout {
  readonly column: number;
  readonly table: number;
  readonly edges: number;
  readonly counters: readonly number[];
}

export interface NumericColumn {
  readonly edges: NumericEdges;
  readonly type: string;
  readonly precision: Precision;
}

/** The accumulators of all numeric columns of one profile. */
export class NumericAccumulators {
  readonly #memory: WebAssembly.Memory;
  readonly #columns: NumericAccumulator[];

  constructor(columns: readonly NumericColumn[], options: { readonly byLabel: boolean }) {
    const classes = options.byLabel ? ROW_CLASSES.length : 1;
    const prepared = columns.map(column => prepare(column));
    let next = COLUMNS;
    const reserve = (bytes: number): number => {
      const address = next;
      next += Math.ceil(bytes / 64) * 64;
      return address;
    };
    const layouts = prepared.map(
      ({ table, precision, points, fine }): Layout => ({
        column: reserve(COLUMN_BYTES),
        table: reserve(table.size * CELL_BYTES[precision]),
        edges: reserve((points.length + 1) * 8),
        counters: Array.from({ length: classes }, () => reserve((fine.length + 1) * BIN_BYTES)),
      }),
    );
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil(next / 65_536) });
    // One that no column needs would still be compiled.
    const kernels = new Map([...new Set(columns.map(({ precision }) => precision))].map(p => [p, this.#kernel(p)]));
    this.#columns = prepared.map(
      (column, i) => new NumericAccumulator(column, layouts[i]!, this.#memory, kernels.get(column.precision)!),
    );
  }

  #kernel(precision: Precision): Kernel {
    const toAddresses = precision === 'f32' ? BLOCK_BYTES / 2 : BLOCK_BYTES;
    return createKernel(precision, this.#memory, { input: INPUT, toAddresses, scratch: SCRATCH });
  }

  column(index: number): NumericAccumulator {
    return this.#columns[index]!;
  }
}

interface PreparedColumn extends NumericColumn {
  readonly coarse: readonly number[];
  /** The baseline's edges in the column's precision, and sentinels: each gets a bin (v⁻, v] of its own. */
  readonly points: readonly number[];
  /** The edges of those bins: v⁻ and v of every point, ascending. */
  readonly fine: readonly number[];
  readonly table: LookupTable;
}

function prepare(column: NumericColumn): PreparedColumn {
  const { edges, sentinels } = column.edges;
  const { precision } = column;
  const coarse = edges.map(edge => edgeFor(edge, precision));
  const counted = new Set(sentinels.map(value => sentinelIn(value, precision)));
  const wanted = [...new Set([...coarse, ...counted].filter(Number.isFinite))].sort((a, b) => a - b);
  const points: number[] = [];
  const fine: number[] = [];
  // A point bin of the baseline has two edges, v⁻ and v. Found from above, v alone stands for both, unless v⁻ is counted too.
  for (let i = wanted.length - 1; i >= 0; i--) {
    const point = wanted[i]!;
    const neighbour = below(point, precision);
    points.push(point);
    fine.push(point, neighbour);
    if (wanted[i - 1] === neighbour && !counted.has(neighbour)) i--;
  }
  points.reverse();
  return { ...column, coarse, points, fine: fine.reverse(), table: chooseLookupTable(points, precision) };
}

/** The largest number of this precision below another one. */
function below(value: number, precision: Precision): number {
  return edgeFor(nextDown(value), precision);
}

function sentinelIn(value: number, precision: Precision): number {
  return precision === 'f32' ? Math.fround(value) : value;
}

export class NumericAccumulator {
  readonly #column: PreparedColumn;
  readonly #layout: Layout;
  readonly #kernel: Kernel;
  readonly #fold: Fold;
  readonly #block: Float32Array | Float64Array;
  /** Rows of NULLs in the block, where addresses stand later. */
  readonly #gaps: Int32Array;
  /** Four sums as pairs, then what they lost. */
  readonly #sums: Float64Array;
  readonly #minima: Float32Array | Float64Array;
  readonly #maxima: Float32Array | Float64Array;
  readonly #counters: readonly Uint32Array[];
  readonly #spilled: readonly Float64Array[];
  /** Values in the input block that wait for the kernel. */
  #pending = 0;
  #rowsSinceSpill = 0;
  #nulls = 0;
  #nan = 0;
  #positiveInfinity = 0;
  #negativeInfinity = 0;
  /** NULL and NaN per row class: the last entry of the label-conditional histograms. */
  readonly #missing = [0, 0, 0];
  #rows = 0;

  constructor(column: PreparedColumn, layout: Layout, memory: WebAssembly.Memory, kernel: Kernel) {
    this.#column = column;
    this.#layout = layout;
    this.#kernel = kernel;
    const single = column.precision === 'f32';
    const Floats = single ? Float32Array : Float64Array;
    const { buffer } = memory;
    this.#fold = kernel.fold[column.table.search];
    writeLookupTable(column.table, column.points, column.precision, { buffer, address: layout.table });
    new Floats(buffer, layout.edges, column.points.length + 1).set([...column.points, Number.NaN]);
    this.#block = new Floats(buffer, INPUT, BLOCK_ROWS);
    this.#gaps = new Int32Array(buffer, GAPS, BLOCK_ROWS);
    const { low, scale, size } = column.table;
    const numbers = new DataView(buffer, layout.column, COLUMN_BYTES);
    numbers.setFloat64(PIVOT_AT, column.edges.pivot, true);
    numbers.setFloat64(LOW_AT, low, true);
    numbers.setFloat64(SCALE_AT, scale, true);
    numbers.setUint32(TABLE_AT, layout.table, true);
    numbers.setUint32(EDGES_AT, layout.edges, true);
    numbers.setUint32(LAST_CELL_AT, size - 1, true);
    this.#sums = new Float64Array(buffer, layout.column + SUMS_AT, (LOST_AT - SUMS_AT) / 4);
    this.#minima = new Floats(buffer, layout.column + EXTREMES_AT, single ? 4 : 2).fill(Infinity);
    this.#maxima = new Floats(buffer, layout.column + EXTREMES_AT + 16, single ? 4 : 2).fill(-Infinity);
    const bins = column.fine.length + 1;
    this.#counters = layout.counters.map(address => new Uint32Array(buffer, address, bins * COUNTERS));
    this.#spilled = layout.counters.map(() => new Float64Array(bins));
  }

  /** Adds a block of rows. Items of null rows are arbitrary and never looked at. */
  add(values: ArrayLike<number> | BigInt64Array, rows: number, nullRows: Int32Array): void {
    this.#rows += rows;
    this.#nulls += nullRows.length;
    this.#missing[0]! += nullRows.length;
    let seen = 0;
    for (let from = 0; from < rows; from += BLOCK_ROWS) {
      const to = Math.min(rows, from + BLOCK_ROWS);
      this.#copy(values, from, to);
      const gaps = rows <= BLOCK_ROWS ? nullRows : nullRows.subarray(seen).filter(row => row < to);
      seen += gaps.length;
      this.#pending = to - from - gaps.length;
      if (gaps.length > 0) this.#closeGaps(gaps, from, to);
      this.#flush(0);
    }
  }

  /** Moves the rows [from, to) of the block together over those in `gaps`. */
  #closeGaps(gaps: Int32Array, from: number, to: number): void {
    this.#gaps.set(gaps);
    const rowBytes = this.#block.BYTES_PER_ELEMENT;
    this.#kernel.closeGaps(INPUT - from * rowBytes, GAPS, GAPS + gaps.length * 4, INPUT + (to - from) * rowBytes);
  }

  /** Adds the chosen rows of a block to one class. */
  addRows(
    values: ArrayLike<number> | BigInt64Array,
    chosen: Int32Array,
    isNull: Uint8Array | null,
    rowClass: RowClass,
  ): void {
    this.#rows += chosen.length;
    for (const row of chosen) {
      if (isNull !== null && isNull[row] === 1) {
        this.#nulls++;
        this.#missing[rowClass]! += 1;
        continue;
      }
      this.#block[this.#pending++] = Number(values[row]!);
      if (this.#pending === BLOCK_ROWS) this.#flush(rowClass);
    }
    this.#flush(rowClass);
  }

  /** Copies rows to the start of the block. */
  #copy(values: ArrayLike<number> | BigInt64Array, from: number, to: number): void {
    if (values instanceof BigInt64Array) widen(values, from, to, this.#block, 0);
    else if (ArrayBuffer.isView(values)) {
      const view = values as Float64Array;
      this.#block.set(from === 0 && to === view.length ? view : view.subarray(from, to));
    } else for (let row = from; row < to; row++) this.#block[row - from] = values[row]!;
  }

  /** Sends the waiting values through the kernel; NaN and infinities among them are counted apart. */
  #flush(rowClass: RowClass): void {
    let count = this.#pending;
    this.#pending = 0;
    if (count === 0) return;
    const { column, counters } = this.#layout;
    const target = counters.length === 1 ? 0 : rowClass;
    const rowBytes = this.#block.BYTES_PER_ELEMENT;
    if (this.#fold(column, INPUT + count * rowBytes, counters[target]!, 0) === 0) {
      count = this.#dropNonFinite(count, rowClass);
      if (count === 0) return;
      // Sums may still overflow; the values are finite now.
      this.#fold(column, INPUT + count * rowBytes, counters[target]!, 1);
    }
    const spilled = this.#spilled[target]!;
    spilled[spilled.length - 1]! -= (LANES - (count % LANES)) % LANES;
    this.#rowsSinceSpill += count;
    if (this.#rowsSinceSpill > ROWS_UNTIL_SPILL) this.#spill();
  }

  /** Counts NaN and infinities and closes the gaps they leave. */
  #dropNonFinite(count: number, rowClass: RowClass): number {
    const block = this.#block;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const value = block[i]!;
      if (value - value === 0) block[kept++] = value;
      else if (value === Infinity) this.#positiveInfinity++;
      else if (value === -Infinity) this.#negativeInfinity++;
      else {
        this.#nan++;
        this.#missing[rowClass]! += 1;
      }
    }
    return kept;
  }

  #spill(): void {
    this.#rowsSinceSpill = 0;
    for (const [i, counters] of this.#counters.entries()) {
      const total = this.#spilled[i]!;
      for (let bin = 0; bin < total.length; bin++) {
        for (let at = bin * COUNTERS; at < (bin + 1) * COUNTERS; at++) total[bin]! += counters[at]!;
      }
      counters.fill(0);
    }
  }

  finish(): NumericProfile {
    this.#spill();
    const { edges, type } = this.#column;
    const fine = totalOf(this.#spilled);
    const [min, max] = [Math.min(...this.#minima), Math.max(...this.#maxima)];
    const empty = min > max;
    const [s1, s2, s3, s4] = sumsOf(this.#sums);
    return {
      kind: 'numeric',
      type,
      n: this.#rows,
      nulls: this.#nulls,
      nan: this.#nan,
      positiveInfinity: this.#positiveInfinity,
      negativeInfinity: this.#negativeInfinity,
      sentinels: Object.fromEntries(edges.sentinels.map(value => [String(value), this.#countAt(value, fine)])),
      // Adding 0 turns −0 into 0, which JSON cannot tell apart.
      min: empty ? null : min + 0,
      max: empty ? null : max + 0,
      pivot: edges.pivot,
      s1: s1!,
      s2: s2!,
      s3: s3!,
      s4: s4!,
      histogram: this.#coarsen(fine),
    };
  }

  /** Histogram of one class, with NULL and NaN counted at the end. */
  classHistogram(rowClass: RowClass): number[] {
    this.#spill();
    return [...this.#coarsen(this.#spilled[rowClass]!), this.#missing[rowClass]!];
  }

  #countAt(value: number, fine: Float64Array): number {
    return fine[binOf(sentinelIn(value, this.#column.precision), this.#column.fine)]!;
  }

  #coarsen(fine: Float64Array): number[] {
    const bins = coarseBins(this.#column.fine, this.#column.coarse);
    const counts = new Array<number>(this.#column.coarse.length + 1).fill(0);
    for (let bin = 0; bin < fine.length; bin++) counts[bins[bin]!]! += fine[bin]!;
    return counts;
  }
}

/** The counts of all row classes together. */
function totalOf(spilled: readonly Float64Array[]): Float64Array {
  const [total, ...others] = spilled.map(counts => counts.slice());
  for (const counts of others) for (let bin = 0; bin < counts.length; bin++) total![bin]! += counts[bin]!;
  return total!;
}

/** The four sums of a column: pairs of totals, then pairs of what was lost. */
function sumsOf(state: Float64Array): number[] {
  return [0, 2, 4, 6].map(at => {
    const total = state[at]! + state[at + 1]!;
    return saturate(total + (state[at + 8]! + state[at + 9]!), total);
  });
}

/** A sum that overflowed is the largest double: JSON has no infinity, and moments treat it as undefined. */
function saturate(sum: number, total: number): number {
  if (Number.isFinite(sum)) return sum;
  return total < 0 ? -Number.MAX_VALUE : Number.MAX_VALUE;
}
