/** What every object store must do. Each backend runs all of it. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { listAll, type ObjectStore, type WriteResult } from '../../src/storage/object-store.ts';
import { probeStore } from '../../src/storage/probe.ts';

export interface StoreUnderTest {
  readonly store: ObjectStore;
  /** A second process would see it like this: another instance on the same place. */
  readonly other: ObjectStore;
  /** Files larger than this take the backend's way for large files. */
  readonly largeBytes: number;
  close(): Promise<void>;
}

export function describeStore(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    let opened: StoreUnderTest;
    let store: ObjectStore;
    let folder: string;
    beforeAll(async () => {
      opened = await open();
      store = opened.store;
      folder = mkdtempSync(join(tmpdir(), 'almanac-contract-'));
    });
    afterAll(async () => {
      await opened.close();
      rmSync(folder, { recursive: true, force: true });
    });
    const file = (body: Uint8Array) => {
      const path = join(folder, randomUUID());
      writeFileSync(path, body);
      return path;
    };

    test('passes the start-up probe and leaves nothing behind', async () => {
      const report = await probeStore(store);
      expect(report.checks.filter(check => !check.passed)).toEqual([]);
      expect(await store.list('_probe/')).toEqual({ kind: 'found', value: { objects: [], next: null } });
    });

    test('reads back what was created, whole and in ranges', async () => {
      const key = unique('read');
      const body = randomBytes(1000);
      const created = await store.putIfAbsent(key, body);
      const read = await opened.other.get(key);
      expect(created.kind).toBe('applied');
      expect(bytesOf(read)).toEqual(body);
      expect(bytesOf(await store.get(key, { range: [10, 20] }))).toEqual(body.subarray(10, 20));
      expect(bytesOf(await store.get(key, { range: [990, 5000] }))).toEqual(body.subarray(990));
      expect((await store.get(key, { range: [1000, 1001] })).kind).toBe('changed');
      expect((await store.get(key, { range: [5, 5] })).kind).toBe('changed');
    });

    test('keeps empty objects', async () => {
      const key = unique('empty');
      expect((await store.putIfAbsent(key, new Uint8Array())).kind).toBe('applied');
      expect(bytesOf(await store.get(key))).toEqual(Buffer.alloc(0));
      expect((await store.head(key)).kind).toBe('found');
    });

    test('refuses a second create, even of equal bytes, and keeps the first', async () => {
      const key = unique('twice');
      const [first, equal, different] = [
        await store.putIfAbsent(key, Buffer.from('first')),
        await opened.other.putIfAbsent(key, Buffer.from('first')),
        await store.putIfAbsent(key, Buffer.from('other')),
      ];
      expect(first.kind).toBe('applied');
      expect([equal, different].map(reasonOf)).toEqual(['exists', 'exists']);
      expect(bytesOf(await store.get(key)).toString()).toBe('first');
    });

    test('lets exactly one of 20 racing creates win, and that one is what is read', async () => {
      for (let round = 0; round < 5; round += 1) {
        const key = unique('race');
        const bodies = Array.from({ length: 20 }, (_, index) => Buffer.from(`writer ${index}`));
        const results = await Promise.all(
          bodies.map((body, index) => (index % 2 === 0 ? store : opened.other).putIfAbsent(key, body)),
        );
        const winners = bodies.filter((_, index) => results[index]?.kind === 'applied');
        expect(winners).toHaveLength(1);
        expect(results.filter(result => reasonOf(result) === 'exists')).toHaveLength(19);
        expect(bytesOf(await opened.other.get(key))).toEqual(winners[0]);
      }
    });

    test('lets exactly one of racing creates with equal bytes win', async () => {
      const key = unique('race-equal');
      const results = await Promise.all(Array.from({ length: 20 }, () => store.putIfAbsent(key, Buffer.from('equal'))));
      expect(results.filter(result => result.kind === 'applied')).toHaveLength(1);
    });

    test('put is safe to run twice and never overwrites', async () => {
      const key = unique('put');
      const first = await store.put(key, Buffer.from('content'));
      const again = await opened.other.put(key, Buffer.from('content'));
      const other = await store.put(key, Buffer.from('different'));
      expect(first.kind).toBe('applied');
      expect(again).toEqual(first);
      expect(reasonOf(other)).toBe('exists');
      expect(bytesOf(await store.get(key)).toString()).toBe('content');
    });

    test.each(['small', 'large'])('uploads and downloads a %s file, twice the same way', async size => {
      const key = unique(size);
      const body = randomBytes(size === 'small' ? 1000 : opened.largeBytes);
      const path = file(body);
      const uploaded = await store.upload(key, path);
      const again = await store.upload(key, path);
      const different = await store.upload(key, file(Buffer.from(body).fill(0, 0, 10)));
      expect(uploaded.kind).toBe('applied');
      expect(again).toEqual(uploaded);
      expect(reasonOf(different)).toBe('exists');
      const target = join(folder, randomUUID());
      const downloaded = await opened.other.download(key, target);
      const sha256 = createHash('sha256').update(body).digest('hex');
      const etag = uploaded.kind === 'applied' ? uploaded.etag : '';
      expect(downloaded).toEqual({ kind: 'found', value: { bytes: body.length, sha256, etag } });
      expect(Buffer.compare(readFileSync(target), body)).toBe(0);
      const bare = await store.download(key, target, { digest: 'none' });
      expect(bare).toEqual({ kind: 'found', value: { bytes: body.length, sha256: null, etag } });
    });

    test('racing uploads in the way of large files have one winner', async () => {
      const key = unique('race-upload');
      const bodies = Array.from({ length: 4 }, () => randomBytes(opened.largeBytes));
      const results = await Promise.all(bodies.map(body => store.upload(key, file(body))));
      const winners = bodies.filter((_, index) => results[index]?.kind === 'applied');
      expect(winners).toHaveLength(1);
      expect(Buffer.compare(bytesOf(await store.get(key)), winners[0]!)).toBe(0);
    });

    test('a pinned read notices another version', async () => {
      const key = unique('pinned');
      const created = await store.putIfAbsent(key, Buffer.from('pinned'));
      const etag = created.kind === 'applied' ? created.etag : '';
      const target = file(Buffer.from('of an earlier download'));
      expect((await store.get(key, { ifMatch: etag })).kind).toBe('found');
      expect((await store.get(key, { ifMatch: 'another' })).kind).toBe('changed');
      expect((await store.download(key, target, { ifMatch: 'another' })).kind).toBe('changed');
      expect(existsSync(target)).toBe(false);
    });

    test('says not_found of what is not there', async () => {
      const key = unique('absent');
      const target = file(Buffer.from('of an earlier download'));
      const answers = [await store.get(key), await store.head(key), await store.download(key, target)];
      expect(answers.map(answer => answer.kind)).toEqual(['not_found', 'not_found', 'not_found']);
      expect(existsSync(target)).toBe(false);
      expect((await store.get(`${key}/below`)).kind).toBe('not_found');
    });

    test('head, list and get agree about an object', async () => {
      const key = unique('agree');
      await store.putIfAbsent(key, Buffer.from('twelve bytes'));
      const head = await store.head(key);
      const listed = await opened.other.list(key);
      const read = await store.get(key);
      expect(head.kind === 'found' ? [head.value] : []).toEqual(listed.kind === 'found' ? listed.value.objects : null);
      expect(head).toMatchObject({ value: { key, bytes: 12, etag: read.kind === 'found' ? read.value.etag : '' } });
      const age = Date.now() - Date.parse(head.kind === 'found' ? head.value.modified : '');
      expect(Math.abs(age)).toBeLessThan(60_000);
    });

    test('lists in byte order, by any prefix, from any key, in pages', async () => {
      const base = unique('list');
      const names = ['a', 'a-b', 'a.json', 'a/b', 'a/b-c', 'a/b/c', 'a0', 'aa/x', 'b/0', 'b/00', 'Z', '~x', '_y'];
      // Nothing is both an object and a folder of objects: a file system cannot keep that.
      const kept = names.filter(name => !names.some(other => other.startsWith(`${name}/`)));
      for (const name of kept) await store.putIfAbsent(`${base}/${name}`, Buffer.from(name));
      const sorted = kept.map(name => `${base}/${name}`).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect(keysOf(await store.list(`${base}/`))).toEqual(sorted);
      expect(keysOf(await store.list(`${base}/a`))).toEqual(sorted.filter(key => key.startsWith(`${base}/a`)));
      expect(keysOf(await store.list(`${base}/a/b/`))).toEqual([`${base}/a/b/c`]);
      for (const after of [...sorted, `${base}/a/`, `${base}/0`, `${base}/zz`]) {
        expect(keysOf(await store.list(`${base}/`, { after }))).toEqual(sorted.filter(key => key > after));
      }
      const paged: string[] = [];
      for (let after: string | null = ''; after !== null; ) {
        const page = await store.list(`${base}/`, { limit: 3, ...(after === '' ? {} : { after }) });
        if (page.kind !== 'found') throw new Error(`listing answered ${page.kind}`);
        expect(page.value.objects.length).toBeLessThanOrEqual(3);
        paged.push(...page.value.objects.map(object => object.key));
        after = page.value.next;
      }
      expect(paged).toEqual(sorted);
    });

    test('lists all of more than a page', async () => {
      const base = unique('many');
      const wanted = Array.from({ length: 1_050 }, (_, index) => `${base}/${String(index).padStart(5, '0')}`);
      for (let from = 0; from < wanted.length; from += 50) {
        await Promise.all(wanted.slice(from, from + 50).map(key => store.putIfAbsent(key, Buffer.from(key))));
      }
      const first = await store.list(`${base}/`);
      expect(first.kind === 'found' ? [first.value.objects.length, first.value.next] : []).toEqual([1000, wanted[999]]);
      const all = await listAll(store, `${base}/`);
      expect(all.kind === 'found' ? all.value.map(object => object.key) : []).toEqual(wanted);
    });

    test('deletes, and deleting again is the same', async () => {
      const key = unique('delete');
      await store.putIfAbsent(key, Buffer.from('x'));
      expect((await store.delete(key)).kind).toBe('applied');
      expect((await opened.other.get(key)).kind).toBe('not_found');
      expect((await store.delete(key)).kind).toBe('applied');
    });

    test('throws nothing, whatever it is asked', async () => {
      const controller = new AbortController();
      controller.abort(new Error('the caller went away'));
      const { signal } = controller;
      const keys = [
        '',
        '/',
        'a//b',
        '../a',
        'a/../b',
        'a/./b',
        '.tmp-x',
        'a/',
        '/a',
        'a\0b',
        'a\nb',
        'ä',
        'a b',
        'a:b',
        'a\\b',
      ];
      for (const key of [...keys, 'x'.repeat(201), 'x/'.repeat(500)]) {
        const writes = [
          await store.putIfAbsent(key, Buffer.from('x')),
          await store.put(key, Buffer.from('x')),
          await store.upload(key, file(Buffer.from('x'))),
          await store.delete(key),
        ];
        expect(writes.map(reasonOf)).toEqual(['refused', 'refused', 'refused', 'refused']);
        const reads = [await store.get(key), await store.head(key), await store.download(key, join(folder, 'none'))];
        for (const read of reads) expect(['not_found', 'unknown']).toContain(read.kind);
      }
      for (const prefix of ['../', '/', 'a/../b/']) await store.list(prefix);
      expect(reasonOf(await store.upload(unique('gone'), join(folder, 'no-such-file')))).toBe('refused');
      const key = unique('signal');
      await store.putIfAbsent(key, Buffer.from('x'));
      expect((await store.get(key, { signal })).kind).toBe('unknown');
      expect((await store.download(key, join(folder, 'aborted'), { signal })).kind).toBe('unknown');
      expect((await store.download(key, join(folder, 'no', 'such', 'folder'))).kind).toBe('unknown');
      expect(existsSync(join(folder, 'aborted'))).toBe(false);
    });
  });
}

function unique(name: string): string {
  return `contract/${name}-${randomUUID()}`;
}

export function bytesOf(read: Awaited<ReturnType<ObjectStore['get']>>): Buffer {
  if (read.kind !== 'found') throw new Error(`expected found, got ${JSON.stringify(read)}`);
  return Buffer.from(read.value.bytes);
}

function keysOf(page: Awaited<ReturnType<ObjectStore['list']>>): string[] {
  if (page.kind !== 'found') throw new Error(`expected found, got ${JSON.stringify(page)}`);
  return page.value.objects.map(object => object.key);
}

export function reasonOf(result: WriteResult): string {
  return result.kind === 'not_applied' ? result.reason : result.kind;
}
