/** Which columns of a wide file are fetched: all that scoring may read, and where nobody can tell, all there are. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ChunkInputs, columnsRead, type ReadByScoring } from '../../src/activities/chunk-inputs.ts';
import type { InputTables } from '../../src/inputs/input-tables.ts';
import { column, contractOf } from '../engine/support/fixtures.ts';

function definition(rule: string | null = null, transform: string | null = null): ReadByScoring {
  const rules = rule === null ? [] : [{ id: 'r', sql: rule, mostly: 1, onFail: 'warn' as const }];
  return {
    data: { features: { format: 'parquet', path: 'data/*.parquet' }, transform },
    contract: contractOf([column('Amount')], { rules, eventTime: 'seen_at' }),
    evaluate: { slices: ['region'] },
    score: { passThrough: ['note'] },
  };
}

test('keys, contract columns, times, slices and copied columns are read, whatever their case; others are not', () => {
  const wants = columnsRead(definition());
  const read = ['id', 'amount', 'AMOUNT', 'seen_at', 'region', 'note', 'other', 'amount_2'].filter(name =>
    wants?.(name),
  );
  expect(read).toEqual(['id', 'amount', 'AMOUNT', 'seen_at', 'region', 'note']);
});

test('a rule reads every column whose name stands in it', () => {
  const wants = columnsRead(definition('Fee + "tax rate" < 3'));
  expect(['fee', 'tax rate', 'tax', 'price'].filter(name => wants?.(name))).toEqual(['fee', 'tax rate', 'tax']);
});

test.each([
  ['a transform', null, 'FROM features'],
  ['a star', 'count(*) > 0', null],
  ['a choice of columns', "COLUMNS('a.*') > 0", null],
  ['the whole row', 'features IS NOT NULL', null],
  ['a query', '(SELECT 1) = 1', null],
])('%s may read any column, so all are fetched', (_what, rule, transform) => {
  expect(columnsRead(definition(rule, transform))).toBeUndefined();
});

test('the next chunk sets out while this one is used, and what was used is removed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'almanac-chunks-'));
  const asked: string[] = [];
  const fetch: InputTables['fetch'] = async (file, at) => {
    asked.push(file.path);
    if (file.path === 'c') throw new Error('c is gone');
    await mkdir(at.folder, { recursive: true });
    await writeFile(join(at.folder, file.path), '');
    return join(at.folder, file.path);
  };
  const files = ['a', 'b', 'c'].map(path => ({ path, partition: 'p', bytes: 0, sha256: null, rows: 1 }));
  const inputs = new ChunkInputs({
    tables: { fetch },
    fetchRepair: () => Promise.reject(new Error('nothing was repaired')),
    plan: { inputs: files, chunks: files.map(({ path }) => ({ inputs: [{ path }], rows: 1 })) },
    definition: definition(),
    to: 3,
    folder,
    signal: new AbortController().signal,
  });
  try {
    const [first] = await inputs.take(0);
    expect(asked).toEqual(['a', 'b']);
    expect(existsSync(first?.path ?? '')).toBe(true);
    await inputs.drop(0);
    expect(existsSync(first?.path ?? '')).toBe(false);
    expect((await inputs.take(1)).map(({ path }) => path)).toEqual([join(folder, '1', 'b')]);
    // It failed while nobody waited; whoever takes the chunk hears of it.
    await expect(inputs.take(2)).rejects.toThrow('c is gone');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
