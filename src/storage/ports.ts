/**
 * The storage core reaches the world through three ports: a store, a clock and a source of unique ids. The simulation in
 * `test/simulation/` runs the same code on a store that fails, a clock that it moves and ids drawn from a seed.
 */
import { randomBytes } from 'node:crypto';
import type { ObjectStore } from './object-store.ts';

export interface Clock {
  now(): Date;
}

export interface Random {
  /** A fresh id of 16 lower-case hexadecimal digits, never drawn twice. */
  id(): string;
}

export interface StoragePorts {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: Random;
}

export const systemClock: Clock = { now: () => new Date() };
export const systemRandom: Random = { id: () => randomBytes(8).toString('hex') };

export function systemPorts(store: ObjectStore): StoragePorts {
  return { store, clock: systemClock, random: systemRandom };
}
