/** From the bytes of a model to compiled trees, or the reason why ONNX Runtime keeps the model. */
import { partitionGraph, type TreeFeatures } from '../onnx/partition-graph.ts';
import { type OnnxModel, readModel } from '../onnx/read.ts';
import { readTreeEnsemble, TreeNodeError } from '../onnx/tree-ensemble.ts';
import {
  type CompileOptions,
  compileEnsemble,
  type KernelChoice,
  openScorer,
  type ScorerImage,
  type TreeScorer,
} from './trees/compile.ts';
import type { TreeEnsemble } from './trees/ensemble.ts';
import { applyStep, type ScoreStep } from './trees/suffix.ts';

/** Compiled trees of a model as plain data, for `openTrees` in another process. */
export interface TreesImage {
  readonly source: TreeFeatures;
  readonly scorer: ScorerImage;
  /** What the graph does to the scores. */
  readonly suffix: readonly ScoreStep[];
}

export interface OpenTrees {
  /** Where the feature columns come from: graph inputs side by side, or a model to run before. */
  readonly source: TreeFeatures;
  readonly features: number;
  /** Values per row of the model's output. */
  readonly width: number;
  readonly kernels: KernelChoice;
  /**
   * The model's output for column-major features (feature f of row r at `columns[f * stride + r]`, NaN where missing):
   * `rows * width` values, row-major, in `out`.
   */
  score(columns: Float32Array, stride: number, rows: number, out: Float32Array): void;
}

export interface CompiledTrees extends OpenTrees {
  readonly kind: 'compiled';
  readonly image: TreesImage;
  /** For the parity gate: its thresholds make the edge rows. */
  readonly ensemble: TreeEnsemble;
}

export type TreeCompilation = CompiledTrees | { readonly kind: 'fallback'; readonly reason: string };

/** Compiles what computes `output` (a graph output's name). The model's ZipMap nodes may be there or stripped. */
export function compileTrees(
  model: Uint8Array | Omit<OnnxModel, 'bytes'>,
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
  const { suffix, features: source } = partition;
  const image = { source, scorer: compiled.image, suffix };
  return { kind: 'compiled', ...scoring(image, compiled.scorer), image, ensemble };
}

export function openTrees(image: TreesImage): OpenTrees {
  return scoring(image, openScorer(image.scorer));
}

function scoring({ source, suffix }: TreesImage, scorer: TreeScorer): OpenTrees {
  return {
    source,
    features: scorer.features,
    width: scorer.width,
    kernels: scorer.kernels,
    score(columns, stride, rows, out) {
      scorer.score(columns, stride, rows, out);
      for (const step of suffix) applyStep(step, out, rows, scorer.width);
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
