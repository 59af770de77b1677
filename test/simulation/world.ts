/**
 * One simulated history, drawn from a seed: scoring workflows with attempts that time out and live on as zombies, resets,
 * backfills, collectors and readers, all interleaved call by call over a store that fails. The production code runs
 * unchanged; only its three ports are ours.
 */

import type { RetentionPolicy } from '../../src/storage/collector.ts';
import { sha256 } from '../../src/storage/digest.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import type { StoragePorts } from '../../src/storage/ports.ts';
import { Crash, type FaultKind, FaultWorld, faultKinds } from './faulty-store.ts';
import type { Implementation } from './implementation.ts';
import { Oracle, Violation } from './oracle.ts';

export interface Scenario {
  readonly seed: number;
  /** Share of calls that fail while faults are on. */
  readonly faultShare: number;
  /** Faults at these calls instead of drawn ones: for exhaustive runs and for replays. */
  readonly schedule?: ReadonlyMap<number, FaultKind>;
  /** One workflow, no other actors. */
  readonly isHappy?: boolean;
}

export interface Outcome {
  readonly calls: number;
  readonly faults: ReadonlyMap<number, FaultKind>;
  readonly counters: Readonly<Record<string, number>>;
  /** Null when every invariant held. */
  readonly violation: string | null;
}

const root = 'predictions/simulated';
const chunks = 2;
const columns = [{ name: 'id', type: 'string' as const }];
/** The collector of every other pair of seeds gives jobs up while they are about to commit. */
function retentionOf(seed: number): RetentionPolicy {
  return { undecidedMs: seed % 4 < 2 ? 400 : 100, supersededMs: 300, minGenerations: 1 };
}
/** Faults stop after so many calls; then everything must end within the bound. */
const faultyCalls = 900;
const callsMax = 60_000;
/** So many turns in a row with nobody to wake mean that the actors wait for one another. */
const idleTurnsMax = 100;

export async function simulate(implementation: Implementation, scenario: Scenario): Promise<Outcome> {
  const world = new SimulatedWorld(implementation, scenario);
  let violation: string | null = null;
  try {
    await world.run();
  } catch (error) {
    violation =
      error instanceof Violation ? error.message : `unexpected: ${error instanceof Error ? error.stack : error}`;
  }
  return { calls: world.faults.calls, faults: world.injected, counters: world.faults.counters, violation };
}

class SimulatedWorld {
  readonly faults: FaultWorld;
  readonly injected = new Map<number, FaultKind>();
  readonly #implementation: Implementation;
  readonly #scenario: Scenario;
  readonly #random: () => number;
  readonly #retention: RetentionPolicy;
  readonly #objects = new Map<string, string>();
  readonly #oracle: Oracle;
  readonly #waiting: (() => void)[] = [];
  readonly #running = new Set<Promise<void>>();
  #nowMs = Date.parse('2026-01-01T00:00:00Z');
  #ids = 0;
  #failure: Violation | null = null;
  /** Acknowledged commits: `partition/g` → version. */
  readonly #acknowledged = new Map<string, number>();

  constructor(implementation: Implementation, scenario: Scenario) {
    this.#implementation = implementation;
    this.#scenario = scenario;
    this.#random = mulberry32(scenario.seed);
    this.#retention = retentionOf(scenario.seed);
    this.#oracle = new Oracle(root, this.#objects, plannedRows);
    const store = this.#observed(new MemoryStore({ now: () => new Date(this.#nowMs) }));
    this.faults = new FaultWorld(store);
    this.faults.draw = call => this.#drawFault(call);
    // Many land before the writer asks again, some when everybody has moved on.
    this.faults.lateDelay = () => 1 + Math.floor(this.#random() ** 3 * 60);
    this.faults.pause = () => new Promise(resolve => this.#waiting.push(resolve));
  }

  async run(): Promise<void> {
    this.#startActors();
    let idleTurns = 0;
    while (this.#running.size > 0) {
      await quiet();
      idleTurns = this.#waiting.length === 0 ? idleTurns + 1 : 0;
      if (idleTurns > idleTurnsMax) throw new Violation('I11: the actors wait for one another for ever');
      if (this.#failure !== null) throw this.#failure;
      if (this.faults.calls > callsMax) throw new Violation('I11: not finished long after the faults stopped');
      const next = Math.floor(this.#random() * this.#waiting.length);
      this.#waiting.splice(next, 1)[0]?.();
      this.#nowMs += Math.floor(this.#random() * 4);
    }
    if (this.#failure !== null) throw this.#failure;
    await this.faults.land(true);
    if (this.#failure !== null) throw this.#failure;
    await this.#checkEnd();
  }

  // --- Actors -----------------------------------------------------------------------------------------------------------

  #startActors(): void {
    if (this.#scenario.isHappy === true) {
      this.#start(() => this.#workflow('a', 1, 'r1'));
      return;
    }
    this.#start(() => this.#workflow('a', 1, 'r1'));
    if (this.#chance(0.7)) this.#start(() => this.#workflow('b', 1, 'r2'));
    // A reset: the same business job under another run id, the old run's attempts still alive.
    if (this.#chance(0.5)) this.#start(() => this.#after(40, () => this.#workflow('a', 1, 'r3')));
    // A backfill of the next generation, perhaps while the first is still running.
    if (this.#chance(0.6)) this.#start(() => this.#after(60, () => this.#workflow('a', 2, 'r4')));
    if (this.#chance(0.3)) this.#start(() => this.#after(30, () => this.#workflow('a', 3, 'r5')));
    this.#start(() => this.#repeat(4, () => this.#collect()));
    if (this.#chance(0.5)) this.#start(() => this.#repeat(3, () => this.#collect()));
    this.#start(() => this.#repeat(5, () => this.#readAsUser()));
  }

  /** Scores both chunks, then commits; what Temporal would do, with its arbiter of attempts. */
  async #workflow(partition: string, generation: number, runId: string): Promise<void> {
    const files: { path: string; bytes: number; rows: number; sha256: string }[] = [];
    for (let chunk = 0; chunk < chunks; chunk += 1) {
      files.push(
        await this.#activity((ports, attempt) =>
          this.#scoreChunk(ports, { partition, generation, chunk, attempt, runId }),
        ),
      );
    }
    const outcome = await this.#activity(async (ports, attempt) => {
      const table = new this.#implementation.PredictionsTable(ports, root);
      const asOf = '2026-01-01T00:00:00Z';
      const request = {
        partition,
        generation,
        planDigest: 'plan',
        columns,
        files,
        asOf,
        workflowId: 'w',
        runId,
        attempt,
      };
      try {
        return await table.commit(request);
      } catch (error) {
        if (this.#isPermanent(error)) return { kind: 'failed' as const, reason: String(error) };
        throw error;
      }
    });
    const name = `${partition}/g${generation}`;
    if (outcome.kind === 'fenced') {
      this.faults.count('a commit was fenced');
      if (this.#oracle.commits.has(name)) throw new Violation(`I6: ${name} was called fenced although it is committed`);
    } else if (outcome.kind === 'failed') {
      throw new Violation(`I11: ${name} failed: ${outcome.reason}`);
    } else {
      const known = this.#acknowledged.get(name) ?? outcome.version;
      if (known !== outcome.version)
        throw new Violation(`I14: ${name} was acknowledged as version ${known} and ${outcome.version}`);
      this.#acknowledged.set(name, known);
      const truth = this.#oracle.commits.get(name)?.version;
      if (truth !== known)
        throw new Violation(`I6: ${name} was acknowledged as version ${known}, the log says ${truth}`);
      if (outcome.kind === 'already') this.faults.count('a commit found itself done already');
    }
  }

  async #scoreChunk(
    ports: StoragePorts,
    job: { partition: string; generation: number; chunk: number; attempt: number; runId: string },
  ): Promise<{ path: string; bytes: number; rows: number; sha256: string }> {
    const table = new this.#implementation.PredictionsTable(ports, root);
    const { path, key } = table.newPartFile(job);
    const rows = chunkRows(job.partition, job.chunk);
    // Attempts differ in bytes (the writer's own marks), never in rows.
    const text = JSON.stringify({ rows, by: `${job.runId}/${job.attempt}/${ports.random.id()}` });
    const bytes = new TextEncoder().encode(text);
    for (;;) {
      const answer = await ports.store.put(key, bytes);
      if (answer.kind === 'applied') return { path, bytes: bytes.length, rows: rows.length, sha256: sha256(bytes) };
      if (answer.kind === 'not_applied') throw new Violation(`I7: ${key} is written with two contents`);
    }
  }

  /**
   * Runs attempts until one answers. An attempt may be given up too early and then lives on as a zombie; its answer no longer
   * counts. The time allowed doubles with each attempt: with a fixed one, zombies slow everything until nothing ends.
   */
  async #activity<T>(run: (ports: StoragePorts, attempt: number) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      const patience = (this.#chance(0.2) ? 3 + this.#random() * 12 : 200) * 2 ** attempt;
      const answer = await this.#attempt(run, attempt, patience);
      if (answer !== null) return answer.value;
    }
  }

  #attempt<T>(
    run: (ports: StoragePorts, attempt: number) => Promise<T>,
    attempt: number,
    patience: number,
  ): Promise<{ value: T } | null> {
    return new Promise((resolve, reject) => {
      let isCrashed = false;
      let isGivenUp = false;
      let calls = 0;
      const store = this.faults.storeFor({
        isDead: () => {
          calls += 1;
          if (calls > patience && !isGivenUp) {
            isGivenUp = true;
            resolve(null);
          }
          return isCrashed || this.#failure !== null;
        },
        kill: () => {
          isCrashed = true;
          this.faults.count('an attempt crashed');
        },
      });
      const ended = run(this.#ports(store), attempt).then(
        value => {
          if (isGivenUp) this.faults.count('a zombie finished after it was replaced');
          resolve({ value });
        },
        (error: unknown) => {
          if (error instanceof Violation) reject(error);
          else if (error instanceof Crash || this.#isUnavailable(error)) resolve(null);
          else reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
      this.#track(ended);
    });
  }

  async #collect(): Promise<void> {
    const undecided = new Set(this.#oracle.aborts);
    await this.#activityOnce(async ports => {
      const table = new this.#implementation.PredictionsTable(ports, root);
      const report = await this.#implementation.collectTable(ports, table, this.#retention);
      if (report.fenced.length > 0 && this.#oracle.aborts.size > undecided.size)
        this.faults.count('the collector fenced a job');
      if (report.deleted.length > 0) this.faults.count('the collector deleted files');
    });
  }

  /** Reads as any user would and compares with what the judge saw before or after. */
  async #readAsUser(): Promise<void> {
    await this.#activityOnce(async ports => {
      const snapshot = await new this.#implementation.PredictionsTable(ports, root)
        .snapshot()
        .catch((error: unknown) => {
          if (String(error).includes('does not exist yet')) return null;
          throw error;
        });
      if (snapshot === null) return;
      this.faults.count('a reader saw a snapshot');
      for (const { partition } of snapshot.generations) {
        const files = snapshot.files.filter(file => file.partition === partition);
        const shown = [...this.#oracle.commits.values()].find(
          commit =>
            commit.files
              .map(file => file.path)
              .toSorted()
              .join() ===
            files
              .map(file => file.path)
              .toSorted()
              .join(),
        );
        if (shown === undefined)
          throw new Violation(`I1: a reader saw files of ${partition} that are no whole generation`);
      }
    });
  }

  async #activityOnce(run: (ports: StoragePorts) => Promise<void>): Promise<void> {
    await this.#attempt(run, 1, Number.POSITIVE_INFINITY);
  }

  // --- The end ----------------------------------------------------------------------------------------------------------

  /** With the faults over: I6 for every acknowledged commit, I14 for every job, and nothing unreferenced is left (I12). */
  async #checkEnd(): Promise<void> {
    this.faults.draw = () => null;
    this.faults.pause = async () => {};
    for (const [name, version] of this.#acknowledged) {
      const truth = this.#oracle.commits.get(name);
      if (truth?.version !== version)
        throw new Violation(`I6: ${name} was acknowledged as version ${version} and is not there`);
      await this.#checkRerun(name, version);
    }
    this.#nowMs += 10_000;
    const ports = this.#ports(this.faults.storeFor({ isDead: () => false, kill: () => {} }));
    for (let pass = 0; pass < 4; pass += 1) {
      await this.#implementation.collectTable(
        ports,
        new this.#implementation.PredictionsTable(ports, root),
        this.#retention,
      );
      if (this.#failure !== null) throw this.#failure;
    }
    const litter = [...this.#objects.keys()].filter(
      key => key.includes('/partition=') && !this.#oracle.isReferenced(key),
    );
    if (litter.length > 0) throw new Violation(`I12: unreferenced files are left: ${litter.join(', ')}`);
  }

  async #checkRerun(name: string, version: number): Promise<void> {
    const [partition = '', generation = ''] = name.split('/g');
    const ports = this.#ports(this.faults.storeFor({ isDead: () => false, kill: () => {} }));
    const before = this.#objects.size;
    const again = await new this.#implementation.PredictionsTable(ports, root).commit({
      ...{ partition, generation: Number(generation), planDigest: 'plan', columns, files: [] },
      ...{ asOf: '2026-01-01T00:00:00Z', workflowId: 'w', runId: 'again', attempt: 1 },
    });
    if (again.kind !== 'already' || again.version !== version || this.#objects.size !== before) {
      throw new Violation(
        `I14: running ${name} again answered ${JSON.stringify(again)} and wrote ${this.#objects.size - before}`,
      );
    }
  }

  // --- Machinery --------------------------------------------------------------------------------------------------------

  #start(run: () => Promise<void>): void {
    this.#track(run());
  }

  #track(promise: Promise<void>): void {
    const tracked = promise
      .catch((error: unknown) => {
        if (error instanceof Crash) return;
        this.#failure ??=
          error instanceof Violation
            ? error
            : new Violation(`unexpected ${error instanceof Error ? error.stack : error}`);
      })
      .finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }

  async #after(steps: number, run: () => Promise<void>): Promise<void> {
    for (let step = Math.floor(this.#random() * steps); step > 0; step -= 1) await this.faults.pause();
    await run();
  }

  async #repeat(times: number, run: () => Promise<void>): Promise<void> {
    for (let time = 0; time < times; time += 1) await this.#after(120, run);
  }

  #ports(store: StoragePorts['store']): StoragePorts {
    const id = () => {
      this.#ids += 1;
      return sha256(`${this.#scenario.seed}/${this.#ids}`).slice(0, 16);
    };
    return { store, clock: { now: () => new Date(this.#nowMs) }, random: { id } };
  }

  #drawFault(call: number): FaultKind | null {
    const fault =
      this.#scenario.schedule === undefined ? this.#randomFault(call) : (this.#scenario.schedule.get(call) ?? null);
    if (fault !== null) this.injected.set(call, fault);
    return fault;
  }

  #randomFault(call: number): FaultKind | null {
    if (call > faultyCalls || this.#random() >= this.#scenario.faultShare) return null;
    return faultKinds[Math.floor(this.#random() * faultKinds.length)]!;
  }

  #chance(share: number): boolean {
    return this.#scenario.isHappy !== true && this.#random() < share;
  }

  #isUnavailable(error: unknown): boolean {
    return error instanceof this.#implementation.StorageFault && error.kind === 'unavailable';
  }
  #isPermanent(error: unknown): boolean {
    return error instanceof this.#implementation.StorageFault && error.kind !== 'unavailable';
  }

  /** The store, with the judge told of every change. */
  #observed(store: MemoryStore): MemoryStore {
    const { putIfAbsent, delete: remove } = store;
    store.putIfAbsent = async (key, body) => {
      const answer = await putIfAbsent.call(store, key, body);
      if (answer.kind === 'applied') {
        this.#objects.set(key, new TextDecoder().decode(body));
        this.#judge(() => this.#oracle.changed(key));
      }
      return answer;
    };
    store.delete = async key => {
      if (this.#objects.has(key)) this.#judge(() => this.#oracle.beforeDelete(key));
      const answer = await remove.call(store, key);
      this.#objects.delete(key);
      this.#judge(() => this.#oracle.changed(key));
      return answer;
    };
    return store;
  }

  #judge(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#failure ??= error instanceof Violation ? error : new Violation(String(error));
    }
  }
}

function chunkRows(partition: string, chunk: number): readonly string[] {
  return [0, 1, 2].map(row => `${partition}${chunk}${row}`);
}
function plannedRows(partition: string): readonly string[] {
  return Array.from({ length: chunks }, (_, chunk) => chunkRows(partition, chunk)).flat();
}

/** Every microtask has run: all actors wait for the scheduler or are done. */
function quiet(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}

/** A small seeded generator (Tommy Ettinger's mulberry32): equal seeds give equal histories on every machine. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
