import { describe, expect, test } from 'vitest';
import { joinSegment, segmentLength, splitSegment } from '../../src/storage/chain.ts';
import { Log, type LogSchema } from '../../src/storage/log.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { otherProcess } from './support/other-process.ts';

interface Note {
  readonly text: string;
}
const schema: LogSchema<Note> = { name: 'notes', version: 1, upgrades: [] };
const open = (store: ObjectStore) => new Log(systemPorts(store), 'notes', schema);
const say = (text: string) => () => ({ text });

describe('a log', () => {
  test('holds what was appended, in order, for every reader', async () => {
    const store = new MemoryStore();
    await open(store).append(say('one'));
    await open(store).append(say('two'));
    const entries = await open(store).read();
    expect(entries.map(entry => [entry.number, entry.body.text])).toEqual([
      [0, 'one'],
      [1, 'two'],
    ]);
  });

  test('lets the loser of a race read the winner and decide again', async () => {
    const store = new MemoryStore();
    const seen: number[][] = [];
    const appended = await Promise.all(
      Array.from({ length: 20 }, () =>
        open(otherProcess(store)).append(entries => {
          seen.push(entries.map(entry => entry.number));
          return entries.some(entry => entry.body.text === 'won') ? null : { text: 'won' };
        }),
      ),
    );
    expect(appended.filter(answer => answer.kind === 'appended')).toHaveLength(1);
    expect(await open(store).read()).toHaveLength(1);
    expect(seen.length).toBeGreaterThan(20);
  });

  test('refuses a changed entry and names it', async () => {
    const store = new MemoryStore();
    for (const text of ['one', 'two', 'three']) await open(store).append(say(text));
    const forged = await rewritten(store, 'notes/00000000000000000001.json', text => text.replace('two', '2wo'));
    await expect(open(forged).read()).rejects.toThrow(/notes\/00000000000000000002\.json: expected to follow/);
  });

  test('reads an entry eight times before it is called cut short', async () => {
    for (const [cuts, expected] of [
      [7, 'read'],
      [8, 'corrupt'],
    ] as const) {
      const store = new MemoryStore();
      await open(store).append(say('one'));
      let left = cuts;
      const get = store.get.bind(store);
      store.get = async (...asked) => {
        const answer = await get(...asked);
        if (answer.kind !== 'found' || left-- <= 0) return answer;
        return { kind: 'found', value: { ...answer.value, bytes: answer.value.bytes.slice(0, 9) } };
      };
      const found = await open(otherProcess(store))
        .read()
        .then(
          () => 'read',
          (error: { kind: string }) => error.kind,
        );
      expect(found).toBe(expected);
    }
  });

  test('refuses a gap instead of writing into it', async () => {
    const store = new MemoryStore();
    for (const text of ['one', 'two', 'three']) await open(store).append(say(text));
    await store.delete('notes/00000000000000000001.json');
    await expect(open(store).append(say('four'))).rejects.toThrow(/entry 1 is absent while entry 2 exists/);
  });

  test('reads older bodies through the converters, and refuses newer ones', async () => {
    const store = new MemoryStore();
    await open(store).append(say('one'));
    const newer: LogSchema<{ words: string[] }> = {
      name: 'notes',
      version: 2,
      upgrades: [(body: Note) => ({ words: body.text.split(' ') })],
    };
    const log = new Log(systemPorts(store), 'notes', newer);
    expect((await log.read())[0]?.body).toEqual({ words: ['one'] });
    await log.append(() => ({ words: ['a', 'b'] }));
    await expect(open(store).read()).rejects.toThrow(/notes\/2.*reads up to notes\/1/);
  });

  test('survives lost, cut and wrong segments, and uses whole ones', async () => {
    const store = new MemoryStore();
    const log = open(store);
    for (let i = 0; i < segmentLength * 2 + 3; i += 1) await log.append(say(`note ${i}`));
    const segment = 'notes/segments/00000000000000000000.ndjson';
    expect((await store.head(segment)).kind).toBe('found');
    const cut = await rewritten(store, segment, text => text.slice(0, 5000));
    const forged = await rewritten(store, segment, text => text.replace('note 7"', 'nate 7"'));
    for (const variant of [store, cut, forged]) {
      const entries = await open(variant).read();
      expect(entries.map(entry => entry.body.text)).toEqual(
        Array.from({ length: segmentLength * 2 + 3 }, (_, i) => `note ${i}`),
      );
    }
  });
});

test('a segment gives back the texts it was made of, and nothing once a byte of it has changed', async () => {
  const texts = ['{"a":1}\n', '{"b":1}\n{"c":"x é"}\n', '{}\n'];
  const segment = new TextEncoder().encode(joinSegment(texts));
  expect(await splitSegment(segment)).toEqual(texts);
  for (const byte of segment.keys()) {
    const changed = segment.with(byte, segment[byte]! ^ 1);
    expect(await splitSegment(changed), `byte ${byte}`).toBeNull();
  }
});

/** A copy of the store in which one object has other bytes. */
async function rewritten(store: ObjectStore, key: string, change: (text: string) => string): Promise<ObjectStore> {
  const copy = new MemoryStore();
  const page = await store.list('', { limit: 100_000 });
  if (page.kind !== 'found') throw new Error('the memory store lists');
  for (const object of page.value.objects) {
    const answer = await store.get(object.key);
    if (answer.kind !== 'found') throw new Error('the memory store reads');
    const text = new TextDecoder().decode(answer.value.bytes);
    await copy.putIfAbsent(object.key, new TextEncoder().encode(object.key === key ? change(text) : text));
  }
  return copy;
}

test('a store that cannot be written to is refused with the entry, the cause and what to do', async () => {
  const store = new MemoryStore();
  store.putIfAbsent = async () => ({ kind: 'not_applied', reason: 'refused', detail: 'EROFS: read-only file system' });
  const log = new Log(systemPorts(store), 'notes', { name: 'notes', version: 1, upgrades: [] });
  await expect(log.append(() => ({ say: 'x' }))).rejects.toMatchObject({
    kind: 'unavailable',
    message: expect.stringMatching(/notes\/0{20}\.json.*EROFS.*almanac doctor/),
  });
});
