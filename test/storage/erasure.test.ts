import { expect, test } from 'vitest';
import { sha256 } from '../../src/storage/digest.ts';
import { eraseSubject, subjectHash } from '../../src/storage/erasure.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { type CommitRequest, PredictionsTable } from '../../src/storage/table/predictions-table.ts';

test('an erased subject is in no object any more, and time travel says when it was erased', async () => {
  const store = new MemoryStore();
  const ports = systemPorts(store);
  const table = new PredictionsTable(ports, 'predictions/churn');
  const written = async (generation: number, rows: readonly string[]): Promise<CommitRequest> => {
    const bytes = new TextEncoder().encode(rows.join('\n'));
    const { path, key } = table.newPartFile({ partition: 'p', generation, chunk: 0, attempt: 1 });
    await store.put(key, bytes);
    const files = [{ path, bytes: bytes.length, rows: rows.length, sha256: sha256(bytes) }];
    const columns = [{ name: 'id', type: 'string' as const }];
    const said = { planDigest: 'plan', asOf: '2026-01-01T00:00:00Z', workflowId: 'w', runId: 'r', attempt: 1 };
    return { partition: 'p', generation, columns, files, ...said };
  };
  await table.commit(await written(1, ['zoe7', 'ben']));
  await table.commit(await written(2, ['zoe7', 'cleo']));

  const subject = subjectHash('secret', ['zoe7']);
  const holds = async (key: string) => {
    const answer = await store.get(key);
    return answer.kind === 'found' && new TextDecoder().decode(answer.value.bytes).includes('zoe7');
  };
  const report = await eraseSubject(ports, {
    ...{ table, subject, holds },
    rewrite: async () => written(await table.nextGeneration('p'), ['cleo']),
  });

  expect(report.deleted).toHaveLength(2);
  expect(report.remaining).toEqual([]);
  expect((await table.snapshot()).rows).toBe(1);
  await expect(table.snapshot({ version: 1 })).rejects.toThrow(/erased on/);
  const everything = await store.list('', { limit: 1000 });
  if (everything.kind !== 'found') throw new Error('the memory store lists');
  for (const object of everything.value.objects) expect(await holds(object.key)).toBe(false);
});
