/**
 * Counts, moments and an exact histogram of numeric columns, fed block by block. All columns of a profile share one
 * WebAssembly memory: an input block, a scratch area, and per column a lookup table, edges and counters.
 */
import type { NumericEdges, NumericProfile } from '../../domain/profile.ts';
import { binOf } from '../../stats/histogram.ts';
import { edgeFor, nextDown } from './floats.ts';
import {
  COUNTERS,
  COUNTERS_AT,
  createKernel,
  EXTREMES_AT,
  type Fold,
  type Kernel,
  LANES,
  type Precision,
  RECORD_BYTES,
  SCRATCH_BYTES,
  STATE_BYTES,
  SUMS_AT,
  TABLE_BYTES,
} from './kernel.ts';
import { buildLookupTable, coarseBins, EDGES_MAX } from './lookup-table.ts';
import { widen } from './widen.ts';

/** Rows that pass through the kernel at once: DuckDB's vector size, so that a block stays in the first-level cache. */
const BLOCK_ROWS = 2048;
const INPUT = 64;
const SCRATCH = INPUT + BLOCK_ROWS * 8;
const COLUMNS = SCRATCH + SCRATCH_BYTES;

/** Counters are 32-bit in the kernel; they move to doubles before they can overflow. */
const ROWS_UNTIL_SPILL = 2 ** 30;

/** Above this share of NULLs a block is copied value by value instead of run by run. */
const NULL_SHARE_OF_RUNS = 1 / 32;

/** Which rows a histogram counts; moments and extremes are over all of them. */
export const ROW_CLASSES = ['unlabelled', 'negative', 'positive'] as const;
export type RowClass = 0 | 1 | 2;

/** Addresses of a column's lookup table, its sums, and per row class its bins. */
interface Layout {
  readonly table: number;
  readonly state: number;
  readonly records: readonly number[];
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
      ({ fine }): Layout => ({
        table: reserve(TABLE_BYTES),
        state: reserve(STATE_BYTES),
        records: Array.from({ length: classes }, () => reserve((fine.length + 1) * RECORD_BYTES)),
      }),
    );
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil(next / 65_536) });
    const kernels = {
      f32: createKernel('f32', this.#memory, SCRATCH),
      f64: createKernel('f64', this.#memory, SCRATCH),
    };
    this.#columns = prepared.map(
      (column, i) => new NumericAccumulator(column, layouts[i]!, this.#memory, kernels[column.precision]),
    );
  }

  column(index: number): NumericAccumulator {
    return this.#columns[index]!;
  }
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
  readonly #fold: Fold;
  readonly #low: number;
  readonly #scale: number;
  readonly #block: Float32Array | Float64Array;
  /** The scratch area: sums of four powers in pairs, and minima followed by maxima. */
  readonly #powers: Float64Array;
  readonly #extremes: Float32Array | Float64Array;
  readonly #state: Float64Array;
  readonly #records: readonly Uint32Array[];
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
    this.#fold = kernel.fold[table.search];
    this.#low = table.low;
    this.#scale = table.scale;
    new Uint16Array(buffer, layout.table, table.entries.length).set(table.entries);
    for (const address of layout.records) {
      for (const [bin, edge] of [...column.fine, Infinity].entries()) {
        new Floats(buffer, address + bin * RECORD_BYTES, 1)[0] = edge;
      }
    }
    this.#block = new Floats(buffer, INPUT, BLOCK_ROWS);
    this.#powers = new Float64Array(buffer, SCRATCH + SUMS_AT, 8);
    this.#extremes = new Floats(buffer, SCRATCH + EXTREMES_AT, single ? 8 : 4);
    this.#state = new Float64Array(buffer, layout.state, STATE_BYTES / 8);
    const words = ((column.fine.length + 1) * RECORD_BYTES) / 4;
    this.#records = layout.records.map(address => new Uint32Array(buffer, address, words));
    this.#spilled = layout.records.map(() => new Float64Array(column.fine.length + 1));
  }

  /** Adds a block of rows. Items of null rows are arbitrary and never looked at. */
  add(values: ArrayLike<number> | BigInt64Array, rows: number, nullRows: Int32Array): void {
    this.#rows += rows;
    this.#nulls += nullRows.length;
    this.#missing[0]! += nullRows.length;
    if (nullRows.length <= rows * NULL_SHARE_OF_RUNS) this.#addRuns(values, rows, nullRows);
    else this.#addBetween(values, rows, nullRows);
    this.#flush(0);
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

  /** Copies the runs between a few NULLs whole. */
  #addRuns(values: ArrayLike<number> | BigInt64Array, rows: number, nullRows: Int32Array): void {
    let from = 0;
    for (let next = 0; next <= nullRows.length; next++) {
      const to = nullRows[next] ?? rows;
      for (; from < to; from += BLOCK_ROWS) this.#addRun(values, from, Math.min(to, from + BLOCK_ROWS));
      from = to + 1;
    }
  }

  #addRun(values: ArrayLike<number> | BigInt64Array, from: number, to: number): void {
    if (this.#pending + to - from > BLOCK_ROWS) this.#flush(0);
    const at = this.#pending;
    if (values instanceof BigInt64Array) widen(values, from, to, this.#block, at);
    else if (ArrayBuffer.isView(values)) {
      const view = values as Float64Array;
      this.#block.set(from === 0 && to === view.length ? view : view.subarray(from, to), at);
    } else for (let row = from; row < to; row++) this.#block[at + row - from] = values[row]!;
    this.#pending = at + to - from;
  }

  /** Copies what stands between many NULLs value by value. */
  #addBetween(values: ArrayLike<number> | BigInt64Array, rows: number, nullRows: Int32Array): void {
    const block = this.#block;
    let pending = this.#pending;
    let next = 0;
    for (let row = 0; row < rows; row++) {
      if (row === nullRows[next]) {
        next++;
        continue;
      }
      block[pending++] = Number(values[row]!);
      if (pending < BLOCK_ROWS) continue;
      this.#pending = pending;
      this.#flush(0);
      pending = 0;
    }
    this.#pending = pending;
  }

  /** Sends the waiting values through the kernel; NaN and infinities among them are counted apart. */
  #flush(rowClass: RowClass): void {
    let count = this.#pending;
    this.#pending = 0;
    if (count === 0) return;
    if (!this.#count(count, rowClass, 1)) {
      this.#count(count, rowClass, -1);
      count = this.#dropNonFinite(count, rowClass);
      if (count === 0) return;
      // Sums may still overflow; the values are finite now.
      this.#count(count, rowClass, 1);
    }
    this.#commit(count);
  }

  /** Adds `step` per value to the bins and leaves sums and extremes in the scratch area; false when a sum is not finite. */
  #count(count: number, rowClass: RowClass, step: 1 | -1): boolean {
    const target = this.#records.length === 1 ? 0 : rowClass;
    const { table, records } = this.#layout;
    const { pivot } = this.#column.edges;
    const block = this.#block;
    const whole = count - (count % LANES);
    let finite = true;
    if (whole > 0) {
      const end = INPUT + whole * block.BYTES_PER_ELEMENT;
      finite = this.#fold(INPUT, end, table, records[target]!, this.#low, this.#scale, pivot, step) === 1;
    } else {
      this.#powers.fill(0);
      this.#extremes.fill(block[0]!);
    }
    return this.#countRest(whole, count, target, step) && finite;
  }

  /** The last few values of a block, one by one. */
  #countRest(from: number, to: number, target: number, step: 1 | -1): boolean {
    const { fine, edges } = this.#column;
    const powers = this.#powers;
    for (let i = from; i < to; i++) {
      const value = this.#block[i]!;
      const deviation = value - edges.pivot;
      const square = deviation * deviation;
      powers[0]! += deviation;
      powers[2]! += square;
      powers[4]! += square * deviation;
      powers[6]! += square * square;
      this.#extremes[0] = Math.min(this.#extremes[0]!, value);
      this.#extremes[this.#extremes.length - 1] = Math.max(this.#extremes.at(-1)!, value);
      if (Number.isFinite(value)) this.#records[target]![counterAt(binOf(value, fine))]! += step;
    }
    return Number.isFinite(powers[6]!);
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

  #commit(count: number): void {
    this.#kernel.commit(this.#layout.state);
    const extremes = this.#extremes;
    const lanes = extremes.length / 2;
    for (let lane = 0; lane < lanes; lane++) {
      this.#min = Math.min(this.#min, extremes[lane]!);
      this.#max = Math.max(this.#max, extremes[lanes + lane]!);
    }
    this.#rowsSinceSpill += count;
    if (this.#rowsSinceSpill > ROWS_UNTIL_SPILL) this.#spill();
  }

  #spill(): void {
    this.#rowsSinceSpill = 0;
    for (const [i, records] of this.#records.entries()) {
      const total = this.#spilled[i]!;
      for (let bin = 0; bin < total.length; bin++) {
        const at = counterAt(bin);
        for (let counter = 0; counter < COUNTERS; counter++) total[bin]! += records[at + counter]!;
        records.fill(0, at, at + COUNTERS);
      }
    }
  }

  finish(): NumericProfile {
    this.#spill();
    const { edges, type } = this.#column;
    const fine = this.#spilled[0]!.map((_, bin) => this.#spilled.reduce((total, counts) => total + counts[bin]!, 0));
    const empty = this.#min > this.#max;
    const [s1, s2, s3, s4] = sumsOf(this.#state);
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

/** Index of a bin's first counter among the words of its records. */
function counterAt(bin: number): number {
  return (bin * RECORD_BYTES + COUNTERS_AT) / 4;
}

/** The four sums of a column's state: pairs of totals, then pairs of what was lost. */
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
