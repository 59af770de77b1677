/**
 * Compiled trees as a scorer. They serve only after the parity gate: equal to ONNX Runtime on edge and random rows when
 * the model is compiled, and on the first rows of an input before any of them is written. Otherwise ONNX Runtime serves
 * the model, and the receipt says why. What passed is kept with the kernel, and not compared again.
 */
import type { ScorerComparison, ScorerRecord } from '../domain/model-version.ts';
import type { Signature } from '../domain/signature.ts';
import type { OnnxModel } from '../onnx/read.ts';
import { type CompiledTrees, compileTrees, type OpenTrees, openTrees } from './compile-trees.ts';
import { type KernelFile, TREE_COMPILER } from './kernel-file.ts';
import { type LazySession, OnnxSession, type OnnxTensor } from './onnx-session.ts';
import type { FilledTensor } from './tensors.ts';
import { checkParity, type FeatureRows, type ParityReport, paritySamples } from './trees/parity.ts';

export interface LoadedTrees {
  readonly kind: 'trees';
  readonly trees: OpenTrees;
  /** Vocabulary of the codes that `prefix` takes for texts, or null. */
  readonly texts: readonly string[] | null;
  /** Runs what comes before the trees; null when the features are the inputs themselves. */
  readonly prefix: { readonly session: OnnxSession; readonly output: string } | null;
  /** The whole model in ONNX Runtime: what the trees are compared with. */
  readonly reference: () => OnnxSession;
  readonly gate: ParityGate;
  close(): void;
}

/** The comparison with ONNX Runtime: when the trees are compiled, then on rows of an input while they are scored. */
export interface ParityGate {
  compared: ScorerComparison | null;
  /** Whether it was made when the version was registered, so that nothing is left to compare. */
  readonly isRecorded: boolean;
  /** So many rows of an input were scored by both. */
  inputRows: number;
  /** Why ONNX Runtime serves the model after all. */
  refusal: string | null;
  /** Keeps the outcome, so that no other process compares again; null when it is kept. */
  keep: (() => Promise<void>) | null;
}

export type TreesOrReason =
  | LoadedTrees
  | { readonly kind: 'fallback'; readonly reason: string; readonly compared?: ScorerComparison };

/** Rows of each kind that are compared when trees are compiled. */
const GATE_ROWS = 512;
/** How many rows of the input are scored by both before the trees are trusted with the rest. */
export const INPUT_GATE_ROWS = 1_024;

/** What was recorded at registration, if it holds for the trees this build compiles. */
export function recordFor(recorded: ScorerRecord | undefined): ScorerRecord | null {
  if (recorded?.compiler !== TREE_COMPILER || recorded.compared === null) return null;
  return recorded.scorer === 'onnxruntime' || recorded.compared.rows >= INPUT_GATE_ROWS ? recorded : null;
}

interface TreesParts {
  /** The whole model in ONNX Runtime; the caller keeps it on a fallback. */
  readonly reference: LazySession;
  readonly keep: (file: KernelFile) => Promise<void>;
  readonly recorded: ScorerRecord | null;
}

/** Compiles and judges the trees of a model. The caller has checked the signature. */
export async function loadTrees(
  model: Omit<OnnxModel, 'bytes'>,
  signature: Signature,
  parts: TreesParts & { readonly texts: readonly string[] | null; readonly output: string },
): Promise<TreesOrReason> {
  const { reference, output, recorded, texts } = parts;
  const trees = compileTrees(model, output);
  if (trees.kind === 'fallback') return trees;
  const prefix = prefixOf(trees);
  const isPlain = prefix === null && signature.inputs.every(input => input.type === 'float32');
  let compared = recorded?.compared ?? null;
  if (isPlain && recorded === null) {
    const report = await checkParity({
      width: trees.width,
      samples: paritySamples(trees.ensemble, GATE_ROWS),
      score: trees.score,
      reference: sample => scoreSample({ trees, reference: reference.get(), output }, sample),
    });
    if (report.verdict === 'different') {
      const reason = `the compiled trees differ from ONNX Runtime: ${describe(report)}${whereOf(report)}`;
      return { kind: 'fallback', reason, compared: comparisonOf(report) };
    }
    compared = comparisonOf(report);
  }
  const file = { image: trees.image, texts, compared, inputRows: 0 };
  await parts.keep(file);
  const { source, features, width, kernels, score } = trees;
  // Without the nodes, which only the gate needs.
  return served({ source, features, width, kernels, score }, prefix, file, parts);
}

/** Trees that were compiled and compared before. */
export function reopenTrees(file: KernelFile, parts: TreesParts): LoadedTrees {
  const trees = openTrees(file.image);
  return served(trees, prefixOf(trees), file, parts);
}

function served(
  trees: OpenTrees,
  prefix: LoadedTrees['prefix'],
  file: KernelFile,
  { reference, keep, recorded }: TreesParts,
): LoadedTrees {
  return {
    kind: 'trees',
    trees,
    texts: file.texts,
    prefix,
    reference: () => reference.get(),
    gate: gateOf(file, { keep, recorded }),
    close: () => {
      reference.close();
      prefix?.session.close();
    },
  };
}

function gateOf(file: KernelFile, { keep, recorded }: Omit<TreesParts, 'reference'>): ParityGate {
  const gate: ParityGate = {
    compared: recorded?.compared ?? file.compared,
    isRecorded: recorded !== null,
    inputRows: file.inputRows,
    refusal: null,
    keep: null,
  };
  if (file.inputRows === 0 && recorded === null) {
    gate.keep = () => keep({ ...file, compared: gate.compared, inputRows: gate.inputRows });
  }
  return gate;
}

function prefixOf({ source }: OpenTrees): LoadedTrees['prefix'] {
  if (source.kind !== 'prefix') return null;
  return { session: OnnxSession.load(source.model, 'the nodes before the trees'), output: source.output };
}

/** Column-major features of filled tensors: the inputs side by side, or what the prefix makes of them. */
export function treeFeatures(
  loaded: LoadedTrees,
  tensors: readonly FilledTensor[],
  feeds: Feeds,
  rows: number,
): Float32Array {
  const { trees, prefix } = loaded;
  if (prefix !== null) {
    const { data } = prefix.session.run(feeds(prefix.session), [prefix.output])[prefix.output]!;
    return columnsOf(data as Float32Array, rows, trees.features);
  }
  const [only] = tensors;
  if (tensors.length === 1 && only!.data instanceof Float32Array) return only!.data;
  const columns = new Float32Array(rows * trees.features);
  let offset = 0;
  const order = trees.source.kind === 'inputs' ? trees.source.inputs.map(input => input.name) : [];
  for (const name of order) {
    const { data } = tensors.find(tensor => tensor.name === name)!;
    columns.set(data instanceof BigInt64Array ? Float32Array.from(data, Number) : (data as Float32Array), offset);
    offset += data.length;
  }
  return columns;
}

export type Feeds = (session: OnnxSession) => Readonly<Record<string, OnnxTensor>>;

/** Adds so many rows of an input to what a gate has compared; says whether they are equal. */
export function compareOnInput(
  gate: ParityGate,
  rows: number,
  { ours, reference }: { readonly ours: ArrayLike<number>; readonly reference: ArrayLike<number> },
): boolean {
  const found = differenceOf(ours, reference);
  gate.inputRows += rows;
  gate.compared = {
    rows: (gate.compared?.rows ?? 0) + rows,
    largestDifference: Math.max(gate.compared?.largestDifference ?? 0, found.largestDifference),
    tolerance: Math.max(gate.compared?.tolerance ?? 0, found.tolerance),
  };
  const isEqual = found.largestDifference <= found.tolerance;
  if (!isEqual)
    gate.refusal = `the compiled trees differ from ONNX Runtime on the first rows of the input: ${describe(gate.compared)}`;
  return isEqual;
}

/** The largest difference, and what is allowed: 1e-6 × max(1, largest |output|). */
function differenceOf(ours: ArrayLike<number>, reference: ArrayLike<number>) {
  let largest = 0;
  let difference = 0;
  for (let index = 0; index < reference.length; index++) {
    const theirs = reference[index]!;
    if (Number.isFinite(theirs)) largest = Math.max(largest, Math.abs(theirs));
    if (ours[index] === theirs || Object.is(ours[index], theirs)) continue;
    const size = Math.abs(ours[index]! - theirs);
    difference = Math.max(difference, Number.isNaN(size) ? Number.POSITIVE_INFINITY : size);
  }
  const tolerance = 1e-6 * Math.max(1, largest);
  return { largestDifference: difference, tolerance };
}

export function describe({ rows, largestDifference, tolerance }: ScorerComparison): string {
  const size = largestDifference === 0 ? 'no difference' : `largest difference ${largestDifference.toExponential(1)}`;
  return `${size} on ${rows} rows, allowed ${tolerance.toExponential(1)}`;
}

function comparisonOf({ rows, largestDifference, tolerance }: ParityReport): ScorerComparison {
  return { rows, largestDifference, tolerance };
}

function whereOf({ worst }: ParityReport): string {
  return worst === null ? '' : ` (${worst.sample} row ${worst.row}: ${worst.ours}, not ${worst.reference})`;
}

/** The whole model on feature columns, as plain float32 inputs. */
function scoreSample(
  loaded: { readonly trees: CompiledTrees; readonly reference: OnnxSession; readonly output: string },
  sample: FeatureRows,
): ArrayLike<number> {
  const { trees, reference, output } = loaded;
  const inputs = trees.source.kind === 'inputs' ? trees.source.inputs : [];
  const feeds: Record<string, OnnxTensor> = {};
  let column = 0;
  for (const input of inputs) {
    const rank = input.dims?.length ?? 2;
    const width = rank < 2 ? 1 : typeof input.dims?.[1] === 'number' ? input.dims[1] : trees.features;
    const part = sample.columns.subarray(column * sample.rows, (column + width) * sample.rows);
    const dims = rank < 2 ? [sample.rows] : [sample.rows, width];
    feeds[input.name] = reference.tensor('float32', rowsOf(part, sample.rows, width), dims);
    column += width;
  }
  return reference.run(feeds, [output])[output]!.data as Float32Array;
}

function rowsOf(columns: Float32Array, rows: number, width: number): Float32Array {
  const result = new Float32Array(rows * width);
  for (let column = 0; column < width; column++) {
    for (let row = 0; row < rows; row++) result[row * width + column] = columns[column * rows + row]!;
  }
  return result;
}

function columnsOf(values: Float32Array, rows: number, width: number): Float32Array {
  const result = new Float32Array(rows * width);
  for (let column = 0; column < width; column++) {
    for (let row = 0; row < rows; row++) result[column * rows + row] = values[row * width + column]!;
  }
  return result;
}
