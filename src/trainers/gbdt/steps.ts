/**
 * The steps of a training round that are split into tasks. Any thread may take any task; what a task writes does not depend
 * on who ran it, so the trees are the same for every number of threads.
 *
 * A step's arguments lie in `command`, which the main thread fills before it opens the step.
 */
import { FEATURE_BYTES } from './kernel.ts';
import { CANDIDATE_FIELDS, type Workspace } from './layout.ts';
import { type Task, writeGradients, writeProbabilities } from './loss.ts';
import { type Candidate, findSplit, type LeafTotals, type SplitRules } from './split.ts';

export const ROWS_PER_TASK = 1 << 15;
export const step = { probabilities: 1, gradients: 2, partition: 3, split: 4 } as const;
const tasks: readonly Task[] = ['binary', 'multiclass', 'regression'];

export interface GradientCommand {
  readonly task: Task;
  readonly output: number;
  readonly gradientScale: number;
  readonly hessianScale: number;
  readonly salt: number;
}

export interface PartitionCommand {
  readonly begin: number;
  readonly end: number;
  readonly segments: number;
  readonly bins: number;
}

/** Count the leaf at `counted`, take it from its sibling's histogram (`sibling`, which holds their parent's), search both. */
export interface SplitCommand {
  readonly counted: { readonly slot: number; readonly begin: number; readonly end: number; readonly leaf: LeafTotals };
  readonly sibling: { readonly slot: number; readonly leaf: LeafTotals } | null;
  readonly rules: SplitRules;
}

export function putGradients({ command }: Workspace, given: GradientCommand): void {
  command.set([tasks.indexOf(given.task), given.output, given.gradientScale, given.hessianScale, given.salt]);
}

export function putPartition({ command }: Workspace, given: PartitionCommand): void {
  command.set([given.begin, given.end, given.segments, given.bins]);
}

export function putSplit({ command }: Workspace, { counted, sibling, rules }: SplitCommand): void {
  const totals = ({ gradient, hessian, rows, low, high }: LeafTotals) => [gradient, hessian, rows, low, high];
  const none = [0, 0, 0, 0, 0];
  command.set([
    ...[rules.gradientUnit, rules.hessianUnit, rules.l2, rules.minLeafRows, rules.minLeafHessian, rules.minGain],
    ...[counted.slot, counted.begin, counted.end, ...totals(counted.leaf)],
    ...[sibling?.slot ?? -1, ...(sibling === null ? none : totals(sibling.leaf))],
  ]);
}

export function runTask(workspace: Workspace, which: number, task: number): void {
  const { command, layout } = workspace;
  const range = { begin: task * ROWS_PER_TASK, end: Math.min(layout.rows, (task + 1) * ROWS_PER_TASK) };
  switch (which) {
    case step.probabilities:
      writeProbabilities(workspace, range);
      return;
    case step.gradients: {
      const [kind = 0, output = 0, gradientScale = 0, hessianScale = 0, salt = 0] = command;
      writeGradients(tasks[kind] ?? 'binary', workspace, range, { output, gradientScale, hessianScale, salt });
      return;
    }
    case step.partition:
      partitionSegment(workspace, task);
      return;
    case step.split:
      searchGroup(workspace, task);
      return;
    default:
      throw new Error(`gbdt: unknown step ${which}`);
  }
}

function partitionSegment({ command, layout, kernel, segments }: Workspace, segment: number): void {
  const [begin = 0, end = 0, count = 1, bins = 0] = command;
  const from = segmentStart(begin, end, count, segment);
  segments[segment] = kernel.partition({
    rows: layout.order,
    begin: from,
    end: segmentStart(begin, end, count, segment + 1),
    bins,
    table: layout.table,
    aside: layout.aside + 4 * from,
  });
}

export function segmentStart(begin: number, end: number, count: number, segment: number): number {
  return begin + Math.floor(((end - begin) * segment) / count);
}

/** One group of features: count the smaller leaf, derive its sibling, leave the best candidate of each. */
function searchGroup(workspace: Workspace, groupIndex: number): void {
  const { command, layout, kernel, bytes } = workspace;
  const [gradientUnit = 0, hessianUnit = 0, l2 = 0, minLeafRows = 0, minLeafHessian = 0, minGain = 0] = command;
  const rules = { gradientUnit, hessianUnit, l2, minLeafRows, minLeafHessian, minGain };
  const [slot = 0, begin = 0, end = 0] = command.subarray(6, 9);
  const siblingSlot = command[14]!;
  const group = layout.groups[groupIndex]!;
  const groupBytes = group.size * FEATURE_BYTES;
  const address = (leafSlot: number) =>
    layout.histograms + leafSlot * layout.histogramBytes + group.first * FEATURE_BYTES;

  const histogram = address(slot);
  bytes.fill(0, histogram, histogram + groupBytes);
  kernel.histogram(group.size, {
    rows: layout.order,
    begin,
    end,
    gradients: layout.gradients,
    bins: group.bins,
    histogram,
  });
  searchLeaf(workspace, groupIndex, slot, totalsAt(command, 9), rules);
  if (siblingSlot >= 0) {
    kernel.subtract(address(siblingSlot), histogram, groupBytes);
    searchLeaf(workspace, groupIndex, siblingSlot, totalsAt(command, 15), rules);
  }
}

function totalsAt(command: Float64Array, at: number): LeafTotals {
  const [gradient = 0, hessian = 0, rows = 0, low = 0, high = 0] = command.subarray(at, at + 5);
  return { gradient, hessian, rows, low, high };
}

function searchLeaf(workspace: Workspace, groupIndex: number, slot: number, leaf: LeafTotals, rules: SplitRules): void {
  const { layout, histograms, valueBins, enabled, monotone, candidates } = workspace;
  const group = layout.groups[groupIndex]!;
  const best: Candidate = { gain: 0, feature: -1, bin: 0, missingLeft: 0, leftGradient: 0, leftHessian: 0 };
  for (let index = group.first; index < group.first + group.size; index++) {
    if (enabled[index] === 0) continue;
    const offset = (slot * layout.histogramBytes + index * FEATURE_BYTES) / 8;
    const feature = { index, valueBins: valueBins[index]!, monotone: monotone[index]! };
    findSplit(histograms, offset, feature, leaf, rules, best);
  }
  const at = (slot * layout.groups.length + groupIndex) * CANDIDATE_FIELDS;
  candidates.set([best.gain, best.feature, best.bin, best.missingLeft, best.leftGradient, best.leftHessian], at);
}

/** The best candidate of a leaf over all groups, or null; ties go to the first feature. */
export function bestCandidate({ layout, candidates }: Workspace, slot: number): Candidate | null {
  let best: Candidate | null = null;
  for (let group = 0; group < layout.groups.length; group++) {
    const at = (slot * layout.groups.length + group) * CANDIDATE_FIELDS;
    const [gain = 0, feature = -1, bin = 0, missingLeft = 0, leftGradient = 0, leftHessian = 0] = candidates.subarray(
      at,
      at + CANDIDATE_FIELDS,
    );
    if (feature >= 0 && gain > (best?.gain ?? 0)) {
      best = { gain, feature, bin, missingLeft, leftGradient, leftHessian };
    }
  }
  return best;
}
