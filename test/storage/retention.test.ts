import { expect, test } from 'vitest';
import { verifyStore } from '../../src/storage/audit.ts';
import { Documents } from '../../src/storage/documents.ts';
import { finishErasures } from '../../src/storage/erasure.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { retainDocuments } from '../../src/storage/retention.ts';

const dayMs = 86_400_000;

async function storeOfDocuments() {
  const store = new MemoryStore();
  const documents = new Documents(store);
  const plan = await documents.put('plan', { schema: 'plan/1' });
  const profile = await documents.put('profile', { rows: 1 });
  const needed = await documents.put('profile', { rows: 2 });
  const evidence = await documents.put('evidence', { verdict: 'pass' });
  await documents.put('job', { plan, profiles: [profile, needed] });
  const after = (days: number) => {
    const now = new Date(Date.now() + days * dayMs);
    return { ...systemPorts(store), clock: { now: () => now } };
  };
  const retain = (days: number) =>
    retainDocuments(after(days), {
      olderThanMs: { plan: 30 * dayMs, profile: 90 * dayMs },
      needed: async () => new Set([`documents/profile/${needed}.json`]),
    });
  return { store, documents, plan, profile, needed, evidence, retain };
}

test('a document goes when the time of its kind is over, and nothing else does', async () => {
  const { store, documents, plan, profile, needed, evidence, retain } = await storeOfDocuments();
  expect((await retain(29)).deleted).toEqual([]);
  expect((await retain(31)).deleted).toEqual([`documents/plan/${plan}.json`]);
  expect((await retain(91)).deleted).toEqual([`documents/profile/${profile}.json`]);
  expect((await retain(91)).deleted).toEqual([]);
  await expect(documents.get('plan', plan)).rejects.toThrow(/deleted by retention on/);
  await documents.get('profile', needed);
  await documents.get('evidence', evidence);
  expect((await verifyStore(store)).findings).toEqual([]);
});

test('a document that was written again after its time stays', async () => {
  const { store, documents, plan, retain } = await storeOfDocuments();
  await retain(31);
  await documents.put('plan', { schema: 'plan/1' });
  await finishErasures(systemPorts(store));
  await documents.get('plan', plan);
});

test('nothing younger than a week is deleted, whatever the policy says', async () => {
  const { store } = await storeOfDocuments();
  const soon = { ...systemPorts(store), clock: { now: () => new Date(Date.now() + 6 * dayMs) } };
  const eager = { olderThanMs: { plan: 0, receipts: 0, job: 0, profile: 0 }, needed: async () => new Set<string>() };
  expect((await retainDocuments(soon, eager)).deleted).toEqual([]);
});
