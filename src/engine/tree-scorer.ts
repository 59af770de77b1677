/**
 * Compiled trees as a scorer. They serve only after the parity gate: equal to ONNX Runtime on edge and random rows when
 * the model is compiled, and on the first rows of an input before any of them is written. Otherwise ONNX Runtime serves
 * the model, and the receipt says why. What passed is kept with the kernel, and not compared again.
 */
import type { Signature } from '../domain/signature.ts';
import type { OnnxModel } from '../onnx/read.ts';
import { type CompiledTrees, compileTrees, type OpenTrees, openTrees } from './compile-trees.ts';
import type { KernelFile } from './kernel-file.ts';
import { OnnxSession, type OnnxTensor } from './onnx-session.ts';
import type { FilledTensor } from './tensors.ts';
import { checkParity, type FeatureRows, type ParityReport, paritySamples } from './trees/parity.ts';

export interface LoadedTrees {
  readonly kind: 'trees';
  readonly trees: OpenTrees;
  /** Runs what comes before the trees; null when the features are the inputs themselves. */
  readonly prefix: { readonly session: OnnxSession; readonly output: string } | null;
  /** The whole model in ONNX Runtime: what the trees are compared with. */
  readonly reference: () => OnnxSession;
  /** What the gate found when the trees were compiled; empty when only input rows can decide. */
  readonly gate: string;
  readonly input: InputGate;
  close(): void;
}

/** The comparison on rows of an input, which goes on while they are scored. */
export interface InputGate {
  /** So many rows were scored by both. */
  rows: number;
  /** Why ONNX Runtime serves the model after all. */
  refusal: string | null;
  /** Keeps the outcome, so that no other process compares again; null when it is kept. */
  keep: ((inputRows: number) => Promise<void>) | null;
}

export type TreesOrReason = LoadedTrees | { readonly kind: 'fallback'; readonly reason: string };

const GATE_ROWS = 512;

/** Compiles and judges the trees of a model. The caller has checked the signature and keeps `reference` on a fallback. */
export async function loadTrees(
  model: OnnxModel,
  signature: Signature,
  parts: {
    readonly reference: OnnxSession;
    readonly output: string;
    readonly keep: (file: KernelFile) => Promise<void>;
  },
): Promise<TreesOrReason> {
  const { reference, output } = parts;
  const trees = compileTrees(model, output);
  if (trees.kind === 'fallback') return trees;
  const prefix = prefixOf(trees);
  const isPlain = prefix === null && signature.inputs.every(input => input.type === 'float32');
  let gate = '';
  if (isPlain) {
    const report = await checkParity({
      width: trees.width,
      samples: paritySamples(trees.ensemble, GATE_ROWS),
      score: trees.score,
      reference: sample => scoreSample({ trees, reference, output }, sample),
    });
    if (report.verdict === 'different') {
      return { kind: 'fallback', reason: `the compiled trees differ from ONNX Runtime: ${describe(report)}` };
    }
    gate = describe(report);
  }
  const keep = (inputRows: number) => parts.keep({ image: trees.image, gate, inputRows });
  await keep(0);
  const { source, features, width, kernels, score } = trees;
  return {
    kind: 'trees',
    // Without the nodes, which only the gate needs.
    trees: { source, features, width, kernels, score },
    prefix,
    reference: () => reference,
    gate,
    input: { rows: 0, refusal: null, keep },
    close: () => {
      reference.close();
      prefix?.session.close();
    },
  };
}

/** Trees that were compiled and compared before; ONNX Runtime loads the model only if an input is to be compared. */
export function reopenTrees(
  file: KernelFile,
  parts: { readonly open: () => OnnxSession; readonly keep: (file: KernelFile) => Promise<void> },
): LoadedTrees {
  const trees = openTrees(file.image);
  const prefix = prefixOf(trees);
  let session: OnnxSession | null = null;
  return {
    kind: 'trees',
    trees,
    prefix,
    reference: () => {
      session ??= parts.open();
      return session;
    },
    gate: file.gate,
    input: {
      rows: file.inputRows,
      refusal: null,
      keep: file.inputRows === 0 ? inputRows => parts.keep({ ...file, inputRows }) : null,
    },
    close: () => {
      session?.close();
      prefix?.session.close();
    },
  };
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

/** The largest difference on rows of the input, and what is allowed: 1e-6 × max(1, largest |output|). */
export function compareOnInput(ours: ArrayLike<number>, reference: ArrayLike<number>) {
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
  return { isEqual: difference <= tolerance, difference, tolerance };
}

function describe(report: ParityReport): string {
  const { rows, largestDifference, tolerance, worst } = report;
  const size = largestDifference === 0 ? 'no difference' : `largest difference ${largestDifference.toExponential(1)}`;
  const where =
    report.verdict === 'equal' || worst === null
      ? ''
      : ` (${worst.sample} row ${worst.row}: ${worst.ours}, not ${worst.reference})`;
  return `${size} on ${rows} rows, allowed ${tolerance.toExponential(1)}${where}`;
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
