/**
 * The steps of a training round that are split into tasks. Any thread may take any task; what a task writes does not depend
 * on who ran it, so the trees are the same for every number of threads.
 *
 * A step's arguments lie in `command`, which the main thread fills before it opens the step.
 */
import { FEATURE_BYTES } from './kernel.ts';
import { CANDIDATE_FIELDS, type Layout, type Workspace } from './layout.ts';
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

/** Where the parts of a split command begin. */
const splitAt = { rules: 0, counted: 6, countedLeaf: 9, siblingSlot: 14, siblingLeaf: 15 } as const;

export function putGradients({ command }: Workspace, given: GradientCommand): void {
  command[0] = tasks.indexOf(given.task);
  command[1] = given.output;
  command[2] = given.gradientScale;
  command[3] = given.hessianScale;
  command[4] = given.salt;
}

export function putPartition({ command }: Workspace, given: PartitionCommand): void {
  command[0] = given.begin;
  command[1] = given.end;
  command[2] = given.segments;
  command[3] = given.bins;
}

export function putSplit({ command }: Workspace, { counted, sibling, rules }: SplitCommand): void {
  command[splitAt.rules] = rules.gradientUnit;
  command[splitAt.rules + 1] = rules.hessianUnit;
  command[splitAt.rules + 2] = rules.l2;
  command[splitAt.rules + 3] = rules.minLeafRows;
  command[splitAt.rules + 4] = rules.minLeafHessian;
  command[splitAt.rules + 5] = rules.minGain;
  command[splitAt.counted] = counted.slot;
  command[splitAt.counted + 1] = counted.begin;
  command[splitAt.counted + 2] = counted.end;
  putTotals(command, splitAt.countedLeaf, counted.leaf);
  command[splitAt.siblingSlot] = sibling === null ? -1 : sibling.slot;
  if (sibling !== null) putTotals(command, splitAt.siblingLeaf, sibling.leaf);
}

function putTotals(command: Float64Array, at: number, leaf: LeafTotals): void {
  command[at] = leaf.gradient;
  command[at + 1] = leaf.hessian;
  command[at + 2] = leaf.rows;
  command[at + 3] = leaf.low;
  command[at + 4] = leaf.high;
}

function totalsAt(command: Float64Array, at: number): LeafTotals {
  return {
    gradient: command[at]!,
    hessian: command[at + 1]!,
    rows: command[at + 2]!,
    low: command[at + 3]!,
    high: command[at + 4]!,
  };
}

function rulesAt(command: Float64Array, at: number): SplitRules {
  return {
    gradientUnit: command[at]!,
    hessianUnit: command[at + 1]!,
    l2: command[at + 2]!,
    minLeafRows: command[at + 3]!,
    minLeafHessian: command[at + 4]!,
    minGain: command[at + 5]!,
  };
}

export function runTask(workspace: Workspace, which: number, task: number): void {
  switch (which) {
    case step.probabilities:
      writeProbabilities(workspace, rowsOfTask(workspace, task));
      return;
    case step.gradients:
      gradientsOfTask(workspace, task);
      return;
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

function rowsOfTask({ layout }: Workspace, task: number) {
  return { begin: task * ROWS_PER_TASK, end: Math.min(layout.rows, (task + 1) * ROWS_PER_TASK) };
}

function gradientsOfTask(workspace: Workspace, task: number): void {
  const { command } = workspace;
  writeGradients(tasks[command[0]!] ?? 'binary', workspace, rowsOfTask(workspace, task), {
    output: command[1]!,
    gradientScale: command[2]!,
    hessianScale: command[3]!,
    salt: command[4]!,
  });
}

function partitionSegment({ command, layout, kernel, segments }: Workspace, segment: number): void {
  const begin = command[0]!;
  const end = command[1]!;
  const count = command[2]!;
  const from = segmentStart(begin, end, count, segment);
  segments[segment] = kernel.partition({
    rows: layout.order,
    begin: from,
    end: segmentStart(begin, end, count, segment + 1),
    bins: command[3]!,
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
  const rules = rulesAt(command, splitAt.rules);
  const slot = command[splitAt.counted]!;
  const siblingSlot = command[splitAt.siblingSlot]!;
  const group = layout.groups[groupIndex]!;
  const groupBytes = group.size * FEATURE_BYTES;
  const histogram = histogramAddress(layout, slot, group.first);
  bytes.fill(0, histogram, histogram + groupBytes);
  kernel.histogram(group.size, {
    rows: layout.order,
    begin: command[splitAt.counted + 1]!,
    end: command[splitAt.counted + 2]!,
    gradients: layout.gradients,
    bins: group.bins,
    histogram,
  });
  searchLeaf(workspace, groupIndex, slot, totalsAt(command, splitAt.countedLeaf), rules);
  if (siblingSlot >= 0) {
    kernel.subtract(histogramAddress(layout, siblingSlot, group.first), histogram, groupBytes);
    searchLeaf(workspace, groupIndex, siblingSlot, totalsAt(command, splitAt.siblingLeaf), rules);
  }
}

function histogramAddress({ histograms, histogramBytes }: Layout, slot: number, feature: number): number {
  return histograms + slot * histogramBytes + feature * FEATURE_BYTES;
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
  const at = candidateAt(layout, slot, groupIndex);
  candidates[at] = best.gain;
  candidates[at + 1] = best.feature;
  candidates[at + 2] = best.bin;
  candidates[at + 3] = best.missingLeft;
  candidates[at + 4] = best.leftGradient;
  candidates[at + 5] = best.leftHessian;
}

function candidateAt({ groups }: Layout, slot: number, groupIndex: number): number {
  return (slot * groups.length + groupIndex) * CANDIDATE_FIELDS;
}

/** The best candidate of a leaf over all groups, or null; ties go to the first feature. */
export function bestCandidate({ layout, candidates }: Workspace, slot: number): Candidate | null {
  let gain = 0;
  let at = -1;
  for (let group = 0; group < layout.groups.length; group++) {
    const other = candidateAt(layout, slot, group);
    if (candidates[other + 1]! < 0 || !(candidates[other]! > gain)) continue;
    gain = candidates[other]!;
    at = other;
  }
  if (at < 0) return null;
  return {
    gain,
    feature: candidates[at + 1]!,
    bin: candidates[at + 2]!,
    missingLeft: candidates[at + 3]!,
    leftGradient: candidates[at + 4]!,
    leftHessian: candidates[at + 5]!,
  };
}
