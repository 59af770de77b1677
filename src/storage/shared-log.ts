/**
 * What the chains of one process on the same log share while any of them is at work: appends take turns instead of losing
 * races to one another, and an entry that one chain has verified need not be fetched by the others; they check its hash and
 * its link themselves. Nothing here decides anything: other processes race for the same log as ever.
 */
import type { ObjectStore } from './object-store.ts';

/** Entries kept for the others; who is further behind fetches. */
const textsMax = 1024;

export class SharedLog {
  #turn: Promise<unknown> = Promise.resolve();
  #working = 0;
  /** Texts of verified entries by number; the first in are the first out. */
  readonly #texts = new Map<number, string>();

  /** Runs `call`; what chains verify is kept until no call is under way any more. */
  async working<T>(call: () => Promise<T>): Promise<T> {
    this.#working += 1;
    try {
      return await call();
    } finally {
      this.#working -= 1;
      if (this.#working === 0) this.#texts.clear();
    }
  }

  /** Runs `call` when those before it have ended. */
  inTurn<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(call);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  verified(number: number, text: string): void {
    this.#texts.set(number, text);
    if (this.#texts.size > textsMax) this.#texts.delete(this.#texts.keys().next().value ?? number);
  }

  text(number: number): string | undefined {
    return this.#texts.get(number);
  }
}

const logsOfStores = new WeakMap<ObjectStore, Map<string, SharedLog>>();

/** The one object for this log in this store. */
export function sharedLog(store: ObjectStore, name: string): SharedLog {
  const logs = logsOfStores.get(store) ?? new Map<string, SharedLog>();
  logsOfStores.set(store, logs);
  const log = logs.get(name) ?? new SharedLog();
  logs.set(name, log);
  return log;
}
