/** A range of seeds split over child processes: small ranges go to whoever is free, so that all end together. */
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { SeedFailure, SeedsReport } from './run-seeds.ts';

const program = fileURLToPath(new URL('seeds-process.ts', import.meta.url));
const seedsPerRange = 25;

/** Ends early once `failuresMax` seeds have failed. Throws when a child process ends before its report. */
export async function runSeedsInParallel(request: {
  readonly from: number;
  readonly count: number;
  readonly processes?: number;
  readonly failuresMax?: number;
  readonly progress?: (line: string) => void;
}): Promise<SeedsReport> {
  const { from, count, processes = availableParallelism(), failuresMax = 3 } = request;
  const started = performance.now();
  const counters: Record<string, number> = {};
  const failures: SeedFailure[] = [];
  let [calls, faults, seeds, next] = [0, 0, 0, from];

  const work = async (child: ChildProcess): Promise<void> => {
    while (next < from + count && failures.length < failuresMax) {
      const range = { from: next, count: Math.min(seedsPerRange, from + count - next), failuresMax };
      next += range.count;
      const report = await ask(child, range);
      calls += report.calls;
      faults += report.faults;
      for (const [name, times] of Object.entries(report.counters)) counters[name] = (counters[name] ?? 0) + times;
      failures.push(...report.failures);
      const before = seeds;
      seeds += report.seeds;
      if (Math.floor(seeds / 10_000) > Math.floor(before / 10_000))
        request.progress?.(`${seeds} seeds, ${failures.length} violations`);
    }
  };

  const ranges = Math.ceil(count / seedsPerRange);
  // Maps of faults come back as maps.
  const options = { execArgv: ['--import', 'tsx'], serialization: 'advanced' as const };
  const children = Array.from({ length: Math.min(processes, ranges) }, () => fork(program, [], options));
  try {
    await Promise.all(children.map(work));
  } finally {
    for (const child of children) child.kill();
  }
  failures.sort((left, right) => left.seed - right.seed);
  return { seeds, calls, faults, counters, failures, seconds: (performance.now() - started) / 1000 };
}

function ask(child: ChildProcess, range: { from: number; count: number; failuresMax: number }): Promise<SeedsReport> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null, signal: string | null) =>
      reject(new Error(`the process with seeds from ${range.from} ended with ${code ?? signal} before its report`));
    child.once('exit', ended);
    child.once('message', report => {
      child.off('exit', ended);
      // The program at the other end is `seeds-process.ts`, from these same sources.
      resolve(report as SeedsReport);
    });
    child.send(range);
  });
}
