/**
 * What both kernels are: weights summed per row and target, from columns.
 *
 * A compiler writes an image, which is plain data: generated code and the tables it reads. Opening an image takes a tenth of
 * the time of writing it, so whoever scores with many processes compiles once and keeps the image.
 */
import { instantiate } from '../wasm/instance.ts';
import type { Aggregate, TreeEnsemble } from './ensemble.ts';

export interface TreeKernel {
  readonly name: 'bits' | 'flat';
  /** Rows per call; fewer cost as much as this many. */
  readonly blockRows: number;
  /** Bytes of generated code and of working memory. */
  readonly codeBytes: number;
  readonly memoryBytes: number;
  /** Sums of target t, row r after `sum` at `sums[t * blockRows + r]`. */
  readonly sums: Float32Array;
  /** Scores rows `first … first + rows - 1` (at most `blockRows`) of column-major features, column f at `f * stride`. */
  sum(columns: Float32Array, stride: number, first: number, rows: number): void;
}

export interface KernelImage {
  readonly name: 'bits' | 'flat';
  readonly blockRows: number;
  readonly pages: number;
  readonly memoryBytes: number;
  /** Functions that loop over rows, which are worth V8's optimising compiler. */
  readonly loops: Uint8Array<ArrayBuffer>;
  /** Straight-line functions over them, with `run` among them; null where `run` is one of the loops. */
  readonly circuits: Uint8Array<ArrayBuffer> | null;
  /** What memory holds from `tablesAt` on; the rest is written before it is read. */
  readonly tables: Uint8Array<ArrayBuffer>;
  readonly tablesAt: number;
  /** Where the columns go, one after the other, `blockRows` values each. */
  readonly inputsAt: number;
  readonly inputs: readonly KernelInput[];
  readonly sumsAt: number;
  readonly targets: number;
  readonly sumsStart: number;
  /** Whether the sums start anew by themselves in each run. */
  readonly setsSums: boolean;
}

export interface KernelInput {
  /** Null for a column of -Infinity. */
  readonly feature: number | null;
  /** NaN is read as -Infinity. */
  readonly missingIsLow: boolean;
}

export function openKernel(image: KernelImage): TreeKernel {
  const { name, blockRows, memoryBytes, circuits, sumsStart, setsSums } = image;
  const loops = instantiate(image.loops, image);
  const outer = circuits === null ? loops : instantiate(circuits, image, { on: loops, optimise: 'late' });
  const { buffer } = loops.memory;
  new Uint8Array(buffer, image.tablesAt).set(image.tables);
  const sums = new Float32Array(buffer, image.sumsAt, image.targets * blockRows).fill(sumsStart);
  const columnsIn = (place: number) => new Float32Array(buffer, image.inputsAt + place * blockRows * 4, blockRows);
  const inputs = image.inputs.flatMap(({ feature, missingIsLow }, place) => {
    if (feature !== null) return [{ feature, missingIsLow, values: columnsIn(place) }];
    columnsIn(place).fill(Number.NEGATIVE_INFINITY);
    return [];
  });
  const run = outer.find('run');
  return {
    name,
    blockRows,
    codeBytes: loops.codeBytes + (circuits === null ? 0 : outer.codeBytes),
    memoryBytes,
    sums,
    sum(columns, stride, first, rows) {
      for (const { feature, missingIsLow, values } of inputs) {
        const from = feature * stride + first;
        values.set(columns.subarray(from, from + rows));
        if (missingIsLow) replaceMissing(values, rows);
      }
      if (!setsSums) sums.fill(sumsStart);
      run(rows);
    },
  };
}

function replaceMissing(values: Float32Array, rows: number): void {
  for (let row = 0; row < rows; row++) if (Number.isNaN(values[row])) values[row] = Number.NEGATIVE_INFINITY;
}

/** The weight of every (leaf, target) that a leaf does not name is neutral for the aggregate. */
export function leafWeight(ensemble: TreeEnsemble, leaf: number, target: number, neutral: number): number {
  let weight = neutral;
  let found = false;
  for (let i = ensemble.weightStart[leaf]!; i < ensemble.weightStart[leaf + 1]!; i++) {
    if (ensemble.weightTarget[i] !== target) continue;
    const next = ensemble.weights[i]!;
    weight = found ? combineWeights(ensemble.aggregate, weight, next) : next;
    found = true;
  }
  return weight;
}

function combineWeights(aggregate: Aggregate, a: number, b: number): number {
  if (aggregate === 'MIN') return Math.min(a, b);
  return aggregate === 'MAX' ? Math.max(a, b) : Math.fround(a + b);
}
