/**
 * How many thresholds lie below a value: the inner loop of binning.
 *
 * A binary search without branches takes log2(thresholds) dependent loads. A table in front of it takes most of them away:
 * the value's bucket on an even grid says how many thresholds lie in the buckets before, and only the thresholds of its own
 * bucket are left to search. The bucket of a value and of a threshold are computed with the same float32 operations, which
 * never decrease, so a threshold in an earlier bucket is certainly smaller: the answer is exact. NaN has a bucket of its
 * own after the last one.
 */
import { type FunctionBody, type Local, v128 } from '../wasm/encoder.ts';
import type { MemoryLayout } from '../wasm/instance.ts';

const { fround } = Math;

/** Added to a float below 2^22, it leaves the nearest whole number in the lowest bits. */
const wholePart = 2 ** 23;

export interface ThresholdSearch {
  readonly thresholds: Float32Array;
  /** Thresholds in memory, padded with infinities so that no probe reads past them. */
  readonly address: number;
  readonly paddedCount: number;
  readonly buckets: BucketTable | null;
  /**
   * Leaves four times the number of thresholds below each of four values in `slots`; for NaN, as if there were one more
   * threshold and it above that. `vector` and `values` hold the values.
   */
  emit(body: FunctionBody, vector: Local, values: readonly Local[], slots: readonly Local[]): void;
}

interface BucketTable {
  readonly address: number;
  readonly low: number;
  readonly scale: number;
  readonly bucketCount: number;
  /** Per bucket: thresholds in the buckets before it; last the slot of NaN. */
  readonly starts: Uint16Array;
  /** Most thresholds in one bucket. */
  readonly occupancy: number;
}

export function planSearch(thresholds: Float32Array, memory: MemoryLayout): ThresholdSearch {
  const table = planBuckets(thresholds, memory);
  const inBucket = table === null ? thresholds.length : table.occupancy;
  const steps = stepsOf(inBucket);
  const missingSlot = thresholds.length + 1;
  const paddedCount = missingSlot + (1 << steps);
  const address = memory.reserve(paddedCount * 4);
  return {
    thresholds,
    address,
    paddedCount,
    buckets: table,
    emit(body, vector, values, slots) {
      if (table === null) emitMissing(body, values, slots, missingSlot);
      else emitBuckets(body, table, vector, slots);
      // Nothing is below NaN, so its slot stays.
      for (let step = steps - 1; step >= 0; step--) {
        const probe = address + ((1 << step) - 1) * 4;
        slots.forEach((slot, lane) => {
          body.get(slot).get(slot).memory('f32.load', probe).get(values[lane]!).op('f32.lt');
          body
            .i32(step + 2)
            .op('i32.shl')
            .op('i32.add')
            .set(slot);
        });
      }
    },
  };
}

export function writeSearchTables(search: ThresholdSearch, buffer: ArrayBuffer): void {
  const target = new Float32Array(buffer, search.address, search.paddedCount).fill(Number.POSITIVE_INFINITY);
  target.set(search.thresholds);
  if (search.buckets === null) return;
  const { address, starts } = search.buckets;
  // Four times the count, the unit of the search.
  new Uint16Array(buffer, address, starts.length).set(starts.map(count => count * 4));
}

/** The grid that leaves the shortest search, or null where none saves two steps. */
function planBuckets(thresholds: Float32Array, memory: MemoryLayout): BucketTable | null {
  const finite = thresholds.filter(Number.isFinite);
  if (finite.length < 8 || thresholds.length > 16_000) return null;
  let best: Omit<BucketTable, 'address'> | null = null;
  for (const bucketCount of [64, 256, 1024]) {
    const grid = fillBuckets(thresholds, finite, bucketCount);
    if (grid !== null && (best === null || stepsOf(grid.occupancy) < stepsOf(best.occupancy))) best = grid;
  }
  if (best === null || stepsOf(best.occupancy) + 2 > stepsOf(thresholds.length)) return null;
  return { ...best, address: memory.reserve(best.starts.length * 2) };
}

function stepsOf(count: number): number {
  return Math.ceil(Math.log2(count + 1));
}

function fillBuckets(
  thresholds: Float32Array,
  finite: Float32Array,
  bucketCount: number,
): Omit<BucketTable, 'address'> | null {
  const low = finite[0]!;
  const scale = fround(bucketCount / fround(finite.at(-1)! - low));
  if (!Number.isFinite(scale) || scale === 0) return null;
  const counts = new Uint16Array(bucketCount);
  for (const threshold of thresholds) counts[bucketOf(threshold, low, scale, bucketCount)]!++;
  const starts = new Uint16Array(bucketCount + 1);
  for (let bucket = 1; bucket < bucketCount; bucket++) starts[bucket] = starts[bucket - 1]! + counts[bucket - 1]!;
  starts[bucketCount] = thresholds.length + 1;
  return { low, scale, bucketCount, starts, occupancy: Math.max(...counts) };
}

/** As `emitBuckets` does it. */
function bucketOf(value: number, low: number, scale: number, bucketCount: number): number {
  const position = fround(fround(value - low) * scale);
  return fround(Math.min(Math.max(position, 0), bucketCount - 1) + wholePart) - wholePart;
}

function emitBuckets(body: FunctionBody, table: BucketTable, vector: Local, slots: readonly Local[]): void {
  const { address, low, scale, bucketCount } = table;
  const position = body.local(v128);
  const splat = (value: number) => body.f32(value).op('f32x4.splat');
  // pmin(a, b) is a unless b is below it, so NaN stays in the first two and becomes the last bucket in the third.
  splat(bucketCount).get(vector);
  splat(low).op('f32x4.sub');
  splat(scale).op('f32x4.mul');
  splat(bucketCount - 1).op('f32x4.pmin');
  splat(0).op('f32x4.pmax').op('f32x4.pmin');
  splat(wholePart).op('f32x4.add');
  // Two bytes an entry.
  body.i32(1).op('i32x4.shl');
  body
    .i32(4 * bucketCount - 1)
    .op('i32x4.splat')
    .op('v128.and')
    .set(position);
  slots.forEach((slot, lane) => {
    body.get(position).lane('i32x4.extract_lane', lane).memory('i32.load16_u', address).set(slot);
  });
}

/** Without a table the search starts at 0, and NaN, which passes no threshold, beyond the last. */
function emitMissing(body: FunctionBody, values: readonly Local[], slots: readonly Local[], missingSlot: number): void {
  slots.forEach((slot, lane) => {
    const value = values[lane]!;
    body
      .get(value)
      .get(value)
      .op('f32.ne')
      .i32(missingSlot * 4)
      .op('i32.mul')
      .set(slot);
  });
}
