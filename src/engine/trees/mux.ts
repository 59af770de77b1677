/**
 * Second step of the bit kernel: trees as networks of multiplexers over bitmaps.
 *
 * Every leaf gets a code of 6 or 8 bits. From the leaves up, each branch merges the codes of its two sides bit by bit:
 * plane = condition ? true plane : false plane, 128 rows at a time. Where both sides are constant in a bit, the multiplexer
 * shrinks to nothing, a copy of the condition, an and, an or; the codes are chosen so that this happens often.
 *
 * Planes are computed one after the other as expressions on the operand stack, without local variables: V8's baseline
 * compiler has eight vector registers, and all planes of a tree at once would spend most instructions on spilling them. A
 * condition is loaded again for every plane, from the first-level cache.
 */
import type { FunctionBody, Local } from '../wasm/encoder.ts';
import { slotBytes } from './bins.ts';
import type { NormalizedTrees } from './normalize.ts';

/** An aligned block of 2^bits codes from `start` on, as one number: a model has hundreds of thousands of them. */
type CodeBlock = number;
const blockOf = (start: number, bits: number): CodeBlock => (start << 4) | bits;
const startOf = (block: CodeBlock): number => block >> 4;
const bitsOf = (block: CodeBlock): number => block & 15;

/**
 * Codes by buddy allocation, written to `codes` by node number: a subtree of n leaves takes an aligned block of the next
 * power of two where one is free, so its leaves share their upper bits; the larger child goes first, the true side takes
 * upper halves.
 */
export function assignLeafCodes(trees: NormalizedTrees, root: number, codeBits: number, codes: Uint8Array): void {
  const { leafCount, whenTrue, whenFalse } = trees;
  const visit = (node: number, free: CodeBlock[], upper: boolean): void => {
    const leaves = leafCount[node]!;
    const found = bestBlock(free, 32 - Math.clz32(leaves - 1), upper);
    if (found >= 0 && leaves === 1) {
      codes[node] = startOf(splitBlock(free, found, 0, upper));
      return;
    }
    const own = found >= 0 ? [splitBlock(free, found, 32 - Math.clz32(leaves - 1), upper)] : free;
    const yes = whenTrue[node]!;
    const no = whenFalse[node]!;
    if (leafCount[yes]! >= leafCount[no]!) {
      visit(yes, own, true);
      visit(no, own, false);
    } else {
      visit(no, own, false);
      visit(yes, own, true);
    }
    // What the subtree did not use is free for others.
    if (own !== free) for (const block of own) free.push(block);
  };
  visit(root, [blockOf(0, codeBits)], false);
}

/** The smallest block of at least that many bits; among equals the highest or the lowest. */
function bestBlock(free: readonly CodeBlock[], bits: number, upper: boolean): number {
  let best = -1;
  let bestBits = 16;
  let bestStart = 0;
  for (let index = 0; index < free.length; index++) {
    const block = free[index]!;
    const found = bitsOf(block);
    if (found < bits || found > bestBits) continue;
    const start = startOf(block);
    if (found === bestBits && (upper ? start < bestStart : start > bestStart)) continue;
    best = index;
    bestBits = found;
    bestStart = start;
  }
  return best;
}

/** Takes a block out of the free ones and gives back the halves it does not need. */
function splitBlock(free: CodeBlock[], index: number, bits: number, upper: boolean): CodeBlock {
  const block = free[index]!;
  // The order of the free ones says nothing: the last one takes the place.
  free[index] = free.at(-1)!;
  free.pop();
  let start = startOf(block);
  for (let left = bitsOf(block) - 1; left >= bits; left--) {
    const high = start + 2 ** left;
    free.push(blockOf(upper ? start : high, left));
    if (upper) start = high;
  }
  return blockOf(start, bits);
}

/** The bits in which the leaf codes below each node agree, and how its planes are computed. */
export interface MuxPlan {
  /** Per node: bits set in the codes of all leaves below, and bits set in any. */
  readonly always: Uint8Array;
  readonly ever: Uint8Array;
  /** Per node: bits whose plane is computed inverted, which saves the negations an inverted multiplexer would need. */
  readonly inverted: Uint8Array;
}

/** Plans one tree, and inverts its leaf codes where its planes come out inverted. */
export function planMux(trees: NormalizedTrees, root: number, codes: Uint8Array, plan: MuxPlan): void {
  const { always, ever, inverted } = plan;
  const visit = (node: number): void => {
    if (trees.condition[node]! < 0) {
      always[node] = codes[node]!;
      ever[node] = codes[node]!;
      return;
    }
    const yes = trees.whenTrue[node]!;
    const no = trees.whenFalse[node]!;
    visit(yes);
    visit(no);
    always[node] = always[yes]! & always[no]!;
    ever[node] = ever[yes]! | ever[no]!;
    // Where the false side is constant, the plane is inverted so that it is constantly 0: an and does for the rest.
    const varying = always[no]! ^ ever[no]!;
    inverted[node] = ((varying & inverted[no]!) | (~varying & always[no]!)) & (always[node]! ^ ever[node]!);
  };
  visit(root);
  const start = trees.leafStart[root]!;
  for (const leaf of trees.leaves.subarray(start, start + trees.leafCount[root]!)) codes[leaf]! ^= inverted[root]!;
}

export interface MuxLayout {
  readonly codeBits: number;
  readonly bitmaps: number;
  /** Where the planes of this tree go, one after the other. */
  readonly planes: number;
}

/** Local variables with the offsets of a 128-row group. */
export interface MuxGroup {
  readonly bitmaps: Local;
  readonly planes: Local;
}

export interface MuxTree extends MuxPlan {
  readonly trees: NormalizedTrees;
  readonly root: number;
  readonly bitmapOf: Int32Array;
}

/** Code for one tree and one 128-row group. */
export function emitTree(body: FunctionBody, tree: MuxTree, group: MuxGroup, layout: MuxLayout): void {
  const { root, always, ever } = tree;
  for (let plane = 0; plane < layout.codeBits; plane++) {
    const bit = 1 << plane;
    body.get(group.planes);
    if (((always[root]! ^ ever[root]!) & bit) !== 0) emitPlane(body, tree, { ...layout, group: group.bitmaps, bit });
    // Such a plane is not inverted; see planMux.
    else body.bytes16((always[root]! & bit) === 0 ? 0 : 0xff);
    body.memory('v128.store', layout.planes + plane * 16);
  }
}

/** Leaves one bit of a tree's codes on the stack, inverted where the plan says so. */
function emitPlane(
  body: FunctionBody,
  { trees, root, bitmapOf, always, ever, inverted }: MuxTree,
  { bitmaps, group, bit }: { readonly bitmaps: number; readonly group: Local; readonly bit: number },
): void {
  const { condition, whenTrue, whenFalse } = trees;
  const mask = (node: number): void => {
    body.get(group).memory('v128.load', bitmaps + bitmapOf[condition[node]!]! * slotBytes);
  };
  /** For a branch below which the bit varies. */
  const visit = (node: number): void => {
    const yes = whenTrue[node]!;
    const no = whenFalse[node]!;
    const yesVaries = ((always[yes]! ^ ever[yes]!) & bit) !== 0;
    const noVaries = ((always[no]! ^ ever[no]!) & bit) !== 0;
    if (!noVaries) {
      // The false side is 0 by the choice of the sign, so the true side is masked, or it is 1 and the mask is all.
      if (!yesVaries) mask(node);
      else if (((inverted[yes]! ^ inverted[node]!) & bit) === 0) {
        visit(yes);
        mask(node);
        body.op('v128.and');
      } else {
        mask(node);
        visit(yes);
        body.op('v128.andnot');
      }
      return;
    }
    if (yesVaries) {
      visit(yes);
      if (((inverted[yes]! ^ inverted[node]!) & bit) !== 0) body.op('v128.not');
      visit(no);
      mask(node);
      body.op('v128.bitselect');
      return;
    }
    visit(no);
    mask(node);
    body.op(((always[yes]! ^ inverted[node]!) & bit) === 0 ? 'v128.andnot' : 'v128.or');
  };
  visit(root);
}
