/** The local store on a disk that fails at every call, and loses power after every call. */
import { expect, test } from 'vitest';
import { LocalStore } from '../../src/storage/local.ts';
import type { WriteResult } from '../../src/storage/object-store.ts';
import { randomOf } from '../support/fault-proxy.ts';
import { reasonOf } from './contract.ts';
import { CrashableDisk } from './support/crashable-disk.ts';

const mount = '/store';
const body = Buffer.from('all of it');

/** The calls of a create into folders that do not exist yet. */
async function callsOfCreate(): Promise<readonly string[]> {
  const disk = new CrashableDisk(mount);
  await new LocalStore(mount, disk).putIfAbsent('a/b/key', body);
  return disk.calls;
}

async function contentOf(disk: CrashableDisk, key: string): Promise<string | null> {
  disk.fault = null;
  const read = await new LocalStore(mount, disk).get(key);
  if (read.kind === 'not_found') return null;
  if (read.kind !== 'found') throw new Error(JSON.stringify(read));
  return Buffer.from(read.value.bytes).toString();
}

test('a create syncs the file before its name, and the folder after it', async () => {
  const calls = (await callsOfCreate()).filter(call => /sync|link|write/.test(call));
  expect(calls).toEqual(['syncFolder', 'syncFolder', 'file.write', 'file.sync', 'link', 'unlink', 'syncFolder']);
});

const codes = ['EIO', 'ENOSPC', 'EACCES', 'EROFS', 'EDQUOT', 'EMFILE'];
test.each(codes)(
  'every call that fails with %s, before or after it took effect, gets an answer that is so',
  async code => {
    const answers = new Set<string>();
    for (let call = 0; call < (await callsOfCreate()).length; call += 1) {
      for (const when of ['before', 'after'] as const) {
        const disk = new CrashableDisk(mount);
        disk.fault = { call, code, when };
        const store = new LocalStore(mount, disk);
        const created = await store.putIfAbsent('a/b/key', body);
        const content = await contentOf(disk, 'a/b/key');
        answers.add(reasonOf(created));
        const where = `${disk.calls[call]} failing ${when}: ${JSON.stringify(created)}, content ${content}`;
        expect(content === null || content === body.toString(), where).toBe(true);
        if (created.kind === 'applied') expect(content, where).toBe(body.toString());
        if (created.kind === 'not_applied') expect(content, where).toBeNull();
        expect(reasonOf(created), where).not.toBe('exists');
        // Whatever happened, a restarted process can finish the work.
        const retried = await new LocalStore(mount, disk).putIfAbsent('a/b/key', body);
        expect(reasonOf(retried), where).toBe(content === null ? 'applied' : 'exists');
      }
    }
    expect([...answers].sort()).toEqual(['applied', 'refused', 'unknown']);
  },
);

test('after a failed fsync the process writes nothing more', async () => {
  const disk = new CrashableDisk(mount);
  const store = new LocalStore(mount, disk);
  disk.fault = { call: (await callsOfCreate()).indexOf('file.sync'), code: 'EIO', when: 'before' };
  expect((await store.putIfAbsent('a/b/key', body)).kind).toBe('unknown');
  const later = await store.putIfAbsent('other', body);
  expect(later).toMatchObject({ reason: 'refused', detail: expect.stringContaining('restart the process') });
  expect(await contentOf(disk, 'other')).toBeNull();
});

/** Ways in which unsynced things may reach the disk: nothing, all, and random subsets. */
const subsets: readonly (() => () => boolean)[] = [
  () => () => false,
  () => () => true,
  ...Array.from({ length: 60 }, (_, seed) => () => {
    const random = randomOf(seed);
    return () => random() < 0.5;
  }),
];

test('after a power cut at any moment, what was applied is there and nothing is half there', async () => {
  let cuts = 0;
  const seen = { absent: 0, whole: 0 };
  const disk = new CrashableDisk(mount);
  const store = new LocalStore(mount, disk);
  const answered = new Map<string, WriteResult>();
  const crashes: { key: string; disk: CrashableDisk; promised: ReadonlyMap<string, WriteResult> }[] = [];
  const keys = ['a/b/first', 'a/b/second', 'a/c/third', 'fourth'];
  let current = '';
  disk.onStep = () => {
    for (const subset of subsets) {
      crashes.push({ key: current, disk: disk.afterPowerCut(subset()), promised: new Map(answered) });
    }
  };
  for (const key of keys) {
    current = key;
    answered.set(key, await store.putIfAbsent(key, Buffer.from(`content of ${key}`)));
  }
  // The last answer has been given: one more cut.
  disk.onStep();
  for (const crash of crashes) {
    cuts += 1;
    for (const key of keys) {
      const content = await contentOf(crash.disk, key);
      if (crash.promised.get(key)?.kind === 'applied') expect(content, `${key} was applied`).toBe(`content of ${key}`);
      expect([null, `content of ${key}`], `${key} after a cut while writing ${crash.key}`).toContain(content);
      seen[content === null ? 'absent' : 'whole'] += 1;
    }
  }
  expect(cuts).toBeGreaterThan(2_000);
  expect(seen.absent).toBeGreaterThan(1_000);
  expect(seen.whole).toBeGreaterThan(1_000);
});

test('the loser of a race hears of it only when the winner would survive a power cut', async () => {
  const disk = new CrashableDisk(mount);
  const [winner, loser] = [new LocalStore(mount, disk), new LocalStore(mount, disk)];
  await winner.putIfAbsent('a/before', body);
  // The winner stops between its link and its sync.
  const calls = disk.calls.length;
  disk.fault = { call: calls + 7, code: 'EIO', when: 'before' };
  const won = winner.putIfAbsent('a/key', Buffer.from('winner'));
  expect((await won).kind).toBe('unknown');
  expect(disk.calls[calls + 7]).toBe('syncFolder');
  expect(
    await contentOf(
      disk.afterPowerCut(() => false),
      'a/key',
    ),
  ).toBeNull();
  disk.fault = null;
  expect(reasonOf(await loser.putIfAbsent('a/key', Buffer.from('loser')))).toBe('exists');
  expect(
    await contentOf(
      disk.afterPowerCut(() => false),
      'a/key',
    ),
  ).toBe('winner');
});

test('the same disk without its syncs would lose what was applied: the model sees it', async () => {
  const disk = new CrashableDisk(mount);
  const careless = new Proxy(disk, {
    get: (target, name) => {
      if (name === 'syncFolder') return async () => undefined;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  expect((await new LocalStore(mount, careless).putIfAbsent('key', body)).kind).toBe('applied');
  expect(
    await contentOf(
      disk.afterPowerCut(() => false),
      'key',
    ),
  ).toBeNull();
});
