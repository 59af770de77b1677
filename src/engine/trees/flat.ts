/**
 * The flat kernel: one small loop that walks eight rows down a tree at once.
 *
 * Nodes are eight bytes: a float32 threshold, and a column with the place of the left child packed into 32 bits; the right
 * child lies next to it. A leaf compares a column of -Infinity, always goes left and points at itself, so every walk takes
 * the tree's height in steps without a branch. NaN fails every comparison; where missing values take the true side, the node
 * reads a second copy of the column in which NaN is -Infinity. It takes any trees and pays for few rows.
 */
import { FunctionBody, i32, type Local, ModuleBuilder } from '../wasm/encoder.ts';
import { MemoryLayout, pageBytes } from '../wasm/instance.ts';
import type { TreeEnsemble } from './ensemble.ts';
import { startValue } from './finish.ts';
import { type KernelImage, leafWeight } from './kernel.ts';
import { type Condition, floatBelow, type NormalizedTrees } from './normalize.ts';

const blockRows = 64;
const rowsAtOnce = 8;
const nodeBytes = 8;
const nodeBytesMax = 1024 * 2 ** 20;

/** Compiles the kernel, or says why it does not suit these trees. */
export function compileFlat(
  ensemble: TreeEnsemble,
  trees: NormalizedTrees,
): KernelImage | { readonly refused: string } {
  const columns = planColumns(trees.conditions);
  const nodes = new FlatNodes(trees.condition.length);
  const flat = Array.from(trees.roots, root => flattenTree(trees, root, columns, nodes));
  const largest = flat.reduce((most, tree) => Math.max(most, tree.count), 0);
  const columnBits = Math.ceil(Math.log2(columns.sources.length + 1));
  if (Math.ceil(Math.log2(largest + 1)) + columnBits > 32) {
    return { refused: `a tree of ${largest} nodes over ${columns.sources.length} columns` };
  }
  const nodeCount = nodes.count;
  if (nodeCount * nodeBytes > nodeBytesMax) return { refused: `${nodeCount} nodes` };

  const memory = new MemoryLayout();
  const module = new ModuleBuilder();
  const single = ensemble.targets === 1;
  const layout = {
    columnBits,
    inputs: memory.reserve((columns.sources.length + 1) * blockRows * 4),
    sums: memory.reserve(ensemble.targets * blockRows * 4),
    nodes: memory.reserve(nodeCount * nodeBytes),
    weights: memory.reserve(single ? 0 : trees.leaves.length * ensemble.targets * 4),
    targets: ensemble.targets,
    aggregate: ensemble.aggregate,
  };
  const walk = module.add(emitWalk(layout));
  module.add(emitTrees(flat, walk, layout.nodes), 'run');
  const buffer = new ArrayBuffer(memory.pages * pageBytes);
  writeNodes({ ensemble, trees, nodes, layout, dummyColumn: columns.sources.length }, buffer);
  return {
    name: 'flat',
    blockRows,
    pages: memory.pages,
    memoryBytes: memory.bytes,
    loops: module.encode(memory.pages),
    circuits: null,
    tables: new Uint8Array(buffer.slice(layout.nodes, memory.bytes)),
    tablesAt: layout.nodes,
    inputsAt: layout.inputs,
    inputs: [
      ...columns.sources.map(({ feature, missing }) => ({ feature, missingIsLow: missing })),
      { feature: null, missingIsLow: false },
    ],
    sumsAt: layout.sums,
    targets: ensemble.targets,
    sumsStart: startValue(ensemble),
    setsSums: false,
  };
}

/** Per condition: the place of its feature as it is, and of the form in which the condition reads it. */
interface NodeColumns {
  readonly plainOf: Int32Array;
  readonly columnOf: Int32Array;
}

/** The columns that nodes read: a feature as it is, or with NaN as -Infinity. */
function planColumns(conditions: readonly Condition[]): NodeColumns & {
  readonly sources: readonly { readonly feature: number; readonly missing: boolean }[];
} {
  const sources: { feature: number; missing: boolean }[] = [];
  const places = new Map<number, number>();
  const placeOf = (feature: number, missing: boolean): number => {
    const key = feature * 2 + Number(missing);
    const known = places.get(key);
    if (known !== undefined) return known;
    places.set(key, sources.length);
    return sources.push({ feature, missing }) - 1;
  };
  const plainOf = new Int32Array(conditions.length).fill(-1);
  const columnOf = new Int32Array(conditions.length);
  conditions.forEach(({ kind, feature, missing }, index) => {
    columnOf[index] = placeOf(feature, missing);
    if (kind === 'in') plainOf[index] = placeOf(feature, false);
  });
  return { sources, plainOf, columnOf };
}

/** The nodes of all trees, one tree after the other, as columns: a model has hundreds of thousands. */
class FlatNodes {
  count = 0;
  /** -1 for a leaf. */
  column: Int32Array;
  threshold: Float32Array;
  /** Place of the left child in the tree; the right one follows. */
  left: Int32Array;
  /** The leaf's node number in the ensemble; -1 for a branch. */
  leaf: Int32Array;

  constructor(capacity: number) {
    this.column = new Int32Array(capacity);
    this.threshold = new Float32Array(capacity);
    this.left = new Int32Array(capacity);
    this.leaf = new Int32Array(capacity);
  }

  add(column: number, threshold: number, left: number, leaf: number): void {
    if (this.count === this.column.length) this.#grow();
    const index = this.count++;
    this.column[index] = column;
    this.threshold[index] = threshold;
    this.left[index] = left;
    this.leaf[index] = leaf;
  }

  /** Sets become chains of comparisons, so there may be more nodes than the ensemble has. */
  #grow(): void {
    const old = { ...this };
    const capacity = Math.max(64, this.count * 2);
    this.column = new Int32Array(capacity);
    this.threshold = new Float32Array(capacity);
    this.left = new Int32Array(capacity);
    this.leaf = new Int32Array(capacity);
    for (const name of ['column', 'threshold', 'left', 'leaf'] as const) this[name].set(old[name]);
  }
}

interface FlatTree {
  readonly count: number;
  readonly height: number;
}

/** Breadth-first, so that the upper levels lie together; sets become chains of comparisons with copied ends. */
function flattenTree(
  trees: NormalizedTrees,
  root: number,
  { plainOf, columnOf }: NodeColumns,
  into: FlatNodes,
): FlatTree {
  // What a place has to become: a node of the tree and, where that is a set, the step of its chain of comparisons. Children
  // get the next free places, so a place is the position in this queue.
  const nodes: number[] = [root];
  const steps: number[] = [0];
  let height = 0;
  let levelEnd = 1;
  for (let place = 0; place < nodes.length; place++) {
    if (place === levelEnd) {
      height++;
      levelEnd = nodes.length;
    }
    const node = nodes[place]!;
    const index = trees.condition[node]!;
    if (index < 0) {
      into.add(-1, 0, place, node);
      continue;
    }
    const condition = trees.conditions[index]!;
    const yes = trees.whenTrue[node]!;
    const no = trees.whenFalse[node]!;
    if (condition.kind === 'upTo') {
      into.add(columnOf[index]!, condition.threshold, nodes.length, -1);
      nodes.push(yes, no);
      steps.push(0, 0);
      continue;
    }
    const step = steps[place]!;
    const { threshold, holds } = memberStep(condition, step);
    into.add(plainOf[index]!, threshold, nodes.length, -1);
    if (holds === 'end') nodes.push(no, condition.missing ? yes : no);
    else nodes.push(holds === 'in' ? yes : no, node);
    steps.push(0, holds === 'end' ? 0 : step + 1);
  }
  return { count: nodes.length, height };
}

/**
 * One comparison of a set's chain. Members ascending: below the next one is no, up to it is yes, above it go on. NaN fails
 * them all and ends at the last comparison, x ≤ Infinity, which is false for NaN alone.
 */
function memberStep({ members }: Extract<Condition, { kind: 'in' }>, step: number) {
  // Nothing is below -Infinity, so that such a first member has one step, not two.
  const steps = step + Number(members[0] === Number.NEGATIVE_INFINITY);
  const member = members[steps >> 1];
  if (member === undefined) return { threshold: Number.POSITIVE_INFINITY, holds: 'end' } as const;
  return steps % 2 === 0
    ? ({ threshold: floatBelow(member), holds: 'out' } as const)
    : ({ threshold: member, holds: 'in' } as const);
}

interface FlatLayout {
  readonly columnBits: number;
  readonly inputs: number;
  readonly sums: number;
  readonly nodes: number;
  readonly weights: number;
  readonly targets: number;
  readonly aggregate: TreeEnsemble['aggregate'];
}

/** `walk(tree address, height, rows)`: adds one tree's weights to the sums of all rows. */
function emitWalk(layout: FlatLayout): FunctionBody {
  const body = new FunctionBody({ parameters: [i32, i32, i32] });
  const [tree, height, rows] = [0, 1, 2];
  const row = body.local(i32);
  const level = body.local(i32);
  const nodes: Local[] = [];
  const packed: Local[] = [];
  for (let lane = 0; lane < rowsAtOnce; lane++) {
    nodes.push(body.local(i32));
    packed.push(body.local(i32));
  }
  const leftMask = layout.columnBits === 0 ? -1 : (1 << (32 - layout.columnBits)) - 1;
  // `row` counts bytes of a column.
  body.i32(0).set(row).open('loop');
  for (const node of nodes) body.get(tree).set(node);
  body.open('block').get(height).op('i32.eqz').branchIf(0);
  body.get(height).set(level).open('loop');
  nodes.forEach((node, lane) => {
    body.get(node).memory('i32.load', 4).set(packed[lane]!);
  });
  nodes.forEach((node, lane) => {
    // The left child, or the one after it where the comparison fails.
    body.get(packed[lane]!).i32(leftMask).op('i32.and').i32(3).op('i32.shl').get(tree).op('i32.add');
    body
      .get(packed[lane]!)
      .i32(32 - layout.columnBits)
      .op('i32.shr_u')
      .i32(Math.log2(blockRows * 4))
      .op('i32.shl');
    body
      .get(row)
      .op('i32.add')
      .memory('f32.load', layout.inputs + lane * 4);
    body.get(node).memory('f32.load', 0).op('f32.le').op('i32.eqz').i32(3).op('i32.shl').op('i32.add').set(node);
  });
  body.get(level).i32(1).op('i32.sub').tee(level).branchIf(0).op('end').op('end');
  emitSums(body, layout, nodes, row);
  body
    .get(row)
    .i32(rowsAtOnce * 4)
    .op('i32.add')
    .tee(row);
  body.get(rows).i32(2).op('i32.shl').op('i32.lt_u').branchIf(0).op('end');
  return body;
}

const combineWith = { SUM: 'f32.add', AVERAGE: 'f32.add', MIN: 'f32.min', MAX: 'f32.max' } as const;

/** A leaf's threshold is its weight, or with several targets the address of its row of weights. */
function emitSums(body: FunctionBody, layout: FlatLayout, nodes: readonly Local[], row: Local): void {
  const combine = combineWith[layout.aggregate];
  nodes.forEach((node, lane) => {
    for (let target = 0; target < layout.targets; target++) {
      const sum = layout.sums + target * blockRows * 4 + lane * 4;
      body.get(row).get(row).memory('f32.load', sum);
      if (layout.targets === 1) body.get(node).memory('f32.load', 0);
      else
        body
          .get(node)
          .memory('i32.load', 0)
          .memory('f32.load', target * 4);
      body.op(combine).memory('f32.store', sum);
    }
  });
}

function emitTrees(flat: readonly FlatTree[], walk: number, nodes: number): FunctionBody {
  const body = new FunctionBody({ parameters: [i32] });
  let address = nodes;
  for (const tree of flat) {
    body.i32(address).i32(tree.height).get(0).call(walk);
    address += tree.count * nodeBytes;
  }
  return body;
}

function writeNodes(
  parts: {
    readonly ensemble: TreeEnsemble;
    readonly trees: NormalizedTrees;
    readonly nodes: FlatNodes;
    readonly layout: FlatLayout;
    readonly dummyColumn: number;
  },
  buffer: ArrayBuffer,
): void {
  const { ensemble, layout, nodes } = parts;
  const floats = new Float32Array(buffer);
  const words = new Uint32Array(buffer);
  const neutral = startValue(ensemble);
  const { leaves, condition } = parts.trees;
  /** Per node of the ensemble: the address of its row of weights, where it is a leaf and has more than one. */
  const rowOf = new Uint32Array(layout.targets > 1 ? condition.length : 0);
  if (layout.targets > 1) {
    for (let index = 0; index < leaves.length; index++) {
      const leaf = leaves[index]!;
      const address = layout.weights + index * layout.targets * 4;
      rowOf[leaf] = address;
      for (let target = 0; target < layout.targets; target++) {
        floats[address / 4 + target] = leafWeight(ensemble, leaf, target, neutral);
      }
    }
  }
  let at = layout.nodes / 4;
  for (let index = 0; index < nodes.count; index++, at += 2) {
    const leaf = nodes.leaf[index]!;
    if (leaf < 0) floats[at] = nodes.threshold[index]!;
    else if (layout.targets === 1) floats[at] = leafWeight(ensemble, leaf, 0, neutral);
    else words[at] = rowOf[leaf]!;
    const column = leaf < 0 ? nodes.column[index]! : parts.dummyColumn;
    words[at + 1] = (column * 2 ** (32 - layout.columnBits) + nodes.left[index]!) >>> 0;
  }
}
