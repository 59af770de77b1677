/**
 * The coarse view on which drift is judged: ten equal-mass groups of the reference's fine bins, or the vocabulary, with NULL
 * as a group of its own, so that a collapsing column cannot read as "no drift".
 */
import type { Baseline, ColumnEdges, ColumnProfile, Profile } from '../domain/profile.ts';
import { coarsen, sumGroups } from '../stats/histogram.ts';
import { sum } from '../stats/measured.ts';
import { plain } from './result.ts';

export interface ColumnGroups {
  readonly labels: readonly string[];
  readonly before: readonly number[];
  readonly now: readonly number[];
  /** Index of the NULL group, or null when neither side has any. */
  readonly nullGroup: number | null;
}

const groupsMax = 10;
/** A category rarer than this in the reference is counted with the rest; chi-squared needs expectations. */
const rareShare = 0.005;

/** Both sides of a column on the same groups; null for columns without a distribution (times) and for foreign baselines. */
export function groupColumn(
  name: string,
  profile: Profile,
  reference: Profile,
  baseline: Baseline,
): ColumnGroups | null {
  const now = profile.columns[name];
  const before = reference.columns[name];
  const edges = baseline.columns[name];
  if (now === undefined || before === undefined || edges === undefined) return null;
  const groups = groupsOf(now, before, edges);
  return groups === null ? null : withNulls(groups, missing(now), missing(before));
}

/** A bare histogram (scores) on ten groups of the reference's mass. */
export function groupHistogram(
  before: readonly number[],
  now: readonly number[],
  edges: readonly number[],
): ColumnGroups {
  const group = coarsen(before, groupsMax);
  return {
    labels: rangeLabels(group, edges),
    before: sumGroups(before, group),
    now: sumGroups(now, group),
    nullGroup: null,
  };
}

function groupsOf(now: ColumnProfile, before: ColumnProfile, edges: ColumnEdges): ColumnGroups | null {
  if (now.kind === 'numeric' && before.kind === 'numeric' && edges.kind === 'numeric') {
    if (now.histogram.length !== before.histogram.length) {
      throw new Error(
        `histograms of ${before.histogram.length} and ${now.histogram.length} bins: profile both on one baseline`,
      );
    }
    return groupHistogram(before.histogram, now.histogram, edges.edges);
  }
  if (now.kind === 'category' && before.kind === 'category' && edges.kind === 'category') {
    return groupCategories(now, before, edges.vocabulary);
  }
  return null;
}

type Categories = { readonly counts: readonly number[]; readonly unseen: number; readonly empty: number };

function groupCategories(now: Categories, before: Categories, vocabulary: readonly string[]): ColumnGroups {
  const total = sum(before.counts) + before.unseen;
  const kept = vocabulary.flatMap((_, index) => ((before.counts[index] ?? 0) >= rareShare * total ? [index] : []));
  const rest = (side: Categories) => sum(side.counts) - sum(kept.map(index => side.counts[index] ?? 0)) + side.unseen;
  const counts = (side: Categories) => [...kept.map(index => side.counts[index] ?? 0), rest(side)];
  return {
    labels: [...kept.map(index => vocabulary[index] ?? ''), 'other or unseen'],
    before: counts(before),
    now: counts(now),
    nullGroup: null,
  };
}

function withNulls(groups: ColumnGroups, now: number, before: number): ColumnGroups {
  if (now === 0 && before === 0) return groups;
  return {
    labels: [...groups.labels, 'missing'],
    before: [...groups.before, before],
    now: [...groups.now, now],
    nullGroup: groups.labels.length,
  };
}

function missing(column: ColumnProfile): number {
  return column.kind === 'numeric' ? column.nulls + column.nan : column.nulls;
}

/** The range of every group; neighbours share a bound and its text. */
function rangeLabels(group: readonly number[], edges: readonly number[]): string[] {
  const labels: string[] = [];
  let low: string | null = null;
  for (let bin = 0; bin < group.length; bin++) {
    if (bin + 1 < group.length && group[bin + 1] === group[bin]) continue;
    const edge = edges[bin];
    const high = edge === undefined ? null : plain(edge);
    if (low === null && high === null) labels.push('all values');
    else if (low === null) labels.push(`≤ ${high}`);
    else labels.push(high === null ? `> ${low}` : `(${low}, ${high}]`);
    low = high;
  }
  return labels;
}
