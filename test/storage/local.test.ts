import { mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { realDisk } from '../../src/storage/disk.ts';
import { FolderSync } from '../../src/storage/folder-sync.ts';
import { LocalStore } from '../../src/storage/local.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import { openStore } from '../../src/storage/open.ts';
import { describeStore, reasonOf } from './contract.ts';

describeStore('memory store', async () => {
  const store = new MemoryStore();
  return { store, other: store, largeBytes: 100_000, close: async () => undefined };
});

describeStore('local store', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'almanac-local-'));
  return {
    store: new LocalStore(folder),
    other: new LocalStore(folder),
    largeBytes: 5_000_000,
    close: async () => rmSync(folder, { recursive: true, force: true }),
  };
});

describe('local store, on its own', () => {
  let folder: string;
  let store: LocalStore;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'almanac-local-'));
    store = new LocalStore(folder);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test('refuses what a file system cannot keep: an object that is also a folder', async () => {
    await store.putIfAbsent('a/b', Buffer.from('x'));
    const below = await store.putIfAbsent('a/b/c', Buffer.from('x'));
    const above = await store.putIfAbsent('a', Buffer.from('x'));
    expect(below).toMatchObject({ reason: 'refused', detail: expect.stringContaining('a file is in the way') });
    expect(above).toMatchObject({ reason: 'refused', detail: expect.stringContaining('a folder is in the way') });
    expect((await store.get('a')).kind).toBe('changed');
    // Not `not_found`: a log whose folder is a file was not necessarily empty.
    const answers = [await store.get('a/b/c'), await store.head('a/b/c'), await store.list('a/b/')];
    for (const answer of answers) {
      expect(answer).toMatchObject({ kind: 'changed', detail: expect.stringMatching(/^a\/b\/.*a file is in the way/) });
    }
  });

  test('takes a missing root for a disk that is not mounted, not for an empty store', async () => {
    rmSync(folder, { recursive: true });
    const answers = [await store.get('key'), await store.head('key'), await store.list('')];
    expect(answers.map(answer => answer.kind)).toEqual(['unknown', 'unknown', 'unknown']);
    expect(reasonOf(await store.putIfAbsent('key', Buffer.from('x')))).toBe('refused');
  });

  test('does not say that other bytes are in the way while nobody can read them', async () => {
    const path = join(folder, 'bytes');
    writeFileSync(path, 'x');
    await store.putIfAbsent('key', Buffer.from('x'));
    const openFile: typeof realDisk.openFile = path =>
      path.endsWith('key') ? Promise.reject(new Error('EIO: i/o error, read')) : realDisk.openFile(path);
    const failing = new LocalStore(folder, { ...realDisk, openFile });
    const answers = [await failing.put('key', Buffer.from('x')), await failing.upload('key', path)];
    for (const answer of answers)
      expect(answer).toMatchObject({ kind: 'unknown', cause: expect.stringMatching(/EIO/) });
    expect([await store.put('key', Buffer.from('x')), await store.upload('key', path)].map(reasonOf)).toEqual([
      'applied',
      'applied',
    ]);
  });

  test('hides the temporary files of killed processes, and removes the old ones', async () => {
    await store.putIfAbsent('a/key', Buffer.from('x'));
    for (const name of ['.tmp-1', 'a/.tmp-2']) writeFileSync(join(folder, name), 'half');
    utimesSync(join(folder, '.tmp-1'), new Date(0), new Date(0));
    const listed = await store.list('');
    expect(listed.kind === 'found' ? listed.value.objects.map(object => object.key) : []).toEqual(['a/key']);
    expect(await store.removeDebris(new Date(Date.now() - 86_400_000))).toEqual({ files: 1 });
    expect(readdirSync(join(folder, 'a')).sort()).toEqual(['.tmp-2', 'key']);
  });

  test('lists through links, once, and does not follow them round in circles', async () => {
    await store.putIfAbsent('real/key', Buffer.from('x'));
    symlinkSync(join(folder, 'real'), join(folder, 'linked'));
    symlinkSync(folder, join(folder, 'real', 'circle'));
    symlinkSync(join(folder, 'nowhere'), join(folder, 'broken'));
    const listed = await store.list('');
    expect(listed.kind === 'found' ? listed.value.objects.map(object => object.key) : []).toEqual([
      'linked/key',
      'real/key',
    ]);
  });

  test('notices that an input was rewritten in place', async () => {
    await store.putIfAbsent('input', Buffer.from('before'));
    const pinned = await store.head('input');
    const etag = pinned.kind === 'found' ? pinned.value.etag : '';
    writeFileSync(join(folder, 'input'), 'after!');
    utimesSync(join(folder, 'input'), new Date(), new Date(Date.now() + 1000));
    expect((await store.get('input', { ifMatch: etag })).kind).toBe('changed');
    expect((await store.download('input', join(folder, 'copy'), { ifMatch: etag })).kind).toBe('changed');
  });
});

describe('folder sync', () => {
  test('serves callers with a sync that began after they came, and joins those who wait', async () => {
    const begun: (() => void)[] = [];
    const sync = new FolderSync({ ...realDisk, syncFolder: () => new Promise<void>(end => begun.push(end)) });
    let later = 0;
    const first = sync.sync('folder');
    const waiting = [1, 2, 3].map(() =>
      sync.sync('folder').then(() => {
        later += 1;
      }),
    );
    expect(begun).toHaveLength(1);
    begun[0]!();
    await first;
    await new Promise(resolve => setImmediate(resolve));
    expect([begun.length, later]).toEqual([2, 0]);
    begun[1]!();
    await Promise.all(waiting);
    expect([begun.length, later]).toEqual([2, 3]);
  });
});

describe('opening a store', () => {
  test.each([
    ['s3://bucket', 's3://bucket/'],
    ['s3://bucket/a/b/', 's3://bucket/a/b'],
  ])('%s is %s', (place, url) => {
    expect(openStore(place, { region: 'us-east-1' }).url).toBe(url);
  });

  test.each(['s3://', 's3://x', 's3://UPPER/a', 'gs://bucket', 'http://host/bucket'])('%s is refused', place => {
    expect(() => openStore(place)).toThrow(/expected/);
  });
});
