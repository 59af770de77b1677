/**
 * The inner loops of the profile as a generated WebAssembly SIMD kernel, for 32-bit and for 64-bit floats.
 *
 * `fold` passes once over a block: minimum, maximum, (x − pivot)^k for k = 1..4, and the bin of every value on unequal edges:
 *
 *   x ──(x − low)·scale──▶ cell of a lookup table ──▶ first candidate bin ──▶ + (x > its edge) ──▶ count
 *
 * The cell is monotone in x, so edges of lower cells lie below x and edges of higher cells do not: a cell with at most one
 * edge needs one comparison and no branch, one with two edges (a point bin) two. Cells with more edges carry a flag and
 * walk on. Nothing in the loop waits for memory or for itself: a bin's edge and its counters share a record, cells are
 * taken by adding 2^23 (2^52) so that the integer stands in the low bits, and four counters per bin keep one count from
 * waiting for the other.
 *
 * NaN and infinities are noticed afterwards, in the sums they have spoiled: `fold` then answers 0, its counts are taken
 * back by a `fold` with step −1, and the caller leaves them out. That costs nothing while there are none.
 */
import { type FunctionBody as Body, FunctionBody, f32, f64, i32, ModuleBuilder, v128 } from '../wasm/encoder.ts';

export type Precision = 'f32' | 'f64';

/** Cells of a lookup table; each holds the byte offset of a bin's record, plus 1 when the kernel must walk from there. */
export const TABLE_CELLS = 2048;
export const TABLE_BYTES = TABLE_CELLS * 2;

/** A bin: its upper edge in the column's precision, and four 32-bit counters from byte 8 on. */
export const RECORD_BYTES = 24;
export const COUNTERS_AT = 8;
export const COUNTERS = 4;

/** Values that pass at once; the caller counts what is left over. */
export const LANES = 4;

/** What `fold` leaves in the scratch area: four sums of powers as pairs, then minima and maxima, a vector each. */
export const SUMS_AT = 0;
export const EXTREMES_AT = 64;
/** Where `fold` puts the cells of the vector at hand. */
const CELLS_AT = 96;
export const SCRATCH_BYTES = 128;

/** Sums of a column: totals and what their additions lost, four pairs each. */
export const STATE_BYTES = 128;
const LOST_AT = 64;

/** How many comparisons follow the lookup: as many as edges lie in a cell; `walk` where some cell has more than two. */
export type Search = 'one' | 'two' | 'walk';

export type Fold = (
  input: number,
  end: number,
  table: number,
  records: number,
  low: number,
  scale: number,
  pivot: number,
  step: number,
) => number;

export interface Kernel {
  /**
   * Adds `step` to the counters of the values from `input` to `end` (whole vectors, at least one) and leaves their sums
   * and extremes in the scratch area. Answers 1 when the sums are finite and with them all values.
   */
  readonly fold: Readonly<Record<Search, Fold>>;
  /** Adds the sums in the scratch area to those of a column, with compensation. */
  readonly commit: (state: number) => void;
}

const modules = new Map<string, WebAssembly.Module>();

/** Functions that work on this memory, with their scratch area at `scratch`. The code is compiled once per process. */
export function createKernel(precision: Precision, memory: WebAssembly.Memory, scratch: number): Kernel {
  const key = `${precision} ${scratch}`;
  let module = modules.get(key);
  if (module === undefined) {
    const builder = new ModuleBuilder();
    for (const search of ['one', 'two', 'walk'] as const) builder.add(foldBody(precision, search, scratch), search);
    builder.add(commitBody(scratch), 'commit');
    module = new WebAssembly.Module(builder.encode(1));
    modules.set(key, module);
  }
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const { commit, ...fold } = exports as unknown as Record<Search, Fold> & { commit: (state: number) => void };
  return { fold, commit };
}

function foldBody(precision: Precision, search: Search, scratch: number): Body {
  const single = precision === 'f32';
  const scalar = single ? f32 : f64;
  const wide = single ? 'f32x4' : 'f64x2';
  const [valueBytes, cellBytes] = single ? [4, 4] : [8, 8];
  const body = new FunctionBody({ parameters: [i32, i32, i32, i32, scalar, scalar, f64, i32], results: [i32] });
  const [input, end, table, records, low, scale, pivot, step] = [0, 1, 2, 3, 4, 5, 6, 7];
  const locals = (count: number): number[] => Array.from({ length: count }, () => body.local(v128));
  const [lows, scales, pivots, lastCell, magic, tables] = locals(6);
  const [zero, value, min, max, deviation, square] = locals(6);
  const sums = [locals(4), locals(4)];
  const record = body.local(i32);
  const constant = (number: number, into: number): void => {
    (single ? body.f32(number) : body.f64(number)).op(`${wide}.splat`).set(into);
  };
  body.get(low).op(`${wide}.splat`).set(lows!).get(scale).op(`${wide}.splat`).set(scales!);
  body.get(pivot).op('f64x2.splat').set(pivots!);
  constant(TABLE_CELLS - 1, lastCell!);
  constant(single ? 2 ** 23 : 2 ** 52, magic!);
  // Turns the bits of 2^23 + cell into the address of the cell's entry: they are doubled, so that 0x4b000000 becomes 0x96….
  body.get(table);
  if (single) body.i32(0x9600_0000 | 0).op('i32.sub');
  body.op('i32x4.splat').set(tables!);
  body.get(input).memory('v128.load', 0).tee(min!).set(max!);

  /** Leaves 1 on the stack when the value at `from` lies above the edge of `record`. */
  const aboveEdge = (from: number): void => {
    const load = single ? 'f32.load' : 'f64.load';
    body.get(input).memory(load, from).get(record).memory(load, 0);
    body.op(single ? 'f32.gt' : 'f64.gt');
  };
  const compareOnce = (from: number): void => {
    body.get(record).i32(RECORD_BYTES).op('i32.add').get(record);
    aboveEdge(from);
    body.op('select').set(record);
  };
  const countValue = (lane: number, from: number, counter: number): void => {
    body
      .i32(0)
      .memory('i32.load', scratch + CELLS_AT + lane * cellBytes)
      .memory('i32.load16_u', 0);
    body.get(records).op('i32.add').set(record);
    if (search === 'walk') {
      // Records start at multiples of 8, so the flag stands alone in the lowest bit.
      body.get(record).i32(1).op('i32.and').open('if');
      body.get(record).i32(1).op('i32.sub').set(record).open('loop');
      aboveEdge(from);
      body.open('if').get(record).i32(RECORD_BYTES).op('i32.add').set(record).branch(1).op('end').op('end').op('else');
      compareOnce(from);
      compareOnce(from);
      body.op('end');
    } else {
      compareOnce(from);
      if (search === 'two') compareOnce(from);
    }
    const at = COUNTERS_AT + counter * 4;
    body.get(record).get(record).memory('i32.load', at).get(step).op('i32.add').memory('i32.store', at);
  };

  const addPowers = (half: number, load: () => void): void => {
    const [s1, s2, s3, s4] = sums[half]!;
    load();
    body.get(pivots!).op('f64x2.sub').tee(deviation!).get(s1!).op('f64x2.add').set(s1!);
    body.get(deviation!).get(deviation!).op('f64x2.mul').tee(square!).get(s2!).op('f64x2.add').set(s2!);
    body.get(square!).get(deviation!).op('f64x2.mul').get(s3!).op('f64x2.add').set(s3!);
    body.get(square!).get(square!).op('f64x2.mul').get(s4!).op('f64x2.add').set(s4!);
  };

  /** One vector: its extremes and cells; `from` is its offset in bytes. */
  const takeVector = (from: number): void => {
    body.get(input).memory('v128.load', from).tee(value!).get(min!).op(`${wide}.pmin`).set(min!);
    body.get(value!).get(max!).op(`${wide}.pmax`).set(max!);
    body.i32(0);
    // The constant comes first: pmax and pmin answer it when the other is NaN (0 · infinity).
    body.get(zero!).get(value!).get(lows!).op(`${wide}.sub`).get(scales!).op(`${wide}.mul`).op(`${wide}.pmax`);
    body.set(square!).get(lastCell!).get(square!).op(`${wide}.pmin`).get(magic!).op(`${wide}.add`);
    body
      .i32(1)
      .op('i32x4.shl')
      .get(tables!)
      .op('i32x4.add')
      .memory('v128.store', scratch + CELLS_AT);
  };

  body.open('loop');
  for (const half of [0, 1]) {
    addPowers(half, () => {
      body.get(input);
      if (single) body.memory('v128.load64_zero', half * 8).op('f64x2.promote_low_f32x4');
      else body.memory('v128.load', half * 16);
    });
  }
  const perVector = 16 / valueBytes;
  for (let from = 0; from < LANES; from += perVector) {
    takeVector(from * valueBytes);
    for (let lane = 0; lane < perVector; lane++) countValue(lane, (from + lane) * valueBytes, from + lane);
  }
  body
    .get(input)
    .i32(LANES * valueBytes)
    .op('i32.add')
    .tee(input)
    .get(end)
    .op('i32.lt_u')
    .branchIf(0)
    .op('end');

  for (let k = 0; k < 4; k++) {
    body.i32(0).get(sums[0]![k]!).get(sums[1]![k]!).op('f64x2.add').tee(sums[0]![k]!);
    body.memory('v128.store', scratch + SUMS_AT + k * 16);
  }
  body
    .i32(0)
    .get(min!)
    .memory('v128.store', scratch + EXTREMES_AT);
  body
    .i32(0)
    .get(max!)
    .memory('v128.store', scratch + EXTREMES_AT + 16);
  // s − s is 0 when s is finite and NaN otherwise; s4 is the first sum to overflow.
  for (let lane = 0; lane < 2; lane++) {
    for (let times = 0; times < 2; times++) body.i32(0).memory('f64.load', scratch + SUMS_AT + 48 + lane * 8);
    body.op('f64.sub').f64(0).op('f64.eq');
  }
  return body.op('i32.and');
}

/** Knuth's TwoSum: total' = total + term, and lost' = lost + exactly what that addition rounded away. */
function commitBody(scratch: number): Body {
  const body = new FunctionBody({ parameters: [i32] });
  const state = 0;
  const [total, term, next, part] = Array.from({ length: 4 }, () => body.local(v128));
  for (let at = 0; at < LOST_AT; at += 16) {
    body.get(state).memory('v128.load', at).tee(total!);
    body
      .i32(0)
      .memory('v128.load', scratch + SUMS_AT + at)
      .tee(term!)
      .op('f64x2.add')
      .set(next!);
    body.get(next!).get(total!).op('f64x2.sub').set(part!);
    body
      .get(state)
      .get(state)
      .memory('v128.load', LOST_AT + at);
    body.get(total!).get(next!).get(part!).op('f64x2.sub').op('f64x2.sub');
    body
      .get(term!)
      .get(part!)
      .op('f64x2.sub')
      .op('f64x2.add')
      .op('f64x2.add')
      .memory('v128.store', LOST_AT + at);
    body.get(state).get(next!).memory('v128.store', at);
  }
  return body;
}
