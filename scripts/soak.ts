/**
 * `npm run soak -- --minutes N [--seed S] [--parallel P]`: scoring jobs in real processes, disturbed in ways drawn by the
 * seed until the time is over; after each the table must hold exactly the rows of an undisturbed run. The first failure is
 * told with its seed and ends the soak. The last line is the verdict; exit code 0 for PASS, 1 for FAIL, 2 for bad options.
 */
import { parseArgs } from 'node:util';
import { type Disturbance, disturbances } from '../test/faults/support/disturbances.ts';
import { openLab } from '../test/faults/support/lab.ts';
import { randomOf } from '../test/support/fault-proxy.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seed: { type: 'string', default: '1' },
    parallel: { type: 'string', default: '2' },
  },
});
const minutes = positive('minutes', values.minutes ?? '');
const seed = positive('seed', values.seed);
const parallel = positive('parallel', values.parallel);

const print = (line: string) => process.stdout.write(`${line}\n`);
const counts = new Map<string, number>();
const failures: string[] = [];
const bag: Disturbance[] = [];
const random = randomOf(seed);
const lab = await openLab();
const started = Date.now();
const end = started + minutes * 60_000;
let next = seed;
try {
  await Promise.all(Array.from({ length: parallel }, () => disturbUntilTheEnd()));
} finally {
  await lab.close();
}

const jobs = [...counts.values()].reduce((sum, count) => sum + count, 0);
for (const [name, count] of [...counts].sort()) print(`${String(count).padStart(6)}  ${name}`);
const isPassed = failures.length === 0 && jobs > 0;
const spent = ((Date.now() - started) / 60_000).toFixed(1);
print(
  `${isPassed ? 'PASS' : 'FAIL'}: ${jobs} disturbances, ${failures.length} failures, ${spent} minutes, seed ${seed}`,
);
process.exit(isPassed ? 0 : 1);

async function disturbUntilTheEnd(): Promise<void> {
  while (Date.now() < end && failures.length === 0) {
    const { name, run } = drawn();
    const own = next;
    next += 1;
    const began = Date.now();
    try {
      await run(lab, own);
      counts.set(name, (counts.get(name) ?? 0) + 1);
      print(`ok      seed ${own}, ${((Date.now() - began) / 1000).toFixed(0)} s: ${name}`);
    } catch (error) {
      failures.push(name);
      print(`FAILED  seed ${own}: ${name}\n${error instanceof Error ? error.stack : String(error)}`);
    }
  }
}

/** Every kind comes before any comes again, in an order of the seed's. */
function drawn(): Disturbance {
  if (bag.length === 0) bag.push(...disturbances);
  const [one] = bag.splice(Math.floor(random() * bag.length), 1);
  return one!;
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (value > 0) return value;
  process.stderr.write(`--${option}: expected a number above 0, found ${JSON.stringify(text)}\n`);
  process.exit(2);
}
