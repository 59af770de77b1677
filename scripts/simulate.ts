/**
 * `npm run simulate -- --seeds N [--from S] [--processes P] [--schedule call:fault,…]`: N simulated histories of commits and promotions,
 * zombies, resets, backfills, collectors and readers on a failing store, seeds S to S+N−1, every invariant checked after
 * every change, on all cores. Fails as well when a run of 200 seeds or more never reached a state of interest. A schedule
 * replays one failure: faults at these calls and at no others. The last line is the verdict.
 */
import { parseArgs } from 'node:util';
import { runSeedsInParallel } from '../test/simulation/parallel-seeds.ts';
import { seedsThatReachAll, unreached } from '../test/simulation/reachability.ts';
import { replayLine, runSeeds } from '../test/simulation/run-seeds.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3000' },
    from: { type: 'string', default: '1' },
    processes: { type: 'string' },
    schedule: { type: 'string' },
  },
});
const range = { from: wholeNumber('from', values.from), count: wholeNumber('seeds', values.seeds) };
const report =
  values.schedule !== undefined
    ? await runSeeds({ ...range, schedule: values.schedule })
    : await runSeedsInParallel({
        ...range,
        ...(values.processes === undefined ? {} : { processes: wholeNumber('processes', values.processes) }),
        progress: line => process.stderr.write(`${line}\n`),
      });

const print = (line: string) => process.stdout.write(`${line}\n`);
for (const [name, count] of Object.entries(report.counters).sort()) print(`${String(count).padStart(10)}  ${name}`);
const missed = report.seeds >= seedsThatReachAll ? unreached(report.counters) : [];
for (const state of missed) print(`never reached: ${state}`);
for (const failure of report.failures) print(`seed ${failure.seed}: ${failure.violation}\n  ${replayLine(failure)}`);
const isPassed = report.failures.length === 0 && missed.length === 0;
const { seeds, calls, faults, seconds } = report;
const counts = [
  `${seeds} seeds`,
  `${report.failures.length} violations`,
  `${missed.length} states never reached`,
  `${calls} calls`,
  `${faults} faults`,
  `${seconds.toFixed(1)} s`,
];
print(`${isPassed ? 'PASS' : 'FAIL'}: ${counts.join(', ')}`);
process.exitCode = isPassed ? 0 : 1;

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1) return value;
  process.stderr.write(`--${option}: expected a whole number from 1, found ${text}\n`);
  process.exit(2);
}
