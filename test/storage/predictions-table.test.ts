import { beforeEach, describe, expect, test } from 'vitest';
import { sha256 } from '../../src/storage/digest.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { type CommitRequest, PredictionsTable } from '../../src/storage/table/predictions-table.ts';
import { otherProcess } from './support/other-process.ts';

const root = 'predictions/churn';
let store: MemoryStore;
const open = () => new PredictionsTable(systemPorts(store), root);

beforeEach(() => {
  store = new MemoryStore();
});

/** Uploads one file of three rows per chunk and describes the commit of them. */
async function scored(partition: string, generation: number, attempt = 1): Promise<CommitRequest> {
  const bytes = new TextEncoder().encode(`rows of ${partition} g${generation} attempt ${attempt}`);
  const { path, key } = open().newPartFile({ partition, generation, chunk: 0, attempt });
  await store.put(key, bytes);
  return {
    partition,
    generation,
    planDigest: sha256('plan'),
    columns: [
      { name: 'customer_id', type: 'long' },
      { name: 'score', type: 'float' },
    ],
    files: [{ path, bytes: bytes.length, rows: 3, sha256: sha256(bytes) }],
    asOf: `${partition}T00:00:00Z`,
    workflowId: `score/churn/${partition}/g${generation}`,
    runId: 'r',
    attempt,
  };
}

describe('a table of predictions', () => {
  test('shows a generation after its one commit, and the next one in its place', async () => {
    const first = await scored('2026-01-01', 1);
    expect(await open().commit(first)).toMatchObject({ kind: 'committed', version: 1 });
    const second = await scored('2026-01-01', 2);
    expect((await open().snapshot()).files.map(file => file.path)).toEqual([first.files[0]!.path]);
    expect(await open().commit(second)).toMatchObject({ kind: 'committed', version: 2 });
    expect((await open().snapshot()).files.map(file => file.path)).toEqual([second.files[0]!.path]);
    expect((await open().snapshot({ version: 1 })).files.map(file => file.path)).toEqual([first.files[0]!.path]);
  });

  test('answers a repeated commit with the first, and adopts the files of the attempt that won', async () => {
    const winner = await scored('2026-01-01', 1, 1);
    const zombie = await scored('2026-01-01', 1, 2);
    const won = await open().commit(winner);
    expect(await open().commit(zombie)).toEqual({ ...won, kind: 'already' });
    expect((await open().snapshot()).files.map(file => file.path)).toEqual([winner.files[0]!.path]);
  });

  test('loses nothing when 20 jobs commit at once', async () => {
    const days = Array.from({ length: 20 }, (_, day) => `2026-01-${String(day + 1).padStart(2, '0')}`);
    const requests = await Promise.all(days.map(day => scored(day, 1)));
    const outcomes = await Promise.all(
      requests.map((request, index) => {
        // Half of them in this process, each of the others in one of its own.
        const table = index % 2 === 0 ? open() : new PredictionsTable(systemPorts(otherProcess(store)), root);
        return table.commit(request);
      }),
    );
    expect(new Set(outcomes.map(outcome => (outcome.kind === 'committed' ? outcome.version : outcome.kind))).size).toBe(
      20,
    );
    expect((await open().snapshot()).generations.map(({ partition }) => partition)).toEqual(days);
  });

  test('fences a generation that was given up, and one that came after its successor', async () => {
    expect(await open().abort({ partition: '2026-01-01', generation: 1, reason: 'cancelled' })).toMatchObject({
      kind: 'aborted',
    });
    expect(await open().commit(await scored('2026-01-01', 1))).toMatchObject({ kind: 'fenced', reason: /given up/ });
    await open().commit(await scored('2026-01-01', 3));
    expect(await open().commit(await scored('2026-01-01', 2))).toMatchObject({
      kind: 'fenced',
      reason: /generation 3/,
    });
    expect(await open().nextGeneration('2026-01-01')).toBe(4);
  });

  test('publishes nothing while a file is missing or has another size', async () => {
    const lost = await scored('2026-01-01', 1);
    await store.delete(`${root}/${lost.files[0]!.path}`);
    await expect(open().commit(lost)).rejects.toThrow(/does not have it: score the chunk again/);
    const cut = await scored('2026-01-01', 1);
    const files = cut.files.map(file => ({ ...file, bytes: file.bytes + 1 }));
    await expect(open().commit({ ...cut, files })).rejects.toThrow(/manifest says \d+ bytes/);
    expect((await open().snapshot()).files).toEqual([]);
  });

  test('refuses a table that another system writes, and leaves it as it was', async () => {
    const foreign =
      '{"protocol":{"minReaderVersion":3,"minWriterVersion":7}}\n{"commitInfo":{"engineInfo":"Apache-Spark/3.5"}}\n';
    await store.put(`${root}/_delta_log/00000000000000000000.json`, new TextEncoder().encode(foreign));
    await expect(open().commit(await scored('2026-01-01', 1))).rejects.toThrow(/written by Apache-Spark\/3.5/);
    const page = await store.list(`${root}/_delta_log/`);
    expect(page.kind === 'found' && page.value.objects).toHaveLength(1);
  });

  test('grows by new columns and refuses a changed type', async () => {
    await open().commit(await scored('2026-01-01', 1));
    const grown = await scored('2026-01-02', 1);
    await open().commit({ ...grown, columns: [...grown.columns, { name: 'arm', type: 'string' }] });
    expect((await open().snapshot()).columns.map(({ name }) => name)).toEqual(['customer_id', 'score', 'arm']);
    const changed = await scored('2026-01-03', 1);
    await expect(open().commit({ ...changed, columns: [{ name: 'score', type: 'double' }] })).rejects.toThrow(
      /score is float in the table and double in the new files/,
    );
  });

  test('travels in time until a generation is forgotten, then says what happened', async () => {
    await open().commit(await scored('2026-01-01', 1));
    await open().commit(await scored('2026-01-01', 2));
    const generations = [
      { partition: '2026-01-01', generation: 1 },
      { partition: '2026-01-01', generation: 2 },
    ];
    const forgotten = await open().forget({ generations, why: 'erasure', subject: 'keyed hash' });
    expect(forgotten).toEqual([{ partition: '2026-01-01', generation: 1 }]);
    await expect(open().snapshot({ version: 1 })).rejects.toThrow(/erased on 20/);
    expect((await open().snapshot({ version: 2 })).generations).toHaveLength(1);
    await expect(open().snapshot({ version: 9 })).rejects.toThrow(/versions 0 to 3/);
  });

  test('a commit cut short at a line break is not taken for a smaller one', async () => {
    await open().commit(await scored('2026-01-01', 1));
    const key = `${root}/_delta_log/00000000000000000001.json`;
    const answer = await store.get(key);
    if (answer.kind !== 'found') throw new Error('just written');
    const lines = new TextDecoder().decode(answer.value.bytes).split('\n');
    await store.delete(key);
    await store.put(key, new TextEncoder().encode(`${lines.slice(0, 2).join('\n')}\n`));
    await expect(open().snapshot()).rejects.toThrow(/the actions have hash/);
  });
});
