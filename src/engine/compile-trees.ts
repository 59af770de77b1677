/** From the bytes of a model to compiled trees, or the reason why ONNX Runtime keeps the model. */
import { partitionGraph, type TreeFeatures } from '../onnx/partition-graph.ts';
import { type OnnxModel, readModel } from '../onnx/read.ts';
import { readTreeEnsemble, TreeNodeError } from '../onnx/tree-ensemble.ts';
import { type CompileOptions, compileEnsemble, type KernelChoice } from './trees/compile.ts';
import type { TreeEnsemble } from './trees/ensemble.ts';
import { applyStep } from './trees/suffix.ts';

export interface CompiledTrees {
  readonly kind: 'compiled';
  /** Where the feature columns come from: graph inputs side by side, or a model to run before. */
  readonly source: TreeFeatures;
  readonly features: number;
  /** Values per row of the model's output. */
  readonly width: number;
  readonly kernels: KernelChoice;
  /** For the parity gate: its thresholds make the edge rows. */
  readonly ensemble: TreeEnsemble;
  /**
   * The model's output for column-major features (feature f of row r at `columns[f * stride + r]`, NaN where missing):
   * `rows * width` values, row-major, in `out`.
   */
  score(columns: Float32Array, stride: number, rows: number, out: Float32Array): void;
}

export type TreeCompilation = CompiledTrees | { readonly kind: 'fallback'; readonly reason: string };

/** Compiles what computes `output` (a graph output's name). The model's ZipMap nodes may be there or stripped. */
export function compileTrees(
  model: Uint8Array | OnnxModel,
  output: string,
  options: CompileOptions = {},
): TreeCompilation {
  const parsed = model instanceof Uint8Array ? readModel(model) : model;
  const partition = partitionGraph(parsed, output);
  if (partition.kind === 'none') return { kind: 'fallback', reason: partition.reason };
  const ensemble = extract(partition);
  if ('reason' in ensemble) return { kind: 'fallback', reason: ensemble.reason };
  const compiled = compileEnsemble(ensemble, options);
  if (compiled.kind === 'refused') return { kind: 'fallback', reason: compiled.reason };
  const { scorer } = compiled;
  return {
    kind: 'compiled',
    source: partition.features,
    features: scorer.features,
    width: scorer.width,
    kernels: scorer.kernels,
    ensemble,
    score(columns, stride, rows, out) {
      scorer.score(columns, stride, rows, out);
      for (const step of partition.suffix) applyStep(step, out, rows, scorer.width);
    },
  };
}

function extract(
  partition: Exclude<ReturnType<typeof partitionGraph>, { kind: 'none' }>,
): TreeEnsemble | { reason: string } {
  try {
    return readTreeEnsemble(partition.operator, partition.attributes, partition.features.width);
  } catch (error) {
    if (error instanceof TreeNodeError) return { reason: error.message };
    throw error;
  }
}
