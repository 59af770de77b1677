/**
 * The memory store with a schedule of faults: whatever a real store or network can do to one call, it does to the call the
 * schedule names. Calls are counted over all actors, so that "fail call n" can be tried for every n of a whole run.
 */
import type { MemoryStore } from '../../src/storage/memory.ts';
import type { ObjectPage, ObjectStore, ReadOptions, ReadResult, WriteResult } from '../../src/storage/object-store.ts';

export const faultKinds = ['before', 'after', 'late', 'conflict', 'truncated', 'staleList', 'crash'] as const;
/**
 * before: an error, nothing happened. after: it happened, the answer was lost. late: it happens some time later, the answer
 * was lost. conflict: a 409. truncated: the read is cut short. staleList: the listing lacks what is new. crash: the actor
 * dies, with the call done or not.
 */
export type FaultKind = (typeof faultKinds)[number];

/** The actor is dead; nothing after this runs. */
export class Crash extends Error {}

/** Shared by all actors of one simulated world. */
export class FaultWorld {
  readonly store: MemoryStore;
  /** Draws the fault of a call; null lets it through. */
  draw: (call: number, operation: string) => FaultKind | null = () => null;
  /** Called before every operation: the scheduler lets another actor go first. */
  pause: () => Promise<void> = async () => {};
  calls = 0;
  readonly counters: Record<string, number> = {};
  #late: { readonly dueCall: number; readonly run: () => Promise<unknown> }[] = [];
  /** Keys in the order they were written, for stale listings. */
  readonly #recent: string[] = [];
  lateDelay: () => number = () => 5;

  constructor(store: MemoryStore) {
    this.store = store;
  }

  count(name: string): void {
    this.counters[name] = (this.counters[name] ?? 0) + 1;
  }

  /** Late writes whose time has come, or all of them. */
  async land(all = false): Promise<void> {
    const due = this.#late.filter(({ dueCall }) => all || dueCall <= this.calls);
    this.#late = this.#late.filter(write => !due.includes(write));
    for (const { run } of due) await run();
  }

  schedule(run: () => Promise<unknown>): void {
    this.#late.push({ dueCall: this.calls + this.lateDelay(), run });
  }

  wrote(key: string): void {
    this.#recent.push(key);
  }
  isRecent(key: string): boolean {
    return this.#recent.slice(-3).includes(key);
  }

  /** The store as one actor sees it. `isDead` makes a zombie of an actor that was replaced. */
  storeFor(actor: { isDead(): boolean; kill(): void }): ObjectStore {
    return new FaultyStore(this, actor);
  }
}

class FaultyStore implements ObjectStore {
  readonly url = 'memory:///simulation';
  readonly #world: FaultWorld;
  readonly #actor: { isDead(): boolean; kill(): void };

  constructor(world: FaultWorld, actor: { isDead(): boolean; kill(): void }) {
    this.#world = world;
    this.#actor = actor;
  }

  async get(key: string, options?: ReadOptions) {
    return this.#read('get', async fault => {
      const answer = await this.#world.store.get(key, options);
      if (fault !== 'truncated' || answer.kind !== 'found') return answer;
      // A store that does not notice the cut: the caller's own hashes must.
      const { bytes, etag } = answer.value;
      return { kind: 'found' as const, value: { bytes: bytes.slice(0, Math.floor(bytes.length / 2)), etag } };
    });
  }
  async head(key: string) {
    return this.#read('head', () => this.#world.store.head(key));
  }
  async list(prefix: string, options?: { readonly after?: string; readonly limit?: number }) {
    return this.#read('list', async (fault): Promise<ReadResult<ObjectPage>> => {
      const answer = await this.#world.store.list(prefix, options);
      if (fault !== 'staleList' || answer.kind !== 'found') return answer;
      const objects = answer.value.objects.filter(object => !this.#world.isRecent(object.key));
      return { kind: 'found', value: { ...answer.value, objects } };
    });
  }
  async putIfAbsent(key: string, body: Uint8Array): Promise<WriteResult> {
    return this.#write('putIfAbsent', key, async () => {
      const answer = await this.#world.store.putIfAbsent(key, body);
      if (answer.kind === 'not_applied') this.#world.count('the slot was taken');
      return answer;
    });
  }
  async put(key: string, body: Uint8Array): Promise<WriteResult> {
    return this.#write('put', key, () => this.#world.store.put(key, body));
  }
  async delete(key: string): Promise<WriteResult> {
    return this.#write('delete', key, () => this.#world.store.delete(key));
  }
  async download(): Promise<never> {
    throw new Error('the simulation moves no local files');
  }
  async upload(): Promise<never> {
    throw new Error('the simulation moves no local files');
  }

  async #read<T>(operation: string, run: (fault: FaultKind | null) => Promise<ReadResult<T>>): Promise<ReadResult<T>> {
    const fault = await this.#begin(operation);
    if (fault === 'crash') this.#crash();
    if (fault !== null && fault !== 'truncated' && fault !== 'staleList') return { kind: 'unknown', cause: fault };
    return run(fault);
  }

  async #write(operation: string, key: string, run: () => Promise<WriteResult>): Promise<WriteResult> {
    const fault = await this.#begin(operation);
    if (fault === null || fault === 'truncated' || fault === 'staleList') {
      this.#world.wrote(key);
      return run();
    }
    this.#world.count(`${fault} on ${operation}`);
    if (fault === 'after') await run();
    if (fault === 'late') {
      this.#world.schedule(async () => {
        const landed = await run();
        if (operation !== 'putIfAbsent') return;
        this.#world.count(landed.kind === 'applied' ? 'a late write landed' : 'a late write lost the race');
      });
    }
    if (fault === 'crash') {
      // Whether the dying actor's call arrived is open as well.
      if (this.#world.calls % 2 === 0) await run();
      this.#crash();
    }
    return { kind: 'unknown', cause: fault };
  }

  async #begin(operation: string): Promise<FaultKind | null> {
    await this.#world.pause();
    if (this.#actor.isDead()) throw new Crash();
    const call = this.#world.calls;
    this.#world.calls += 1;
    await this.#world.land();
    return this.#world.draw(call, operation);
  }

  #crash(): never {
    this.#actor.kill();
    throw new Crash();
  }
}
