import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { openStore } from '../../src/storage/open.ts';

const folder = mkdtempSync(join(tmpdir(), 'almanac-open-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'file');
writeFileSync(file, 'mine');

test.each([
  [file, /cannot be created: EEXIST.*name another place/],
  [join(file, 'below'), /cannot be created: ENOTDIR.*free the way/],
  ['', /expected a folder or s3/],
  ['https://example.org/store', /expected a folder or s3/],
  ['s3://Not_A_Bucket/x', /expected s3:\/\/bucket/],
])('%j is refused with what was found', (place, message) => {
  expect(() => openStore(place)).toThrow(message);
  expect(readFileSync(file, 'utf8')).toBe('mine');
});

test('a folder is created, by path or by URL, and an S3 place needs no server to be opened', () => {
  const places = [join(folder, 'a/b'), pathToFileURL(join(folder, 'c d')).href];
  expect(places.map(place => openStore(place).url)).toEqual([
    pathToFileURL(join(folder, 'a/b')).href,
    pathToFileURL(join(folder, 'c d')).href,
  ]);
  expect(openStore('s3://bucket/prefix/', { region: 'eu-west-1' }).url).toBe('s3://bucket/prefix');
});
