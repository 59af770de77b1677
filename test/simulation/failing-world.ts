/**
 * Actors on one failing store, for fast-check: which call fails how, and who goes next at every call, are drawn by it and
 * shrink with everything else. An actor that crashes is started again and does the same once more, as an activity would.
 */
import fc from 'fast-check';
import { MemoryStore } from '../../src/storage/memory.ts';
import { listAll } from '../../src/storage/object-store.ts';
import type { StoragePorts } from '../../src/storage/ports.ts';
import { Crash, type FaultKind, FaultWorld, faultKinds } from './faulty-store.ts';

/** Call → fault. Calls beyond the drawn ones succeed, so every run ends. */
export type Faults = readonly (readonly [call: number, fault: FaultKind])[];

/** Up to twelve faults among the first 120 calls. */
export const faults: fc.Arbitrary<Faults> = fc.array(fc.tuple(fc.nat(120), fc.constantFrom(...faultKinds)), {
  maxLength: 12,
});

/** Runs all actors to their ends, lets what is late land, and gives the store as it is then. */
export async function runActors(
  scheduler: fc.Scheduler,
  drawn: Faults,
  actors: readonly ((ports: StoragePorts) => Promise<void>)[],
): Promise<StoragePorts> {
  const store = new MemoryStore();
  const world = new FaultWorld(store);
  const schedule = new Map(drawn);
  let ids = 0;
  world.draw = call => schedule.get(call) ?? null;
  world.pause = () => scheduler.schedule(Promise.resolve());
  const clock = { now: () => new Date(1.7e12 + world.calls * 1000) };
  const random = { id: () => String(ids++).padStart(16, '0') };

  const live = async (act: (ports: StoragePorts) => Promise<void>): Promise<void> => {
    for (let isDone = false; !isDone; ) {
      let isDead = false;
      const self = {
        isDead: () => isDead,
        kill: () => {
          isDead = true;
        },
      };
      try {
        await act({ store: world.storeFor(self), clock, random });
        isDone = true;
      } catch (error) {
        // A fault of the store that lasted too long is tried again, as by Temporal; anything else is a bug.
        const isUnavailable = error instanceof Error && 'kind' in error && error.kind === 'unavailable';
        if (!(error instanceof Crash) && !isUnavailable) throw error;
      }
    }
  };
  await scheduler.waitFor(Promise.all(actors.map(live)));
  await world.land(true);
  return { store, clock, random };
}

/** Every object of the store with its bytes as text. */
export async function textsOf({ store }: StoragePorts, prefix = ''): Promise<ReadonlyMap<string, string>> {
  const listing = await listAll(store, prefix);
  if (listing.kind !== 'found') throw new Error('the memory store lists');
  const texts = new Map<string, string>();
  for (const { key } of listing.value) {
    const found = await store.get(key);
    if (found.kind === 'found') texts.set(key, new TextDecoder().decode(found.value.bytes));
  }
  return texts;
}
