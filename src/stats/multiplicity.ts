/** Many tests at once: adjusted p-values (q-values), so that one false alarm in a hundred stays one in a hundred. */

/**
 * Benjamini–Hochberg (1995): q(i) = min over j ≥ i of m p(j)/j, in the order given. Holds under positive dependence. Null
 * entries are tests that were not made: they stay null and do not count.
 */
export function benjaminiHochberg(p: readonly (number | null)[]): (number | null)[] {
  return adjust(p, () => 1);
}

/** Benjamini–Yekutieli (2001): valid under any dependence, larger by the harmonic number of m. */
export function benjaminiYekutieli(p: readonly (number | null)[]): (number | null)[] {
  return adjust(p, tests => {
    let harmonic = 0;
    for (let i = 1; i <= tests; i++) harmonic += 1 / i;
    return harmonic;
  });
}

function adjust(p: readonly (number | null)[], penalty: (tests: number) => number): (number | null)[] {
  const made = p.flatMap((value, index) => (value === null || Number.isNaN(value) ? [] : [{ value, index }]));
  made.sort((a, b) => a.value - b.value);
  const scale = made.length * penalty(made.length);
  const q = new Array<number | null>(p.length).fill(null);
  let smallest = 1;
  for (let rank = made.length; rank >= 1; rank--) {
    const { value, index } = made[rank - 1]!;
    smallest = Math.min(smallest, value * (scale / rank));
    q[index] = smallest;
  }
  return q;
}
