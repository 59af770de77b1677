/**
 * The part of the profile's kernel that counts values on unequal edges:
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
 */
import { type FunctionBody as Body, FunctionBody, f32, f64, i32, v128 } from '../wasm/encoder.ts';

export type Precision = 'f32' | 'f64';

/** A cell of a lookup table: its edge (NaN for none), then the byte offset of the first bin's counters as 32 bits. */
export const CELL_BYTES: Readonly<Record<Precision, number>> = { f32: 8, f64: 16 };

/** A bin is four 32-bit counters; an edge has two bins, for what lies between it and the edge below, and for itself. */
export const COUNTERS = 4;
export const BIN_BYTES = 4 * COUNTERS;

/** Added to the offset in a cell with several edges: offsets are even. */
export const WALK_FLAG = 1;

/** Values that are counted at once. */
export const LANES = 16;

/** Values that go through one step of counting before the next. */
const STEP_VALUES = 256;

/** `walk` where some cell has more than one edge. */
export type Search = 'look' | 'walk';

/**
 * A function of the values from `input` to `end` (whole groups of `LANES`, infinities among them but no NaN), the table, its
 * last cell, the edges (the list ends with NaN), the counters, and the table's low and scale.
 */
export function countBinsBody(precision: Precision, search: Search, toAddresses: number): Body {
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

/** New local vectors of a function, zero at first. */
export function vectorLocals(body: Body, count: number): number[] {
  return Array.from({ length: count }, () => body.local(v128));
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
