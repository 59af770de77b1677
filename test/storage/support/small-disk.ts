/** Child of `local-disk.slow.test.ts`: `small-disk.ts SCENARIO FOLDER`, answers as one line of JSON. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { LocalStore } from '../../../src/storage/local.ts';
import type { WriteResult } from '../../../src/storage/object-store.ts';
import { probeProblem, probeStore } from '../../../src/storage/probe.ts';

const [scenario, folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: small-disk.ts SCENARIO FOLDER');
const store = new LocalStore(folder);

const scenarios: Record<string, () => Promise<unknown>> = { full, inodes, readOnly };
process.stdout.write(JSON.stringify(await scenarios[scenario ?? '']?.()));

async function full(): Promise<unknown> {
  const source = join(mkdtempSync(join(tmpdir(), 'almanac-small-disk-')), 'source');
  writeFileSync(source, Buffer.alloc(3_000_000, 1));
  const target = join(folder!, 'copy');
  await store.putIfAbsent('fits', Buffer.alloc(2_000_000));
  const put = await store.putIfAbsent('more', Buffer.alloc(3_000_000));
  const upload = await store.upload('file', source);
  rmSync(dirname(source), { recursive: true });
  const download = await store.download('fits', target);
  const second = await store.download('fits', join(folder!, 'second'));
  const listed = await store.list('');
  const visible =
    listed.kind === 'found' ? listed.value.objects.map(object => object.key).filter(key => key !== 'copy') : [];
  await store.delete('fits');
  await store.delete('copy');
  const after = await store.putIfAbsent('more', Buffer.alloc(3_000_000));
  const downloadElsewhere = [download.kind, second.kind].find(kind => kind !== 'found');
  return {
    put: told(put),
    upload: told(upload),
    downloadElsewhere,
    visible,
    debris: debris(),
    afterSpace: told(after),
  };
}

async function inodes(): Promise<unknown> {
  let last: WriteResult = { kind: 'unknown', cause: '' };
  for (let index = 0; index < 20; index += 1) last = await store.putIfAbsent(`key-${index}`, Buffer.from('x'));
  return { last: told(last), debris: debris() };
}

async function readOnly(): Promise<unknown> {
  execFileSync('mount', ['-o', 'remount,ro', folder!]);
  return { problem: probeProblem(await probeStore(store)) };
}

function told(result: WriteResult): string {
  if (result.kind !== 'not_applied') return result.kind;
  return `${result.reason}: ${/E[A-Z]+/.exec(result.detail)?.[0] ?? result.detail}`;
}

function debris(): number {
  return readdirSync(folder!).filter(name => name.startsWith('.')).length;
}
