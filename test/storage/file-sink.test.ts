import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256 } from '../../src/storage/digest.ts';
import { FileSink, sha256OnThread } from '../../src/storage/file-sink.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'almanac-sink-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Buffers of their own, as a socket gives them. */
function* chunksOf(bytes: Buffer, size: number): Generator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) yield Uint8Array.from(bytes.subarray(from, from + size));
}

test.each([
  { bytes: 0, size: 10 },
  { bytes: 1, size: 10 },
  { bytes: (1 << 20) + 1, size: 1 << 16 },
  // More than may wait for the thread.
  { bytes: 20 << 20, size: 1 << 16 },
])('writes and hashes $bytes bytes in chunks of $size', async ({ bytes, size }) => {
  const wanted = randomBytes(bytes);
  const path = join(folder, `of-${bytes}`);
  const sink = new FileSink(path, 'sha256');
  await pipeline(Readable.from(chunksOf(wanted, size)), sink);
  expect(sink.sha256).toBe(sha256(wanted));
  expect(readFileSync(path).equals(wanted)).toBe(true);
  expect(await sha256OnThread(path)).toBe(sha256(wanted));
});

test('hashes nothing when nobody wants to know, and replaces what was there', async () => {
  const path = join(folder, 'replaced');
  await writeFile(path, 'something longer than what comes');
  const sink = new FileSink(path, 'none');
  await pipeline(Readable.from([Buffer.from('short')]), sink);
  expect(sink.sha256).toBeNull();
  expect(readFileSync(path, 'utf8')).toBe('short');
});

test('leaves bytes that others share to them', async () => {
  const shared = Buffer.from('one buffer, two chunks');
  const path = join(folder, 'shared');
  const sink = new FileSink(path, 'sha256');
  await pipeline(Readable.from([shared.subarray(0, 10), shared.subarray(10)]), sink);
  expect(sink.sha256).toBe(sha256('one buffer, two chunks'));
  expect(shared.toString()).toBe('one buffer, two chunks');
});

test('many at once each get their own bytes', async () => {
  const all = Array.from({ length: 12 }, (_, index) => randomBytes((index + 1) * 300_000));
  const found = await Promise.all(
    all.map(async (bytes, index) => {
      const sink = new FileSink(join(folder, `many-${index}`), 'sha256');
      await pipeline(Readable.from(chunksOf(bytes, 50_000)), sink);
      return sink.sha256;
    }),
  );
  expect(found).toEqual(all.map(bytes => sha256(bytes)));
});

test('says why a file cannot be written or read, with the code', async () => {
  const path = join(folder, 'no-such-folder', 'file');
  const sink = new FileSink(path, 'sha256');
  await expect(pipeline(Readable.from(chunksOf(randomBytes(1 << 20), 1000)), sink)).rejects.toMatchObject({
    code: 'ENOENT',
    message: expect.stringContaining(path),
  });
  await expect(sha256OnThread(path)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('stops when it is told to, and the next one works', async () => {
  const stop = new AbortController();
  async function* endless() {
    for (let sent = 0; ; sent += 1) {
      if (sent === 50) stop.abort(new Error('enough'));
      yield randomBytes(1 << 16);
    }
  }
  const sink = new FileSink(join(folder, 'stopped'), 'sha256');
  await expect(pipeline(Readable.from(endless()), sink, { signal: stop.signal })).rejects.toThrow();
  expect(sink.sha256).toBeNull();
  await expect(sha256OnThread(join(folder, 'stopped'), stop.signal)).rejects.toThrow('enough');
  const next = new FileSink(join(folder, 'next'), 'sha256');
  await pipeline(Readable.from([Buffer.from('next')]), next);
  expect(next.sha256).toBe(sha256('next'));
  expect(existsSync(join(folder, 'next'))).toBe(true);
});
