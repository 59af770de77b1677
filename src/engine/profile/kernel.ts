/**
 * The inner loops of the profile as a generated WebAssembly SIMD kernel, for 32-bit and for 64-bit floats. A block of values
 * passes twice, while it is in the first-level cache: once for minimum, maximum and (x − pivot)^k, k = 1..4, and once for the
 * bin of every value on unequal edges (`count-bins.ts`). Both at once need more vector registers than there are.
 *
 * NaN and infinities are noticed in the sums they have spoiled: `fold` then answers 0 before it keeps or counts anything,
 * and the caller takes them out. That costs nothing while there are none.
 */
import { type FunctionBody as Body, FunctionBody, f64, i32, ModuleBuilder, v128 } from '../wasm/encoder.ts';
import { countBinsBody, LANES, type Precision, type Search, vectorLocals } from './count-bins.ts';

/**
 * A column: its sums as pairs, what their additions lost, minima and maxima as vectors of the column's precision; then,
 * written by the caller, pivot and the table's low and scale as doubles, the addresses of table and edges (the list ends
 * with NaN), and the table's last cell.
 */
export const SUMS_AT = 0;
export const LOST_AT = 64;
export const EXTREMES_AT = 128;
export const PIVOT_AT = 160;
export const LOW_AT = 168;
export const SCALE_AT = 176;
export const TABLE_AT = 184;
export const EDGES_AT = 188;
export const LAST_CELL_AT = 192;
export const COLUMN_BYTES = 256;

/** Sums and extremes of one block lie in the scratch area as they do in a column. */
const BLOCK_EXTREMES_AT = 64;
export const SCRATCH_BYTES = 128;

/**
 * Folds the values before `end` into a column and its `counters`. Up to `LANES` − 1 places behind `end` are filled with
 * infinities, which are counted in the last bin. Answers 0, and has done nothing, when a sum is not finite, unless it is to go
 * on `anyway`.
 */
export type Fold = (column: number, end: number, counters: number, anyway: 0 | 1) => 0 | 1;

export interface Kernel {
  /**
   * Moves the values before `end` together over those whose rows the list [gaps, gapsEnd) has, ascending and at least one;
   * `origin` is where row 0 stands or would stand.
   */
  readonly closeGaps: (origin: number, gaps: number, gapsEnd: number, end: number) => void;
  readonly fold: Readonly<Record<Search, Fold>>;
}

const modules = new Map<string, WebAssembly.Module>();

/** Where the functions find what they work on, in bytes. */
export interface KernelLayout {
  /** The block of values. */
  readonly input: number;
  /** From there to an area of the same size, for addresses. */
  readonly toAddresses: number;
  readonly scratch: number;
}

/** Functions that work on this memory. The code is compiled once per process. */
export function createKernel(precision: Precision, memory: WebAssembly.Memory, layout: KernelLayout): Kernel {
  const key = [precision, ...Object.values(layout)].join(' ');
  let module = modules.get(key);
  if (module === undefined) {
    const builder = new ModuleBuilder();
    builder.add(closeGapsBody(precision), 'closeGaps');
    const sumPowers = builder.add(sumPowersBody(precision, layout.scratch));
    const commit = builder.add(commitBody(precision, layout.scratch));
    for (const search of ['look', 'walk'] as const) {
      const countBins = builder.add(countBinsBody(precision, search, layout.toAddresses));
      builder.add(foldBody(precision, layout.input, { sumPowers, commit, countBins }), search);
    }
    module = new WebAssembly.Module(builder.encode(1));
    modules.set(key, module);
  }
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const { closeGaps, look, walk } = exports as unknown as Pick<Kernel, 'closeGaps'> & Kernel['fold'];
  return { closeGaps, fold: { look, walk } };
}

function foldBody(
  precision: Precision,
  input: number,
  functions: Readonly<Record<'sumPowers' | 'commit' | 'countBins', number>>,
): Body {
  const single = precision === 'f32';
  const groupBytes = LANES * (single ? 4 : 8);
  const body = new FunctionBody({ parameters: [i32, i32, i32, i32], results: [i32] });
  const [column, end, counters, anyway] = [0, 1, 2, 3];
  const infinity = body.local(v128);
  body.i32(input).get(end).get(column).memory('f64.load', PIVOT_AT).call(functions.sumPowers);
  body.get(anyway).op('i32.or').op('i32.eqz').open('if').i32(0).op('return').op('end');
  body.get(column).call(functions.commit);
  (single ? body.f32(Infinity) : body.f64(Infinity)).op(single ? 'f32x4.splat' : 'f64x2.splat').set(infinity);
  for (let at = 0; at < groupBytes; at += 16) body.get(end).get(infinity).memory('v128.store', at);
  const scalar = (at: number): void => {
    body.get(column).memory('f64.load', at);
    if (single) body.op('f32.demote_f64');
  };
  body.i32(input);
  // The end of the last group.
  body
    .get(end)
    .i32(groupBytes - 1 - input)
    .op('i32.add')
    .i32(-groupBytes)
    .op('i32.and')
    .i32(input)
    .op('i32.add');
  body.get(column).memory('i32.load', TABLE_AT).get(column).memory('i32.load', LAST_CELL_AT);
  body.op(single ? 'f32.convert_i32_s' : 'f64.convert_i32_s');
  body.get(column).memory('i32.load', EDGES_AT).get(counters);
  scalar(LOW_AT);
  scalar(SCALE_AT);
  return body.call(functions.countBins).i32(1);
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

/** Minimum, maximum and sums of powers of at least one value, into the scratch area; 1 when the sums are finite. */
function sumPowersBody(precision: Precision, scratch: number): Body {
  const single = precision === 'f32';
  const [wide, scalar, valueBytes] = single ? (['f32x4', 'f32', 4] as const) : (['f64x2', 'f64', 8] as const);
  const groupBytes = LANES * valueBytes;
  const body = new FunctionBody({ parameters: [i32, i32, f64], results: [i32] });
  const [at, end, pivot] = [0, 1, 2];
  const to = body.local(i32);
  const [pivots, min, max, value, deviation, square, zero] = vectorLocals(body, 7);
  const sums = [vectorLocals(body, 4), vectorLocals(body, 4)];

  const takeExtremes = (): void => {
    body.tee(value!).get(min!).op(`${wide}.pmin`).set(min!).get(value!).get(max!).op(`${wide}.pmax`).set(max!);
  };
  /** Adds the powers of the pair of deviations on the stack. */
  const addPowers = (half: number): void => {
    const [s1, s2, s3, s4] = sums[half]!;
    body.tee(deviation!).get(s1!).op('f64x2.add').set(s1!);
    body.get(deviation!).get(deviation!).op('f64x2.mul').tee(square!).get(s2!).op('f64x2.add').set(s2!);
    body.get(square!).get(deviation!).op('f64x2.mul').get(s3!).op('f64x2.add').set(s3!);
    body.get(square!).get(square!).op('f64x2.mul').get(s4!).op('f64x2.add').set(s4!);
  };
  body.get(pivot).op('f64x2.splat').set(pivots!);
  body.get(at).memory(`${scalar}.load`, 0).op(`${wide}.splat`).tee(min!).set(max!);
  body.get(end).get(at).op('i32.sub').i32(-groupBytes).op('i32.and').get(at).op('i32.add').set(to);
  body.whileBelow(at, to, () => {
    for (let offset = 0; offset < groupBytes; offset += 16) {
      body.get(at).memory('v128.load', offset);
      takeExtremes();
      for (const half of single ? [0, 1] : [(offset / 16) % 2]) {
        if (single) {
          body.get(at).memory('v128.load64_zero', offset + half * 8);
          body.op('f64x2.promote_low_f32x4');
        } else body.get(value!);
        body.get(pivots!).op('f64x2.sub');
        addPowers(half);
      }
    }
    body.get(at).i32(groupBytes).op('i32.add').set(at);
  });
  // What is left over, one by one, in the first of two lanes.
  body.whileBelow(at, end, () => {
    body.get(at).memory(`${scalar}.load`, 0).op(`${wide}.splat`);
    takeExtremes();
    body.get(zero!).get(at).memory(`${scalar}.load`, 0);
    if (single) body.op('f64.promote_f32');
    body.get(pivot).op('f64.sub').lane('f64x2.replace_lane', 0);
    addPowers(0);
    body.get(at).i32(valueBytes).op('i32.add').set(at);
  });
  for (let k = 0; k < 4; k++) {
    body.i32(0).get(sums[0]![k]!).get(sums[1]![k]!).op('f64x2.add');
    body.memory('v128.store', scratch + k * 16);
  }
  for (const [i, extreme] of [min!, max!].entries()) {
    const address = scratch + BLOCK_EXTREMES_AT + i * 16;
    body.i32(0).get(extreme).memory('v128.store', address);
  }
  // s − s is 0 when s is finite and NaN otherwise; s4 is the first sum to overflow.
  for (let lane = 0; lane < 2; lane++) {
    for (let times = 0; times < 2; times++) body.i32(0).memory('f64.load', scratch + 48 + lane * 8);
    body.op('f64.sub').f64(0).op('f64.eq');
  }
  return body.op('i32.and');
}

/**
 * Adds the block in the scratch area to a column. Sums by Knuth's TwoSum: total' = total + term, and lost' = lost + exactly
 * what that addition rounded away.
 */
function commitBody(precision: Precision, scratch: number): Body {
  const body = new FunctionBody({ parameters: [i32] });
  const column = 0;
  const [total, term, next, part] = vectorLocals(body, 4);
  const blockAt = (offset: number): Body => body.i32(0).memory('v128.load', scratch + offset);
  const columnAt = (offset: number): Body => body.get(column).memory('v128.load', offset);
  for (let at = 0; at < 64; at += 16) {
    columnAt(SUMS_AT + at).tee(total!);
    blockAt(at).tee(term!).op('f64x2.add').set(next!);
    body.get(next!).get(total!).op('f64x2.sub').set(part!);
    body.get(column);
    columnAt(LOST_AT + at);
    body.get(total!).get(next!).get(part!).op('f64x2.sub').op('f64x2.sub');
    body.get(term!).get(part!).op('f64x2.sub').op('f64x2.add').op('f64x2.add');
    body.memory('v128.store', LOST_AT + at);
    body
      .get(column)
      .get(next!)
      .memory('v128.store', SUMS_AT + at);
  }
  const wide = precision === 'f32' ? 'f32x4' : 'f64x2';
  for (const [i, pick] of ([`${wide}.pmin`, `${wide}.pmax`] as const).entries()) {
    body.get(column);
    columnAt(EXTREMES_AT + i * 16);
    blockAt(BLOCK_EXTREMES_AT + i * 16);
    body.op(pick).memory('v128.store', EXTREMES_AT + i * 16);
  }
  return body;
}
