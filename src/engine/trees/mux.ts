/**
 * Second step of the bit kernel: trees as networks of multiplexers over bitmaps.
 *
 * Every leaf gets a code of 6 or 8 bits. From the leaves up, each branch merges the codes of its two sides bit by bit:
 * plane = condition ? true plane : false plane, 128 rows at a time. Where both sides are constant in a bit, the multiplexer
 * shrinks to nothing, a copy of the condition, an and, an or; the codes are chosen so that this happens often.
 */
import { type FunctionBody, type Local, v128 } from '../wasm/encoder.ts';
import type { NormalizedTrees } from './normalize.ts';

interface CodeBlock {
  readonly start: number;
  readonly bits: number;
}

/**
 * Codes by buddy allocation, written to `codes` by node number: a subtree of n leaves takes an aligned block of the next
 * power of two where one is free, so its leaves share their upper bits; the larger child goes first, the true side takes
 * upper halves.
 */
export function assignLeafCodes(trees: NormalizedTrees, root: number, codeBits: number, codes: Uint8Array): void {
  const visit = (node: number, free: CodeBlock[], upper: boolean): void => {
    const leaves = trees.leafCount[node]!;
    const bits = 32 - Math.clz32(leaves - 1);
    const found = bestBlock(free, bits, upper);
    let own = free;
    let owned = false;
    if (found >= 0) {
      const block = splitBlock(free, found, bits, upper);
      if (leaves === 1) {
        codes[node] = block.start;
        return;
      }
      own = [block];
      owned = true;
    }
    const yes = trees.whenTrue[node]!;
    const no = trees.whenFalse[node]!;
    if (trees.leafCount[yes]! >= trees.leafCount[no]!) {
      visit(yes, own, true);
      visit(no, own, false);
    } else {
      visit(no, own, false);
      visit(yes, own, true);
    }
    // What the subtree did not use is free for others.
    if (owned) free.push(...own);
  };
  visit(root, [{ start: 0, bits: codeBits }], false);
}

/** The smallest block of at least that many bits; among equals the highest or the lowest. */
function bestBlock(free: readonly CodeBlock[], bits: number, upper: boolean): number {
  let best = -1;
  for (let index = 0; index < free.length; index++) {
    const block = free[index]!;
    if (block.bits < bits) continue;
    const other = free[best];
    const better =
      other === undefined ||
      block.bits < other.bits ||
      (block.bits === other.bits && (upper ? block.start > other.start : block.start < other.start));
    if (better) best = index;
  }
  return best;
}

/** Takes a block out of the free ones and gives back the halves it does not need. */
function splitBlock(free: CodeBlock[], index: number, bits: number, upper: boolean): CodeBlock {
  let block = free.splice(index, 1)[0]!;
  while (block.bits > bits) {
    const low = { start: block.start, bits: block.bits - 1 };
    const high = { start: block.start + 2 ** (block.bits - 1), bits: block.bits - 1 };
    free.push(upper ? low : high);
    block = upper ? high : low;
  }
  return block;
}

/** A bit-plane: a local variable, or the same bit for all rows. Plain numbers, as a model has millions of them. */
type Plane = Local | typeof zeros | typeof ones;
const zeros = -2;
const ones = -1;

export interface MuxLayout {
  readonly codeBits: number;
  readonly slotBytes: number;
  readonly bitmaps: number;
  /** Where the planes of this tree go, `slotBytes` apart. */
  readonly planes: number;
}

export interface MuxTree {
  readonly trees: NormalizedTrees;
  readonly root: number;
  /** Per leaf. */
  readonly codes: Uint8Array;
  readonly bitmapOf: Int32Array;
}

/** Emits trees into one function body; vector locals are used again and again. */
export class MuxEmitter {
  readonly #body: FunctionBody;
  readonly #free: Local[] = [];

  constructor(body: FunctionBody) {
    this.#body = body;
  }

  /** Code for one tree and the 128-row group at byte offset `group`. */
  emitTree(tree: MuxTree, group: Local, layout: MuxLayout): void {
    const planes = this.#emitNode(tree, tree.root, group, layout);
    planes.forEach((plane, bit) => {
      this.#body.get(group);
      if (plane < 0) this.#body.bytes16(plane === ones ? 0xff : 0);
      else {
        this.#body.get(plane);
        this.#free.push(plane);
      }
      this.#body.memory('v128.store', layout.planes + bit * layout.slotBytes);
    });
  }

  /** The planes of a subtree; which of them are locals is known only now. */
  #emitNode(tree: MuxTree, node: number, group: Local, layout: MuxLayout): Plane[] {
    const { trees } = tree;
    const condition = trees.condition[node]!;
    if (condition < 0) return planesOfLeaf(tree.codes[node]!, layout.codeBits);
    const yes = trees.whenTrue[node]!;
    const no = trees.whenFalse[node]!;
    // The deeper side first: fewer planes are alive at once.
    const yesFirst = trees.height[yes]! >= trees.height[no]!;
    const first = this.#emitNode(tree, yesFirst ? yes : no, group, layout);
    const second = this.#emitNode(tree, yesFirst ? no : yes, group, layout);
    const whenTrue = yesFirst ? first : second;
    const whenFalse = yesFirst ? second : first;

    const mask = this.#take();
    const bitmap = layout.bitmaps + tree.bitmapOf[condition]! * layout.slotBytes;
    this.#body.get(group).memory('v128.load', bitmap).set(mask);
    for (let bit = 0; bit < whenTrue.length; bit++) {
      whenTrue[bit] = this.#merge(whenTrue[bit]!, whenFalse[bit]!, mask);
    }
    this.#free.push(mask);
    return whenTrue;
  }

  /** mask ? yes : no, in the fewest operations; the locals of both sides are used up. */
  #merge(yes: Plane, no: Plane, mask: Local): Plane {
    const body = this.#body;
    if (yes < 0 && no < 0) {
      if (yes === no) return yes;
      const local = this.#take();
      body.get(mask);
      if (yes === zeros) body.op('v128.not');
      body.set(local);
      return local;
    }
    if (yes < 0) {
      // 1: no | mask; 0: no & ~mask.
      body
        .get(no)
        .get(mask)
        .op(yes === ones ? 'v128.or' : 'v128.andnot')
        .set(no);
      return no;
    }
    if (no < 0) {
      // 0: yes & mask; 1: yes | ~mask, which is ~(mask & ~yes).
      if (no === zeros) body.get(yes).get(mask).op('v128.and').set(yes);
      else body.get(mask).get(yes).op('v128.andnot').op('v128.not').set(yes);
      return yes;
    }
    body.get(yes).get(no).get(mask).op('v128.bitselect').set(yes);
    this.#free.push(no);
    return yes;
  }

  #take(): Local {
    return this.#free.pop() ?? this.#body.local(v128);
  }
}

function planesOfLeaf(code: number, codeBits: number): Plane[] {
  const planes: Plane[] = [];
  for (let bit = 0; bit < codeBits; bit++) planes.push((code >> bit) & 1 ? ones : zeros);
  return planes;
}
