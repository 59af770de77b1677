/**
 * Second step of the bit kernel: trees as networks of multiplexers over bitmaps.
 *
 * Every leaf gets a code of 6 or 8 bits. From the leaves up, each branch merges the codes of its two sides bit by bit:
 * plane = condition ? true plane : false plane, 128 rows at a time. Where both sides are constant in a bit, the multiplexer
 * shrinks to nothing, a copy of the condition, an and, an or; the codes are chosen so that this happens often.
 */
import { type FunctionBody, type Local, v128 } from '../wasm/encoder.ts';
import type { NormalizedTrees } from './normalize.ts';

/** Leaf codes of a tree, per node number (leaves only). */
export type LeafCodes = Map<number, number>;

interface CodeBlock {
  readonly start: number;
  readonly bits: number;
}

/**
 * Codes by buddy allocation: a subtree of n leaves takes an aligned block of the next power of two where one is free, so its
 * leaves share their upper bits; the larger child goes first, the true side takes upper halves.
 */
export function assignLeafCodes(trees: NormalizedTrees, root: number, codeBits: number): LeafCodes {
  const codes: LeafCodes = new Map();
  const visit = (node: number, free: CodeBlock[], upper: boolean): void => {
    const leaves = trees.leafCount[node]!;
    const bits = Math.ceil(Math.log2(leaves));
    const found = bestBlock(free, bits, upper);
    let own = free;
    let owned = false;
    if (found >= 0) {
      const block = splitBlock(free, found, bits, upper);
      if (leaves === 1) {
        codes.set(node, block.start);
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
  return codes;
}

/** The smallest block of at least that many bits; among equals the highest or the lowest. */
function bestBlock(free: readonly CodeBlock[], bits: number, upper: boolean): number {
  let best = -1;
  free.forEach((block, index) => {
    if (block.bits < bits) return;
    const other = free[best];
    const better =
      other === undefined ||
      block.bits < other.bits ||
      (block.bits === other.bits && (upper ? block.start > other.start : block.start < other.start));
    if (better) best = index;
  });
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

/** A bit-plane: the same bit for all rows, or a local variable. */
type Plane = { readonly bit: 0 | 1 } | { readonly local: Local };

export interface MuxLayout {
  readonly codeBits: number;
  readonly slotBytes: number;
  readonly bitmaps: number;
  /** Where the planes of this tree go, `slotBytes` apart. */
  readonly planes: number;
}

/** Emits trees into one function body; vector locals are used again and again. */
export class MuxEmitter {
  readonly #body: FunctionBody;
  readonly #free: Local[] = [];

  constructor(body: FunctionBody) {
    this.#body = body;
  }

  /** Code for one tree and the 128-row group at byte offset `group`. */
  emitTree(
    tree: {
      readonly trees: NormalizedTrees;
      readonly root: number;
      readonly codes: LeafCodes;
      readonly bitmapOf: Int32Array;
    },
    group: Local,
    layout: MuxLayout,
  ): void {
    const planes = this.#emitNode(tree, tree.root, group, layout);
    planes.forEach((plane, bit) => {
      this.#body.get(group);
      if ('bit' in plane) this.#body.bytes16(plane.bit === 1 ? 0xff : 0);
      else {
        this.#body.get(plane.local);
        this.#free.push(plane.local);
      }
      this.#body.memory('v128.store', layout.planes + bit * layout.slotBytes);
    });
  }

  #emitNode(tree: Parameters<MuxEmitter['emitTree']>[0], node: number, group: Local, layout: MuxLayout): Plane[] {
    const { trees } = tree;
    const condition = trees.condition[node]!;
    if (condition < 0) {
      const code = tree.codes.get(node)!;
      return Array.from({ length: layout.codeBits }, (_, bit): Plane => ({ bit: (code >> bit) & 1 ? 1 : 0 }));
    }
    const yes = trees.whenTrue[node]!;
    const no = trees.whenFalse[node]!;
    // The deeper side first: fewer planes are alive at once.
    const yesFirst = trees.height[yes]! >= trees.height[no]!;
    const first = this.#emitNode(tree, yesFirst ? yes : no, group, layout);
    const second = this.#emitNode(tree, yesFirst ? no : yes, group, layout);
    const [whenTrue, whenFalse] = yesFirst ? [first, second] : [second, first];

    const mask = this.#take();
    this.#body
      .get(group)
      .memory('v128.load', layout.bitmaps + tree.bitmapOf[condition]! * layout.slotBytes)
      .set(mask);
    const planes = whenTrue.map((plane, bit) => this.#merge(plane, whenFalse[bit]!, mask));
    this.#free.push(mask);
    return planes;
  }

  /** mask ? yes : no, in the fewest operations; the locals of both sides are used up. */
  #merge(yes: Plane, no: Plane, mask: Local): Plane {
    const body = this.#body;
    if ('bit' in yes && 'bit' in no) {
      if (yes.bit === no.bit) return yes;
      const local = this.#take();
      body.get(mask);
      if (yes.bit === 0) body.op('v128.not');
      body.set(local);
      return { local };
    }
    if ('bit' in yes && 'local' in no) {
      // 1: no | mask; 0: no & ~mask.
      body
        .get(no.local)
        .get(mask)
        .op(yes.bit === 1 ? 'v128.or' : 'v128.andnot')
        .set(no.local);
      return no;
    }
    if ('local' in yes && 'bit' in no) {
      // 0: yes & mask; 1: yes | ~mask, which is ~(mask & ~yes).
      if (no.bit === 0) body.get(yes.local).get(mask).op('v128.and').set(yes.local);
      else body.get(mask).get(yes.local).op('v128.andnot').op('v128.not').set(yes.local);
      return yes;
    }
    if ('local' in yes && 'local' in no) {
      body.get(yes.local).get(no.local).get(mask).op('v128.bitselect').set(yes.local);
      this.#free.push(no.local);
    }
    return yes;
  }

  #take(): Local {
    return this.#free.pop() ?? this.#body.local(v128);
  }
}
