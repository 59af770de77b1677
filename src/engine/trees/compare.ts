/**
 * Slots of a feature with few thresholds, by comparing every value with every threshold, four at a time: less than one
 * instruction a row and threshold, where a search takes thirty a row.
 */
import { type FunctionBody, i32, v128 } from '../wasm/encoder.ts';
import type { MemoryLayout } from '../wasm/instance.ts';
import { type BinLayout, type FeatureBins, type Stripe, slotBytes, stripeGroups } from './bins.ts';

/** More thresholds are searched; around the crossing both take the same time. */
export const fewThresholds: number = 32;

/** Sets in each slot all rows up to its threshold, and in the slot of NaN its rows, if any condition asks for them. */
export function emitComparisons(
  body: FunctionBody,
  bins: FeatureBins,
  memory: MemoryLayout,
  layout: BinLayout & { readonly input: number },
  stripe: Stripe,
): (buffer: ArrayBuffer) => void {
  const { thresholds } = bins;
  const address = memory.reserve(thresholds.length * 4);
  const group = body.local(i32);
  const index = body.local(i32);
  const column = body.local(i32);
  const slot = body.local(i32);
  const limit = body.local(v128);
  const value = body.local(v128);
  const asksMissing = bins.withMissing.some(bitmap => bitmap >= 0) || bins.sets.some(set => set.missing);
  const load = (quad: number) => body.get(column).memory('v128.load', layout.input + quad * 16);
  body.countUp(group, stripeGroups, 1, () => {
    // A group has 128 values of 4 bytes, and 16 bytes in each slot.
    body.get(group).i32(9).op('i32.shl').get(stripe.input).op('i32.add').set(column);
    body.get(group).i32(4).op('i32.shl').set(slot);
    if (asksMissing) {
      body.get(slot);
      emitBitmap(body, quad => load(quad).tee(value).get(value).op('f32x4.ne'));
      body.memory('v128.store', layout.scratch + (thresholds.length + 1) * slotBytes);
    }
    body.countUp(index, thresholds.length * 4, 4, () => {
      body.get(index).memory('f32.load', address).op('f32x4.splat').set(limit);
      body.get(slot);
      emitBitmap(body, quad => load(quad).get(limit).op('f32x4.le'));
      body.memory('v128.store', layout.scratch);
      body.get(slot).i32(slotBytes).op('i32.add').set(slot);
    });
  });
  return buffer => new Float32Array(buffer, address, thresholds.length).set(thresholds);
}

/** Leaves the bitmap of a group on the stack; `mask(quad)` leaves all ones in the lanes of four rows that belong to it. */
function emitBitmap(body: FunctionBody, mask: (quad: number) => void): void {
  for (let bit = 0; bit < 8; bit++) {
    for (let half = 0; half < 2; half++) {
      mask(bit * 4 + half * 2);
      mask(bit * 4 + half * 2 + 1);
      body.op('i16x8.narrow_i32x4_s');
    }
    body
      .op('i8x16.narrow_i16x8_s')
      .bytes16(1 << bit)
      .op('v128.and');
    if (bit > 0) body.op('v128.or');
  }
}
