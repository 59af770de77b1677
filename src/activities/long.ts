/** Work that takes longer than a moment: beats from this process's own event loop, and stops when it is cancelled. */
import { Context } from '@temporalio/activity';

export interface WorkProgress {
  readonly rows?: number;
  /** Per second. */
  readonly rate?: number;
  readonly done?: number;
  readonly total?: number | null;
  readonly unit?: string;
  /** Where a next attempt can go on. */
  readonly resume?: unknown;
}

export interface Work {
  readonly signal: AbortSignal;
  /** Number of this attempt, from 1. */
  readonly attempt: number;
  /** What the attempt before last reported; null in the first. */
  readonly former: WorkProgress | null;
  report(progress: WorkProgress): void;
}

/** A fifth of the shortest heartbeat timeout (15 s). */
const beatMs = 3_000;

export async function beating<Result>(work: (work: Work) => Promise<Result>): Promise<Result> {
  const context = Context.current();
  const former: WorkProgress | null = context.info.heartbeatDetails ?? null;
  let progress: WorkProgress | null = former;
  const beat = () => context.heartbeat(progress);
  beat();
  const timer = setInterval(beat, beatMs);
  try {
    return await work({
      signal: context.cancellationSignal,
      attempt: context.info.attempt,
      former,
      report: next => {
        progress = next;
      },
    });
  } finally {
    clearInterval(timer);
  }
}
