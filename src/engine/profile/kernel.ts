/**
 * The inner loops of the profile as a generated WebAssembly SIMD kernel, one for 32-bit and one for 64-bit floats.
 *
 * `scan` finds minimum and maximum of a block and whether anything in it is NaN or infinite (v − v is then NaN).
 * `fold` expects finite values. It adds (x − pivot)^k, k = 1..4, and counts bins on unequal edges:
 *
 *   x ──(x − low)·scale──▶ cell of a lookup table ──▶ first candidate bin ──▶ + (x > its edge) ──▶ count
 *
 * The cell is monotone in x, so edges of lower cells lie below x and edges of higher cells do not. A cell with at most one
 * edge needs one comparison and no branch. Cells with more edges (point bins) carry a flag and walk on. Four interleaved
 * histograms keep one count from waiting for the other.
 */
import { type FunctionBody as Body, FunctionBody, f32, f64, i32, ModuleBuilder, v128 } from '../wasm/encoder.ts';

export type Precision = 'f32' | 'f64';

/** Cells of a lookup table; each holds the byte offset of an edge, plus 1 when the cell has several edges. */
export const TABLE_CELLS = 2048;
export const TABLE_BYTES = TABLE_CELLS * 2;

/** Bytes of one bin's four interleaved counters. */
export const BIN_BYTES = 16;

export interface Kernel {
  /** Writes min, max and a NaN marker as three vectors to `out`; values from `input` up to `end`, whole vectors. */
  scan(input: number, end: number, out: number): void;
  /** Adds to the counters at `counts` and writes four vectors of two sums each to `out`. */
  fold(
    input: number,
    end: number,
    table: number,
    counts: number,
    low: number,
    scale: number,
    pivot: number,
    out: number,
  ): void;
}

const modules = new Map<Precision, WebAssembly.Module>();

/** Functions that work on this memory. The code is compiled once per process. */
export function createKernel(precision: Precision, memory: WebAssembly.Memory): Kernel {
  let module = modules.get(precision);
  if (module === undefined) {
    const builder = new ModuleBuilder();
    builder.add(scanBody(precision), 'scan');
    builder.add(foldBody(precision), 'fold');
    module = new WebAssembly.Module(builder.encode(1));
    modules.set(precision, module);
  }
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return exports as unknown as Kernel;
}

function scanBody(precision: Precision): Body {
  const body = new FunctionBody({ parameters: [i32, i32, i32] });
  const [input, end, out] = [0, 1, 2];
  const wide = precision === 'f32' ? 'f32x4' : 'f64x2';
  const [value, min, max, bad] = [body.local(v128), body.local(v128), body.local(v128), body.local(v128)];
  body.get(input).memory('v128.load', 0).tee(min).set(max);
  body.open('loop');
  body.get(input).memory('v128.load', 0).tee(value).get(min).op(`${wide}.min`).set(min);
  body.get(value).get(max).op(`${wide}.max`).set(max);
  body.get(value).get(value).op(`${wide}.sub`).get(bad).op(`${wide}.add`).set(bad);
  body.get(input).i32(16).op('i32.add').tee(input).get(end).op('i32.lt_u').branchIf(0).op('end');
  body.get(out).get(min).memory('v128.store', 0);
  body.get(out).get(max).memory('v128.store', 16);
  body.get(out).get(bad).memory('v128.store', 32);
  return body;
}

function foldBody(precision: Precision): Body {
  const single = precision === 'f32';
  const scalar = single ? f32 : f64;
  const wide = single ? 'f32x4' : 'f64x2';
  const body = new FunctionBody({ parameters: [i32, i32, i32, i32, scalar, scalar, f64, i32] });
  const [input, end, table, counts, low, scale, pivot, out] = [0, 1, 2, 3, 4, 5, 6, 7];
  const [lows, scales, pivots] = [body.local(v128), body.local(v128), body.local(v128)];
  const [tables, lastCell, firstCell] = [body.local(v128), body.local(v128), body.local(v128)];
  const [cells, deviation, power, offset] = [body.local(v128), body.local(v128), body.local(v128), body.local(i32)];
  const sums = Array.from({ length: 2 }, () => Array.from({ length: 4 }, () => body.local(v128)));
  body.get(low).op(`${wide}.splat`).set(lows).get(scale).op(`${wide}.splat`).set(scales);
  body.get(pivot).op('f64x2.splat').set(pivots).get(table).op('i32x4.splat').set(tables);
  body
    .i32(TABLE_CELLS - 1)
    .op('i32x4.splat')
    .set(lastCell);

  /** Addresses of the table entries of the values of one vector, as four integers. */
  const findCells = (from: number): void => {
    body.get(input).memory('v128.load', from).get(lows).op(`${wide}.sub`).get(scales).op(`${wide}.mul`);
    body.op(single ? 'i32x4.trunc_sat_f32x4_s' : 'i32x4.trunc_sat_f64x2_s_zero');
    body.get(firstCell).op('i32x4.max_s').get(lastCell).op('i32x4.min_s');
    body.i32(1).op('i32x4.shl').get(tables).op('i32x4.add').set(cells);
  };

  /** Leaves 1 on the stack when the value at `from` lies above the edge at `offset`. */
  const aboveEdge = (from: number): void => {
    body.get(input).memory(single ? 'f32.load' : 'f64.load', from);
    body
      .get(offset)
      .get(table)
      .op('i32.add')
      .memory(single ? 'f32.load' : 'f64.load', TABLE_BYTES);
    body.op(single ? 'f32.gt' : 'f64.gt');
  };
  const edgeBytes = single ? 4 : 8;
  const countValue = (lane: number, from: number, counter: number): void => {
    body.get(cells).lane('i32x4.extract_lane', lane).memory('i32.load16_u', 0).tee(offset);
    body.i32(1).op('i32.and').open('if');
    body.get(offset).i32(1).op('i32.sub').set(offset).open('loop');
    aboveEdge(from);
    body.open('if').get(offset).i32(edgeBytes).op('i32.add').set(offset).branch(1).op('end').op('end').op('else');
    aboveEdge(from);
    body
      .i32(single ? 2 : 3)
      .op('i32.shl')
      .get(offset)
      .op('i32.add')
      .set(offset)
      .op('end');
    body
      .get(offset)
      .i32(single ? 2 : 1)
      .op('i32.shl')
      .get(counts)
      .op('i32.add')
      .tee(offset);
    body
      .get(offset)
      .memory('i32.load', counter * 4)
      .i32(1)
      .op('i32.add')
      .memory('i32.store', counter * 4);
  };

  const addPowers = (half: number, load: () => void): void => {
    const [s1, s2, s3, s4] = sums[half]!;
    load();
    body.get(pivots).op('f64x2.sub').tee(deviation).get(s1!).op('f64x2.add').set(s1!);
    body.get(deviation).get(deviation).op('f64x2.mul').tee(power).get(s2!).op('f64x2.add').set(s2!);
    body.get(power).get(deviation).op('f64x2.mul').get(s3!).op('f64x2.add').set(s3!);
    body.get(power).get(power).op('f64x2.mul').get(s4!).op('f64x2.add').set(s4!);
  };

  body.open('loop');
  for (const half of [0, 1]) {
    addPowers(half, () => {
      if (single)
        body
          .get(input)
          .memory('v128.load64_zero', half * 8)
          .op('f64x2.promote_low_f32x4');
      else body.get(input).memory('v128.load', half * 16);
    });
  }
  if (single) {
    findCells(0);
    for (let lane = 0; lane < 4; lane++) countValue(lane, lane * 4, lane);
  } else {
    for (const half of [0, 1]) {
      findCells(half * 16);
      for (let lane = 0; lane < 2; lane++) countValue(lane, half * 16 + lane * 8, half * 2 + lane);
    }
  }
  body
    .get(input)
    .i32(single ? 16 : 32)
    .op('i32.add')
    .tee(input)
    .get(end)
    .op('i32.lt_u')
    .branchIf(0)
    .op('end');
  for (let k = 0; k < 4; k++) {
    body
      .get(out)
      .get(sums[0]![k]!)
      .get(sums[1]![k]!)
      .op('f64x2.add')
      .memory('v128.store', k * 16);
  }
  return body;
}
