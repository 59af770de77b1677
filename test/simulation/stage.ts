/**
 * A stage: actors interleaved call by call over a store that fails, all of it drawn from a seed. What Temporal would do for
 * activities (attempts, time-outs, zombies that live on) is done here; the code that acts is production code.
 */
import { sha256 } from '../../src/storage/digest.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import type { StoragePorts } from '../../src/storage/ports.ts';
import { Crash, type FaultKind, FaultWorld, faultKinds } from './faulty-store.ts';
import type { Implementation } from './implementation.ts';
import { Violation } from './oracle.ts';

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

/** Is told of every change of the bare store. */
export interface Judge {
  changed(key: string): void;
  beforeDelete(key: string): void;
}

/** Faults stop after so many calls; then everything must end within the bound. */
const faultyCalls = 900;
const callsMax = 60_000;
/** So many turns in a row with nobody to wake mean that the actors wait for one another. */
const idleTurnsMax = 100;

export class Stage {
  readonly faults: FaultWorld;
  /** Content of every object as it is now. */
  readonly objects = new Map<string, string>();
  readonly #injected = new Map<number, FaultKind>();
  readonly #implementation: Implementation;
  readonly #scenario: Scenario;
  readonly #random: () => number;
  readonly #firstCall: number;
  #judge: Judge = { changed: () => {}, beforeDelete: () => {} };
  readonly #waiting: (() => void)[] = [];
  readonly #running = new Set<Promise<void>>();
  #nowMs = Date.parse('2026-01-01T00:00:00Z');
  #ids = 0;
  #failure: Violation | null = null;

  /** Calls are counted from `firstCall`, so that one schedule can name the calls of several stages. */
  constructor(implementation: Implementation, scenario: Scenario, { firstCall = 0 } = {}) {
    this.#implementation = implementation;
    this.#scenario = scenario;
    this.#firstCall = firstCall;
    this.#random = mulberry32(scenario.seed + firstCall);
    this.faults = new FaultWorld(this.#observed(new MemoryStore({ now: () => new Date(this.#nowMs) })));
    this.faults.calls = firstCall;
    this.faults.draw = call => this.#drawFault(call);
    // Many land before the writer asks again, some when everybody has moved on.
    this.faults.lateDelay = () => 1 + Math.floor(this.#random() ** 3 * 60);
    this.faults.pause = () => new Promise(resolve => this.#waiting.push(resolve));
  }

  /** Runs the actors that `begin` starts to their ends, then `checkEnd` with the faults over. Never rejects. */
  async play(judge: Judge, begin: () => void, checkEnd: () => Promise<void>): Promise<Outcome> {
    this.#judge = judge;
    let violation: string | null = null;
    try {
      begin();
      await this.#run();
      this.faults.draw = () => null;
      this.faults.pause = async () => {};
      await checkEnd();
      this.failIfJudged();
    } catch (error) {
      violation =
        error instanceof Violation ? error.message : `unexpected: ${error instanceof Error ? error.stack : error}`;
    }
    const calls = this.faults.calls - this.#firstCall;
    return { calls, faults: this.#injected, counters: this.faults.counters, violation };
  }

  async #run(): Promise<void> {
    let idleTurns = 0;
    while (this.#running.size > 0) {
      await quiet();
      idleTurns = this.#waiting.length === 0 ? idleTurns + 1 : 0;
      if (idleTurns > idleTurnsMax) throw new Violation('I11: the actors wait for one another for ever');
      this.failIfJudged();
      if (this.faults.calls > this.#firstCall + callsMax)
        throw new Violation('I11: not finished long after the faults stopped');
      const next = Math.floor(this.#random() * this.#waiting.length);
      this.#waiting.splice(next, 1)[0]?.();
      this.#nowMs += Math.floor(this.#random() * 4);
    }
    this.failIfJudged();
    await this.faults.land(true);
    this.failIfJudged();
  }

  /** Throws the first violation that the judge or an actor has found. */
  failIfJudged(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  // --- For actors -------------------------------------------------------------------------------------------------------

  get isHappy(): boolean {
    return this.#scenario.isHappy === true;
  }

  /** False on a happy stage, without drawing. */
  chance(share: number): boolean {
    return !this.isHappy && this.#random() < share;
  }

  start(run: () => Promise<void>): void {
    this.#track(run());
  }

  async after(steps: number, run: () => Promise<void>): Promise<void> {
    for (let step = Math.floor(this.#random() * steps); step > 0; step -= 1) await this.faults.pause();
    await run();
  }

  async repeat(times: number, run: () => Promise<void>): Promise<void> {
    for (let time = 0; time < times; time += 1) await this.after(120, run);
  }

  pass(ms: number): void {
    this.#nowMs += ms;
  }

  /** Ports of someone who never dies. */
  calmPorts(): StoragePorts {
    return this.#ports(this.faults.storeFor({ isDead: () => false, kill: () => {} }));
  }

  /**
   * Runs attempts until one answers. An attempt may be given up too early and then lives on as a zombie; its answer no longer
   * counts. The time allowed doubles with each attempt: with a fixed one, zombies slow everything until nothing ends.
   */
  async activity<T>(run: (ports: StoragePorts, attempt: number) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      const patience = (this.chance(0.2) ? 3 + this.#random() * 12 : 200) * 2 ** attempt;
      const answer = await this.#attempt(run, attempt, patience);
      if (answer !== null) return answer.value;
    }
  }

  async activityOnce(run: (ports: StoragePorts) => Promise<void>): Promise<void> {
    await this.#attempt(run, 1, Number.POSITIVE_INFINITY);
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

  // --- Machinery --------------------------------------------------------------------------------------------------------

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
    if (fault !== null) this.#injected.set(call, fault);
    return fault;
  }

  #randomFault(call: number): FaultKind | null {
    if (call > this.#firstCall + faultyCalls || this.#random() >= this.#scenario.faultShare) return null;
    return faultKinds[Math.floor(this.#random() * faultKinds.length)]!;
  }

  #isUnavailable(error: unknown): boolean {
    return error instanceof this.#implementation.StorageFault && error.kind === 'unavailable';
  }

  /** The store, with the judge told of every change. */
  #observed(store: MemoryStore): MemoryStore {
    const { putIfAbsent, delete: remove } = store;
    store.putIfAbsent = async (key, body) => {
      const answer = await putIfAbsent.call(store, key, body);
      if (answer.kind === 'applied') {
        this.objects.set(key, new TextDecoder().decode(body));
        this.#ask(judge => judge.changed(key));
      }
      return answer;
    };
    store.delete = async key => {
      if (this.objects.has(key)) this.#ask(judge => judge.beforeDelete(key));
      const answer = await remove.call(store, key);
      this.objects.delete(key);
      this.#ask(judge => judge.changed(key));
      return answer;
    };
    return store;
  }

  #ask(question: (judge: Judge) => void): void {
    try {
      question(this.#judge);
    } catch (error) {
      this.#failure ??= error instanceof Violation ? error : new Violation(String(error));
    }
  }
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
