/**
 * merge(profile A, profile B) = profile(A + B): counts, histograms, minima and maxima exactly; sums of powers up to the
 * rounding of one addition (they were summed with compensation). Merge in chunk order and a repeated run is byte-equal.
 */
import type { CategoryProfile, ColumnProfile, NumericProfile, Profile, ScoreProfile, TimeProfile } from './profile.ts';

const UNSEEN_SHOWN = 20;

/** Merges profiles of disjoint rows in the order given. Throws when they were counted on different edges. */
export function mergeProfiles(profiles: readonly Profile[]): Profile {
  const [first, ...rest] = profiles;
  if (first === undefined) throw new Error('no profiles to merge: give at least one');
  return rest.reduce(mergeProfile, first);
}

export function mergeProfile(a: Profile, b: Profile): Profile {
  if (a.baseline !== b.baseline) {
    throw new Error(
      `profiles of ${a.dataset} were counted on different edges (baseline ${a.baseline} and ${b.baseline}); ` +
        'profile the rows again on one baseline',
    );
  }
  if (a.slice !== b.slice)
    throw new Error(`profiles of slices ${a.slice ?? 'all'} and ${b.slice ?? 'all'} do not add up`);
  return {
    ...a,
    window: mergeWindow(a.window, b.window),
    rows: a.rows + b.rows,
    columns: mergeColumns(a, b),
    keys: mergeKeys(a.keys, b.keys),
    time: {
      maxEvent: later(a.time.maxEvent, b.time.maxEvent),
      maxKnownAt: later(a.time.maxKnownAt, b.time.maxKnownAt),
      futureRows: a.time.futureRows + b.time.futureRows,
    },
    byLabel: mergeByLabel(a.byLabel, b.byLabel),
    score: mergeScore(a.score, b.score),
    rules: mergeRules(a.rules, b.rules),
    slices: mergeSlices(a.slices, b.slices),
  };
}

function mergeColumns(a: Profile, b: Profile): Record<string, ColumnProfile> {
  const columns: Record<string, ColumnProfile> = {};
  for (const name of new Set([...Object.keys(a.columns), ...Object.keys(b.columns)])) {
    const [first, second] = [a.columns[name], b.columns[name]];
    // An empty chunk may have no columns; a chunk with rows must have all of them.
    if (first === undefined || second === undefined) {
      if ((first === undefined ? a : b).rows > 0) throw new Error(`column ${name} is missing from one of the profiles`);
      columns[name] = first ?? second!;
    } else columns[name] = mergeColumn(name, first, second);
  }
  return columns;
}

function mergeColumn(name: string, a: ColumnProfile, b: ColumnProfile): ColumnProfile {
  if (a.kind === 'numeric' && b.kind === 'numeric') return mergeNumeric(name, a, b);
  if (a.kind === 'category' && b.kind === 'category') return mergeCategory(name, a, b);
  if (a.kind === 'time' && b.kind === 'time') return mergeTime(a, b);
  throw new Error(`column ${name} is ${a.kind} in one profile and ${b.kind} in the other`);
}

function mergeNumeric(name: string, a: NumericProfile, b: NumericProfile): NumericProfile {
  if (a.pivot !== b.pivot) throw new Error(`column ${name}: moments about ${a.pivot} and ${b.pivot} do not add up`);
  return {
    ...a,
    n: a.n + b.n,
    nulls: a.nulls + b.nulls,
    nan: a.nan + b.nan,
    positiveInfinity: a.positiveInfinity + b.positiveInfinity,
    negativeInfinity: a.negativeInfinity + b.negativeInfinity,
    sentinels: addRecords(a.sentinels, b.sentinels),
    min: pick(a.min, b.min, Math.min),
    max: pick(a.max, b.max, Math.max),
    s1: addSums(a.s1, b.s1),
    s2: addSums(a.s2, b.s2),
    s3: addSums(a.s3, b.s3),
    s4: addSums(a.s4, b.s4),
    histogram: addCounts(name, a.histogram, b.histogram),
  };
}

/** An overflowed sum (the largest double) stays one. */
function addSums(a: number, b: number): number {
  for (const sum of [a, b]) if (Math.abs(sum) >= Number.MAX_VALUE) return sum;
  return Math.min(Number.MAX_VALUE, Math.max(-Number.MAX_VALUE, a + b));
}

function mergeCategory(name: string, a: CategoryProfile, b: CategoryProfile): CategoryProfile {
  const unseen = new Map(a.unseenTop);
  for (const [value, count] of b.unseenTop) unseen.set(value, (unseen.get(value) ?? 0) + count);
  const top = [...unseen].sort((x, y) => y[1] - x[1] || (x[0] < y[0] ? -1 : 1));
  return {
    ...a,
    n: a.n + b.n,
    nulls: a.nulls + b.nulls,
    empty: a.empty + b.empty,
    counts: addCounts(name, a.counts, b.counts),
    unseen: a.unseen + b.unseen,
    unseenTop: top.slice(0, UNSEEN_SHOWN),
    length:
      a.length === null || b.length === null
        ? (a.length ?? b.length)
        : {
            min: Math.min(a.length.min, b.length.min),
            max: Math.max(a.length.max, b.length.max),
            sum: a.length.sum + b.length.sum,
          },
  };
}

function mergeTime(a: TimeProfile, b: TimeProfile): TimeProfile {
  const days = addRecords(a.days, b.days);
  return {
    ...a,
    n: a.n + b.n,
    nulls: a.nulls + b.nulls,
    infinite: (a.infinite ?? 0) + (b.infinite ?? 0),
    min: earlier(a.min, b.min),
    max: later(a.max, b.max),
    days: Object.fromEntries(Object.entries(days).sort(([x], [y]) => compareInstants(x, y))),
  };
}

/** Duplicates across the two sides are not seen, so the sum is a lower bound. */
function mergeKeys(a: Profile['keys'], b: Profile['keys']): Profile['keys'] {
  if (a === null || b === null) return a === null && b === null ? null : { ...(a ?? b)!, exact: false };
  if (a.columns.join('\0') !== b.columns.join('\0')) {
    throw new Error(`keys ${a.columns.join(', ')} and ${b.columns.join(', ')} do not add up`);
  }
  return { columns: a.columns, duplicates: a.duplicates + b.duplicates, exact: false };
}

function mergeByLabel(a: Profile['byLabel'], b: Profile['byLabel']): Profile['byLabel'] {
  if (a === null || b === null) return a ?? b;
  const result: Record<string, { positives: readonly number[]; negatives: readonly number[] }> = { ...b };
  for (const [name, counts] of Object.entries(a)) {
    const other = b[name];
    result[name] =
      other === undefined
        ? counts
        : {
            positives: addCounts(name, counts.positives, other.positives),
            negatives: addCounts(name, counts.negatives, other.negatives),
          };
  }
  return result;
}

function mergeScore(a: ScoreProfile | null, b: ScoreProfile | null): ScoreProfile | null {
  if (a === null || b === null) return a ?? b;
  return {
    n: a.n + b.n,
    positives: addCounts('score', a.positives, b.positives),
    negatives: addCounts('score', a.negatives, b.negatives),
    unlabelled: addCounts('score', a.unlabelled, b.unlabelled),
    sum: addCounts('score', a.sum, b.sum),
    logLossSum: a.logLossSum + b.logLossSum,
    brierSum: a.brierSum + b.brierSum,
  };
}

function mergeRules(a: Profile['rules'], b: Profile['rules']): Profile['rules'] {
  const rules = new Map(a.map(rule => [rule.id, rule]));
  for (const rule of b) {
    const before = rules.get(rule.id);
    rules.set(rule.id, before === undefined ? rule : { id: rule.id, n: before.n + rule.n, bad: before.bad + rule.bad });
  }
  return [...rules.values()];
}

function mergeSlices(a: readonly Profile[], b: readonly Profile[]): Profile[] {
  const slices = new Map(a.map(profile => [profile.slice ?? '', profile]));
  for (const profile of b) {
    const before = slices.get(profile.slice ?? '');
    slices.set(profile.slice ?? '', before === undefined ? profile : mergeProfile(before, profile));
  }
  return [...slices.entries()].sort(([x], [y]) => (x < y ? -1 : x > y ? 1 : 0)).map(([, profile]) => profile);
}

function mergeWindow(a: Profile['window'], b: Profile['window']): Profile['window'] {
  if (a === null || b === null) return a ?? b;
  return { from: earlier(a.from, b.from) ?? a.from, to: later(a.to, b.to) ?? a.to };
}

function addCounts(name: string, a: readonly number[], b: readonly number[]): number[] {
  if (a.length !== b.length) {
    throw new Error(`column ${name}: histograms of ${a.length} and ${b.length} bins do not add up`);
  }
  return a.map((count, i) => count + b[i]!);
}

function addRecords(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): Record<string, number> {
  const result: Record<string, number> = { ...a };
  for (const [key, count] of Object.entries(b)) result[key] = (result[key] ?? 0) + count;
  return result;
}

function pick(a: number | null, b: number | null, choose: (a: number, b: number) => number): number | null {
  if (a === null || b === null) return a ?? b;
  return choose(a, b);
}

function earlier(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return compareInstants(a, b) <= 0 ? a : b;
}

function later(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return compareInstants(a, b) >= 0 ? a : b;
}

/** By time and not by text: years beyond 9999 and before 0 carry a sign. */
function compareInstants(a: string, b: string): number {
  return Date.parse(a) - Date.parse(b);
}
