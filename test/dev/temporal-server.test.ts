import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readEnvironment } from '../../src/config/environment.ts';
import { takeLock } from '../../src/dev/lock.ts';
import { freePort, openTemporal } from '../../src/dev/temporal-server.ts';
import { searchAttributes } from '../../src/domain/ids.ts';
import { until } from '../support/temporal.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'almanac-server-'));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const log = () => {};
const open = () => {
  const { path, cacheFolder } = readEnvironment();
  const find = { path, cacheFolder, log };
  return openTemporal({ given: null, namespace: 'default', stateFolder: folder, find, log, port: 0, ui: false });
};

test('a second start on the same database finds what it needs prepared, and keeps workflows longer than a day', async () => {
  const first = await open();
  await first.close();
  const second = await open();
  const connection = await Connection.connect(second.target.connection);
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'default' });
    expect(Object.keys(customAttributes ?? {})).toEqual(expect.arrayContaining(Object.keys(searchAttributes)));
    const { config } = await connection.workflowService.describeNamespace({ namespace: 'default' });
    expect(Number(config?.workflowExecutionRetentionTtl?.seconds)).toBe(90 * 86_400);
  } finally {
    await connection.close();
    await second.close();
  }
});

test('a server that was killed comes back on the same address', async () => {
  const server = await open();
  try {
    const before = server.pid();
    process.kill(before ?? 0, 'SIGKILL');
    await until(() => server.pid() !== before);
    await until(async () => {
      const connection = await Connection.connect(server.target.connection).catch(() => null);
      await connection?.close();
      return connection !== null;
    });
  } finally {
    await server.close();
  }
});

test('a port that is taken is not taken twice', async () => {
  const taken = createServer();
  const port = await new Promise<number>(resolve => {
    taken.listen(0, '127.0.0.1', () => {
      const address = taken.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  expect(await freePort(port)).not.toBe(port);
  taken.close();
});

test('a lock whose owner has died is free, one whose owner lives is held', async () => {
  const path = join(folder, 'a.lock');
  await writeFile(path, '2147483646\n');
  const lock = await takeLock(path);
  expect(lock.kind).toBe('taken');
  await writeFile(path, '1\n');
  expect(await takeLock(path)).toEqual({ kind: 'held', pid: 1 });
});
