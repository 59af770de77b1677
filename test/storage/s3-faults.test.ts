/** The S3 store against a server that fails on purpose: what it answers, and what is really there afterwards. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { WriteResult } from '../../src/storage/object-store.ts';
import { probeProblem, probeStore } from '../../src/storage/probe.ts';
import { S3Store } from '../../src/storage/s3.ts';
import type { S3Options } from '../../src/storage/s3-client.ts';
import { S3StoreLater } from '../../src/storage/s3-later.ts';
import {
  type Fault,
  type FaultPlan,
  type FaultProxy,
  randomOf,
  type S3Request,
  seededFaults,
  startFaultProxy,
} from '../support/fault-proxy.ts';
import { bytesOf, reasonOf } from './contract.ts';
import { type FakeS3, type FakeS3Options, fakeS3 } from './support/fake-s3.ts';

let fake: FakeS3;
let proxy: FaultProxy;
let store: S3Store;
let folder: string;
const partBytes = 100_000;

async function start(options: FakeS3Options = {}): Promise<void> {
  fake = fakeS3(options);
  proxy = await startFaultProxy(fake.handle);
  store = open();
}

function open(prefix = ''): S3Store {
  return new S3Store({ bucket: 'bucket', prefix }, settings());
}

function settings(): S3Options {
  return {
    endpoint: proxy.endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId: 'x', secretAccessKey: 'y' },
    singleBytesMax: partBytes,
    partBytes,
    retry: { attempts: 4, firstDelayMs: 1, delayMsMax: 5 },
    idleMs: 300,
  };
}

/** The first matching requests fail with these faults, one after the other. */
function first(faults: readonly (Fault | null)[], matches: (request: S3Request) => boolean = () => true): FaultPlan {
  const rest = [...faults];
  return request => (matches(request) ? (rest.shift() ?? null) : null);
}
const isWrite = (request: S3Request) => request.method === 'PUT' || request.method === 'POST';
const isCompletion = (request: S3Request) => request.method === 'POST' && request.url.includes('uploadId=');
const isPart = (request: S3Request) => request.method === 'PUT' && request.url.includes('partNumber=');
const always = (fault: Fault, matches: (request: S3Request) => boolean = () => true): FaultPlan => {
  return request => (matches(request) ? fault : null);
};

const body = Buffer.from('the first and only content');
const large = randomBytes(partBytes * 3 + 5);

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'almanac-faults-'));
  writeFileSync(join(folder, 'large'), large);
  await start();
});
afterEach(async () => {
  store.close();
  await proxy.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe('a create', () => {
  const passing: readonly [string, Fault][] = [
    ['500 before it was applied', { kind: 'status', status: 500 }],
    ['503', { kind: 'status', status: 503 }],
    ['429', { kind: 'status', status: 429, code: 'TooManyRequests' }],
    ['a conflict', { kind: 'status', status: 409 }],
    ['a body damaged on the way', { kind: 'status', status: 400, code: 'BadDigest' }],
    ['an expired token', { kind: 'status', status: 400, code: 'ExpiredToken' }],
    ['500 although it was applied', { kind: 'applied_but_error' }],
    ['a lost answer', { kind: 'applied_but_lost' }],
    ['a cut connection', { kind: 'dropped' }],
    ['an application that comes later', { kind: 'applied_late', afterMs: 30 }],
    ['a 200 with an error in it', { kind: 'ok_with_error' }],
    ['a timeout after which it is applied', { kind: 'delayed', ms: 500 }],
  ];
  test.each(passing)('is applied once in spite of %s', async (_, fault) => {
    proxy.setPlan(first([fault, fault], isWrite));
    const created = await store.putIfAbsent('key', body);
    expect(created.kind).toBe('applied');
    expect(Object.values(proxy.injected())).toEqual([expect.any(Number)]);
    expect(bytesOf(await store.get('key'))).toEqual(body);
    // Its own late requests change nothing any more.
    expect(reasonOf(await store.putIfAbsent('key', Buffer.from('other')))).toBe('exists');
    expect(bytesOf(await store.get('key'))).toEqual(body);
  });

  test('knows its own object when the answer was lost, and another writer that brings equal bytes', async () => {
    proxy.setPlan(first([{ kind: 'applied_but_lost' }], isWrite));
    expect((await store.putIfAbsent('key', body)).kind).toBe('applied');
    proxy.setPlan(first([{ kind: 'applied_but_lost' }], isWrite));
    expect(reasonOf(await store.putIfAbsent('key', body))).toBe('exists');
  });

  test('after 409 finds out who won instead of guessing', async () => {
    await store.putIfAbsent('taken', body);
    proxy.setPlan(always({ kind: 'status', status: 409 }, isWrite));
    expect(reasonOf(await store.putIfAbsent('taken', Buffer.from('other')))).toBe('exists');
    expect((await store.putIfAbsent('free', body)).kind).toBe('unknown');
  });

  test('takes 304 for a failed condition, as some servers send it', async () => {
    await store.putIfAbsent('taken', body);
    proxy.setPlan(always({ kind: 'status', status: 304 }, isWrite));
    expect(reasonOf(await store.putIfAbsent('taken', body))).toBe('exists');
  });

  test.each([
    [403, 'AccessDenied'],
    [404, 'NoSuchBucket'],
    [501, 'NotImplemented'],
    [400, 'InvalidRequest'],
  ])('is refused at once by %i %s', async (status, code) => {
    proxy.setPlan(always({ kind: 'status', status, code }));
    const created = await store.putIfAbsent('key', body);
    expect(created).toMatchObject({ kind: 'not_applied', reason: 'refused' });
    expect(proxy.requests()).toBe(1);
    expect(created.kind === 'not_applied' ? created.detail : '').toContain(code);
  });

  test('stays unknown when a refusal follows an answer that was lost', async () => {
    proxy.setPlan(first([{ kind: 'applied_late', afterMs: 100 }, ...Array(20).fill({ kind: 'status', status: 403 })]));
    expect((await store.putIfAbsent('key', body)).kind).toBe('unknown');
    await proxy.stop();
    expect(fake.objects.has('key')).toBe(true);
  });

  test('is unknown when nothing answers, and gives up in bounded time', async () => {
    proxy.setPlan(always({ kind: 'dropped' }));
    expect((await store.putIfAbsent('key', body)).kind).toBe('unknown');
    expect(proxy.requests()).toBeLessThanOrEqual(5);
    await proxy.stop();
    const unreachable = await store.putIfAbsent('key', body);
    expect(unreachable.kind).toBe('unknown');
    await start();
  });
});

describe('a read', () => {
  const passing: readonly Fault[] = [
    { kind: 'status', status: 500 },
    { kind: 'status', status: 503 },
    { kind: 'dropped' },
    { kind: 'truncated' },
    { kind: 'garbled' },
    { kind: 'stalled' },
  ];
  describe.each([{ withoutChecksums: false }, { withoutChecksums: true }])('from a server with %o', options => {
    test.each(passing)('is repeated after $kind and never returns wrong bytes', async fault => {
      await proxy.stop();
      await start(options);
      await store.putIfAbsent('key', body);
      proxy.setPlan(first([fault, fault]));
      expect(bytesOf(await store.get('key'))).toEqual(body);
      proxy.setPlan(first([fault, fault]));
      const target = join(folder, 'target');
      expect((await store.download('key', target)).kind).toBe('found');
      proxy.setPlan(always(fault));
      expect((await store.get('key')).kind).toBe('unknown');
      expect((await store.download('key', target)).kind).toBe('unknown');
      expect(existsSync(target)).toBe(false);
    });
  });

  test('of a range is measured against what was asked', async () => {
    await store.putIfAbsent('key', body);
    proxy.setPlan(always({ kind: 'truncated' }));
    expect((await store.get('key', { range: [2, 12] })).kind).toBe('unknown');
  });

  test('that is forbidden is no proof of absence', async () => {
    proxy.setPlan(always({ kind: 'status', status: 403 }));
    const answers = [await store.get('key'), await store.head('key'), await store.list('')];
    expect(answers.map(answer => answer.kind)).toEqual(['unknown', 'unknown', 'unknown']);
  });

  test('of a bucket that is not there is unknown, not empty', async () => {
    proxy.setPlan(always({ kind: 'status', status: 404, code: 'NoSuchBucket' }));
    expect((await store.get('key')).kind).toBe('unknown');
    expect((await store.list('')).kind).toBe('unknown');
  });
});

describe('a put that meets an object', () => {
  const isRead = (request: S3Request) => request.method === 'GET';
  const path = () => join(folder, 'met');
  const ways: readonly [string, () => Promise<WriteResult>][] = [
    ['put', () => store.put('key', body)],
    ['upload', () => store.upload('key', path())],
  ];
  const passing: readonly Fault[] = [
    { kind: 'status', status: 503 },
    { kind: 'dropped' },
    { kind: 'truncated' },
    { kind: 'garbled' },
  ];
  const cases = ways.flatMap(([way, run]) => passing.map(fault => [way, fault, run] as const));
  test.each(cases)(
    'by %s: is applied once the same bytes could be read, unknown before, after %o',
    async (_, fault, run) => {
      writeFileSync(path(), body);
      await store.putIfAbsent('key', body);
      proxy.setPlan(first([fault, fault], isRead));
      expect(reasonOf(await run())).toBe('applied');
      proxy.setPlan(always(fault, isRead));
      expect(reasonOf(await run())).toBe('unknown');
    },
  );

  test.each(ways)('by %s: says that other bytes are there only when it has read them', async (_, run) => {
    writeFileSync(path(), body);
    await store.putIfAbsent('key', Buffer.from('other content of that length'.slice(0, body.length)));
    expect(reasonOf(await run())).toBe('exists');
    proxy.setPlan(always({ kind: 'status', status: 403 }, isRead));
    expect(reasonOf(await run())).toBe('unknown');
  });
});

describe('an upload in one piece', () => {
  test.each(['dropped', 'applied_but_lost', 'applied_but_error', 'garbled'] as const)(
    'is applied once in spite of %s',
    async kind => {
      const path = join(folder, 'small');
      writeFileSync(path, body);
      proxy.setPlan(first([{ kind }, { kind: 'status', status: 503 }], isWrite));
      expect((await store.upload('key', path)).kind).toBe('applied');
      expect(fake.objects.get('key')?.body).toEqual(body);
      writeFileSync(path, 'other content');
      expect(reasonOf(await store.upload('key', path))).toBe('exists');
    },
  );
});

describe('an upload in parts', () => {
  const path = () => join(folder, 'large');
  const passing: readonly [string, FaultPlan][] = [
    [
      'failing parts',
      first([{ kind: 'status', status: 500 }, { kind: 'dropped' }, { kind: 'applied_but_lost' }], isPart),
    ],
    ['a conflict at its completion', first([{ kind: 'status', status: 409 }], isCompletion)],
    ['a completion whose answer is lost', first([{ kind: 'applied_but_lost' }], isCompletion)],
    ['a completion that answers 200 with an error', first([{ kind: 'ok_with_error' }], isCompletion)],
    ['a completion that comes late', first([{ kind: 'applied_late', afterMs: 50 }], isCompletion)],
    ['parts that the server lost', first([{ kind: 'status', status: 404, code: 'NoSuchUpload' }], isCompletion)],
  ];
  test.each(passing)('is applied once in spite of %s', async (_, plan) => {
    proxy.setPlan(plan);
    const uploaded = await store.upload('key', path());
    expect(uploaded.kind).toBe('applied');
    await proxy.stop();
    expect(Buffer.compare(fake.objects.get('key')!.body, large)).toBe(0);
    await start();
  });

  test('leaves no parts behind when it lost', async () => {
    await store.putIfAbsent('key', body);
    expect(reasonOf(await store.upload('key', path()))).toBe('exists');
    expect(fake.uploads.size).toBe(0);
  });

  test('leaves its parts alone while the completion is in doubt', async () => {
    proxy.setPlan(always({ kind: 'dropped' }, isCompletion));
    expect((await store.upload('key', path())).kind).toBe('unknown');
    expect(fake.uploads.size).toBe(1);
  });
});

describe('the start-up probe', () => {
  test('refuses a store that ignores conditions', async () => {
    await proxy.stop();
    await start({ ignoreConditions: true });
    const report = await probeStore(store);
    expect(report.passed).toBe(false);
    expect(probeProblem(report)).toMatch(/a second create of the same key is refused.*If-None-Match/s);
  });

  test('refuses a store that says applied to everyone', async () => {
    proxy.setPlan(always({ kind: 'conditions_ignored' }));
    expect((await probeStore(store)).passed).toBe(false);
  });

  test('refuses a store that checks conditions of completions and then writes', async () => {
    await proxy.stop();
    await start({ checkThenWrite: true });
    expect(probeProblem(await probeStore(store))).toMatch(/racing completions/);
    // As a worker opens it, too.
    const later = new S3StoreLater({ bucket: 'bucket', prefix: '' }, settings());
    expect(probeProblem(await probeStore(later))).toMatch(/racing completions/);
  });

  test('refuses a store that cannot be written, and says why', async () => {
    proxy.setPlan(always({ kind: 'status', status: 403 }));
    expect(probeProblem(await probeStore(store))).toMatch(/refused.*AccessDenied/);
  });

  test('passes a slow store with passing faults', async () => {
    const kinds: readonly Fault[] = [
      { kind: 'status', status: 503 },
      { kind: 'applied_but_lost' },
      { kind: 'delayed', ms: 20 },
    ];
    proxy.setPlan(seededFaults({ seed: 1, probability: 0.05, kinds }));
    expect(probeProblem(await probeStore(store))).toBeNull();
  });
});

/** Writers race for a sequence of keys through all faults at once; every answer is held against what the server has. */
test.each([1, 2, 3, 4, 5, 6])('answers nothing that is not so, under faults of seed %i', async seed => {
  const kinds: readonly Fault[] = [
    { kind: 'status', status: 500 },
    { kind: 'status', status: 503 },
    { kind: 'status', status: 409 },
    { kind: 'applied_but_lost' },
    { kind: 'applied_but_error' },
    { kind: 'applied_late', afterMs: 20 },
    { kind: 'dropped' },
    { kind: 'truncated' },
    { kind: 'garbled' },
    { kind: 'ok_with_error' },
  ];
  const writers = [open(), open(), open(), open()];
  proxy.setPlan(seededFaults({ seed, probability: 0.25, kinds }));
  const random = randomOf(seed);
  const claims: { key: string; text: string; reason: string }[] = [];
  for (let slot = 0; slot < 25; slot += 1) {
    const key = `log/${slot}`;
    const racing = writers.map(async (writer, index) => {
      const text = `writer ${index} slot ${slot} ${'x'.repeat(Math.floor(random() * 200))}`;
      claims.push({ key, text, reason: reasonOf(await writer.putIfAbsent(key, Buffer.from(text))) });
      const read = await writer.get(key);
      if (read.kind === 'found') claims.push({ key, text: Buffer.from(read.value.bytes).toString(), reason: 'read' });
    });
    await Promise.all(racing);
  }
  for (const writer of writers) writer.close();
  await proxy.stop();
  const present = (key: string) => fake.objects.get(key)?.body.toString();
  expect(claims.filter(({ reason }) => reason === 'refused')).toEqual([]);
  expect(claims.filter(({ key, reason }) => reason === 'exists' && present(key) === undefined)).toEqual([]);
  const wrong = claims.filter(
    ({ key, text, reason }) => (reason === 'applied' || reason === 'read') && present(key) !== text,
  );
  expect(wrong).toEqual([]);
  const falselyLost = claims.filter(({ key, text, reason }) => reason === 'exists' && present(key) === text);
  expect(falselyLost).toEqual([]);
  expect(claims.filter(({ reason }) => reason === 'applied').length).toBeGreaterThan(15);
  await start();
});
