/**
 * From the file of a model to what runs it: compiled trees where they may, otherwise ONNX Runtime on the CPU, on a GPU, or on
 * a thread of its own.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ScorerComparison, ScorerRecord } from '../domain/model-version.ts';
import type { Signature } from '../domain/signature.ts';
import { type CodedTexts, codeTexts } from '../onnx/coded-texts.ts';
import type { GraphProto } from '../onnx/generated/onnx_pb.ts';
import { modelInputs, type OnnxModel, readModel, summarizeTensor } from '../onnx/read.ts';
import type { FeedSpec } from './batched/messages.ts';
import { BatchSession } from './batched/session.ts';
import { callRows } from './call-rows.ts';
import { columnMajorModel } from './column-major.ts';
import { assertGpuHasOperators, demandGpu, type GpuModel, openOnGpu } from './device.ts';
import { EngineFault } from './fault.ts';
import type { GpuProvider, ScoreChunkJob, ScorerUsed } from './job.ts';
import { type KernelFile, KernelStore } from './kernel-file.ts';
import { cachedModel } from './model-cache.ts';
import { LazySession, OnnxSession } from './onnx-session.ts';
import { predictionOutput } from './predictions.ts';
import type { Layout } from './tensors.ts';
import { type LoadedTrees, loadTrees, recordFor, reopenTrees } from './tree-scorer.ts';

/** What decides how a model is loaded, whoever scores with it. */
export interface ModelOptions {
  readonly onnx: string;
  /** What is in the file, where the caller has read it. */
  readonly model?: OnnxModel;
  readonly signature: Signature;
  /** The most rows that are scored at once. */
  readonly rowsMax: number;
  /** Rows per call that the job asks for; more than `rowsMax` need a thread of their own. */
  readonly batchRows: number;
  readonly scorer: 'auto' | 'onnxruntime';
  /** Of the version; see `ModelToScore`. */
  readonly recorded?: ScorerRecord | undefined;
  readonly device: ScoreChunkJob['device'];
  readonly provider: GpuProvider;
  readonly scratch: string;
  /** Folder of compiled trees that children share; without it nothing is kept. */
  readonly kernels?: string | undefined;
}

export type ScorerFolders = Pick<ModelOptions, 'scratch' | 'kernels'>;

export interface LoadedSession {
  readonly kind: 'session';
  readonly session: OnnxSession;
  readonly layout: Layout;
  /** Rows per call that suit the model, at most; null where any number does. */
  readonly callRows: number | null;
  /** Vocabulary of the codes that the session takes for texts, or null. */
  readonly texts: readonly string[] | null;
  readonly providers: ScorerUsed['providers'];
  /** Why ONNX Runtime serves the model, and the comparison that decided it, if there was one. */
  readonly reason: string;
  readonly compared: ScorerComparison | null;
  close(): void;
}

/** A model on a thread of its own. */
export interface LoadedBatches {
  readonly kind: 'batches';
  readonly session: BatchSession;
  readonly reason: string;
  close(): void;
}

/** Compiles the trees of a model and compares them, so that the children of the pool find them. */
export async function compileAhead(
  { onnx, model, signature }: { readonly onnx: string; readonly model: OnnxModel; readonly signature: Signature },
  { scratch, kernels }: ScorerFolders,
): Promise<void> {
  const rows = 2_048;
  const where = { device: 'off', provider: 'cuda', scratch, kernels } as const;
  const options = { onnx, model, signature, scorer: 'auto', ...where } as const;
  await openModel({ ...options, rowsMax: rows, batchRows: rows }, `the model ${onnx}`);
}

/** Loads a model, or gives it as it was loaded for another chunk. */
export function openModel(options: ModelOptions, label: string): ReturnType<typeof loadModel> {
  const { scorer, device, provider, batchRows } = options;
  const form = `${scorer} ${JSON.stringify(recordFor(options.recorded))} ${device} ${provider} ${batchRows}`;
  return cachedModel(options.onnx, form, () => loadModel(options, label));
}

/**
 * Compiled trees where they may; otherwise the model on a GPU where one is wanted and there, or on the CPU as it is or,
 * where it can, changed to take columns.
 */
async function loadModel(options: ModelOptions, label: string): Promise<LoadedTrees | LoadedSession | LoadedBatches> {
  const { onnx, signature, scorer, device, provider, kernels } = options;
  const bytes = options.model?.bytes ?? (await readFile(onnx));
  const store = kernels === undefined ? null : new KernelStore(kernels, bytes, signature);
  const keep = async (file: KernelFile) => store?.write(file);
  const recorded = recordFor(options.recorded);
  const maySkipRuntime = scorer === 'auto' && recorded?.scorer !== 'onnxruntime';
  const session = new LazySession(() => OnnxSession.load(bytes, label));
  if (maySkipRuntime && device !== 'require') {
    const kept = (await store?.read()) ?? null;
    if (kept !== null) return reopenTrees(kept, { reference: session, keep, recorded });
  }
  const model = options.model ?? parsed(bytes, label);
  const { graph } = model;
  assertSignature(graph, signature, label);
  if (device === 'require') {
    assertGpuHasOperators(graph.node, label, provider);
    return batchesOf(await demandGpu(gpuModel(options, bytes, label)), `on ${provider}, as required`);
  }
  const coded = scorer === 'auto' && signature.inputs.some(({ type }) => type === 'string') ? codeTexts(model) : null;
  const trees = maySkipRuntime
    ? await loadTrees(coded?.model ?? model, signature, {
        texts: coded?.vocabulary ?? null,
        reference: session,
        output: predictionOutput(signature, label).name,
        keep,
        recorded,
      })
    : ({ kind: 'fallback', ...runtimeByChoice(scorer, recorded) } as const);
  if (trees.kind === 'trees') return trees;

  const gpu = device === 'prefer' ? await openOnGpu(gpuModel(options, bytes, label)) : null;
  if (gpu?.kind === 'open') {
    session.close();
    return batchesOf(gpu.session, `${trees.reason}; on ${provider}, operators it lacks on the CPU`);
  }
  const reason = gpu === null ? trees.reason : `${trees.reason}; on the CPU: ${gpu.reason}`;
  if (options.batchRows > options.rowsMax) {
    session.close();
    const model = { ...gpuModel(options, bytes, label), provider: 'cpu' };
    return batchesOf(await BatchSession.open(model), `${reason}; in batches larger than a vector`);
  }
  const providers = { CPUExecutionProvider: graph.node.length };
  const facts = { providers, reason, compared: trees.compared ?? null, callRows: callRows(graph) };
  const changed = scorer === 'onnxruntime' ? null : cheaperToFeed(bytes, coded);
  if (changed === null) return sessionOf(session.get(), { layout: 'rows', texts: null }, facts);
  session.close();
  return sessionOf(OnnxSession.load(changed.bytes, label), changed, facts);
}

/** How a session wants its inputs. */
type Feeding = Pick<LoadedSession, 'layout' | 'texts'>;

/** The model changed to take what comes cheaply out of DuckDB: codes for texts, or columns for rows. */
function cheaperToFeed(bytes: Uint8Array, coded: CodedTexts | null): ({ bytes: Uint8Array } & Feeding) | null {
  if (coded !== null) {
    return coded.bytes === null ? null : { bytes: coded.bytes, layout: 'rows', texts: coded.vocabulary };
  }
  const columns = columnMajorModel(bytes);
  return columns === null ? null : { bytes: columns, layout: 'columns', texts: null };
}

/** Why ONNX Runtime serves a model whose trees are not even compiled. */
function runtimeByChoice(scorer: ModelOptions['scorer'], recorded: ScorerRecord | null) {
  if (scorer === 'onnxruntime' || recorded === null) return { reason: 'demanded' };
  return { reason: `recorded at registration: ${recorded.reason}`, compared: recorded.compared };
}

function gpuModel(options: ModelOptions, model: Uint8Array, label: string): GpuModel {
  const { signature, provider, batchRows, scratch } = options;
  return {
    model,
    label,
    provider,
    feeds: feedSpecs(signature),
    output: predictionOutput(signature, label).name,
    profilePrefix: join(scratch, `placement-${randomUUID()}`),
    batchRows,
  };
}

export function feedSpecs(signature: Signature): readonly FeedSpec[] {
  return signature.inputs.map(({ name, type, rank, columns }) => ({ name, type, rank, width: columns.length }));
}

function batchesOf(session: BatchSession, reason: string): LoadedBatches {
  return { kind: 'batches', session, reason, close: () => session.close() };
}

function sessionOf(
  session: OnnxSession,
  { layout, texts }: Feeding,
  facts: Pick<LoadedSession, 'providers' | 'reason' | 'compared' | 'callRows'>,
): LoadedSession {
  return { kind: 'session', session, layout, texts, ...facts, close: () => session.close() };
}

function parsed(bytes: Uint8Array, label: string): OnnxModel {
  try {
    return readModel(bytes);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new EngineFault('bad_model', `${label}: ${message}`, { label }, { cause: error });
  }
}

/** The graph must have exactly the declared inputs, with their types and widths, and the declared outputs. */
function assertSignature(graph: GraphProto, signature: Signature, label: string): void {
  const problems: string[] = [];
  const inputs = modelInputs(graph).map(summarizeTensor);
  const outputs = graph.output.map(output => output.name);
  for (const input of signature.inputs) {
    const actual = inputs.find(candidate => candidate.name === input.name);
    if (actual === undefined) {
      problems.push(`it has no input ${input.name} (its inputs: ${inputs.map(({ name }) => name).join(', ')})`);
      continue;
    }
    const width = actual.dims === null || actual.dims.length > 1 ? actual.dims?.[1] : 1;
    if (actual.type !== input.type) problems.push(`input ${input.name} is ${actual.type}, declared is ${input.type}`);
    if (typeof width === 'number' && width >= 0 && width !== input.columns.length) {
      problems.push(`input ${input.name} takes ${width} columns, declared are ${input.columns.length}`);
    }
  }
  for (const { name } of inputs) {
    if (!signature.inputs.some(input => input.name === name)) problems.push(`input ${name} is not declared`);
  }
  for (const { name } of signature.outputs) {
    if (!outputs.includes(name)) problems.push(`it has no output ${name} (its outputs: ${outputs.join(', ')})`);
  }
  if (problems.length > 0) {
    throw new EngineFault('bad_model', `${label} does not fit its signature: ${problems.join('; ')}`, {
      label,
      problems,
    });
  }
}
