/**
 * Counts, moments and an exact histogram of numeric columns, fed block by block. All columns of a profile share one
 * WebAssembly memory: an input block, a scratch area, and per column a lookup table, edges and counters.
 */
import type { NumericEdges, NumericProfile } from '../../domain/profile.ts';
import { binOf } from '../../stats/histogram.ts';
import { edgeFor, nextDown } from './floats.ts';
import { BIN_BYTES, createKernel, type Kernel, type Precision, TABLE_BYTES } from './kernel.ts';
import { buildLookupTable, coarseBins, EDGES_MAX } from './lookup-table.ts';

/** Rows that pass through the kernel at once: DuckDB's vector size, so that a block stays in the first-level cache. */
const BLOCK_ROWS = 2048;
const INPUT = 64;
const SCRATCH = INPUT + BLOCK_ROWS * 8;
const COLUMNS = SCRATCH + 128;

/** Counters are 32-bit in the kernel; they move to doubles before they can overflow. */
const ROWS_UNTIL_SPILL = 2 ** 30;

/** Which rows a histogram counts; moments and extremes are over all of them. */
export const ROW_CLASSES = ['unlabelled', 'negative', 'positive'] as const;
export type RowClass = 0 | 1 | 2;

interface Layout {
  readonly table: number;
  readonly counts: readonly number[];
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
    const layouts = prepared.map(({ fine }): Layout => {
      const table = next;
      next += align(TABLE_BYTES + (fine.length + 1) * 8);
      const counts = Array.from({ length: classes }, (_, i) => next + i * align((fine.length + 1) * BIN_BYTES));
      next += classes * align((fine.length + 1) * BIN_BYTES);
      return { table, counts };
    });
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil(next / 65_536) });
    const kernels = { f32: createKernel('f32', this.#memory), f64: createKernel('f64', this.#memory) };
    this.#columns = prepared.map(
      (column, i) => new NumericAccumulator(column, layouts[i]!, this.#memory, kernels[column.precision]),
    );
  }

  column(index: number): NumericAccumulator {
    return this.#columns[index]!;
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}

interface PreparedColumn extends NumericColumn {
  /** The baseline's edges in the column's precision, split at sentinels. */
  readonly fine: readonly number[];
  readonly coarse: readonly number[];
}

function prepare(column: NumericColumn): PreparedColumn {
  const coarse = column.edges.edges.map(edge => edgeFor(edge, column.precision));
  // A sentinel is a point bin (v⁻, v], so its count costs nothing.
  const points = column.edges.sentinels.flatMap(value => sentinelPoint(value, column.precision));
  const fine = [...new Set([...coarse, ...points])].filter(Number.isFinite).sort((a, b) => a - b);
  if (fine.length > EDGES_MAX) {
    throw new Error(`a column has ${fine.length} edges, at most ${EDGES_MAX} are supported; build the baseline again`);
  }
  return { ...column, fine, coarse };
}

function sentinelPoint(value: number, precision: Precision): [below: number, at: number] {
  const at = precision === 'f32' ? Math.fround(value) : value;
  return [edgeFor(nextDown(at), precision), at];
}

export class NumericAccumulator {
  readonly #column: PreparedColumn;
  readonly #layout: Layout;
  readonly #kernel: Kernel;
  readonly #low: number;
  readonly #scale: number;
  readonly #block: Float32Array | Float64Array;
  readonly #extremes: Float32Array | Float64Array;
  readonly #powers: Float64Array;
  readonly #counters: readonly Int32Array[];
  readonly #spilled: readonly Float64Array[];
  readonly #sums = new CompensatedSums();
  #rowsSinceSpill = 0;
  #nulls = 0;
  #nan = 0;
  #positiveInfinity = 0;
  #negativeInfinity = 0;
  /** NULL and NaN per row class: the last entry of the label-conditional histograms. */
  readonly #missing = [0, 0, 0];
  #min = Infinity;
  #max = -Infinity;
  #rows = 0;

  constructor(column: PreparedColumn, layout: Layout, memory: WebAssembly.Memory, kernel: Kernel) {
    this.#column = column;
    this.#layout = layout;
    this.#kernel = kernel;
    const single = column.precision === 'f32';
    const Floats = single ? Float32Array : Float64Array;
    const { buffer } = memory;
    const table = buildLookupTable(column.fine, column.precision);
    this.#low = table.low;
    this.#scale = table.scale;
    new Uint16Array(buffer, layout.table, table.entries.length).set(table.entries);
    new Floats(buffer, layout.table + TABLE_BYTES, column.fine.length + 1).set([...column.fine, Infinity]);
    this.#block = new Floats(buffer, INPUT, BLOCK_ROWS);
    this.#extremes = new Floats(buffer, SCRATCH, single ? 12 : 6);
    this.#powers = new Float64Array(buffer, SCRATCH, 8);
    const counters = (column.fine.length + 1) * 4;
    this.#counters = layout.counts.map(address => new Int32Array(buffer, address, counters));
    this.#spilled = layout.counts.map(() => new Float64Array(column.fine.length + 1));
  }

  /** Adds a block of rows. Items of null rows are arbitrary and never looked at. */
  add(values: ArrayLike<number> | BigInt64Array, rows: number, nullRows: Int32Array): void {
    this.#rows += rows;
    this.#nulls += nullRows.length;
    this.#missing[0]! += nullRows.length;
    let from = 0;
    // Runs between NULLs are copied whole.
    for (let next = 0; next <= nullRows.length; next++) {
      const to = nullRows[next] ?? rows;
      for (; from < to; from += BLOCK_ROWS) this.#addRun(values, from, Math.min(to, from + BLOCK_ROWS));
      from = to + 1;
    }
    this.#flushPending(0);
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
      if (this.#pending === BLOCK_ROWS) this.#flushPending(rowClass);
    }
    this.#flushPending(rowClass);
  }

  #pending = 0;

  #addRun(values: ArrayLike<number> | BigInt64Array, from: number, to: number): void {
    if (this.#pending + to - from > BLOCK_ROWS) this.#flushPending(0);
    const at = this.#pending;
    if (values instanceof BigInt64Array) widen(values, from, to, this.#block, at);
    else if (ArrayBuffer.isView(values)) {
      const view = values as Float64Array;
      this.#block.set(from === 0 && to === view.length ? view : view.subarray(from, to), at);
    } else for (let row = from; row < to; row++) this.#block[at + row - from] = values[row]!;
    this.#pending = at + to - from;
  }

  #flushPending(rowClass: RowClass): void {
    let count = this.#pending;
    this.#pending = 0;
    if (count === 0) return;
    if (!this.#scan(count)) {
      count = this.#dropNonFinite(count, rowClass);
      if (count === 0) return;
      this.#scan(count);
    }
    this.#fold(count, rowClass);
  }

  /** Takes minimum and maximum; false, and nothing taken, when a value is NaN or infinite. */
  #scan(count: number): boolean {
    const block = this.#block;
    const whole = count & ~3;
    let min = Infinity;
    let max = -Infinity;
    let bad = 0;
    if (whole > 0) {
      this.#kernel.scan(INPUT, INPUT + whole * block.BYTES_PER_ELEMENT, SCRATCH);
      const lanes = this.#extremes.length / 3;
      for (let lane = 0; lane < lanes; lane++) {
        min = Math.min(min, this.#extremes[lane]!);
        max = Math.max(max, this.#extremes[lanes + lane]!);
        bad += this.#extremes[2 * lanes + lane]!;
      }
    }
    for (let i = whole; i < count; i++) {
      min = Math.min(min, block[i]!);
      max = Math.max(max, block[i]!);
      bad += block[i]! - block[i]!;
    }
    if (Number.isNaN(bad)) return false;
    this.#min = Math.min(this.#min, min);
    this.#max = Math.max(this.#max, max);
    return true;
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

  #fold(count: number, rowClass: RowClass): void {
    const { table, counts } = this.#layout;
    const { pivot } = this.#column.edges;
    const target = this.#counters.length === 1 ? 0 : rowClass;
    const whole = count & ~3;
    const powers = [0, 0, 0, 0];
    if (whole > 0) {
      const end = INPUT + whole * this.#block.BYTES_PER_ELEMENT;
      this.#kernel.fold(INPUT, end, table, counts[target]!, this.#low, this.#scale, pivot, SCRATCH);
      for (let k = 0; k < 4; k++) powers[k] = this.#powers[2 * k]! + this.#powers[2 * k + 1]!;
    }
    const counters = this.#counters[target]!;
    for (let i = whole; i < count; i++) {
      const value = this.#block[i]!;
      counters[binOf(value, this.#column.fine) * 4]! += 1;
      const deviation = value - pivot;
      const square = deviation * deviation;
      powers[0]! += deviation;
      powers[1]! += square;
      powers[2]! += square * deviation;
      powers[3]! += square * square;
    }
    this.#sums.add(powers);
    this.#rowsSinceSpill += count;
    if (this.#rowsSinceSpill > ROWS_UNTIL_SPILL) this.#spill();
  }

  #spill(): void {
    this.#rowsSinceSpill = 0;
    for (const [i, counters] of this.#counters.entries()) {
      const total = this.#spilled[i]!;
      for (let counter = 0; counter < counters.length; counter++) total[counter >> 2]! += counters[counter]!;
      counters.fill(0);
    }
  }

  finish(): NumericProfile {
    this.#spill();
    const { edges, type } = this.#column;
    const fine = this.#spilled[0]!.map((_, bin) => this.#spilled.reduce((total, counts) => total + counts[bin]!, 0));
    const empty = this.#min > this.#max;
    const [s1, s2, s3, s4] = this.#sums.totals();
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
      min: empty ? null : this.#min + 0,
      max: empty ? null : this.#max + 0,
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
    const [, at] = sentinelPoint(value, this.#column.precision);
    return fine[binOf(at, this.#column.fine)]!;
  }

  #coarsen(fine: Float64Array): number[] {
    const bins = coarseBins(this.#column.fine, this.#column.coarse);
    const counts = new Array<number>(this.#column.coarse.length + 1).fill(0);
    for (const [bin, count] of fine.entries()) counts[bins[bin]!]! += count;
    return counts;
  }
}

/** 64-bit integers as doubles, through their halves: many times faster than Number(bigint). */
function widen(values: BigInt64Array, from: number, to: number, into: Float32Array | Float64Array, at: number): void {
  const halves = new Int32Array(values.buffer, values.byteOffset, values.length * 2);
  for (let row = from; row < to; row++) {
    into[at + row - from] = halves[2 * row + 1]! * 4_294_967_296 + (halves[2 * row]! >>> 0);
  }
}

/** Neumaier's compensated sums of four powers, one term per block. */
class CompensatedSums {
  readonly #totals = new Float64Array(4);
  readonly #lost = new Float64Array(4);

  add(terms: readonly number[]): void {
    for (let k = 0; k < 4; k++) {
      const total = this.#totals[k]!;
      const term = terms[k]!;
      const next = total + term;
      this.#lost[k]! += Math.abs(total) >= Math.abs(term) ? total - next + term : term - next + total;
      this.#totals[k] = next;
    }
  }

  /** A sum that overflowed is the largest double: JSON has no infinity, and moments treat it as undefined. */
  totals(): number[] {
    return Array.from(this.#totals, (total, k) => saturate(total + this.#lost[k]!, total));
  }
}

function saturate(sum: number, total: number): number {
  if (Number.isFinite(sum)) return sum;
  return total < 0 ? -Number.MAX_VALUE : Number.MAX_VALUE;
}
