import { expect, test } from 'vitest';
import { Log, type LogSchema } from '../../src/storage/log.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { otherProcess } from './support/other-process.ts';

const schema: LogSchema<{ readonly writer: number }> = { name: 'shared', version: 1, upgrades: [] };
const writers = Array.from({ length: 64 }, (_, writer) => writer);

/** Counts what reaches the store and answers a little later, as a disk or a network would. */
function counted(store: MemoryStore): { readonly calls: { get: number; create: number; lost: number } } {
  const calls = { get: 0, create: 0, lost: 0 };
  const { get, putIfAbsent } = store;
  store.get = async (key, options) => {
    calls.get += 1;
    await new Promise(resolve => setImmediate(resolve));
    return get.call(store, key, options);
  };
  store.putIfAbsent = async (key, body) => {
    calls.create += 1;
    await new Promise(resolve => setImmediate(resolve));
    const answer = await putIfAbsent.call(store, key, body);
    if (answer.kind !== 'applied') calls.lost += 1;
    return answer;
  };
  return { calls };
}

test('64 writers of one process lose no race to one another and fetch no entry that one of them has seen', async () => {
  const store = new MemoryStore();
  const { calls } = counted(store);
  const logs = writers.map(() => new Log(systemPorts(store), 'shared', schema));
  await Promise.all(logs.map((log, writer) => log.append(() => ({ writer }))));
  expect(calls).toMatchObject({ create: 64, lost: 0 });
  // Each asks for its segment and for the free slot; what came before it is known.
  expect(calls.get).toBeLessThanOrEqual(64 * 3);
  expect((await logs[0]!.read()).map(entry => entry.body.writer)).toEqual(writers);
});

test('writers of other processes still race, and every entry stands once', async () => {
  const store = new MemoryStore();
  const logs = [0, 1, 2, 3].map(() => new Log(systemPorts(otherProcess(store)), 'shared', schema));
  await Promise.all(writers.map(writer => logs[writer % logs.length]!.append(() => ({ writer }))));
  const entries = await logs[0]!.read();
  expect(entries.map(entry => entry.body.writer).toSorted((left, right) => left - right)).toEqual(writers);
});

test('nothing is remembered once nobody is at work: a new reader verifies the store itself', async () => {
  const store = new MemoryStore();
  await new Log(systemPorts(store), 'shared', schema).append(() => ({ writer: 1 }));
  const key = 'shared/00000000000000000000.json';
  await store.delete(key);
  await store.put(key, new TextEncoder().encode('{"other":"bytes"}\n'));
  await expect(new Log(systemPorts(store), 'shared', schema).read()).rejects.toThrow(/lacks one of schema/);
});

test('a writer that fails does not hold up those behind it', async () => {
  const store = new MemoryStore();
  const logs = [0, 1, 2].map(() => new Log(systemPorts(store), 'shared', schema));
  const answers = await Promise.allSettled(
    logs.map((log, writer) =>
      log.append(() => {
        if (writer === 1) throw new Error('decides nothing');
        return { writer };
      }),
    ),
  );
  expect(answers.map(answer => answer.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect((await logs[0]!.read()).map(entry => entry.body.writer)).toEqual([0, 2]);
});
