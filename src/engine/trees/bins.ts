/**
 * First step of the bit kernel: for every condition the bitmap of the rows that meet it.
 *
 * Per feature, each row finds its slot (how many thresholds lie below its value) and sets its bit there; running ORs over
 * the slots turn "in this slot" into "up to this threshold". One pass over thresholds instead of one per condition and row.
 *
 * The bit of row r of a 128-row group is bit (r >> 4) of byte (r & 15), the order in which the transposition in gather.ts
 * brings the leaf codes out row by row.
 */
import { FunctionBody, f32, i32, type Local, v128 } from '../wasm/encoder.ts';
import type { MemoryLayout } from '../wasm/instance.ts';
import { emitComparisons, fewThresholds } from './compare.ts';
import { type Condition, floatBelow } from './normalize.ts';
import { planSearch, writeSearchTables } from './search.ts';

/** The conditions on one feature, with the places of their bitmaps. */
export interface FeatureBins {
  readonly feature: number;
  /** Distinct, ascending. */
  readonly thresholds: Float32Array;
  /** Per threshold: bitmap number of the condition without and with missing values; -1 where nobody asks. */
  readonly plain: Int32Array;
  readonly withMissing: Int32Array;
  readonly sets: readonly {
    readonly bitmap: number;
    readonly missing: boolean;
    readonly ranges: readonly MemberRange[];
  }[];
}

/** A member as "up to it, but not up to the float below"; bitmap numbers, `below` -1 when nothing is below. */
interface MemberRange {
  readonly upTo: number;
  readonly below: number;
}

/** Groups conditions by feature and numbers their bitmaps; `bitmapOf[condition]` is the bitmap. */
export function planBins(conditions: readonly Condition[]): {
  readonly features: readonly FeatureBins[];
  readonly bitmapOf: Int32Array;
  readonly bitmapCount: number;
} {
  const byFeature = new Map<number, number[]>();
  conditions.forEach((condition, index) => {
    const list = byFeature.get(condition.feature);
    if (list === undefined) byFeature.set(condition.feature, [index]);
    else list.push(index);
  });
  const bitmapOf = new Int32Array(conditions.length);
  let bitmapCount = 0;
  const features = [...byFeature]
    .sort(([a], [b]) => a - b)
    .map(([feature, indices]) => {
      // Members need the plain bitmaps of themselves and of the float below.
      const wanted = new Map<number, { plain: boolean; missing: boolean }>();
      const want = (threshold: number, missing: boolean) => {
        const entry = wanted.get(threshold) ?? { plain: false, missing: false };
        if (missing) entry.missing = true;
        else entry.plain = true;
        wanted.set(threshold, entry);
      };
      for (const index of indices) {
        const condition = conditions[index]!;
        if (condition.kind === 'upTo') want(condition.threshold, condition.missing);
        else {
          for (const member of condition.members) {
            want(member, false);
            if (member !== Number.NEGATIVE_INFINITY) want(floatBelow(member), false);
          }
        }
      }
      const thresholds = Float32Array.from(wanted.keys()).sort();
      const plain = new Int32Array(thresholds.length).fill(-1);
      const withMissing = new Int32Array(thresholds.length).fill(-1);
      const slotOf = new Map<number, number>();
      thresholds.forEach((threshold, slot) => {
        slotOf.set(threshold, slot);
        const entry = wanted.get(threshold)!;
        if (entry.plain) plain[slot] = bitmapCount++;
        if (entry.missing) withMissing[slot] = bitmapCount++;
      });
      const sets: { bitmap: number; missing: boolean; ranges: MemberRange[] }[] = [];
      for (const index of indices) {
        const condition = conditions[index]!;
        if (condition.kind === 'upTo') {
          const slot = slotOf.get(condition.threshold)!;
          bitmapOf[index] = condition.missing ? withMissing[slot]! : plain[slot]!;
          continue;
        }
        const ranges = condition.members.map(member => ({
          upTo: plain[slotOf.get(member)!]!,
          below: member === Number.NEGATIVE_INFINITY ? -1 : plain[slotOf.get(floatBelow(member))!]!,
        }));
        bitmapOf[index] = bitmapCount;
        sets.push({ bitmap: bitmapCount++, missing: condition.missing, ranges });
      }
      return { feature, thresholds, plain, withMissing, sets };
    });
  return { features, bitmapOf, bitmapCount };
}

/**
 * Rows whose bitmaps lie together: 64 bytes a condition, one cache line, so that the conditions of a tree spread over the
 * whole first-level cache, and the slots of a feature fit into it.
 */
export const stripeGroups: number = 4;
export const stripeRows: number = stripeGroups * 128;
export const slotBytes: number = stripeGroups * 16;

export interface BinLayout {
  readonly inputs: number;
  readonly scratch: number;
  readonly bitmaps: number;
}

/** Parameters of a function that bins: offsets of a stripe in the inputs and in the bitmaps. */
export interface Stripe {
  readonly input: Local;
  readonly bitmaps: Local;
}

/** The function that bins a stripe of one feature, whose column is at `input`, and what writes its tables. */
export function emitBins(
  memory: MemoryLayout,
  bins: FeatureBins,
  layout: BinLayout & { readonly input: number },
): { readonly body: FunctionBody; readonly writeTables: (buffer: ArrayBuffer) => void } {
  const body = new FunctionBody({ parameters: [i32, i32] });
  const stripe = { input: 0, bitmaps: 1 };
  const writeTables =
    bins.thresholds.length <= fewThresholds
      ? emitComparisons(body, bins, memory, layout, stripe)
      : emitSearches(body, bins, memory, layout, stripe);
  emitBitmaps(body, bins, layout, stripe);
  return { body, writeTables };
}

/** Rows to an iteration; they share a bit of their bytes. */
const rowsAtOnce = 16;

/** Sets each row's bit in its slot; NaN has a slot of its own after the last one. */
function emitSearches(
  body: FunctionBody,
  bins: FeatureBins,
  memory: MemoryLayout,
  layout: BinLayout & { readonly input: number },
  stripe: Stripe,
): (buffer: ArrayBuffer) => void {
  const search = planSearch(bins.thresholds, memory);
  const row = body.local(i32);
  const bit = body.local(i32);
  const group = body.local(i32);
  const vector = body.local(v128);
  const lanes = [0, 1, 2, 3];
  const values = lanes.map(() => body.local(f32));
  const slots = lanes.map(() => body.local(i32));
  body.countUp(row, stripeRows, rowsAtOnce, () => {
    body.i32(1).get(row).i32(4).op('i32.shr_u').i32(7).op('i32.and').op('i32.shl').set(bit);
    body.get(row).i32(7).op('i32.shr_u').i32(4).op('i32.shl').set(group);
    for (let quad = 0; quad < rowsAtOnce; quad += 4) {
      body
        .get(row)
        .i32(2)
        .op('i32.shl')
        .get(stripe.input)
        .op('i32.add')
        .memory('v128.load', layout.input + quad * 4)
        .set(vector);
      for (const lane of lanes) body.get(vector).lane('f32x4.extract_lane', lane).set(values[lane]!);
      search.emit(body, vector, values, slots);
      for (const lane of lanes) {
        const byte = layout.scratch + quad + lane;
        // The search leaves four times the slot.
        body
          .get(slots[lane]!)
          .i32(Math.log2(slotBytes) - 2)
          .op('i32.shl')
          .get(group)
          .op('i32.add')
          .tee(slots[lane]!);
        body.get(slots[lane]!).memory('i32.load8_u', byte).get(bit).op('i32.or').memory('i32.store8', byte);
      }
    }
  });
  return buffer => writeSearchTables(search, buffer);
}

/** Running ORs from slots to bitmaps; clears the slots for the next feature on the way. */
function emitBitmaps(body: FunctionBody, bins: FeatureBins, layout: BinLayout, stripe: Stripe): void {
  const count = bins.thresholds.length;
  const zero = body.local(v128);
  const missing: Local[] = [];
  const sums: Local[] = [];
  for (let group = 0; group < stripeGroups; group++) {
    missing.push(body.local(v128));
    sums.push(body.local(v128));
    body
      .i32(0)
      .memory('v128.load', layout.scratch + (count + 1) * slotBytes + group * 16)
      .set(missing[group]!);
    for (const slot of [count, count + 1]) {
      body
        .i32(0)
        .get(zero)
        .memory('v128.store', layout.scratch + slot * slotBytes + group * 16);
    }
    body.get(zero).set(sums[group]!);
  }
  const slotOffset = body.local(i32);
  const bitmapOffset = body.local(i32);
  for (const run of runsOfSlots(bins)) {
    const bitmapsPerSlot = (run.plain ? 1 : 0) + (run.missing ? 1 : 0);
    body.get(stripe.bitmaps).set(bitmapOffset);
    body.countUp(slotOffset, (run.end - run.start) * slotBytes, slotBytes, () => {
      for (let group = 0; group < stripeGroups; group++) {
        const source = layout.scratch + run.start * slotBytes + group * 16;
        const target = layout.bitmaps + run.bitmap * slotBytes + group * 16;
        const sum = sums[group]!;
        body.get(slotOffset).memory('v128.load', source).get(sum).op('v128.or').set(sum);
        body.get(slotOffset).get(zero).memory('v128.store', source);
        if (run.plain) body.get(bitmapOffset).get(sum).memory('v128.store', target);
        if (run.missing) {
          body.get(bitmapOffset).get(sum).get(missing[group]!).op('v128.or');
          body.memory('v128.store', target + (run.plain ? slotBytes : 0));
        }
      }
      body
        .get(bitmapOffset)
        .i32(bitmapsPerSlot * slotBytes)
        .op('i32.add')
        .set(bitmapOffset);
    });
  }
  emitSets(body, bins, layout, stripe, missing);
}

/** Stretches of slots whose bitmaps repeat in one pattern, so that a loop can write them. */
function runsOfSlots(bins: FeatureBins) {
  const runs: { start: number; end: number; plain: boolean; missing: boolean; bitmap: number }[] = [];
  for (let slot = 0; slot < bins.thresholds.length; slot++) {
    const plain = bins.plain[slot]! >= 0;
    const missing = bins.withMissing[slot]! >= 0;
    const last = runs.at(-1);
    if (last !== undefined && last.plain === plain && last.missing === missing) last.end++;
    else
      runs.push({
        start: slot,
        end: slot + 1,
        plain,
        missing,
        bitmap: plain ? bins.plain[slot]! : bins.withMissing[slot]!,
      });
  }
  return runs;
}

/** Sets from the bitmaps of their members; `missing` are the bitmaps of NaN, one a group. */
function emitSets(
  body: FunctionBody,
  bins: FeatureBins,
  layout: BinLayout,
  stripe: Stripe,
  missing: readonly Local[],
): void {
  for (const set of bins.sets) {
    for (let group = 0; group < stripeGroups; group++) {
      const at = (bitmap: number) => layout.bitmaps + bitmap * slotBytes + group * 16;
      body.get(stripe.bitmaps);
      if (set.missing) body.get(missing[group]!);
      else body.bytes16(0);
      for (const { upTo, below } of set.ranges) {
        body.get(stripe.bitmaps).memory('v128.load', at(upTo));
        if (below >= 0) body.get(stripe.bitmaps).memory('v128.load', at(below)).op('v128.andnot');
        body.op('v128.or');
      }
      body.memory('v128.store', at(set.bitmap));
    }
  }
}
