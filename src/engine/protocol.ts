/** Messages between the pool and an engine child. They are small; rows travel in files. */
import type { FaultDocument } from './fault.ts';
import type { Progress, Verb } from './verbs.ts';

export interface JobMessage {
  readonly type: 'job';
  readonly id: number;
  readonly verb: Verb;
  readonly job: unknown;
  readonly scratch: string;
  /** Folder of compiled trees, shared by the children of the pool. */
  readonly kernels: string;
  readonly memoryMb: number;
}

/** Load what a verb needs; there is no answer. */
export interface WarmMessage {
  readonly type: 'warm';
  readonly verb: Verb;
}

export type ParentMessage = JobMessage | WarmMessage;

/** Of the whole child since its start. */
export interface ChildUsage {
  readonly rssMb: number;
  readonly peakRssMb: number;
  readonly cpuSeconds: number;
}

export type ChildMessage =
  | { readonly type: 'progress'; readonly id: number; readonly progress: Progress }
  | { readonly type: 'done'; readonly id: number; readonly output: unknown; readonly usage: ChildUsage }
  | { readonly type: 'fault'; readonly id: number; readonly fault: FaultDocument; readonly usage: ChildUsage };
