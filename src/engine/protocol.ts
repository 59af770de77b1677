/** Messages between the pool and an engine child. They are small; rows travel in files. */
import type { FaultDocument } from './fault.ts';
import type { Progress, Verb } from './verbs.ts';

export interface JobMessage {
  readonly type: 'job';
  readonly id: number;
  readonly verb: Verb;
  readonly job: unknown;
  readonly scratch: string;
  readonly memoryMb: number;
}

export type ChildMessage =
  | { readonly type: 'progress'; readonly id: number; readonly progress: Progress }
  | { readonly type: 'done'; readonly id: number; readonly output: unknown; readonly rssMb: number }
  | { readonly type: 'fault'; readonly id: number; readonly fault: FaultDocument; readonly rssMb: number };
