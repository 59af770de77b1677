/** How much one column tells about another. */
import { lengthMismatch, type Measured, measured, type Numbers, sum, undefinedBecause } from './measured.ts';

type Categories = readonly (string | number | boolean | null)[];

function countBy<K>(keys: Iterable<K>): Map<K, number> {
  const counts = new Map<K, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

/** Shannon entropy of a column in nats. NULL is a category. */
export function entropy(x: Categories): Measured {
  if (x.length === 0) return undefinedBecause('no rows');
  return measured(Math.max(0, -sum([...countBy(x).values()].map(n => (n / x.length) * Math.log(n / x.length)))));
}

/** H(x | given) = −Σ p(x, g) ln(p(x, g)/p(g)) in nats. */
export function conditionalEntropy(x: Categories, given: Categories): Measured {
  const problem = lengthMismatch({ length: x.length }, { length: given.length }, 'the two columns');
  if (problem !== null) return undefinedBecause(problem);
  if (x.length === 0) return undefinedBecause('no rows');
  const groups = new Map<Categories[number], Map<Categories[number], number>>();
  for (let i = 0; i < x.length; i++) {
    const group = groups.get(given[i]!) ?? new Map<Categories[number], number>();
    group.set(x[i]!, (group.get(x[i]!) ?? 0) + 1);
    groups.set(given[i]!, group);
  }
  const terms: number[] = [];
  for (const group of groups.values()) {
    const size = sum([...group.values()]);
    for (const n of group.values()) terms.push((n / x.length) * Math.log(size / n));
  }
  return measured(Math.max(0, sum(terms)));
}

/** Theil's uncertainty coefficient U(x | given) = (H(x) − H(x | given)) / H(x), in [0, 1]; undefined for a constant x. */
export function theilU(x: Categories, given: Categories): Measured {
  const whole = entropy(x);
  const rest = conditionalEntropy(x, given);
  if (whole.value === null) return whole;
  if (rest.value === null) return rest;
  if (whole.value === 0) return undefinedBecause('a constant has no uncertainty to explain');
  return measured(Math.min(1, Math.max(0, (whole.value - rest.value) / whole.value)));
}

/** Correlation ratio η = √(SS_between / SS_total) of a number over categories; undefined for a constant number. */
export function correlationRatio(categories: Categories, numbers: Numbers): Measured {
  const problem = lengthMismatch({ length: categories.length }, numbers, 'the two columns');
  if (problem !== null) return undefinedBecause(problem);
  if (numbers.length === 0) return undefinedBecause('no rows');
  const groups = new Map<Categories[number], number[]>();
  for (let i = 0; i < numbers.length; i++) {
    const group = groups.get(categories[i]!) ?? [];
    group.push(numbers[i]!);
    groups.set(categories[i]!, group);
  }
  const center = sum(numbers) / numbers.length;
  const total = sum(Array.from(numbers, value => (value - center) ** 2));
  if (!(total > 0 && total < Infinity)) return undefinedBecause('the number is constant or not finite');
  const between = sum([...groups.values()].map(group => group.length * (sum(group) / group.length - center) ** 2));
  return measured(Math.min(1, Math.sqrt(between / total)));
}

/**
 * Strength of an association in [0, 1] from its square on rows (φ², η² or ρ²), without what chance gives it: the square of two
 * unrelated columns is df/(n − 1) on average (Bergsma 2013 for φ², ε² for η²). `most` is the largest square there can be.
 */
export function correctedAssociation(found: {
  readonly squared: number;
  readonly degrees: number;
  readonly most: number;
  readonly rows: number;
}): Measured {
  const { squared, degrees, most, rows } = found;
  if (rows < 2) return undefinedBecause('fewer than two rows');
  if (!(degrees > 0 && most > 0)) return undefinedBecause('one of the columns is constant');
  const chance = degrees / (rows - 1);
  // What is left of the range is taken as a whole: a column that always fits has a strength of 1.
  const left = most - chance;
  if (left <= 0) return undefinedBecause('as many groups as rows');
  return measured(Math.sqrt(Math.min(1, Math.max(0, (squared - chance) / left))));
}

/** Mutual information of a binary label and a binned column, in nats, from label-conditional counts. */
export function mutualInformation(positives: Numbers, negatives: Numbers): Measured {
  const problem = lengthMismatch(positives, negatives, 'the two histograms');
  if (problem !== null) return undefinedBecause(problem);
  const totals = [sum(positives), sum(negatives)];
  const rows = totals[0]! + totals[1]!;
  if (!(rows > 0)) return undefinedBecause('no rows');
  const terms: number[] = [];
  for (let bin = 0; bin < positives.length; bin++) {
    const size = positives[bin]! + negatives[bin]!;
    for (const [side, count] of [positives[bin]!, negatives[bin]!].entries()) {
      if (count > 0) terms.push((count / rows) * Math.log((count * rows) / (size * totals[side]!)));
    }
  }
  return measured(Math.max(0, sum(terms)));
}
