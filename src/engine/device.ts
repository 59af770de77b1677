/**
 * The GPU of `score.device`. ONNX Runtime lists providers it was built for whether their libraries are there or not, so
 * loading the model is the only proof. Nothing falls back in silence: whoever scores on the CPU instead says why.
 */
import { EngineFault } from './fault.ts';
import { listProviders, OnnxSession } from './onnx-session.ts';

const GPU = 'cuda';

export type GpuSession =
  | { readonly kind: 'open'; readonly session: OnnxSession }
  | { readonly kind: 'absent'; readonly reason: string };

/** The model on the GPU, or why that cannot be. */
export function openOnGpu(bytes: Uint8Array): GpuSession {
  try {
    return { kind: 'open', session: OnnxSession.load(bytes, GPU, { executionProviders: [GPU] }) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { kind: 'absent', reason: `no GPU provider is available; found ${describeProviders()}; ${why}` };
  }
}

/** @throws EngineFault `device` when the model cannot be served by the GPU. */
export function demandGpu(bytes: Uint8Array, label: string): OnnxSession {
  const gpu = openOnGpu(bytes);
  if (gpu.kind === 'open') return gpu.session;
  throw new EngineFault(
    'device',
    `${label}: score.device is require and wants the provider ${GPU}, but ${gpu.reason}; ` +
      `docs/how-to/gpu.md says how to install it, and device: prefer scores on the CPU where it is missing`,
    { label, wanted: GPU, found: listProviders() },
  );
}

/**
 * CUDA has one operator of classic machine learning, LabelEncoder; ONNX Runtime runs the others on the CPU without a word.
 * @throws EngineFault `device` that names them.
 */
export function assertGpuHasOperators(
  nodes: readonly { readonly domain: string; readonly opType: string }[],
  label: string,
): void {
  const lacking = nodes.filter(({ domain, opType }) => domain === 'ai.onnx.ml' && opType !== 'LabelEncoder');
  if (lacking.length === 0) return;
  const operators = [...new Set(lacking.map(({ opType }) => opType))];
  throw new EngineFault(
    'device',
    `${label}: score.device is require, but the provider ${GPU} has no ${operators.join(', ')}, which would run on the CPU; ` +
      `use device: prefer or off for this model (docs/how-to/gpu.md)`,
    { label, wanted: GPU, operators },
  );
}

function describeProviders(): string {
  return listProviders()
    .map(({ name, bundled }) => (bundled ? name : `${name} (only with its own libraries)`))
    .join(', ');
}
