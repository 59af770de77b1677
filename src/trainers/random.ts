/** A small seeded generator (SplitMix32): the same numbers on every platform and Node version. */
export type Random = () => number;

/** Uniform numbers in [0, 1) with 32 bits; `stream` separates independent uses of one seed. */
export function seededRandom(seed: number, stream = 0): Random {
  let state = (Math.imul(seed | 0, 0x9e3779b1) ^ Math.imul(stream | 0, 0x85ebca6b)) >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    mixed ^= mixed >>> 15;
    return (mixed >>> 0) / 2 ** 32;
  };
}

/** `count` distinct indices below `size`, ascending; all of them when count ≥ size (selection sampling, Knuth 3.4.2 S). */
export function sampleIndices(random: Random, size: number, count: number): Uint32Array<ArrayBuffer> {
  const wanted = Math.min(count, size);
  const chosen = new Uint32Array(wanted);
  for (let index = 0, taken = 0; taken < wanted; index++) {
    if ((size - index) * random() < wanted - taken) chosen[taken++] = index;
  }
  return chosen;
}

/** Fisher–Yates, in place. */
export function shuffle(random: Random, values: Uint32Array): Uint32Array {
  for (let last = values.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const kept = values[last]!;
    values[last] = values[other]!;
    values[other] = kept;
  }
  return values;
}
