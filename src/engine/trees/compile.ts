/** Compiles an ensemble: builds the kernels that suit it, measures them for a moment, and gives a scorer and its image. */
import { compileBits } from './bits.ts';
import type { TreeEnsemble } from './ensemble.ts';
import { createFinish, type FinishFacts, planFinish } from './finish.ts';
import { compileFlat } from './flat.ts';
import { type KernelImage, openKernel, type TreeKernel } from './kernel.ts';
import { MalformedTrees, type NormalizedTrees, normalizeTrees } from './normalize.ts';

export interface TreeScorer {
  /** Number of feature columns. */
  readonly features: number;
  /** Values per row of the result: targets, or one probability per class. */
  readonly width: number;
  readonly kernels: KernelChoice;
  /**
   * Scores rows. `columns` is column-major: feature f of row r at `columns[f * stride + r]`; missing values are NaN.
   * Results are row-major in `out`, `rows * width` values.
   */
  score(columns: Float32Array, stride: number, rows: number, out: Float32Array): void;
}

/** Which kernel scores what, and why; worth recording with the job. */
export interface KernelChoice {
  /** Kernel for whole blocks. */
  readonly large: 'bits' | 'flat';
  /** Fewer rows than this go to the flat kernel; 0 when there is only one. */
  readonly bitsFromRows: number;
  /** Measured nanoseconds per row on whole blocks; null where a kernel was not built or there was nothing to compare. */
  readonly bitsNsPerRow: number | null;
  readonly flatNsPerRow: number | null;
  /** Why a kernel was not built. */
  readonly notes: readonly string[];
  readonly codeBytes: number;
  readonly memoryBytes: number;
}

export interface CompileOptions {
  /** `measured` builds both kernels and compares them; default. */
  readonly kernel?: 'measured' | 'bits' | 'flat';
}

/** A compiled ensemble as plain data, for `openScorer` in another process. */
export interface ScorerImage {
  readonly features: number;
  readonly finish: FinishFacts;
  readonly kernels: { readonly bits: KernelImage | null; readonly flat: KernelImage | null };
  readonly choice: KernelChoice;
}

export type Compiled =
  | { readonly kind: 'compiled'; readonly scorer: TreeScorer; readonly image: ScorerImage }
  | { readonly kind: 'refused'; readonly reason: string };

export function compileEnsemble(ensemble: TreeEnsemble, options: CompileOptions = {}): Compiled {
  const wrong = findDefect(ensemble);
  if (wrong !== null) return { kind: 'refused', reason: wrong };
  const finish = planFinish(ensemble);
  if ('refused' in finish) return { kind: 'refused', reason: finish.refused };
  const trees = normalized(ensemble);
  if ('refused' in trees) return { kind: 'refused', reason: trees.refused };
  const wanted = options.kernel ?? 'measured';
  const refused = { refused: 'not asked for' };
  const bits = wanted === 'flat' ? refused : compileBits(ensemble, trees);
  const flat = wanted === 'bits' ? refused : compileFlat(ensemble, trees);
  const notes = [
    ...('refused' in bits ? [`no bit kernel: ${bits.refused}`] : []),
    ...('refused' in flat ? [`no flat kernel: ${flat.refused}`] : []),
  ];
  const images = { bits: 'refused' in bits ? null : bits, flat: 'refused' in flat ? null : flat };
  const kernels = opened(images);
  const only = kernels.bits === null ? kernels.flat : kernels.flat === null ? kernels.bits : null;
  if (kernels.bits === null && kernels.flat === null) return { kind: 'refused', reason: notes.join('; ') };
  const choice = only === null ? measureKernels(ensemble, trees, kernels) : onlyKernel(only, notes);
  const image = { features: ensemble.features, finish, kernels: images, choice };
  return { kind: 'compiled', scorer: createScorer(image, kernels), image };
}

export function openScorer(image: ScorerImage): TreeScorer {
  return createScorer(image, opened(image.kernels));
}

function opened({ bits, flat }: ScorerImage['kernels']): Kernels {
  return { bits: bits === null ? null : openKernel(bits), flat: flat === null ? null : openKernel(flat) };
}

function normalized(ensemble: TreeEnsemble): NormalizedTrees | { readonly refused: string } {
  try {
    return normalizeTrees(ensemble);
  } catch (error) {
    if (error instanceof MalformedTrees) return { refused: error.message };
    throw error;
  }
}

/** Indices that point outside, found before anything reads through them. */
function findDefect(ensemble: TreeEnsemble): string | null {
  const { featureIds, features, targets, weightTarget, roots } = ensemble;
  const feature = featureIds.find(id => id < 0 || id >= features);
  if (feature !== undefined) return `a branch reads feature ${feature} of ${features}`;
  const target = weightTarget.find(id => id < 0 || id >= targets);
  if (target !== undefined) return `a leaf has a weight for target ${target} of ${targets}`;
  return roots.length === 0 ? 'the ensemble has no trees' : null;
}

function onlyKernel(kernel: TreeKernel, notes: readonly string[]): KernelChoice {
  return {
    large: kernel.name,
    bitsFromRows: 0,
    bitsNsPerRow: null,
    flatNsPerRow: null,
    notes,
    codeBytes: kernel.codeBytes,
    memoryBytes: kernel.memoryBytes,
  };
}

interface Kernels {
  readonly bits: TreeKernel | null;
  readonly flat: TreeKernel | null;
}

/** The bit kernel costs a whole block whatever the rows, the flat one costs by the row: their quotient is the crossover. */
function measureKernels(ensemble: TreeEnsemble, trees: NormalizedTrees, { bits, flat }: Kernels): KernelChoice {
  if (bits === null || flat === null) throw new Error('there is nothing to compare');
  const stride = bits.blockRows;
  const columns = sampleColumns(ensemble, trees, stride);
  const bitsMs = fastest(() => bits.sum(columns, stride, 0, stride));
  const flatMs = fastest(() => flat.sum(columns, stride, 0, flat.blockRows));
  const bitsNsPerRow = (bitsMs / bits.blockRows) * 1e6;
  const flatNsPerRow = (flatMs / flat.blockRows) * 1e6;
  const large = bitsNsPerRow <= flatNsPerRow ? 'bits' : 'flat';
  return {
    large,
    bitsFromRows: large === 'bits' ? Math.ceil((bitsMs * 1e6) / flatNsPerRow) : Number.POSITIVE_INFINITY,
    bitsNsPerRow,
    flatNsPerRow,
    notes: [],
    codeBytes: bits.codeBytes + flat.codeBytes,
    memoryBytes: bits.memoryBytes + flat.memoryBytes,
  };
}

/** Best of a few runs: the first ones compile, and a busy machine only ever makes a run slower. */
function fastest(run: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

/** Values around the model's own thresholds, so that rows take different ways down. */
function sampleColumns(ensemble: TreeEnsemble, trees: NormalizedTrees, rows: number): Float32Array {
  const thresholds = Array.from({ length: ensemble.features }, (): number[] => []);
  for (const condition of trees.conditions) {
    if (condition.kind === 'upTo') thresholds[condition.feature]!.push(condition.threshold);
    else thresholds[condition.feature]!.push(...condition.members);
  }
  const columns = new Float32Array(ensemble.features * rows);
  // A fixed sequence: equal models are measured on equal rows.
  let state = 1;
  thresholds.forEach((values, feature) => {
    for (let row = 0; row < rows; row++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      columns[feature * rows + row] = values[Math.floor((state / 2 ** 32) * values.length)] ?? 0;
    }
  });
  return columns;
}

function createScorer({ features, finish: facts, choice }: ScorerImage, kernels: Kernels): TreeScorer {
  const finish = createFinish(facts);
  const large = (choice.large === 'bits' ? kernels.bits : kernels.flat) ?? kernels.flat ?? kernels.bits;
  if (large === null) throw new Error('a scorer without a kernel');
  const small = kernels.flat ?? large;
  return {
    features,
    width: finish.width,
    kernels: choice,
    score(columns, stride, rows, out) {
      assertRoom({ features, width: finish.width }, { columns, stride, rows, out });
      let first = 0;
      while (first < rows) {
        const left = rows - first;
        const kernel = left < Math.min(large.blockRows, choice.bitsFromRows) ? small : large;
        const count = Math.min(kernel.blockRows, left);
        kernel.sum(columns, stride, first, count);
        finish.apply(kernel.sums, kernel.blockRows, count, out, first);
        first += count;
      }
    },
  };
}

function assertRoom(
  model: { readonly features: number; readonly width: number },
  call: { readonly columns: Float32Array; readonly stride: number; readonly rows: number; readonly out: Float32Array },
): void {
  const { features } = model;
  if (call.rows > call.stride || (features - 1) * call.stride + call.rows > call.columns.length) {
    throw new RangeError(
      `${call.rows} rows of ${features} columns with stride ${call.stride} do not fit into ${call.columns.length} values`,
    );
  }
  if (call.rows * model.width > call.out.length) {
    throw new RangeError(`${call.rows} rows × ${model.width} values do not fit into ${call.out.length}`);
  }
}
