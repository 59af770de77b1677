import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readEnvironment } from '../../src/config/environment.ts';
import { takeLock } from '../../src/dev/lock.ts';
import { reservePort } from '../../src/dev/port.ts';
import { openTemporal } from '../../src/dev/temporal-server.ts';
import { searchAttributes } from '../../src/domain/ids.ts';
import { until } from '../support/temporal.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'almanac-server-'));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const log = () => {};
const open = ({ stateFolder = folder, port = 0 } = {}) => {
  const { path, cacheFolder } = readEnvironment();
  const find = { path, cacheFolder, log };
  return openTemporal({ given: null, namespace: 'default', stateFolder, find, log, port, ui: false });
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

/** Both would find the port free, and the loser would talk to the winner's server. */
test('a port that is about to be used is not given to another, in this process or the next', async () => {
  const first = await reservePort(0, folder);
  const second = await reservePort(first.port, folder);
  expect(second.port).not.toBe(first.port);
  await first.release();
  await writeFile(join(folder, 'ports', `${first.port}.lock`), `${process.ppid}\n`);
  const third = await reservePort(first.port, folder);
  expect(third.port).not.toBe(first.port);
  await writeFile(join(folder, 'ports', `${first.port}.lock`), '999999999\n');
  const fourth = await reservePort(first.port, folder);
  expect(fourth.port).toBe(first.port);
  for (const one of [second, third, fourth]) await one.release();
});

test('two servers that start at once are two servers', { timeout: 60_000 }, async () => {
  const port = await reservePort(0, folder);
  await port.release();
  const [one, other] = await Promise.all(
    ['one', 'other'].map(name => open({ stateFolder: join(folder, name), port: port.port })),
  );
  try {
    expect(one?.target.address).not.toBe(other?.target.address);
    expect(one?.pid()).not.toBe(other?.pid());
  } finally {
    await Promise.all([one?.close(), other?.close()]);
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
  const reserved = await reservePort(port, folder);
  expect(reserved.port).not.toBe(port);
  await reserved.release();
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
