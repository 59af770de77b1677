import { lengthMismatch, type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';

/** Spearman's rank correlation (midranks), in [−1, 1]; undefined when a side is constant. */
export function spearman(x: Numbers, y: Numbers): Measured {
  const problem = lengthMismatch(x, y, 'the two series');
  if (problem !== null) return undefinedBecause(problem);
  if (x.length < 2) return undefinedBecause('fewer than two points');
  const a = midranks(x);
  const b = midranks(y);
  const center = (x.length + 1) / 2;
  const product = (first: number[], second: number[]): number =>
    sum(first.map((rank, i) => (rank - center) * (second[i]! - center)));
  const scale = Math.sqrt(product(a, a) * product(b, b));
  return scale > 0
    ? measured(Math.max(-1, Math.min(1, product(a, b) / scale)))
    : undefinedBecause('a side is constant');
}

function midranks(values: Numbers): number[] {
  const order = Array.from({ length: values.length }, (_, i) => i).sort((i, j) => values[i]! - values[j]!);
  const ranks = new Array<number>(values.length).fill(0);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let i = start; i < end; i++) ranks[order[i]!] = (start + end + 1) / 2;
    start = end;
  }
  return ranks;
}
