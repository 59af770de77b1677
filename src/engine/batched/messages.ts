/** What travels between batch sessions and the thread that runs them. Buffers are handed over, never copied. */
import type { TensorType } from '../../domain/signature.ts';
import type { FaultDocument } from '../fault.ts';
import type { OnnxTensor, TensorData } from '../onnx-session.ts';
import type { Placement } from './placement.ts';
import type { TriedBatch } from './tune.ts';

/** One input of the graph: `width` columns of a type, row after row. */
export interface FeedSpec {
  readonly name: string;
  readonly type: TensorType;
  readonly width: number;
  /** 1 for inputs of shape [N]. */
  readonly rank: number;
}

export interface BatchModel {
  readonly model: Uint8Array;
  readonly label: string;
  /** ONNX Runtime's short name: `cpu`, `cuda`, `webgpu`. */
  readonly provider: string;
  readonly feeds: readonly FeedSpec[];
  readonly output: string;
  /** A path to which the thread may add an ending: where ONNX Runtime leaves its profile. */
  readonly profilePrefix: string;
  /** The batch, or candidates to choose from by a sweep. */
  readonly batchRows: number | { readonly candidates: readonly number[] };
}

/** `run`: one batch; `data` has `rows × width` values per feed, in the order of the specs. */
export type ToThread = { readonly session: number } & (
  | { readonly type: 'open'; readonly model: BatchModel }
  | { readonly type: 'run'; readonly rows: number; readonly data: readonly TensorData[] }
  | { readonly type: 'close' }
);

export interface Opened {
  readonly batchRows: number;
  readonly tried: readonly TriedBatch[];
  readonly placement: Placement;
}

/** Answers of a session come in the order of its batches; `data` are the batch's own buffers, to be filled again. */
export type FromThread = { readonly session: number } & (
  | ({ readonly type: 'opened' } & Opened)
  | { readonly type: 'ran'; readonly output: Pick<OnnxTensor, 'data' | 'dims'>; readonly data: readonly TensorData[] }
  | { readonly type: 'fault'; readonly fault: FaultDocument }
);

/** What is handed over with the message; texts are copied. */
export function buffersOf(data: TensorData): readonly ArrayBuffer[] {
  return 'buffer' in data && data.buffer instanceof ArrayBuffer ? [data.buffer] : [];
}
