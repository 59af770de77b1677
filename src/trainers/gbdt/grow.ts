/** Grows one tree leaf by leaf: the leaf whose best split removes the most loss is split next. */
import type { Binning } from './bins.ts';
import type { Workspace } from './layout.ts';
import { type Candidate, type LeafTotals, leafValue, type SplitRules } from './split.ts';
import { bestCandidate, putPartition, putSplit, segmentStart, step } from './steps.ts';
import type { Team } from './team.ts';
import type { Tree, TreeNode } from './tree.ts';

/** Below this many rows, opening a step for all threads costs more than the partition itself. */
const PARALLEL_PARTITION_ROWS = 50_000;

export interface GrowRules extends SplitRules {
  readonly maxLeaves: number;
  readonly maxDepth: number;
  readonly learningRate: number;
  /** Added to every leaf: the base score, in the first tree of an output. */
  readonly offset: number;
}

export interface GrownTree {
  readonly tree: Tree;
  /** Rows of each leaf: order[begin, end). */
  readonly ranges: readonly { readonly begin: number; readonly end: number }[];
}

interface Leaf {
  readonly begin: number;
  readonly end: number;
  readonly depth: number;
  readonly totals: LeafTotals;
  /** Where its histogram lies. */
  readonly slot: number;
  readonly parent: { readonly node: TreeNode; readonly side: 'left' | 'right' } | null;
  best: Candidate | null;
}

/** `rows` rows lie in `workspace.order` from its start; their gradients are written. */
export function growTree(
  workspace: Workspace,
  team: Team,
  binnings: readonly Binning[],
  given: { readonly rows: number; readonly output: number; readonly rules: GrowRules },
): GrownTree {
  const { rules } = given;
  const nodes: TreeNode[] = [];
  const leaves: Leaf[] = [rootLeaf(workspace, given.rows, rules)];
  search(workspace, team, rules, leaves[0]!, null);

  while (leaves.length < rules.maxLeaves) {
    const chosen = bestLeaf(leaves);
    if (chosen === null) break;
    const leaf = leaves[chosen]!;
    const split = leaf.best!;
    const node = nodeOf(split, binnings);
    if (leaf.parent !== null) leaf.parent.node[leaf.parent.side] = nodes.length;
    nodes.push(node);
    const middle = partitionRows(workspace, team, leaf, split);
    const children = childLeaves(workspace, leaf, { node, split, middle, slot: leaves.length, rules });
    leaves[chosen] = children.left;
    leaves.push(children.right);
    const [counted, sibling] =
      children.left.slot === leaf.slot ? [children.right, children.left] : [children.left, children.right];
    if (leaves.length < rules.maxLeaves) search(workspace, team, rules, counted, sibling);
  }

  leaves.forEach((leaf, index) => {
    if (leaf.parent !== null) leaf.parent.node[leaf.parent.side] = ~index;
  });
  const values = leaves.map(({ totals }) =>
    Math.fround(rules.offset + rules.learningRate * leafValue(totals.gradient, totals.hessian, totals, rules.l2)),
  );
  return {
    tree: { nodes, leaves: values, output: given.output },
    ranges: leaves.map(({ begin, end }) => ({ begin, end })),
  };
}

function rootLeaf({ gradients, order }: Workspace, rows: number, rules: GrowRules): Leaf {
  let gradient = 0;
  let hessian = 0;
  for (let position = 0; position < rows; position++) {
    const row = order[position]!;
    hessian += gradients[2 * row]!;
    gradient += gradients[2 * row + 1]!;
  }
  const totals = {
    gradient: gradient * rules.gradientUnit,
    hessian: hessian * rules.hessianUnit,
    rows,
    low: -Infinity,
    high: Infinity,
  };
  return { begin: 0, end: rows, depth: 0, totals, slot: 0, parent: null, best: null };
}

/** Fills `best` of a leaf, and of its sibling, whose slot still holds their parent's histogram. */
function search(workspace: Workspace, team: Team, rules: GrowRules, counted: Leaf, sibling: Leaf | null): void {
  const splitsCounted = isSplittable(counted, rules);
  const splitsSibling = sibling !== null && isSplittable(sibling, rules);
  if (workspace.layout.features === 0 || !(splitsCounted || splitsSibling)) return;
  putSplit(workspace, {
    counted: { slot: counted.slot, begin: counted.begin, end: counted.end, leaf: counted.totals },
    sibling: sibling === null ? null : { slot: sibling.slot, leaf: sibling.totals },
    rules,
  });
  team.run(step.split, workspace.layout.groups.length);
  if (splitsCounted) counted.best = bestCandidate(workspace, counted.slot);
  if (splitsSibling) sibling.best = bestCandidate(workspace, sibling.slot);
}

function isSplittable({ depth, begin, end }: Leaf, { maxDepth, minLeafRows }: GrowRules): boolean {
  return depth < maxDepth && end - begin >= 2 * minLeafRows;
}

function bestLeaf(leaves: readonly Leaf[]): number | null {
  let chosen: number | null = null;
  let gain = 0;
  for (let index = 0; index < leaves.length; index++) {
    const { best } = leaves[index]!;
    if (best === null || !(best.gain > gain)) continue;
    chosen = index;
    gain = best.gain;
  }
  return chosen;
}

function nodeOf(split: Candidate, binnings: readonly Binning[]): TreeNode {
  const { feature, cuts } = binnings[split.feature]!;
  return {
    feature,
    threshold: cuts[split.bin] ?? Infinity,
    missingLeft: split.missingLeft === 1,
    gain: split.gain,
    left: 0,
    right: 0,
  };
}

/** Orders the leaf's rows: left ones first, each side in its old order. Gives the position of the first right row. */
function partitionRows(workspace: Workspace, team: Team, leaf: Leaf, split: Candidate): number {
  const { layout, table, valueBins, segments, order, aside } = workspace;
  const present = valueBins[split.feature]!;
  for (let bin = 0; bin < present; bin++) table[bin] = bin <= split.bin ? 1 : 0;
  if (present < table.length) table[present] = split.missingLeft;
  const count = leaf.end - leaf.begin >= PARALLEL_PARTITION_ROWS ? layout.threads : 1;
  putPartition(workspace, {
    begin: leaf.begin,
    end: leaf.end,
    segments: count,
    bins: layout.columns + split.feature * layout.rows,
  });
  team.run(step.partition, count);

  let to = leaf.begin;
  for (let segment = 0; segment < count; segment++) {
    const from = segmentStart(leaf.begin, leaf.end, count, segment);
    if (from > to) order.copyWithin(to, from, from + segments[segment]!);
    to += segments[segment]!;
  }
  const middle = to;
  for (let segment = 0; segment < count; segment++) {
    const from = segmentStart(leaf.begin, leaf.end, count, segment);
    const rows = segmentStart(leaf.begin, leaf.end, count, segment + 1) - from - segments[segment]!;
    order.set(aside.subarray(from, from + rows), to);
    to += rows;
  }
  return middle;
}

function childLeaves(
  workspace: Workspace,
  leaf: Leaf,
  given: {
    readonly node: TreeNode;
    readonly split: Candidate;
    readonly middle: number;
    readonly slot: number;
    readonly rules: GrowRules;
  },
): { left: Leaf; right: Leaf } {
  const { node, split, middle, rules } = given;
  const { begin, end, depth, totals } = leaf;
  const gradient = totals.gradient - split.leftGradient;
  const hessian = totals.hessian - split.leftHessian;
  // Below a monotone split the two sides may not cross the middle of their values.
  const direction = workspace.monotone[split.feature]!;
  let border = 0;
  if (direction !== 0) {
    const left = leafValue(split.leftGradient, split.leftHessian, totals, rules.l2);
    border = (left + leafValue(gradient, hessian, totals, rules.l2)) / 2;
  }
  // The smaller child is counted into a new slot; the larger becomes what is left of the parent.
  const leftIsSmaller = middle - begin <= end - middle;
  return {
    left: {
      begin,
      end: middle,
      depth: depth + 1,
      totals: {
        gradient: split.leftGradient,
        hessian: split.leftHessian,
        rows: middle - begin,
        low: direction < 0 ? border : totals.low,
        high: direction > 0 ? border : totals.high,
      },
      slot: leftIsSmaller ? given.slot : leaf.slot,
      parent: { node, side: 'left' },
      best: null,
    },
    right: {
      begin: middle,
      end,
      depth: depth + 1,
      totals: {
        gradient,
        hessian,
        rows: end - middle,
        low: direction > 0 ? border : totals.low,
        high: direction < 0 ? border : totals.high,
      },
      slot: leftIsSmaller ? leaf.slot : given.slot,
      parent: { node, side: 'right' },
      best: null,
    },
  };
}
