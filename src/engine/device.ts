/**
 * The GPU of `score.device`. ONNX Runtime lists providers it was built for whether their libraries are there or not, so
 * loading the model and running it is the only proof. Nothing falls back in silence: whoever scores on the CPU instead
 * says why.
 */
import type { BatchModel } from './batched/messages.ts';
import { BatchSession } from './batched/session.ts';
import { batchCandidates } from './batched/tune.ts';
import { EngineFault } from './fault.ts';
import type { GpuProvider } from './job.ts';
import { listProviders } from './onnx-session.ts';

export type GpuSession =
  | { readonly kind: 'open'; readonly session: BatchSession }
  | { readonly kind: 'absent'; readonly reason: string };

export type GpuModel = Omit<BatchModel, 'provider' | 'batchRows'> & {
  readonly provider: GpuProvider;
  /** Of the job: 2,048 unless it was halved after running out of memory, or asked for otherwise. */
  readonly batchRows: number;
};

/** The largest batch of the sweep, in batches of the job: 131,072 rows by default, half of it after an out-of-memory. */
const SWEEP_BATCHES = 64;
/** Inputs of a batch at most, so that three of them under way stay far below the memory of a child. */
const BATCH_BYTES_MAX = 32 * 2 ** 20;

/** The model on the GPU with its best batch, or why that cannot be. */
export async function openOnGpu(model: GpuModel): Promise<GpuSession> {
  try {
    const session = await BatchSession.open({ ...model, batchRows: { candidates: candidatesOf(model) } });
    return { kind: 'open', session };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return {
      kind: 'absent',
      reason: `the provider ${model.provider} does not serve it (found ${describeProviders()}): ${why}`,
    };
  }
}

/** @throws EngineFault `device` when the model cannot be served by the GPU. */
export async function demandGpu(model: GpuModel): Promise<BatchSession> {
  const gpu = await openOnGpu(model);
  if (gpu.kind === 'open') return gpu.session;
  const { label, provider } = model;
  throw new EngineFault(
    'device',
    `${label}: score.device is require, but ${gpu.reason}; ` +
      `almanac doctor gpu says what is missing, and device: prefer scores on the CPU where it is`,
    { label, wanted: provider, found: listProviders() },
  );
}

/**
 * GPU providers have one operator of classic machine learning at most (CUDA has LabelEncoder); ONNX Runtime runs the others
 * on the CPU without a word.
 * @throws EngineFault `device` that names them.
 */
export function assertGpuHasOperators(
  nodes: readonly { readonly domain: string; readonly opType: string }[],
  label: string,
  provider: GpuProvider,
): void {
  const lacking = nodes.filter(({ domain, opType }) => domain === 'ai.onnx.ml' && opType !== 'LabelEncoder');
  if (lacking.length === 0) return;
  const operators = [...new Set(lacking.map(({ opType }) => opType))];
  throw new EngineFault(
    'device',
    `${label}: score.device is require, but the provider ${provider} has no ${operators.join(', ')}, which would run on the ` +
      `CPU; use device: prefer or off for this model (docs/how-to/gpu.md)`,
    { label, wanted: provider, operators },
  );
}

function candidatesOf({ feeds, batchRows }: GpuModel): readonly number[] {
  const rowBytes = feeds.reduce((sum, { type, width }) => sum + width * (BYTES[type] ?? 16), 0);
  const rowsMax = Math.min(SWEEP_BATCHES * batchRows, Math.floor(BATCH_BYTES_MAX / Math.max(1, rowBytes)));
  return batchCandidates(batchRows, Math.max(1, rowsMax));
}

const BYTES: Readonly<Record<string, number>> = { float32: 4, float64: 8, int32: 4, int64: 8, bool: 1 };

function describeProviders(): string {
  return listProviders()
    .map(({ name, bundled }) => (bundled ? name : `${name} (only with its own libraries)`))
    .join(', ');
}
