/**
 * Third step of the bit kernel: from bit-planes to sums of leaf weights.
 *
 * A transposition across eight registers turns eight planes into one code byte per row, in row order; then each row loads
 * the weight of its leaf and adds it. Rows run side by side, trees one after the other, so a row's sum is the float32 sum in
 * tree order that ONNX Runtime computes with one thread.
 */
import { FunctionBody, f32, i32, type Local, v128 } from '../wasm/encoder.ts';
import type { Aggregate } from './ensemble.ts';

export interface CodeLayout {
  /** 6 (then codes come out multiplied by four) or 8. */
  readonly codeBits: number;
  readonly groups: number;
  /**
   * For each tree of a batch and each group of it: its planes at `planes`, 16 bytes each and room for eight, and the codes
   * of its rows at `codes`.
   */
  readonly planes: number;
  readonly codes: number;
}

/** `transpose(trees)`: planes of the first so many trees of a batch to codes. */
export function emitTranspose(layout: CodeLayout): FunctionBody {
  const body = new FunctionBody({ parameters: [i32] });
  const treeCount = 0;
  const offset = body.local(i32);
  const end = body.local(i32);
  const swap = body.local(v128);
  const masks = new Map<number, Local>();
  for (const [distance, mask] of [
    [1, 0x55],
    [2, 0x33],
    [4, 0x0f],
  ] as const) {
    masks.set(distance, body.local(v128));
    body.bytes16(mask).set(masks.get(distance)!);
  }
  const registers = Array.from({ length: 8 }, () => body.local(v128));
  // Six planes go to bits 2 … 7, so that a code is already a byte offset into a table of float32.
  const shift = 8 - layout.codeBits;
  body
    .get(treeCount)
    .i32(layout.groups * 128)
    .op('i32.mul')
    .set(end);
  body.whileBelow(offset, end, () => {
    const filled = registers.map((_, index) => index >= shift);
    for (let plane = 0; plane < layout.codeBits; plane++) {
      body
        .get(offset)
        .memory('v128.load', layout.planes + plane * 16)
        .set(registers[plane + shift]!);
    }
    for (const distance of [4, 2, 1]) {
      for (let low = 0; low < 8; low++) {
        if ((low & distance) !== 0) continue;
        const pair = { a: registers[low]!, b: registers[low + distance]!, mask: masks.get(distance)!, swap, distance };
        const state = `${filled[low] ? 'a' : ''}${filled[low + distance] ? 'b' : ''}`;
        if (state === '') continue;
        emitSwap(body, pair, state);
        filled[low] = true;
        filled[low + distance] = true;
      }
    }
    registers.forEach((register, index) => {
      body
        .get(offset)
        .get(register)
        .memory('v128.store', layout.codes + index * 16);
    });
    body.get(offset).i32(128).op('i32.add').set(offset);
  });
  return body;
}

/** Exchanges the upper bit groups of `a` with the lower ones of `b`; a register that holds nothing yet counts as zeros. */
function emitSwap(
  body: FunctionBody,
  pair: { readonly a: Local; readonly b: Local; readonly mask: Local; readonly swap: Local; readonly distance: number },
  filled: string,
): void {
  const { a, b, mask, swap, distance } = pair;
  if (filled === 'a') {
    body.get(a).i32(distance).op('i64x2.shr_u').get(mask).op('v128.and').set(b);
    body.get(a).get(mask).op('v128.and').set(a);
  } else if (filled === 'b') {
    body.get(b).get(mask).op('v128.and').i32(distance).op('i64x2.shl').set(a);
    body.get(b).get(mask).op('v128.andnot').set(b);
  } else {
    body.get(a).i32(distance).op('i64x2.shr_u').get(b).op('v128.xor').get(mask).op('v128.and').set(swap);
    body.get(b).get(swap).op('v128.xor').set(b);
    body.get(a).get(swap).i32(distance).op('i64x2.shl').op('v128.xor').set(a);
  }
}

export interface GatherPlan extends CodeLayout {
  readonly aggregate: Aggregate;
  /** Sums of the target, one float32 per row. */
  readonly sums: number;
  readonly startValue: number;
  /** The first batch that touches the target starts its sums, later ones go on. */
  readonly first: boolean;
  /** Places in the batch of the trees that touch the target, with their weight tables. */
  readonly trees: readonly { readonly place: number; readonly table: number }[];
}

const rowsAtOnce = 4;
const combineWith = { SUM: 'f32.add', AVERAGE: 'f32.add', MIN: 'f32.min', MAX: 'f32.max' } as const;

/** The function that sums one batch of trees into one target. */
export function emitGather(plan: GatherPlan): FunctionBody {
  const body = new FunctionBody();
  const row = body.local(i32);
  const sums = Array.from({ length: rowsAtOnce }, () => body.local(f32));
  const combine = combineWith[plan.aggregate];
  body.countUp(row, plan.groups * 128, rowsAtOnce, () => {
    sums.forEach((sum, lane) => {
      if (plan.first) body.f32(plan.startValue).set(sum);
      else
        body
          .get(row)
          .i32(2)
          .op('i32.shl')
          .memory('f32.load', plan.sums + lane * 4)
          .set(sum);
    });
    for (const { place, table } of plan.trees) {
      sums.forEach((sum, lane) => {
        body
          .get(sum)
          .get(row)
          .memory('i32.load8_u', plan.codes + place * plan.groups * 128 + lane);
        if (plan.codeBits === 8) body.i32(2).op('i32.shl');
        body.memory('f32.load', table).op(combine).set(sum);
      });
    }
    sums.forEach((sum, lane) => {
      body
        .get(row)
        .i32(2)
        .op('i32.shl')
        .get(sum)
        .memory('f32.store', plan.sums + lane * 4);
    });
  });
  return body;
}
