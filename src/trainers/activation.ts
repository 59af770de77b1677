/** From raw scores to predictions, in float32 as the exported graphs do it. */
import type { Signature } from '../domain/signature.ts';

/** Raw sums → probabilities or values, in place. */
export function finishScores(task: Signature['task'], sums: Float32Array, outputs: number): Float32Array {
  if (task === 'binary') {
    for (let row = 0; row < sums.length; row++) sums[row] = 1 / (1 + Math.exp(-sums[row]!));
  } else if (task === 'multiclass') {
    for (let first = 0; first < sums.length; first += outputs) softmax(sums, sums, first, outputs);
  }
  return sums;
}

/** Softmax of `width` numbers at `first`, from one array into another. */
export function softmax(from: Float32Array, to: Float32Array, first: number, width: number): void {
  let largest = -Infinity;
  for (let index = first; index < first + width; index++) largest = Math.max(largest, from[index]!);
  let sum = 0;
  for (let index = first; index < first + width; index++) {
    to[index] = Math.exp(from[index]! - largest);
    sum += to[index]!;
  }
  for (let index = first; index < first + width; index++) to[index] = to[index]! / sum;
}
