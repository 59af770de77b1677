import { beforeEach, describe, expect, test } from 'vitest';
import { verifyStore } from '../../src/storage/audit.ts';
import { Catalog } from '../../src/storage/catalog.ts';
import { sha256 } from '../../src/storage/digest.ts';
import { eraseObjects } from '../../src/storage/erasure.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { PredictionsTable } from '../../src/storage/table/predictions-table.ts';

let store: MemoryStore;
beforeEach(async () => {
  store = new MemoryStore();
  const catalog = new Catalog(systemPorts(store));
  for (const partition of ['2026-01-01', '2026-01-02', '2026-01-03']) {
    await catalog.requestGeneration('churn', { partition, request: 'test', decided: 0 });
  }
  await catalog.documents.put('note', { text: 'as it was written' });
});

describe('the audit', () => {
  test('finds nothing wrong in an untouched store', async () => {
    const report = await verifyStore(store);
    expect(report).toMatchObject({ objects: 4, chains: 1, entries: 3, findings: [] });
  });

  test('names the byte of a log entry that was changed', async () => {
    const key = 'models/churn/jobs/00000000000000000001.json';
    const byte = await flip(key, '2026-01-02');
    expect((await verifyStore(store)).findings).toMatchObject([{ key, byte }]);
  });

  test('names the byte of a document that was changed', async () => {
    const page = await store.list('documents/');
    const key = page.kind === 'found' ? page.value.objects[0]!.key : '';
    const byte = await flip(key, 'written');
    expect((await verifyStore(store)).findings).toMatchObject([{ key, byte }]);
  });

  test('names an entry that is missing', async () => {
    const key = 'models/churn/jobs/00000000000000000001.json';
    await store.delete(key);
    expect((await verifyStore(store)).findings[0]).toMatchObject({
      key,
      message: expect.stringContaining('entry 1 is missing'),
    });
  });

  test('names a file that is in the way of a log', async () => {
    for (const key of ['models/churn/runs', 'definitions/notes.txt', 'elsewhere/readme'])
      await store.putIfAbsent(key, Buffer.from('x'));
    expect((await verifyStore(store)).findings).toMatchObject([
      { key: 'definitions/notes.txt', message: expect.stringContaining('move it away') },
      { key: 'models/churn/runs' },
    ]);
  });

  test('names a document that a log names and that is gone', async () => {
    const catalog = new Catalog(systemPorts(store));
    const decision = { schema: 'decision/1', model: 'churn', asOf: '2026-01-01', action: 'none', reasons: [] };
    const digest = await catalog.recordDecision({ ...decision, trigger: 'test' } as never);
    expect((await verifyStore(store)).findings).toEqual([]);
    await store.delete(`documents/decision/${digest}.json`);
    expect((await verifyStore(store)).findings).toMatchObject([
      {
        key: `documents/decision/${digest}.json`,
        message: expect.stringContaining('entry 0 of models/churn/decisions'),
      },
    ]);
  });

  test('names the manifest of a commit that is gone', async () => {
    const table = new PredictionsTable(systemPorts(store), 'predictions/churn');
    const bytes = new TextEncoder().encode('rows');
    const { path, key } = table.newPartFile({ partition: '2026-01-01', generation: 1, chunk: 0, attempt: 1 });
    await store.put(key, bytes);
    const planDigest = await new Catalog(systemPorts(store)).documents.put('plan', { schema: 'plan/1' });
    const outcome = await table.commit({
      ...{ partition: '2026-01-01', generation: 1, planDigest, asOf: '2026-01-01T00:00:00Z' },
      ...{ columns: [{ name: 'score', type: 'float' }], workflowId: 'w', runId: 'r', attempt: 1 },
      files: [{ path, bytes: bytes.length, rows: 1, sha256: sha256(bytes) }],
    });
    expect((await verifyStore(store)).findings).toEqual([]);
    const manifest = `documents/manifest/${outcome.kind === 'committed' ? outcome.manifestDigest : ''}.json`;
    const plan = `documents/plan/${planDigest}.json`;
    for (const lost of [manifest, plan, key]) await store.delete(lost);
    expect((await verifyStore(store)).findings.map(finding => finding.key).toSorted()).toEqual([manifest, plan, key]);
  });

  test('follows what plans, receipts, jobs and bundles name', async () => {
    const { documents } = new Catalog(systemPorts(store));
    const lost = (name: string) => sha256(`lost ${name}`);
    const plan = { versions: [{ bundle: lost('bundle') }], inputs: [{ path: `artifact:${lost('repaired')}` }] };
    const planDigest = await documents.put('plan', { ...plan, definition: lost('definition') });
    await documents.put('receipts', { plan: planDigest, chunks: [{ profile: lost('profile'), part: null }] });
    await documents.put('job', { plan: planDigest, shadows: [{ artifacts: [lost('shadow')] }] });
    await documents.put('bundle', { files: [{ path: 'model.onnx', sha256: lost('model') }] });
    const expected = [
      ...['repaired', 'shadow', 'model'].map(name => `artifacts/${lost(name)}`),
      ...['bundle', 'definition', 'profile'].map(kind => `documents/${kind}/${lost(kind)}.json`),
    ];
    const found = (await verifyStore(store)).findings.map(({ key }) => key);
    expect(found.toSorted()).toEqual(expected.toSorted());
  });

  test('excuses what was deleted on purpose', async () => {
    const ports = systemPorts(store);
    const { documents } = new Catalog(ports);
    const profile = await documents.put('profile', { schema: 'profile/1', unseenTop: ['zoe7'] });
    await documents.put('receipts', { chunks: [{ profile }] });
    await eraseObjects(ports, { subject: 'hash', objects: [`documents/profile/${profile}.json`] });
    expect((await verifyStore(store)).findings).toEqual([]);
    await expect(documents.get('profile', profile)).rejects.toThrow(/erased on \d{4}/);
  });
});

/** Changes the first character of `text` inside an object; returns its position. */
async function flip(key: string, text: string): Promise<number> {
  const answer = await store.get(key);
  if (answer.kind !== 'found') throw new Error(`${key} is not there`);
  const bytes = Buffer.from(answer.value.bytes);
  const byte = bytes.indexOf(text);
  bytes[byte] = 'X'.charCodeAt(0);
  await store.delete(key);
  await store.put(key, bytes);
  return byte;
}
