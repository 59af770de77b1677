/** Runs a range of seeds, sums what was reached, and shrinks what failed to the fewest faults that still fail. */
import { type FaultKind, faultKinds } from './faulty-store.ts';
import { type Implementation, production } from './implementation.ts';
import { type Scenario, simulate } from './world.ts';

export interface SeedFailure {
  readonly seed: number;
  readonly violation: string;
  readonly schedule: ReadonlyMap<number, FaultKind>;
}
export interface SeedsReport {
  readonly seeds: number;
  readonly calls: number;
  readonly faults: number;
  readonly seconds: number;
  readonly counters: Readonly<Record<string, number>>;
  readonly failures: readonly SeedFailure[];
}

/** Share of failing calls; half the seeds run with few faults, so that deep histories are reached as well. */
export function scenarioOf(seed: number): Scenario {
  return { seed, faultShare: seed % 2 === 0 ? 0.04 : 0.12 };
}

export async function runSeeds(request: {
  readonly from: number;
  readonly count: number;
  readonly implementation?: Implementation;
  readonly schedule?: string;
  readonly failuresMax?: number;
  /** Default true. Takes a run for every fault of the failed history. */
  readonly shrink?: boolean;
  readonly progress?: (line: string) => void;
}): Promise<SeedsReport> {
  const { from, count, implementation = production, failuresMax = 3, shrink = true } = request;
  const started = performance.now();
  const counters: Record<string, number> = {};
  const failures: SeedFailure[] = [];
  let [calls, faults, seeds] = [0, 0, 0];
  for (let seed = from; seed < from + count && failures.length < failuresMax; seed += 1) {
    const scenario = scenarioOf(seed);
    const outcome = await simulate(
      implementation,
      request.schedule === undefined ? scenario : { ...scenario, schedule: parseSchedule(request.schedule) },
    );
    seeds += 1;
    calls += outcome.calls;
    faults += outcome.faults.size;
    for (const [name, times] of Object.entries(outcome.counters)) counters[name] = (counters[name] ?? 0) + times;
    if (outcome.violation !== null) {
      const failure = { seed, violation: outcome.violation, schedule: outcome.faults };
      failures.push(shrink ? await shrunk(implementation, scenario, failure) : failure);
    }
    if (seeds % 10_000 === 0) request.progress?.(`${seeds} seeds, ${failures.length} violations`);
  }
  return { seeds, calls, faults, counters, failures, seconds: (performance.now() - started) / 1000 };
}

/** Leaves out one fault after the other as long as some invariant still breaks. */
async function shrunk(implementation: Implementation, scenario: Scenario, failure: SeedFailure): Promise<SeedFailure> {
  let smallest = failure;
  for (const call of [...failure.schedule.keys()].reverse()) {
    const schedule = new Map(smallest.schedule);
    schedule.delete(call);
    const outcome = await simulate(implementation, { ...scenario, schedule });
    if (outcome.violation !== null) smallest = { ...smallest, violation: outcome.violation, schedule: outcome.faults };
  }
  return smallest;
}

export function replayLine(failure: SeedFailure): string {
  const schedule = [...failure.schedule].map(([call, fault]) => `${call}:${fault}`).join(',');
  return `replay: npm run simulate -- --seeds 1 --from ${failure.seed} --schedule '${schedule}'`;
}

function parseSchedule(text: string): ReadonlyMap<number, FaultKind> {
  const pairs = text.split(',').filter(pair => pair !== '');
  return new Map(
    pairs.map(pair => {
      const [call, name] = pair.split(':');
      const fault = faultKinds.find(kind => kind === name);
      if (fault === undefined) throw new Error(`unknown fault ${name}; there are: ${faultKinds.join(', ')}`);
      return [Number(call), fault];
    }),
  );
}
