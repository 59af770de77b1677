/**
 * Root-cause signatures: what the two sides of a column suggest happened to it. A signature marked as a bug is one that the
 * world hardly ever produces by itself; a plain shift is reported, never called a bug.
 */
import type { Cause } from '../domain/incident.ts';
import type { CategoryProfile, ColumnEdges, ColumnProfile, NumericProfile, Profile } from '../domain/profile.ts';
import { totalVariation } from '../stats/divergence.ts';
import { histogramQuantile } from '../stats/histogram.ts';
import { sum } from '../stats/measured.ts';
import { type Moments, momentsOf } from '../stats/moments.ts';
import type { ColumnGroups } from './column-groups.ts';
import { percent, plain } from './result.ts';

/** Factors between units people mix up: powers of ten, time, length, mass. */
const unitFactors = [10, 100, 1000, 10_000, 1e6, 1e9, 60, 3600, 24, 7, 12, 1.609344, 2.54, 3.28084, 2.20462, 0.3048];
/** Offsets that only a mistake adds: Kelvin, and Excel's and Unix's epochs in days. */
const knownOffsets = [273.15, 1900, 25_569];
const unitTolerance = 0.02;
/** Groups in which the rest of a column is compared, so that a few hundred rows tell a shift from noise. */
const restGroups = 20;
const fillShare = 0.05;
/** On either side of a value that may be a default. */
const binsBeside = 5;
const sameShape = 0.05;

/** The most telling signature of a changed column, or null when the change looks like the world. */
export function causeOf(
  name: string,
  profile: Profile,
  reference: Profile,
  edges: ColumnEdges,
  groups: ColumnGroups,
): Cause | null {
  const now = profile.columns[name];
  const before = reference.columns[name];
  if (now === undefined || before === undefined) return null;
  const candidates: readonly (() => Cause | null)[] = [
    () => nullJump(name, now, before, profile.rows, reference.rows),
    () => numericCause(name, now, before, edges),
    () => categoryCause(name, now, before, edges),
    () => mixShift(name, profile, reference, groups),
  ];
  for (const candidate of candidates) {
    const cause = candidate();
    if (cause !== null) return cause;
  }
  return null;
}

function nullJump(
  name: string,
  now: ColumnProfile,
  before: ColumnProfile,
  rows: number,
  referenceRows: number,
): Cause | null {
  const missing = (column: ColumnProfile) => (column.kind === 'numeric' ? column.nulls + column.nan : column.nulls);
  const share = missing(now) / rows;
  const usual = missing(before) / referenceRows;
  if (share - usual < fillShare || share < 3 * usual) return null;
  return bug(
    'null_jump',
    `${name} went missing: ${percent(usual)} before, ${percent(share)} now; is the source column empty?`,
  );
}

function numericCause(name: string, now: ColumnProfile, before: ColumnProfile, edges: ColumnEdges): Cause | null {
  if (now.kind !== 'numeric' || before.kind !== 'numeric' || edges.kind !== 'numeric') return null;
  if (now.min === null || now.max === null || before.min === null || before.max === null) return null;
  if (now.min === now.max && before.min < before.max && sum(now.histogram) >= 20) {
    return bug(
      'constant',
      `${name} is the constant ${plain(now.min)} now; it ran from ${plain(before.min)} to ${plain(before.max)}`,
    );
  }
  const momentsNow = momentsOf({ ...now, n: sum(now.histogram) }).value;
  const momentsBefore = momentsOf({ ...before, n: sum(before.histogram) }).value;
  if (momentsNow === null || momentsBefore === null) return null;
  return (
    unitChange(name, now, before, momentsNow, momentsBefore) ??
    defaultFill(name, now, before, edges.edges) ??
    clipping(name, now, before, edges.edges) ??
    offset(name, now, before, edges.edges)
  );
}

/** Mean, spread and both extremes moved by one factor between units. */
function unitChange(name: string, now: NumericProfile, before: NumericProfile, m: Moments, r: Moments): Cause | null {
  if (r.sd === 0 || m.sd === 0 || r.mean === 0) return null;
  const bySpread = m.sd / r.sd;
  const byMean = m.mean / r.mean;
  const rows = Math.min(sum(now.histogram), sum(before.histogram));
  // Sampling error of a ratio of spreads is about 1/√(2n); with heavy tails more, which the kurtosis says.
  const kurtosis = r.kurtosis.value ?? 3;
  const error = 3 * Math.sqrt(Math.max(kurtosis - 1, 1) / (4 * rows));
  for (const factor of unitFactors) {
    for (const ratio of [factor, 1 / factor]) {
      const tolerance = factor >= 10 ? Math.max(0.1, Math.min(error, 0.3)) : unitTolerance;
      // A factor as small as 1.6 is also what the world does: it counts only when the sample can tell it apart.
      if (factor < 10 && error > unitTolerance) continue;
      const near = (value: number) => Math.abs(value / ratio - 1) <= tolerance;
      if (near(bySpread) && near(byMean)) {
        return bug(
          'unit_change',
          `${name} is ${plain(ratio)} times what it was: mean ${plain(r.mean)} before, ${plain(m.mean)} now; did its unit change?`,
        );
      }
    }
  }
  return null;
}

/** One fine bin took a share of the rows from all others alike: a default value was filled in. */
function defaultFill(
  name: string,
  now: NumericProfile,
  before: NumericProfile,
  edges: readonly number[],
): Cause | null {
  const total = sum(now.histogram);
  const referenceTotal = sum(before.histogram);
  let bin = 0;
  let gain = 0;
  now.histogram.forEach((count, index) => {
    const difference = count / total - (before.histogram[index] ?? 0) / referenceTotal;
    if (difference > gain) {
      gain = difference;
      bin = index;
    }
  });
  if (gain < fillShare || growsBeside(now.histogram, before.histogram, bin)) return null;
  const without = (counts: readonly number[]) => counts.filter((_, index) => index !== bin);
  const groups = equalMassGroups(without(before.histogram), restGroups);
  const rest = totalVariation(
    addGroups(without(now.histogram), groups),
    addGroups(without(before.histogram), groups),
  ).value;
  // Two samples over so many groups differ by about √(groups/n) without any change; over all fine bins that would hide a shift.
  const noise = Math.sqrt(restGroups / (2 * Math.PI)) * Math.sqrt(1 / total + 1 / referenceTotal);
  if (rest === null || rest > Math.max(sameShape, 1.3 * noise)) return null;
  const where =
    bin === 0
      ? `at most ${plain(edges[0] ?? 0)}`
      : bin === edges.length
        ? `above ${plain(edges.at(-1) ?? 0)}`
        : `about ${plain(edges[bin] ?? 0)}`;
  return bug(
    'default_fill',
    `${percent(gain)} of ${name} moved to one value (${where}) and the rest kept its shape: is a default filled in?`,
  );
}

/**
 * A default is one value: the bins beside it lose to it as all others do. Where they surely gain as well, rows came into a
 * region, as they do at the end of a range that the world has moved beyond.
 */
function growsBeside(now: readonly number[], before: readonly number[], bin: number): boolean {
  const beside = (counts: readonly number[]) =>
    sum(counts.slice(Math.max(0, bin - binsBeside), bin)) + sum(counts.slice(bin + 1, bin + 1 + binsBeside));
  const [rows, referenceRows] = [sum(now), sum(before)];
  const share = beside(now) / rows;
  const usual = beside(before) / referenceRows;
  const pooled = (beside(now) + beside(before)) / (rows + referenceRows);
  return share - usual > 2 * Math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / referenceRows));
}

/** Number of the group of each bin: consecutive bins, each group with about the same share of the reference. */
function equalMassGroups(counts: readonly number[], groups: number): readonly number[] {
  const total = sum(counts);
  let before = 0;
  return counts.map(count => {
    const group = Math.min(groups - 1, Math.floor((groups * (before + count / 2)) / Math.max(total, 1)));
    before += count;
    return group;
  });
}

function addGroups(counts: readonly number[], groups: readonly number[]): number[] {
  const added = new Array<number>(restGroups).fill(0);
  counts.forEach((count, index) => {
    added[groups[index]!]! += count;
  });
  return added;
}

/** The tail beyond a new bound sits on the bound (clipping) or is gone while the rest kept its shape (truncation). */
function clipping(name: string, now: NumericProfile, before: NumericProfile, edges: readonly number[]): Cause | null {
  const total = sum(now.histogram);
  const referenceTotal = sum(before.histogram);
  const last = now.histogram.findLastIndex(count => count > 0);
  const first = now.histogram.findIndex(count => count > 0);
  for (const side of ['upper', 'lower'] as const) {
    const bound = side === 'upper' ? last : first;
    const beyond = before.histogram.filter((_, index) => (side === 'upper' ? index > bound : index < bound));
    const tail = sum(beyond) / referenceTotal;
    if (tail < 0.02) continue;
    const inside = (counts: readonly number[]) =>
      counts.filter((_, index) => (side === 'upper' ? index < bound : index > bound));
    const rest = totalVariation(inside(now.histogram), inside(before.histogram)).value;
    if (rest === null || rest > sameShape) continue;
    const onBound = (now.histogram[bound] ?? 0) / total;
    const expected = tail + (before.histogram[bound] ?? 0) / referenceTotal;
    const at = plain(side === 'upper' ? (now.max ?? edges[bound] ?? 0) : (now.min ?? edges[bound] ?? 0));
    if (Math.abs(onBound - expected) <= 0.25 * expected) {
      return bug('clipping', `${name} is clipped at ${at}: the ${percent(tail)} that lay beyond now sit on it`);
    }
    return bug(
      'truncation',
      `${name} ends at ${at}; the ${percent(tail)} that lay beyond are gone: was a filter added?`,
    );
  }
  return null;
}

/** All quantiles moved by one amount. A bug only for amounts that nobody but a conversion adds. */
function offset(name: string, now: NumericProfile, before: NumericProfile, edges: readonly number[]): Cause | null {
  const at = (side: NumericProfile, q: number) =>
    histogramQuantile(q, { counts: side.histogram, edges, min: side.min ?? 0, max: side.max ?? 0 }).value;
  const differences: number[] = [];
  for (const q of [0.1, 0.25, 0.5, 0.75, 0.9]) {
    const left = at(now, q);
    const right = at(before, q);
    if (left === null || right === null) return null;
    differences.push(left - right);
  }
  const middle = differences[2]!;
  const spread = (at(before, 0.75) ?? 0) - (at(before, 0.25) ?? 0);
  if (spread <= 0 || Math.abs(middle) < 0.25 * spread) return null;
  if (differences.some(difference => Math.abs(difference - middle) > 0.1 * Math.abs(middle))) return null;
  const epoch = Math.abs(before.pivot) > 1e8 && Math.abs(middle) >= 900 && Math.abs(middle % 900) < 5;
  const known = epoch || knownOffsets.some(amount => Math.abs(Math.abs(middle) - amount) < 0.02 * amount);
  return {
    signature: 'offset',
    bug: known,
    text: `${name} moved by ${plain(middle)} at every quantile${known ? ': a conversion or a time zone' : ''}`,
  };
}

/** New values that are known ones in other clothes. */
function categoryCause(name: string, now: ColumnProfile, before: ColumnProfile, edges: ColumnEdges): Cause | null {
  if (now.kind !== 'category' || before.kind !== 'category' || edges.kind !== 'category') return null;
  const rows = sum(now.counts) + now.unseen;
  if (rows === 0) return null;
  const known = new Set(edges.vocabulary.map(normalized));
  const variants = sum(now.unseenTop.filter(([value]) => known.has(normalized(value))).map(([, count]) => count));
  if (variants >= 0.5 * now.unseen && variants >= 0.01 * rows) {
    return bug(
      'category_variants',
      `${percent(variants / rows)} of ${name} are known values spelled differently (case, spaces, separators)`,
    );
  }
  return categoryConstant(name, now, before, edges.vocabulary) ?? categoryFill(name, now, before, edges.vocabulary);
}

function categoryConstant(
  name: string,
  now: CategoryProfile,
  before: CategoryProfile,
  vocabulary: readonly string[],
): Cause | null {
  const present = (side: CategoryProfile) => side.counts.filter(count => count > 0).length;
  if (now.unseen > 0 || present(now) !== 1 || present(before) < 2 || sum(now.counts) < 20) return null;
  const only = vocabulary[now.counts.findIndex(count => count > 0)] ?? '';
  return bug('constant', `${name} is ${JSON.stringify(only)} in every row now`);
}

/** A value that was new, and common at once, while all others kept their proportions. */
function categoryFill(
  name: string,
  now: CategoryProfile,
  before: CategoryProfile,
  vocabulary: readonly string[],
): Cause | null {
  const rows = sum(now.counts) + now.unseen;
  const [value, count] = now.unseenTop[0] ?? ['', 0];
  if (count < fillShare * rows || before.unseen > 0.01 * sum(before.counts)) return null;
  const rest = totalVariation(now.counts, before.counts).value;
  if (rest === null || rest > sameShape || vocabulary.length < 2) return null;
  return bug(
    'default_fill',
    `${percent(count / rows)} of ${name} became ${JSON.stringify(value)}, a value the reference never had, and the rest kept its shape`,
  );
}

/** The slices kept their own distributions and changed their sizes: the mixture moved, not the behaviour. */
function mixShift(name: string, profile: Profile, reference: Profile, groups: ColumnGroups): Cause | null {
  const now = profile.columns[name];
  const families = new Set(
    profile.slices.flatMap(slice => (slice.slice === null ? [] : [slice.slice.split('=')[0] ?? ''])),
  );
  families.delete(name);
  const total = totalVariation(groups.before, groups.now).value ?? 0;
  if (now === undefined || now.kind === 'time' || total === 0) return null;
  for (const family of families) {
    const within = withinSliceChange(name, family, profile, reference);
    if (within !== null && within <= 0.3 * total) {
      return {
        signature: 'mix_shift',
        bug: false,
        text: `${name} changed because the shares of ${family} did: inside each ${family} it is as before`,
      };
    }
  }
  return null;
}

/** Total variation that remains inside the slices of one column, weighted by today's slice sizes. */
function withinSliceChange(name: string, family: string, profile: Profile, reference: Profile): number | null {
  let change = 0;
  let rows = 0;
  for (const slice of profile.slices) {
    if (slice.slice === null || !slice.slice.startsWith(`${family}=`)) continue;
    const before = reference.slices.find(candidate => candidate.slice === slice.slice);
    const left = countsOf(before?.columns[name]);
    const right = countsOf(slice.columns[name]);
    if (before === undefined || left === null || right === null || slice.rows < 100 || before.rows < 100) continue;
    const distance = totalVariation(left, right).value;
    if (distance === null) continue;
    const noise = Math.sqrt(left.length / (2 * Math.PI)) * Math.sqrt(1 / slice.rows + 1 / before.rows);
    change += Math.max(0, distance - noise) * slice.rows;
    rows += slice.rows;
  }
  return rows < 0.8 * profile.rows ? null : change / rows;
}

function countsOf(column: ColumnProfile | undefined): readonly number[] | null {
  if (column === undefined || column.kind === 'time') return null;
  return column.kind === 'numeric' ? column.histogram : column.counts;
}

function normalized(value: string): string {
  return value
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\s_\-.]+/g, '');
}

function bug(signature: Cause['signature'], text: string): Cause {
  return { signature, bug: true, text };
}
