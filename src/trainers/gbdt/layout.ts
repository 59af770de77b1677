/** Where everything of one training lies in the shared memory. All threads see the same bytes through these views. */
import { BINS, compileKernel, FEATURE_BYTES, GROUP_BYTES, type Kernel, THREAD_BYTES } from './kernel.ts';

const PAGE_BYTES = 65_536;
const MEMORY_MAX = 2 ** 32;
/** Values of one split candidate, see `Candidates`. */
export const CANDIDATE_FIELDS = 6;
export const COMMAND_FIELDS = 24;

export interface Shape {
  readonly rows: number;
  /** Features that can be split; constant ones never enter the matrix. */
  readonly features: number;
  /** Trees per round: 1, or the number of classes. */
  readonly outputs: number;
  readonly leaves: number;
  readonly threads: number;
}

/** Byte addresses. Plain data: it is sent to the other threads. */
export interface Layout extends Shape {
  /** First feature and feature count of each group; the bins of a group lie row by row. */
  readonly groups: readonly { readonly first: number; readonly size: number; readonly bins: number }[];
  readonly scratch: number;
  readonly control: number;
  readonly command: number;
  readonly table: number;
  readonly segments: number;
  readonly candidates: number;
  readonly valueBins: number;
  readonly enabled: number;
  readonly monotone: number;
  readonly gradients: number;
  readonly order: number;
  readonly aside: number;
  readonly scores: number;
  readonly probabilities: number;
  readonly labels: number;
  readonly weights: number;
  readonly histograms: number;
  readonly histogramBytes: number;
  /** The bins once more, feature by feature: a partition looks at one feature only. */
  readonly columns: number;
  readonly bytes: number;
}

/** Throws RangeError when the training does not fit into the 4 GiB of a WebAssembly memory. */
export function planLayout(shape: Shape): Layout {
  const { rows, features, outputs, leaves, threads } = shape;
  let end = 0;
  const take = (bytes: number) => {
    const start = end;
    end += Math.ceil(bytes / 64) * 64;
    return start;
  };
  const sizes = groupSizes(features, threads);
  const histogramBytes = features * FEATURE_BYTES;
  const layout = {
    ...shape,
    // Scratch comes first: its addresses are constants in the kernel's code, and small constants make small code.
    scratch: take(threads * THREAD_BYTES),
    control: take(64 * 4),
    command: take(8 * COMMAND_FIELDS),
    table: take(BINS),
    segments: take(4 * threads),
    candidates: take(8 * CANDIDATE_FIELDS * leaves * Math.max(1, sizes.length)),
    valueBins: take(4 * features),
    enabled: take(features),
    monotone: take(features),
    gradients: take(8 * rows),
    order: take(4 * rows),
    // One word more: the partition writes before it knows whether the pointer moves.
    aside: take(4 * rows + 64),
    scores: take(4 * rows * outputs),
    probabilities: take(outputs === 1 ? 0 : 4 * rows * outputs),
    labels: take(4 * rows),
    weights: take(4 * rows),
    histograms: take(leaves * histogramBytes),
    histogramBytes,
    columns: take(rows * features),
    groups: sizes.map((size, index) => ({
      first: sizes.slice(0, index).reduce((sum, before) => sum + before, 0),
      size,
      bins: take(rows * GROUP_BYTES),
    })),
  };
  const bytes = Math.ceil(end / PAGE_BYTES) * PAGE_BYTES;
  if (bytes >= MEMORY_MAX) {
    throw new RangeError(
      `gbdt: ${rows} rows × ${features} features with ${leaves} leaves need ${Math.ceil(bytes / 2 ** 20)} MB, ` +
        'the limit is 4,096 MB: sample the rows, drop features or lower max_leaves',
    );
  }
  return { ...layout, bytes };
}

/** Groups of nearly equal size whose number is a multiple of the threads, so that no thread waits for another. */
function groupSizes(features: number, threads: number): number[] {
  const wanted = Math.ceil(features / GROUP_BYTES / threads) * threads;
  const groups = Math.min(features, wanted);
  return Array.from({ length: groups }, (_, index) => {
    return Math.floor(((index + 1) * features) / groups) - Math.floor((index * features) / groups);
  });
}

export interface Workspace {
  readonly layout: Layout;
  readonly kernel: Kernel;
  readonly command: Float64Array;
  readonly table: Uint8Array;
  /** Rows that went to the front, per segment of a parallel partition. */
  readonly segments: Int32Array;
  readonly candidates: Float64Array;
  readonly valueBins: Int32Array;
  readonly enabled: Uint8Array;
  readonly monotone: Int8Array;
  /** Per row: hessian, gradient as fixed-point numbers. */
  readonly gradients: Int32Array;
  /** Row numbers, the rows of a leaf side by side. */
  readonly order: Uint32Array;
  readonly aside: Uint32Array;
  /** `[rows, outputs]`. */
  readonly scores: Float32Array;
  readonly probabilities: Float32Array;
  readonly labels: Float32Array;
  readonly weights: Float32Array;
  /** Pairs (hessian, gradient) per bin; `[leaves, features, BINS]`. */
  readonly histograms: Float64Array;
  readonly bytes: Uint8Array;
}

/**
 * Memory of the last training, for the next: a backtest trains hundreds of small models one after the other, and V8 would
 * leave the memory of each lying about until it collects its heap, which has no reason to fill. Larger ones are let go.
 */
let spare: WebAssembly.Memory | null = null;
const SPARE_MAX = 2 ** 26;

/** Memory for a training, all zero; give it back when nothing uses it any more. */
export function takeMemory(layout: Layout): WebAssembly.Memory {
  const known = spare;
  if (known === null || known.buffer.byteLength < layout.bytes) {
    const pages = layout.bytes / PAGE_BYTES;
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  }
  spare = null;
  new Uint8Array(known.buffer, 0, layout.bytes).fill(0);
  return known;
}

export function giveBackMemory(memory: WebAssembly.Memory): void {
  const { byteLength } = memory.buffer;
  if (byteLength <= SPARE_MAX && byteLength > (spare?.buffer.byteLength ?? 0)) spare = memory;
}

/** The views of one thread; `thread` selects its scratch area. */
export function openWorkspace(memory: WebAssembly.Memory, layout: Layout, thread: number): Workspace {
  const { buffer } = memory;
  const { rows, features, outputs, leaves, threads } = layout;
  const sizes = [...new Set(layout.groups.map(group => group.size))];
  return {
    layout,
    kernel: compileKernel(memory, sizes, layout.scratch + thread * THREAD_BYTES),
    command: new Float64Array(buffer, layout.command, COMMAND_FIELDS),
    table: new Uint8Array(buffer, layout.table, BINS),
    segments: new Int32Array(buffer, layout.segments, threads),
    candidates: new Float64Array(
      buffer,
      layout.candidates,
      CANDIDATE_FIELDS * leaves * Math.max(1, layout.groups.length),
    ),
    valueBins: new Int32Array(buffer, layout.valueBins, features),
    enabled: new Uint8Array(buffer, layout.enabled, features),
    monotone: new Int8Array(buffer, layout.monotone, features),
    gradients: new Int32Array(buffer, layout.gradients, 2 * rows),
    order: new Uint32Array(buffer, layout.order, rows),
    aside: new Uint32Array(buffer, layout.aside, rows),
    scores: new Float32Array(buffer, layout.scores, rows * outputs),
    probabilities: new Float32Array(buffer, layout.probabilities, outputs === 1 ? 0 : rows * outputs),
    labels: new Float32Array(buffer, layout.labels, rows),
    weights: new Float32Array(buffer, layout.weights, rows),
    histograms: new Float64Array(buffer, layout.histograms, (leaves * layout.histogramBytes) / 8),
    bytes: new Uint8Array(buffer),
  };
}
