/**
 * The inner loops of the profile as a generated WebAssembly SIMD kernel, for 32-bit and for 64-bit floats. A block of values
 * passes twice, while it is in the first-level cache: `sumPowers` takes minimum, maximum and (x − pivot)^k, k = 1..4, and
 * `countBins` the bin of every value on unequal edges. Both at once need more vector registers than there are.
 *
 *   x ──(max(x, low) − low)·scale──▶ cell of a lookup table ──▶ edge v, bin b ──▶ b + (x ≥ v) + (x > v) ──▶ count
 *
 * The cell is monotone in x, so edges of lower cells lie below x and edges of higher cells do not: a cell with at most one
 * edge decides by comparing with that edge, four values at once and without a branch. Every edge has a bin of its own that
 * holds x = v, so that point bins (v⁻, v] need no second lookup; the caller adds up what it did not ask for. Cells with
 * more edges carry a flag, and their values walk along the list of edges, which only `walk` can.
 *
 * Nothing waits for itself: cells are taken by adding 2^23 (2^52) so that the integer stands in the low bits, each of the
 * three steps (cell, bin, count) goes over some hundred values before the next one reads what it wrote, and four counters
 * per bin keep one count from waiting for the other.
 *
 * NaN and infinities are noticed in the sums they have spoiled: `sumPowers` then answers 0 and the caller takes them out
 * before anything is counted. That costs nothing while there are none.
 */
import { type FunctionBody as Body, FunctionBody, f32, f64, i32, ModuleBuilder, v128 } from '../wasm/encoder.ts';

export type Precision = 'f32' | 'f64';

/** A cell of a lookup table: its edge (NaN for none), then the byte offset of the first bin's counters as 32 bits. */
export const CELL_BYTES: Readonly<Record<Precision, number>> = { f32: 8, f64: 16 };

/** A bin is four 32-bit counters; an edge has two bins, for what lies between it and the edge below, and for itself. */
export const COUNTERS = 4;
export const BIN_BYTES = 4 * COUNTERS;

/** Added to the offset in a cell with several edges: offsets are even. */
export const WALK_FLAG = 1;

/** Values that pass at once; the caller sums what is left over, and fills it up to be counted. */
export const LANES = 16;

/** What `sumPowers` leaves in the scratch area: four sums of powers as pairs, then minima and maxima, a vector each. */
export const SUMS_AT = 0;
export const EXTREMES_AT = 64;
export const SCRATCH_BYTES = 128;

/** Values that go through one step of `countBins` before the next. */
const STEP_VALUES = 256;

/** Sums of a column: totals and what their additions lost, four pairs each. */
export const STATE_BYTES = 128;
const LOST_AT = 64;

/** `walk` where some cell has more than one edge. */
export type Search = 'look' | 'walk';

export type CountBins = (
  input: number,
  end: number,
  table: number,
  lastCell: number,
  edges: number,
  counters: number,
  low: number,
  scale: number,
) => void;

export interface Kernel {
  /**
   * Moves the values before `end` together over those whose rows the list [gaps, gapsEnd) has, ascending and at least one;
   * `origin` is where row 0 stands or would stand.
   */
  readonly closeGaps: (origin: number, gaps: number, gapsEnd: number, end: number) => void;
  /**
   * Leaves sums and extremes of the values from `input` to `end` (whole groups of `LANES`, at least one) in the scratch
   * area. Answers 1 when the sums are finite, and with them all values.
   */
  readonly sumPowers: (input: number, end: number, pivot: number) => number;
  /** Counts whole groups of values, infinities too, but not NaN; the list of `edges` ends with NaN. */
  readonly countBins: Readonly<Record<Search, CountBins>>;
  /** Adds the sums in the scratch area to those of a column, with compensation. */
  readonly commit: (state: number) => void;
}

const modules = new Map<string, WebAssembly.Module>();

/** Where the functions find what they work on, in bytes. */
export interface KernelLayout {
  readonly scratch: number;
  /** From the block of values to an area of the same size, for addresses. */
  readonly toAddresses: number;
}

/** Functions that work on this memory. The code is compiled once per process. */
export function createKernel(precision: Precision, memory: WebAssembly.Memory, layout: KernelLayout): Kernel {
  const { scratch, toAddresses } = layout;
  const key = `${precision} ${scratch} ${toAddresses}`;
  let module = modules.get(key);
  if (module === undefined) {
    const builder = new ModuleBuilder();
    builder.add(closeGapsBody(precision), 'closeGaps');
    builder.add(sumPowersBody(precision, scratch), 'sumPowers');
    for (const search of ['look', 'walk'] as const) builder.add(countBinsBody(precision, search, toAddresses), search);
    builder.add(commitBody(scratch), 'commit');
    module = new WebAssembly.Module(builder.encode(1));
    modules.set(key, module);
  }
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const { look, walk, ...others } = exports as unknown as Omit<Kernel, 'countBins'> & Kernel['countBins'];
  return { ...others, countBins: { look, walk } };
}

interface Range {
  readonly at: number;
  readonly from: number;
  readonly to: number;
}

/** Runs `at` over the addresses [from, to) in steps of `bytes`, once at least. */
function forEachGroup(body: Body, { at, from, to }: Range, bytes: number, group: () => void): void {
  body.get(from).set(at).open('loop');
  group();
  body.get(at).i32(bytes).op('i32.add').tee(at).get(to).op('i32.lt_u').branchIf(0).op('end');
}

function vectorLocals(body: Body, count: number): number[] {
  return Array.from({ length: count }, () => body.local(v128));
}

function closeGapsBody(precision: Precision): Body {
  const single = precision === 'f32';
  const body = new FunctionBody({ parameters: [i32, i32, i32, i32] });
  const [origin, gap, gapsEnd, end] = [0, 1, 2, 3];
  const [from, to, into] = Array.from({ length: 3 }, () => body.local(i32));
  const addressOfGap = (): Body => {
    body.get(gap).memory('i32.load', 0);
    return body
      .i32(single ? 2 : 3)
      .op('i32.shl')
      .get(origin)
      .op('i32.add');
  };
  /** Moves what is left before `to`, so many bytes at a time. */
  const move = (bytes: number, copy: () => void): void => {
    body.open('block').open('loop');
    body.get(from!).i32(bytes).op('i32.add').get(to!).op('i32.gt_u').branchIf(1);
    body.get(into!).get(from!);
    copy();
    body.get(from!).i32(bytes).op('i32.add').set(from!);
    body.get(into!).i32(bytes).op('i32.add').set(into!).branch(0);
    body.op('end').op('end');
  };
  addressOfGap().set(into!);
  body.whileBelow(gap, gapsEnd, () => {
    addressOfGap()
      .i32(single ? 4 : 8)
      .op('i32.add')
      .set(from!);
    body.get(gap).i32(4).op('i32.add').tee(gap).get(gapsEnd).op('i32.lt_u').open('if');
    addressOfGap().set(to!).op('else').get(end).set(to!).op('end');
    if (single) {
      move(16, () => body.memory('v128.load', 0).memory('v128.store', 0));
      move(4, () => body.memory('i32.load', 0).memory('i32.store', 0));
    } else move(8, () => body.memory('i64.load', 0).memory('i64.store', 0));
  });
  return body;
}

/** Minimum, maximum and sums of powers, into the scratch area. */
function sumPowersBody(precision: Precision, scratch: number): Body {
  const single = precision === 'f32';
  const [wide, valueBytes] = single ? (['f32x4', 4] as const) : (['f64x2', 8] as const);
  const body = new FunctionBody({ parameters: [i32, i32, f64], results: [i32] });
  const [from, to, pivot] = [0, 1, 2];
  const at = body.local(i32);
  const [pivots, min, max, value, deviation, square] = vectorLocals(body, 6);
  const sums = [vectorLocals(body, 4), vectorLocals(body, 4)];
  body.get(pivot).op('f64x2.splat').set(pivots!);
  body.get(from).memory('v128.load', 0).tee(min!).set(max!);

  const addPowers = (half: number, load: () => void): void => {
    const [s1, s2, s3, s4] = sums[half]!;
    load();
    body.get(pivots!).op('f64x2.sub').tee(deviation!).get(s1!).op('f64x2.add').set(s1!);
    body.get(deviation!).get(deviation!).op('f64x2.mul').tee(square!).get(s2!).op('f64x2.add').set(s2!);
    body.get(square!).get(deviation!).op('f64x2.mul').get(s3!).op('f64x2.add').set(s3!);
    body.get(square!).get(square!).op('f64x2.mul').get(s4!).op('f64x2.add').set(s4!);
  };
  forEachGroup(body, { at, from, to }, LANES * valueBytes, () => {
    for (let offset = 0; offset < LANES * valueBytes; offset += 16) {
      body.get(at).memory('v128.load', offset).tee(value!).get(min!).op(`${wide}.pmin`).set(min!);
      body.get(value!).get(max!).op(`${wide}.pmax`).set(max!);
      if (!single) addPowers((offset / 16) % 2, () => body.get(value!));
      else {
        for (const half of [0, 1]) {
          const load = () => body.get(at).memory('v128.load64_zero', offset + half * 8);
          addPowers(half, () => load().op('f64x2.promote_low_f32x4'));
        }
      }
    }
  });
  for (let k = 0; k < 4; k++) {
    body.i32(0).get(sums[0]![k]!).get(sums[1]![k]!).op('f64x2.add');
    body.memory('v128.store', scratch + SUMS_AT + k * 16);
  }
  for (const [i, extreme] of [min!, max!].entries()) {
    body
      .i32(0)
      .get(extreme)
      .memory('v128.store', scratch + EXTREMES_AT + i * 16);
  }
  // s − s is 0 when s is finite and NaN otherwise; s4 is the first sum to overflow.
  for (let lane = 0; lane < 2; lane++) {
    for (let times = 0; times < 2; times++) body.i32(0).memory('f64.load', scratch + SUMS_AT + 48 + lane * 8);
    body.op('f64.sub').f64(0).op('f64.eq');
  }
  return body.op('i32.and');
}

/** Finds every value's bin and counts it. */
function countBinsBody(precision: Precision, search: Search, toAddresses: number): Body {
  const single = precision === 'f32';
  const [scalar, valueBytes] = single ? ([f32, 4] as const) : ([f64, 8] as const);
  const body = new FunctionBody({ parameters: [i32, i32, i32, scalar, i32, i32, scalar, scalar] });
  const [input, end, table, lastCell, edges, counters, low, scale] = [0, 1, 2, 3, 4, 5, 6, 7];
  const [from, to, at] = Array.from({ length: 3 }, () => body.local(i32));
  const plan = { precision, at: at!, toAddresses };
  const find = findCells(body, { ...plan, table, lastCell, low, scale });
  const compare = compareWithEdges(body, { ...plan, counters });
  const count = countValues(body, { ...plan, search, edges, counters });
  forEachGroup(body, { at: from!, from: input, to: end }, STEP_VALUES * valueBytes, () => {
    // The last step may be short.
    body
      .get(from!)
      .i32(STEP_VALUES * valueBytes)
      .op('i32.add')
      .tee(to!)
      .get(end)
      .op('i32.gt_u')
      .open('if');
    body.get(end).set(to!).op('end');
    for (const step of [find, compare, count]) {
      forEachGroup(body, { at: at!, from: from!, to: to! }, LANES * valueBytes, () => {
        for (let offset = 0; offset < LANES * valueBytes; offset += 16) step(offset);
      });
    }
  });
  return body;
}

/** A step takes the vector at `at` + offset, and reads and writes an address per value at `at` + `toAddresses` + offset. */
type Step = (offset: number) => void;

interface StepPlan {
  readonly precision: Precision;
  readonly at: number;
  readonly toAddresses: number;
}

/** Writes the addresses of the values' cells. */
function findCells(
  body: Body,
  plan: StepPlan & Readonly<Record<'table' | 'lastCell' | 'low' | 'scale', number>>,
): Step {
  const single = plan.precision === 'f32';
  const wide = single ? 'f32x4' : 'f64x2';
  const [lows, scales, lastCells, magic, tables] = vectorLocals(body, 5);
  body.get(plan.low).op(`${wide}.splat`).set(lows!).get(plan.scale).op(`${wide}.splat`).set(scales!);
  body.get(plan.lastCell).op(`${wide}.splat`).set(lastCells!);
  (single ? body.f32(2 ** 23) : body.f64(2 ** 52)).op(`${wide}.splat`).set(magic!);
  const shift = Math.log2(CELL_BYTES[plan.precision]);
  // The bits of 2^23 + cell are 0x4b000000 + cell; those of 2^52 + cell have the cell alone in their lower half.
  body.get(plan.table);
  if (single) body.i32(0x4b00_0000 << shift).op('i32.sub');
  body.op('i32x4.splat').set(tables!);
  return offset => {
    // The constant comes first: pmax and pmin answer it when the other is NaN (0 · infinity).
    body.get(plan.at).get(lastCells!);
    body.get(lows!).get(plan.at).memory('v128.load', offset).op(`${wide}.pmax`);
    body.get(lows!).op(`${wide}.sub`).get(scales!).op(`${wide}.mul`);
    body.op(`${wide}.pmin`).get(magic!).op(`${wide}.add`);
    body
      .i32(shift)
      .op('i32x4.shl')
      .get(tables!)
      .op('i32x4.add')
      .memory('v128.store', plan.toAddresses + offset);
  };
}

/** Turns the addresses of cells into those of counters. */
function compareWithEdges(body: Body, plan: StepPlan & Readonly<Record<'counters', number>>): Step {
  const single = plan.precision === 'f32';
  const [wide, valueBytes] = single ? (['f32x4', 4] as const) : (['f64x2', 8] as const);
  const [bins, value, edge, cells, more] = vectorLocals(body, 5);
  body.get(plan.counters).op('i32x4.splat').set(bins!);
  return offset => {
    const cell = (lane: number): Body =>
      body.get(plan.at).memory('i32.load', plan.toAddresses + offset + lane * valueBytes);
    body.get(plan.at);
    if (single) {
      for (const [first, into] of [
        [0, cells!],
        [2, more!],
      ] as const) {
        cell(first + 1);
        cell(first).memory('v128.load64_zero', 0).loadLane('v128.load64_lane', 0, 1).set(into);
      }
      body.get(cells!).get(more!).shuffle32([1, 3, 5, 7]);
      body.get(cells!).get(more!).shuffle32([0, 2, 4, 6]).set(edge!);
    } else {
      cell(0).memory('v128.load', 0).set(cells!);
      cell(1).memory('v128.load', 0).set(more!);
      body.get(cells!).get(more!).shuffle32([2, 3, 6, 7]);
      body.get(cells!).get(more!).shuffle32([0, 1, 4, 5]).set(edge!);
    }
    // A comparison that holds is −1 in each word.
    body.get(plan.at).memory('v128.load', offset).tee(value!).get(edge!).op(`${wide}.ge`);
    body.get(value!).get(edge!).op(`${wide}.gt`).op('i32x4.add').i32(Math.log2(BIN_BYTES)).op('i32x4.shl');
    body
      .op('i32x4.sub')
      .get(bins!)
      .op('i32x4.add')
      .memory('v128.store', plan.toAddresses + offset);
  };
}

/** Counts at the addresses, after walking where they say so. */
function countValues(
  body: Body,
  plan: StepPlan & { readonly search: Search } & Readonly<Record<'edges' | 'counters', number>>,
): Step {
  const { precision, search, at, edges, counters } = plan;
  const [scalar, valueBytes] = precision === 'f32' ? (['f32', 4] as const) : (['f64', 8] as const);
  const bin = body.local(i32);
  // Two bins stand for an edge.
  const toEdge = Math.log2((2 * BIN_BYTES) / valueBytes);

  /** Turns a flagged address into the right one: of the first edge that x does not exceed, and of whether x is it. */
  const walk = (offset: number): void => {
    const valueAndEdge = (): void => {
      body.get(at).memory(`${scalar}.load`, offset);
      body.get(bin).i32(toEdge).op('i32.shr_u').get(edges).op('i32.add').memory(`${scalar}.load`, 0);
    };
    body.get(bin).i32(WALK_FLAG).op('i32.sub').get(counters).op('i32.sub').set(bin).open('loop');
    valueAndEdge();
    body.op(`${scalar}.gt`).open('if');
    body
      .get(bin)
      .i32(2 * BIN_BYTES)
      .op('i32.add')
      .set(bin)
      .branch(1)
      .op('end')
      .op('end');
    valueAndEdge();
    body.op(`${scalar}.eq`).i32(Math.log2(BIN_BYTES)).op('i32.shl');
    body.get(bin).op('i32.add').get(counters).op('i32.add').set(bin);
  };

  return offset => {
    for (let from = 0; from < 16; from += valueBytes) {
      body
        .get(at)
        .memory('i32.load', plan.toAddresses + offset + from)
        .set(bin);
      if (search === 'walk') {
        body.get(bin).i32(WALK_FLAG).op('i32.and').open('if');
        walk(offset + from);
        body.op('end');
      }
      const counter = 4 * (((offset + from) / valueBytes) % COUNTERS);
      body.get(bin).get(bin).memory('i32.load', counter).i32(1).op('i32.add').memory('i32.store', counter);
    }
  };
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
