/**
 * The bit-sliced kernel: 128 rows to a register, a tree is a circuit.
 *
 *   columns ──bins──▶ bitmap per condition ──mux──▶ planes of leaf codes ──transpose──▶ code per row ──gather──▶ sums
 *
 * Work per tree is a few operations per branch for 128 rows at once, and conditions that trees share are evaluated once. It
 * pays for trees of up to 256 leaves whose conditions repeat (histogram training), in blocks of hundreds of rows.
 */
import { FunctionBody, i32, ModuleBuilder } from '../wasm/encoder.ts';
import { MemoryLayout, pageBytes } from '../wasm/instance.ts';
import { emitBins, planBins, slotBytes, stripeGroups, stripeRows } from './bins.ts';
import type { TreeEnsemble } from './ensemble.ts';
import { startValue } from './finish.ts';
import { type CodeLayout, emitGather, emitTranspose } from './gather.ts';
import { type KernelImage, leafWeight } from './kernel.ts';
import { assignLeafCodes, emitTree, type MuxPlan, planMux } from './mux.ts';
import type { NormalizedTrees } from './normalize.ts';

/** Trees whose codes are transposed and summed together. */
const batchTrees = 8;
/** Trees to one function: code that stays in the first-level cache from one group of rows to the next. */
const functionTrees = 2;
/** 128-row groups per block: generated code is fetched once a block. */
const groups = 8;
const leavesMax = 256;
/** Beyond it the bitmaps leave every cache and the other kernel is faster. */
const bitmapBytesMax = 16 * 2 ** 20;
/** Generated code is compiled in a child process at load; this is about two seconds. */
const branchesMax = 400_000;

/** Compiles the kernel, or says why it does not suit these trees. */
export function compileBits(
  ensemble: TreeEnsemble,
  trees: NormalizedTrees,
): KernelImage | { readonly refused: string } {
  const blockRows = groups * 128;
  const stripes = groups / stripeGroups;
  const { features, bitmapOf, bitmapCount } = planBins(trees.conditions);
  const leavesLargest = trees.roots.reduce((most, root) => Math.max(most, trees.leafCount[root]!), 1);
  if (leavesLargest > leavesMax) return { refused: `a tree has ${leavesLargest} leaves, more than ${leavesMax}` };
  if (bitmapCount * groups * 16 > bitmapBytesMax) return { refused: `${bitmapCount} distinct conditions` };
  const branches = trees.leaves.length - trees.roots.length;
  if (branches > branchesMax) return { refused: `${branches} branches, more than ${branchesMax}` };

  const codeBits = leavesLargest <= 64 ? 6 : 8;
  const memory = new MemoryLayout();
  const most = features.reduce((count, { thresholds }) => Math.max(count, thresholds.length), 0);
  const layout: BlockLayout = {
    groups,
    codeBits,
    stripes,
    stripeBytes: bitmapCount * slotBytes,
    inputs: memory.reserve(features.length * blockRows * 4),
    scratch: memory.reserve((most + 2) * slotBytes),
    bitmaps: memory.reserve(bitmapCount * groups * 16),
    planes: memory.reserve(batchTrees * blockRows),
    codes: memory.reserve(batchTrees * blockRows),
    sums: memory.reserve(ensemble.targets * blockRows * 4),
  };
  // From here on memory holds tables, which the image keeps.
  const tablesAt = memory.bytes;
  const loops = new Loops();
  const bins = features.map((feature, index) => {
    const emitted = emitBins(memory, feature, { ...layout, input: layout.inputs + index * blockRows * 4 });
    loops.add(emitted.body);
    return emitted;
  });
  const transpose = loops.add(emitTranspose(layout));
  const codes = new Uint8Array(trees.condition.length);
  const nodes = trees.condition.length;
  const plan = { always: new Uint8Array(nodes), ever: new Uint8Array(nodes), inverted: new Uint8Array(nodes) };
  for (const root of trees.roots) {
    assignLeafCodes(trees, root, codeBits, codes);
    planMux(trees, root, codes, plan);
  }
  const batches = planBatches({ ensemble, trees, layout, memory, blockRows });
  for (const batch of batches) for (const gather of batch.gathers) loops.add(gather);
  const circuits = emitCircuits({ trees, plan, bitmapOf, layout, loops, bins: bins.length, transpose, batches });

  const buffer = new ArrayBuffer(memory.pages * pageBytes);
  for (const { writeTables } of bins) writeTables(buffer);
  for (const { tables } of batches) for (const table of tables) writeTable({ ensemble, trees, codes }, table, buffer);
  return {
    name: 'bits',
    blockRows,
    pages: memory.pages,
    memoryBytes: memory.bytes,
    loops: loops.module.encode(memory.pages),
    circuits: circuits.encode(memory.pages),
    tables: new Uint8Array(buffer.slice(tablesAt, memory.bytes)),
    tablesAt,
    inputsAt: layout.inputs,
    inputs: features.map(({ feature }) => ({ feature, missingIsLow: false })),
    sumsAt: layout.sums,
    targets: ensemble.targets,
    sumsStart: startValue(ensemble),
    setsSums: true,
  };
}

interface BlockLayout extends CodeLayout {
  readonly stripes: number;
  /** Bitmaps of one stripe. */
  readonly stripeBytes: number;
  readonly inputs: number;
  readonly scratch: number;
  readonly bitmaps: number;
  readonly sums: number;
}

/** Functions that loop over rows; a module of their own, because these are worth V8's optimising compiler. */
class Loops {
  readonly module = new ModuleBuilder();
  readonly #bodies: FunctionBody[] = [];

  /** The number of the function among the loops. */
  add(body: FunctionBody): number {
    const number = this.#bodies.push(body) - 1;
    this.module.add(body, `loop${number}`);
    return number;
  }

  /** Imports all of them, so that a loop's number is its index there. */
  importInto(module: ModuleBuilder): void {
    this.#bodies.forEach((body, number) => {
      module.import(`loop${number}`, body);
    });
  }
}

/** Up to eight trees that are transposed and summed together. */
interface Batch {
  readonly roots: Int32Array;
  readonly tables: readonly WeightTable[];
  /** One function per target that the batch touches. */
  readonly gathers: readonly FunctionBody[];
}

/** The weights of one tree for one target, by leaf code. */
interface WeightTable {
  readonly root: number;
  readonly target: number;
  readonly address: number;
}

function planBatches(parts: {
  readonly ensemble: TreeEnsemble;
  readonly trees: NormalizedTrees;
  readonly layout: BlockLayout;
  readonly memory: MemoryLayout;
  readonly blockRows: number;
}): readonly Batch[] {
  const { ensemble, trees, layout, memory, blockRows } = parts;
  const started = new Set<number>();
  const batches: Batch[] = [];
  for (let start = 0; start < trees.roots.length; start += batchTrees) {
    const roots = trees.roots.subarray(start, start + batchTrees);
    const tables: WeightTable[] = [];
    const targets = new Map<number, { readonly place: number; readonly table: number }[]>();
    for (const [place, root] of roots.entries()) {
      for (const target of targetsOf(ensemble, leavesBelow(trees, root))) {
        const address = memory.reserve(4 * 2 ** layout.codeBits);
        tables.push({ root, target, address });
        const entries = targets.get(target) ?? [];
        entries.push({ place, table: address });
        targets.set(target, entries);
      }
    }
    const gathers = Array.from(targets, ([target, entries]) => {
      const first = !started.has(target);
      started.add(target);
      return emitGather({
        ...layout,
        aggregate: ensemble.aggregate,
        sums: layout.sums + target * blockRows * 4,
        startValue: startValue(ensemble),
        first,
        trees: entries,
      });
    });
    batches.push({ roots, tables, gathers });
  }
  return batches;
}

/** Of a function with mux networks: offsets of a 128-row group in the bitmaps and in the planes. */
const circuitParameters = { bitmaps: 0, planes: 1 } as const;

/** The mux networks, and `run`, which calls everything in turn. */
function emitCircuits(parts: {
  readonly trees: NormalizedTrees;
  readonly plan: MuxPlan;
  readonly bitmapOf: Int32Array;
  readonly layout: BlockLayout;
  readonly loops: Loops;
  /** The first so many loops are the bins, those after `transpose` the gathers, in the order of the batches. */
  readonly bins: number;
  readonly transpose: number;
  readonly batches: readonly Batch[];
}): ModuleBuilder {
  const { trees, plan, bitmapOf, layout, loops, transpose, batches } = parts;
  const module = new ModuleBuilder();
  loops.importInto(module);
  const run = new FunctionBody();
  for (let stripe = 0; stripe < layout.stripes; stripe++) {
    for (let bin = 0; bin < parts.bins; bin++)
      run
        .i32(stripe * stripeRows * 4)
        .i32(stripe * layout.stripeBytes)
        .call(bin);
  }
  let gather = transpose + 1;
  for (const { roots, gathers } of batches) {
    for (let from = 0; from < roots.length; from += functionTrees) {
      const body = new FunctionBody({ parameters: [i32, i32] });
      for (let place = from; place < Math.min(from + functionTrees, roots.length); place++) {
        const planes = layout.planes + place * layout.groups * 128;
        emitTree(body, { trees, root: roots[place]!, bitmapOf, ...plan }, circuitParameters, { ...layout, planes });
      }
      const circuit = module.add(body);
      for (let group = 0; group < layout.groups; group++) {
        const stripe = Math.floor(group / stripeGroups);
        const bitmaps = stripe * layout.stripeBytes + (group % stripeGroups) * 16;
        run
          .i32(bitmaps)
          .i32(group * 128)
          .call(circuit);
      }
    }
    run.i32(roots.length).call(transpose);
    for (let index = 0; index < gathers.length; index++) run.call(gather++);
  }
  module.add(run, 'run');
  return module;
}

function leavesBelow(trees: NormalizedTrees, root: number): Int32Array {
  const start = trees.leafStart[root]!;
  return trees.leaves.subarray(start, start + trees.leafCount[root]!);
}

function targetsOf(ensemble: TreeEnsemble, leaves: Int32Array): Set<number> {
  const targets = new Set<number>();
  for (const leaf of leaves) {
    for (let i = ensemble.weightStart[leaf]!; i < ensemble.weightStart[leaf + 1]!; i++) {
      targets.add(ensemble.weightTarget[i]!);
    }
  }
  return targets;
}

function writeTable(
  { ensemble, trees, codes }: { ensemble: TreeEnsemble; trees: NormalizedTrees; codes: Uint8Array },
  { root, target, address }: WeightTable,
  buffer: ArrayBuffer,
): void {
  const table = new Float32Array(buffer, address);
  const neutral = startValue(ensemble);
  for (const leaf of leavesBelow(trees, root)) table[codes[leaf]!] = leafWeight(ensemble, leaf, target, neutral);
}
