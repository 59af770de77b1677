/**
 * `npm run simulate -- --seeds N [--from S] [--schedule call:fault,…]`: N simulated histories of commits, zombies, resets, backfills,
 * collectors and readers on a failing store, seeds S to S+N−1, every invariant checked after every change. The last line is
 * the verdict.
 */
import { parseArgs } from 'node:util';
import { replayLine, runSeeds } from '../test/simulation/run-seeds.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3000' },
    from: { type: 'string', default: '1' },
    schedule: { type: 'string' },
  },
});
const report = await runSeeds({
  from: Number(values.from),
  count: Number(values.seeds),
  ...(values.schedule === undefined ? {} : { schedule: values.schedule }),
  progress: line => process.stderr.write(`${line}\n`),
});
for (const [name, count] of Object.entries(report.counters).sort())
  process.stdout.write(`${String(count).padStart(10)}  ${name}\n`);
for (const failure of report.failures)
  process.stdout.write(`seed ${failure.seed}: ${failure.violation}\n  ${replayLine(failure)}\n`);
const verdict = report.failures.length === 0 ? 'PASS' : 'FAIL';
process.stdout.write(
  `${verdict}: ${report.seeds} seeds, ${report.failures.length} violations, ${report.calls} calls, ${report.faults} faults, ${report.seconds.toFixed(1)} s\n`,
);
process.exitCode = report.failures.length === 0 ? 0 : 1;
