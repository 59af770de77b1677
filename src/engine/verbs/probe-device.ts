/** Runs one row of a one-node model on an execution provider: the only proof that it works. */
import { gemmBlock, joinBlocks } from '../../onnx/blocks.ts';
import { buildModel, buildValue } from '../../onnx/build.ts';
import { listProviders, OnnxSession } from '../onnx-session.ts';

export interface ProbeDeviceJob {
  readonly provider: string;
}

export interface ProbedDevice {
  readonly works: boolean;
  /** ONNX Runtime's words when it does not. */
  readonly problem: string | null;
  readonly providers: readonly { readonly name: string; readonly bundled: boolean }[];
}

export async function run({ provider }: ProbeDeviceJob): Promise<ProbedDevice> {
  const providers = listProviders();
  try {
    const session = OnnxSession.load(oneNode(), provider, { executionProviders: [provider] });
    const x = session.tensor('float32', Float32Array.of(2, 3), [1, 2]);
    const y = session.run({ x }, ['y'])['y']?.data[0];
    session.close();
    const works = y === 24;
    return { works, problem: works ? null : `2 · 10 + 3 + 1 gave ${String(y)}, not 24`, providers };
  } catch (error) {
    return { works: false, problem: error instanceof Error ? error.message : String(error), providers };
  }
}

/** y = 10 a + b + 1. */
function oneNode(): Uint8Array {
  return buildModel({
    ...joinBlocks([gemmBlock({ input: 'x', output: 'y', weights: [10, 1], bias: [1] })]),
    inputs: [buildValue('x', 'float32', ['N', 2])],
    outputs: [buildValue('y', 'float32', ['N', 1])],
  });
}
