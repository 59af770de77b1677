import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LocalStore } from '../../src/storage/local.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import { describeStore } from './contract.ts';

describeStore('memory store', async () => {
  const store = new MemoryStore();
  return { store, other: store, largeBytes: 100_000, close: async () => undefined };
});

describeStore('local store', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'almanac-local-'));
  return {
    store: new LocalStore(folder),
    other: new LocalStore(folder),
    largeBytes: 5_000_000,
    close: async () => rmSync(folder, { recursive: true, force: true }),
  };
});
