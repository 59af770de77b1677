/** Neighbours and roundings of floating-point numbers; bins are (low, high], so edges need the number just below. */
import type { Precision } from './count-bins.ts';

const bits = new BigInt64Array(1);
const double = new Float64Array(bits.buffer);

/** The largest double below a finite value. */
export function nextDown(value: number): number {
  if (value === 0) return -Number.MIN_VALUE;
  double[0] = value;
  bits[0]! += value > 0 ? -1n : 1n;
  return double[0];
}

const singleBits = new Int32Array(1);
const single = new Float32Array(singleBits.buffer);

/** The largest 32-bit float at or below a value; −Infinity below the smallest finite one. */
export function floorToSingle(value: number): number {
  const rounded = Math.fround(value);
  if (!(rounded > value)) return rounded;
  if (rounded === 0) return -(2 ** -149);
  single[0] = rounded;
  singleBits[0]! += rounded > 0 ? -1 : 1;
  return single[0];
}

/** The edge that decides alike for values of this precision: x > edge exactly when x > edgeFor(edge). */
export function edgeFor(edge: number, precision: Precision): number {
  return precision === 'f32' ? floorToSingle(edge) : edge;
}

/** Rounded to 12 significant digits, so that an edge reads well and does not depend on the last bit of a sum. */
export function roundTo12Digits(value: number): number {
  return Number(value.toPrecision(12));
}
