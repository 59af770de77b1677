/**
 * The bit-sliced kernel: 128 rows to a register, a tree is a circuit.
 *
 *   columns ──bins──▶ bitmap per condition ──mux──▶ planes of leaf codes ──transpose──▶ code per row ──gather──▶ sums
 *
 * Work per tree is a few operations per branch for 128 rows at once, and conditions that trees share are evaluated once. It
 * pays for trees of up to 256 leaves whose conditions repeat (histogram training), in blocks of hundreds of rows.
 */
import { FunctionBody, i32, instantiate, MemoryLayout, ModuleBuilder } from '../wasm/encoder.ts';
import { emitBins, planBins } from './bins.ts';
import type { TreeEnsemble } from './ensemble.ts';
import { startValue } from './finish.ts';
import { emitGather, emitTranspose } from './gather.ts';
import { leafWeight, type TreeKernel } from './kernel.ts';
import { assignLeafCodes, type LeafCodes, MuxEmitter } from './mux.ts';
import type { NormalizedTrees } from './normalize.ts';

/** Trees whose codes are transposed and summed together. */
const batchTrees = 8;
/** Trees to one function: the compiler's time grows faster than a function does. */
const functionTrees = 4;
const leavesMax = 256;
/** Beyond it the bitmaps leave every cache and the other kernel is faster. */
const bitmapBytesMax = 16 * 2 ** 20;
/** Generated code is compiled in a child process at load; this is about two seconds. */
const branchesMax = 400_000;

export interface BitsOptions {
  /** 128-row groups per block, a power of two. */
  readonly groups?: number;
}

/** Compiles the kernel, or says why it does not suit these trees. */
export function compileBits(
  ensemble: TreeEnsemble,
  trees: NormalizedTrees,
  options: BitsOptions = {},
): TreeKernel | { readonly refused: string } {
  const groups = options.groups ?? 8;
  const blockRows = groups * 128;
  const slotBytes = groups * 16;
  const { features, bitmapOf, bitmapCount } = planBins(trees.conditions);
  const leavesLargest = trees.roots.reduce((most, root) => Math.max(most, trees.leafCount[root]!), 1);
  if (leavesLargest > leavesMax) return { refused: `a tree has ${leavesLargest} leaves, more than ${leavesMax}` };
  if (bitmapCount * slotBytes > bitmapBytesMax) return { refused: `${bitmapCount} distinct conditions` };
  const branches = trees.leaves.length - trees.roots.length;
  if (branches > branchesMax) return { refused: `${branches} branches, more than ${branchesMax}` };

  const codeBits = leavesLargest <= 64 ? 6 : 8;
  const tableBytes = 4 * 2 ** codeBits;
  const memory = new MemoryLayout();
  const module = new ModuleBuilder();
  const most = features.reduce((count, { thresholds }) => Math.max(count, thresholds.length), 0);
  const layout = {
    groups,
    codeBits,
    slotBytes,
    inputs: memory.reserve(features.length * blockRows * 4),
    scratch: memory.reserve((most + 2) * slotBytes),
    bitmaps: memory.reserve(bitmapCount * slotBytes),
    planes: memory.reserve(batchTrees * 8 * slotBytes),
    codes: memory.reserve(batchTrees * blockRows),
    sums: memory.reserve(ensemble.targets * blockRows * 4),
  };
  const steps: Step[] = [];
  const bins = features.map((feature, index) => {
    const emitted = emitBins(module, memory, feature, { ...layout, input: layout.inputs + index * blockRows * 4 });
    steps.push({ call: emitted.index });
    return emitted;
  });
  const transpose = emitTranspose(module, layout);
  const tables: WeightTable[] = [];
  const started = new Set<number>();
  for (let start = 0; start < trees.roots.length; start += batchTrees) {
    const batch = emitBatch({ ensemble, trees, bitmapOf, module, memory, layout, tableBytes, start });
    for (const call of batch.muxes) steps.push({ call });
    steps.push({ call: transpose, argument: batch.count });
    for (const [target, entries] of batch.targets) {
      const gather = emitGather(module, {
        ...layout,
        aggregate: ensemble.aggregate,
        sums: layout.sums + target * blockRows * 4,
        startValue: startValue(ensemble),
        first: !started.has(target),
        trees: entries,
      });
      started.add(target);
      steps.push({ call: gather });
      tables.push(...entries);
    }
  }
  module.add(sequence(steps), 'run');

  const compiled = instantiate(module, memory);
  const { buffer } = compiled.memory;
  for (const { writeTables } of bins) writeTables(buffer);
  for (const table of tables) table.write(buffer);
  const sums = new Float32Array(buffer, layout.sums, ensemble.targets * blockRows).fill(startValue(ensemble));
  const inputs = features.map((_, index) => new Float32Array(buffer, layout.inputs + index * blockRows * 4, blockRows));
  const run = compiled.find('run');
  return {
    name: 'bits',
    blockRows,
    codeBytes: compiled.codeBytes,
    memoryBytes: memory.bytes,
    sums,
    sum(columns, stride, first, rows) {
      inputs.forEach((input, index) => {
        const from = features[index]!.feature * stride + first;
        input.set(columns.subarray(from, from + rows));
      });
      run();
    },
  };
}

interface Step {
  readonly call: number;
  readonly argument?: number;
}

function sequence(steps: readonly Step[]): FunctionBody {
  const body = new FunctionBody();
  for (const { call, argument } of steps) {
    if (argument !== undefined) body.i32(argument);
    body.call(call);
  }
  return body;
}

/** The weights of one tree for one target, by leaf code. */
interface WeightTable {
  readonly place: number;
  readonly table: number;
  readonly write: (buffer: ArrayBuffer) => void;
}

interface BatchParts {
  readonly ensemble: TreeEnsemble;
  readonly trees: NormalizedTrees;
  readonly bitmapOf: Int32Array;
  readonly module: ModuleBuilder;
  readonly memory: MemoryLayout;
  readonly layout: {
    readonly codeBits: number;
    readonly slotBytes: number;
    readonly bitmaps: number;
    readonly planes: number;
  };
  readonly tableBytes: number;
  /** Number of the first tree. */
  readonly start: number;
}

/** The mux functions of up to eight trees, and which targets they touch. */
function emitBatch(parts: BatchParts) {
  const { ensemble, trees, module, memory, layout, tableBytes, start } = parts;
  const roots = trees.roots.subarray(start, start + batchTrees);
  const muxes: number[] = [];
  const targets = new Map<number, WeightTable[]>();
  for (let from = 0; from < roots.length; from += functionTrees) {
    const body = new FunctionBody();
    const emitter = new MuxEmitter(body);
    const group = body.local(i32);
    for (let place = from; place < Math.min(from + functionTrees, roots.length); place++) {
      const root = roots[place]!;
      const codes = assignLeafCodes(trees, root, layout.codeBits);
      body.countUp(group, layout.slotBytes, 16, () => {
        const planes = layout.planes + place * 8 * layout.slotBytes;
        emitter.emitTree({ trees, root, codes, bitmapOf: parts.bitmapOf }, group, { ...layout, planes });
      });
      for (const target of targetsOf(ensemble, codes)) {
        const table = memory.reserve(tableBytes);
        const write = (buffer: ArrayBuffer) => writeTable({ ensemble, codes, target }, new Float32Array(buffer, table));
        const entries = targets.get(target) ?? [];
        entries.push({ place, table, write });
        targets.set(target, entries);
      }
    }
    muxes.push(module.add(body));
  }
  return { count: roots.length, muxes, targets };
}

function targetsOf(ensemble: TreeEnsemble, codes: LeafCodes): Set<number> {
  const targets = new Set<number>();
  for (const leaf of codes.keys()) {
    for (let i = ensemble.weightStart[leaf]!; i < ensemble.weightStart[leaf + 1]!; i++) {
      targets.add(ensemble.weightTarget[i]!);
    }
  }
  return targets;
}

function writeTable(
  tree: { readonly ensemble: TreeEnsemble; readonly codes: LeafCodes; readonly target: number },
  table: Float32Array,
): void {
  const neutral = startValue(tree.ensemble);
  for (const [leaf, code] of tree.codes) table[code] = leafWeight(tree.ensemble, leaf, tree.target, neutral);
}
