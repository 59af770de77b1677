/**
 * Every branch mode as one of two conditions on a feature: "x ≤ threshold" or "x is in a set", true side first.
 *
 *   x < t          x ≤ the float below t                 x > t    the false side of x ≤ t
 *   x = t          x in {t}                              x ≥ t    the false side of x ≤ the float below t
 *   x member of S  x in S                                x ≠ t    the false side of x in {t}
 *
 * Exact for every float32: subnormals, infinities, both zeros. NaN goes to the true side only where missing values do, except
 * that NaN ≠ t holds. A condition that no number meets (x < -Inf, x ≤ NaN) is the empty set.
 */
import { branchModes, leafMode, type TreeEnsemble } from './ensemble.ts';

/** `missing`: NaN meets the condition. */
export type Condition =
  | { readonly kind: 'upTo'; readonly feature: number; readonly threshold: number; readonly missing: boolean }
  | { readonly kind: 'in'; readonly feature: number; readonly members: readonly number[]; readonly missing: boolean };

/** The trees of an ensemble over distinct conditions; nodes are numbered as in the ensemble. */
export interface NormalizedTrees {
  readonly conditions: readonly Condition[];
  readonly roots: Int32Array;
  /** Per node: index into `conditions`; -1 for a leaf. */
  readonly condition: Int32Array;
  /** Per branch: the node when the condition holds, and when not. */
  readonly whenTrue: Int32Array;
  readonly whenFalse: Int32Array;
  /** Per node: leaves below it (a leaf: 1) and the longest way down (a leaf: 0). */
  readonly leafCount: Int32Array;
  readonly height: Int32Array;
  /** The leaves below node i are `leaves[leafStart[i]] … leaves[leafStart[i] + leafCount[i] - 1]`. */
  readonly leafStart: Int32Array;
  readonly leaves: Int32Array;
}

/** Nodes are shared, form a cycle or lead nowhere. */
export class MalformedTrees extends Error {
  override readonly name = 'MalformedTrees';
}

/** Throws `MalformedTrees`. */
export function normalizeTrees(ensemble: TreeEnsemble): NormalizedTrees {
  const nodeCount = ensemble.modes.length;
  const condition = new Int32Array(nodeCount).fill(-1);
  const whenTrue = Int32Array.from(ensemble.onTrue);
  const whenFalse = Int32Array.from(ensemble.onFalse);
  const conditions = new DistinctConditions();
  const seen = new Uint8Array(nodeCount);
  const waiting = Array.from(ensemble.roots);
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (node < 0 || node >= nodeCount || seen[node] === 1 || ensemble.modes[node] === leafMode) continue;
    seen[node] = 1;
    const { condition: found, inverted, otherwise } = conditionOf(ensemble, node);
    condition[node] = conditions.indexOf(found);
    whenTrue[node] = inverted ? otherwise : ensemble.onTrue[node]!;
    whenFalse[node] = inverted ? ensemble.onTrue[node]! : otherwise;
    waiting.push(whenTrue[node]!, whenFalse[node]!);
  }
  const shape = measureTrees(ensemble.roots, { condition, whenTrue, whenFalse });
  return { conditions: conditions.all, roots: ensemble.roots, condition, whenTrue, whenFalse, ...shape };
}

/** The condition of a branch and where it leads otherwise; inverted when its true side is where the condition fails. */
interface BranchCondition {
  readonly condition: Condition;
  readonly inverted: boolean;
  readonly otherwise: number;
}

function conditionOf(ensemble: TreeEnsemble, node: number): BranchCondition {
  const mode = branchModes[ensemble.modes[node]!]!;
  const feature = ensemble.featureIds[node]!;
  const value = ensemble.thresholds[node]!;
  const missing = ensemble.missingTrue[node] === 1;
  const otherwise = ensemble.onFalse[node]!;
  switch (mode) {
    case 'BRANCH_LEQ':
      return { condition: upTo(feature, value, missing), inverted: false, otherwise };
    case 'BRANCH_LT':
      return { condition: upTo(feature, floatBelow(value), missing), inverted: false, otherwise };
    // No number is above or at NaN either: turned round, "no number" would become "every number".
    case 'BRANCH_GT':
      if (Number.isNaN(value)) return { condition: upTo(feature, value, missing), inverted: false, otherwise };
      return { condition: upTo(feature, value, !missing), inverted: true, otherwise };
    case 'BRANCH_GTE':
      if (Number.isNaN(value)) return { condition: upTo(feature, value, missing), inverted: false, otherwise };
      return { condition: upTo(feature, floatBelow(value), !missing), inverted: true, otherwise };
    case 'BRANCH_EQ':
      return chainOfEquals(ensemble, node);
    case 'BRANCH_NEQ':
      return { condition: within(feature, [value], false), inverted: true, otherwise };
    case 'BRANCH_MEMBER':
      return { condition: within(feature, ensemble.sets[value] ?? [], missing), inverted: false, otherwise };
    case 'LEAF':
      throw new Error(`node ${node} is a leaf and has no condition`);
  }
}

/**
 * "x = a, else x = b, else …" with one and the same true side is how exporters write "x in {a, b, …}" where the operator
 * has no sets; the nodes of such a chain share their true side.
 */
function chainOfEquals(ensemble: TreeEnsemble, node: number): BranchCondition {
  const feature = ensemble.featureIds[node]!;
  const values: number[] = [];
  let missing = false;
  let next = node;
  do {
    values.push(ensemble.thresholds[next]!);
    missing ||= ensemble.missingTrue[next] === 1;
    next = ensemble.onFalse[next]!;
  } while (
    values.length < ensemble.modes.length &&
    branchModes[ensemble.modes[next] ?? leafMode] === 'BRANCH_EQ' &&
    ensemble.featureIds[next] === feature &&
    ensemble.onTrue[next] === ensemble.onTrue[node]
  );
  return { condition: within(feature, values, missing), inverted: false, otherwise: next };
}

function upTo(feature: number, threshold: number, missing: boolean): Condition {
  if (Number.isNaN(threshold)) return within(feature, [], missing);
  // Both zeros compare equal; one of them is enough.
  return { kind: 'upTo', feature, threshold: threshold + 0, missing };
}

function within(feature: number, values: ArrayLike<number>, missing: boolean): Condition {
  const members = [...new Set(Array.from(values, value => value + 0))];
  const sorted = members.filter(value => !Number.isNaN(value)).sort((a, b) => a - b);
  return { kind: 'in', feature, members: sorted, missing };
}

const floatView = new Float32Array(1);
const bitsView = new Int32Array(floatView.buffer);

/** The largest float32 below a float32; NaN below -Infinity. */
export function floatBelow(value: number): number {
  if (Number.isNaN(value) || value === Number.NEGATIVE_INFINITY) return Number.NaN;
  floatView[0] = value;
  if (value === 0) bitsView[0] = -0x7fff_ffff;
  else bitsView[0]! += value > 0 ? -1 : 1;
  return floatView[0];
}

class DistinctConditions {
  readonly all: Condition[] = [];
  /** Per feature: the float's bits and the missing flag → index. */
  readonly #thresholds = new Map<number, Map<number, number>>();
  readonly #sets = new Map<string, number>();

  indexOf(condition: Condition): number {
    if (condition.kind === 'in') {
      const key = `${condition.feature} ${condition.missing} ${condition.members.join(' ')}`;
      return this.#remember(this.#sets, key, condition);
    }
    let known = this.#thresholds.get(condition.feature);
    if (known === undefined) {
      known = new Map();
      this.#thresholds.set(condition.feature, known);
    }
    floatView[0] = condition.threshold;
    return this.#remember(known, bitsView[0]! * 2 + (condition.missing ? 1 : 0), condition);
  }

  #remember<Key>(known: Map<Key, number>, key: Key, condition: Condition): number {
    const found = known.get(key);
    if (found !== undefined) return found;
    const index = this.all.push(condition) - 1;
    known.set(key, index);
    return index;
  }
}

/** Sizes of all subtrees. */
function measureTrees(
  roots: Int32Array,
  trees: { readonly condition: Int32Array; readonly whenTrue: Int32Array; readonly whenFalse: Int32Array },
) {
  const nodeCount = trees.condition.length;
  const leafCount = new Int32Array(nodeCount);
  const height = new Int32Array(nodeCount);
  const leafStart = new Int32Array(nodeCount);
  const leaves = new Int32Array(nodeCount);
  const seen = new Uint8Array(nodeCount);
  let leavesFound = 0;
  // Post-order with a stack of its own: degenerate trees are deeper than the call stack.
  const stack: number[] = [];
  for (const root of roots) {
    stack.push(root);
    while (stack.length > 0) {
      const node = stack.pop()!;
      if (node < 0) {
        const branch = -1 - node;
        const yes = trees.whenTrue[branch]!;
        const no = trees.whenFalse[branch]!;
        leafCount[branch] = leafCount[yes]! + leafCount[no]!;
        height[branch] = 1 + Math.max(height[yes]!, height[no]!);
        continue;
      }
      if (node >= nodeCount || seen[node] === 1) {
        throw new MalformedTrees(
          `node ${node} ${node >= nodeCount ? 'does not exist' : 'is reached twice'}: these are no trees`,
        );
      }
      seen[node] = 1;
      leafStart[node] = leavesFound;
      if (trees.condition[node] === -1) {
        leafCount[node] = 1;
        leaves[leavesFound++] = node;
      } else stack.push(-1 - node, trees.whenFalse[node]!, trees.whenTrue[node]!);
    }
  }
  return { leafCount, height, leafStart, leaves: leaves.slice(0, leavesFound) };
}
