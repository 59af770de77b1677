/**
 * First step of the bit kernel: for every condition the bitmap of the rows that meet it.
 *
 * Per feature, each row finds its slot (how many thresholds lie below its value) and sets its bit there; running ORs over
 * the slots turn "in this slot" into "up to this threshold". One pass over thresholds instead of one per condition and row.
 *
 * The bit of row r of a 128-row group is bit (r >> 4) of byte (r & 15), the order in which the transposition in gather.ts
 * brings the leaf codes out row by row.
 */
import { FunctionBody as Body, type FunctionBody, f32, i32, type Local, v128 } from '../wasm/encoder.ts';
import type { MemoryLayout } from '../wasm/instance.ts';
import { type Condition, floatBelow } from './normalize.ts';
import { planSearch, type ThresholdSearch, writeSearchTables } from './search.ts';

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

export interface BinLayout {
  /** 128-row groups per block. */
  readonly groups: number;
  readonly inputs: number;
  readonly scratch: number;
  readonly bitmaps: number;
}

/** Rows searched side by side: enough to hide the latency of a load. */
const rowsAtOnce = 4;

/** The function that bins one feature, whose column is at `input`, and what writes its tables. */
export function emitBins(
  memory: MemoryLayout,
  bins: FeatureBins,
  layout: BinLayout & { readonly input: number },
): { readonly body: FunctionBody; readonly writeTables: (buffer: ArrayBuffer) => void } {
  const body = new Body();
  const search = planSearch(bins.thresholds, memory);
  emitSlots(body, bins, layout, search);
  emitBitmaps(body, bins, layout);
  return { body, writeTables: buffer => writeSearchTables(search, buffer) };
}

/** Sets each row's bit in its slot; NaN has a slot of its own after the last one. */
function emitSlots(
  body: FunctionBody,
  bins: FeatureBins,
  layout: BinLayout & { readonly input: number },
  search: ThresholdSearch,
): void {
  const slotBytes = layout.groups * 16;
  const row = body.local(i32);
  const address = body.local(i32);
  const values: Local[] = [];
  const slots: Local[] = [];
  for (let lane = 0; lane < rowsAtOnce; lane++) {
    values.push(body.local(f32));
    slots.push(body.local(i32));
  }
  const vector = body.local(v128);
  const missingSlot = bins.thresholds.length + 1;
  body.countUp(row, layout.groups * 128, rowsAtOnce, () => {
    body.get(row).i32(2).op('i32.shl').memory('v128.load', layout.input).set(vector);
    values.forEach((value, lane) => {
      body.get(vector).lane('f32x4.extract_lane', lane).set(value);
    });
    search.emit(body, vector, values, slots);
    // Address of the row's byte within a slot: 16 bytes per group.
    body.get(row).i32(7).op('i32.shr_u').i32(4).op('i32.shl');
    body.get(row).i32(15).op('i32.and').op('i32.add').set(address);
    slots.forEach((slot, lane) => {
      // The search leaves four times the slot, 0 for NaN.
      const value = values[lane]!;
      body
        .get(value)
        .get(value)
        .op('f32.ne')
        .i32(missingSlot * 4)
        .op('i32.mul')
        .get(slot)
        .op('i32.add');
      body
        .i32(Math.log2(slotBytes) - 2)
        .op('i32.shl')
        .get(address)
        .op('i32.add')
        .tee(slot);
      body.get(slot).memory('i32.load8_u', layout.scratch + lane);
      body.i32(1).get(row).i32(4).op('i32.shr_u').i32(7).op('i32.and').op('i32.shl');
      body.op('i32.or').memory('i32.store8', layout.scratch + lane);
    });
  });
}

/** Running ORs from slots to bitmaps; clears the slots for the next feature on the way. */
function emitBitmaps(body: FunctionBody, bins: FeatureBins, layout: BinLayout): void {
  const slotBytes = layout.groups * 16;
  const count = bins.thresholds.length;
  const zero = body.local(v128);
  const missing: Local[] = [];
  const sums: Local[] = [];
  for (let group = 0; group < layout.groups; group++) {
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
    body.i32(0).set(bitmapOffset);
    body.countUp(slotOffset, (run.end - run.start) * slotBytes, slotBytes, () => {
      for (let group = 0; group < layout.groups; group++) {
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
  emitSets(body, bins, layout, missing);
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

function emitSets(body: FunctionBody, bins: FeatureBins, layout: BinLayout, missing: readonly Local[]): void {
  const slotBytes = layout.groups * 16;
  for (const set of bins.sets) {
    for (let group = 0; group < layout.groups; group++) {
      const at = (bitmap: number) => layout.bitmaps + bitmap * slotBytes + group * 16;
      body.i32(0);
      if (set.missing) body.get(missing[group]!);
      else body.bytes16(0);
      for (const { upTo, below } of set.ranges) {
        body.i32(0).memory('v128.load', at(upTo));
        if (below >= 0) body.i32(0).memory('v128.load', at(below)).op('v128.andnot');
        body.op('v128.or');
      }
      body.memory('v128.store', at(set.bitmap));
    }
  }
}
