/**
 * The coarse view on which drift is judged: ten equal-mass groups of the reference's fine bins, or the vocabulary, with NULL
 * as a group of its own, so that a collapsing column cannot read as "no drift".
 */
import type { Baseline, ColumnEdges, ColumnProfile, Profile } from '../domain/profile.ts';
import { coarsen, sumGroups } from '../stats/histogram.ts';
import { sum } from '../stats/measured.ts';
import { plain } from './result.ts';

export interface ColumnGroups {
  /** For people; made when it is asked for, since few of the groups of a wide table are ever named. */
  readonly labelOf: (group: number) => string;
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
    labelOf: wanted => rangeLabel(group, edges, wanted),
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
    labelOf: group => (group === kept.length ? 'other or unseen' : (vocabulary[kept[group] ?? -1] ?? '')),
    before: counts(before),
    now: counts(now),
    nullGroup: null,
  };
}

function withNulls(groups: ColumnGroups, now: number, before: number): ColumnGroups {
  if (now === 0 && before === 0) return groups;
  const nullGroup = groups.before.length;
  return {
    labelOf: group => (group === nullGroup ? 'missing' : groups.labelOf(group)),
    before: [...groups.before, before],
    now: [...groups.now, now],
    nullGroup,
  };
}

function missing(column: ColumnProfile): number {
  return column.kind === 'numeric' ? column.nulls + column.nan : column.nulls;
}

/** The range of a group of bins; neighbours share a bound and its text. */
function rangeLabel(group: readonly number[], edges: readonly number[], wanted: number): string {
  const first = group.indexOf(wanted);
  const [below, above] = [edges[first - 1], edges[group.lastIndexOf(wanted)]];
  if (below === undefined) return above === undefined ? 'all values' : `≤ ${plain(above)}`;
  return above === undefined ? `> ${plain(below)}` : `(${plain(below)}, ${plain(above)}]`;
}
