/**
 * The local Temporal server of a project. `openTemporal` answers with a server that serves: the one the user gave, the one
 * another `almanac up` has started here, or one it starts itself and restarts should it die.
 *
 * Two defaults make the dev server ten times slower than it is: a rollback journal with an fsync per write, and a poll
 * limit of 20 per second on its only shard, which makes every hand-over wait for a 50 ms tick. Both are set here.
 */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Connection } from '@temporalio/client';
import { type FindTemporalOptions, findTemporal, type TriedStep } from './find-temporal.ts';
import { localTarget, type TemporalTarget } from './given-server.ts';
import { isAlive, takeLock } from './lock.ts';
import { prepareNamespace } from './namespace.ts';
import { reservePort } from './port.ts';
import { ServerProcess } from './server-process.ts';

export interface OpenTemporalOptions {
  /** The server of environment or profile; null starts a local one. */
  readonly given: TemporalTarget | null;
  readonly namespace: string;
  /** Database, log and lock live here; created when missing. */
  readonly stateFolder: string;
  readonly find: FindTemporalOptions;
  readonly log: (line: string) => void;
  /** Default 90: approvals must outlive the dev server's 24 hours. */
  readonly retentionDays?: number;
  /** Default 7233, or a free one when it is taken. 0 is any free port. */
  readonly port?: number;
  /** Default true. */
  readonly ui?: boolean;
}

export interface TemporalServer {
  readonly kind: 'given' | 'running' | 'started';
  readonly target: TemporalTarget;
  /** Address of the web pages, or null when unknown or off. */
  readonly ui: string | null;
  /** The `temporal` program, for commands to paste; null for a given server. */
  readonly executable: string | null;
  readonly tried: readonly TriedStep[];
  readonly logFile: string | null;
  /** Process id of the present server process; changes after a restart. */
  pid(): number | null;
  /** Ends a server started here; leaves any other alone. */
  close(): Promise<void>;
}

/** What a second `almanac up` needs to find the first one's server. */
interface ServerRecord {
  readonly pid: number;
  readonly address: string;
  readonly namespace: string;
  readonly ui: string | null;
  readonly executable: string;
}

const databaseFile = 'temporal.db';
const recordFile = 'temporal.json';
const healthMs = 30_000;
const stopMs = 10_000;
const startsMax = 3;

const speedSettings = [
  ...['--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL'],
  ...['transferProcessor', 'timerProcessor', 'visibilityProcessor'].flatMap(queue => [
    '--dynamic-config-value',
    `history.${queue}MaxPollRPS=2000`,
  ]),
  ...['--dynamic-config-value', 'system.enableActivityEagerExecution=true'],
];

/**
 * @throws TemporalNotFound when there is no server and none can be brought; Error when it does not start, with the end of
 * its log.
 */
export async function openTemporal(options: OpenTemporalOptions): Promise<TemporalServer> {
  if (options.given !== null) {
    await untilServing(options.given, () => null);
    await prepareNamespace(options.given);
    const nothing = { ui: null, executable: null, tried: [], logFile: null, pid: () => null, close: async () => {} };
    return { kind: 'given', target: options.given, ...nothing };
  }
  await mkdir(options.stateFolder, { recursive: true });
  const lock = await takeLock(join(options.stateFolder, 'temporal.lock'));
  if (lock.kind === 'held') return await joinRunning(options, lock.pid);
  try {
    return await startServer(options, lock.release);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** The server another process owns; it may still be starting. */
async function joinRunning(options: OpenTemporalOptions, owner: number): Promise<TemporalServer> {
  const deadline = Date.now() + healthMs;
  while (Date.now() < deadline) {
    const record = await readRecord(options.stateFolder);
    if (record !== null && isAlive(record.pid)) {
      const target = localTarget(record.address, record.namespace);
      await untilServing(target, () => (isAlive(record.pid) ? null : `process ${record.pid} has ended`));
      const logFile = join(options.stateFolder, 'temporal.log');
      const { ui, executable } = record;
      const leave = async () => {};
      return { kind: 'running', target, ui, executable, tried: [], logFile, pid: () => record.pid, close: leave };
    }
    await sleep(100);
  }
  throw new Error(
    `process ${owner} holds ${join(options.stateFolder, 'temporal.lock')} but serves no Temporal server after ` +
      `${healthMs / 1000} s: end that process and try again`,
  );
}

async function startServer(options: OpenTemporalOptions, release: () => Promise<void>): Promise<TemporalServer> {
  await endOrphan(options);
  const found = await findTemporal({ log: options.log, ...options.find });
  const logFile = join(options.stateFolder, 'temporal.log');
  for (let attempt = 1; ; attempt += 1) {
    const { cacheFolder } = options.find;
    const rpc = await reservePort(options.port ?? 7233, cacheFolder);
    const pages = options.ui === false ? null : await reservePort(options.port === 0 ? 0 : 8233, cacheFolder);
    const [port, uiPort] = [rpc.port, pages?.port ?? null];
    const releasePorts = async () => {
      await rpc.release();
      await pages?.release();
    };
    const target = localTarget(`127.0.0.1:${port}`, options.namespace);
    const ui = uiPort === null ? null : `http://127.0.0.1:${uiPort}`;
    const { executable, tried } = found;
    const server = new ServerProcess({
      executable,
      argv: await serverArguments(executable, options, { port, uiPort }),
      logFile,
      log: options.log,
      untilServing: ended => untilServing(target, ended, logFile),
      onServing: pid =>
        writeRecord(options.stateFolder, { pid, address: target.address, namespace: target.namespace, ui, executable }),
    });
    try {
      await server.start();
      await prepareNamespace(target, { retentionDays: options.retentionDays ?? 90 });
    } catch (error) {
      await server.stop();
      await releasePorts();
      // Between finding a free port and using it a program that is not ours may have taken it.
      if (attempt === startsMax) throw error;
      options.log('temporal: the server did not start; trying once more on other ports');
      continue;
    }
    const close = async () => {
      await server.stop();
      await releasePorts();
      await rm(join(options.stateFolder, recordFile), { force: true });
      await release();
    };
    return { kind: 'started', target, ui, executable, tried, logFile, pid: () => server.pid, close };
  }
}

/** A server whose `almanac up` was killed would keep the database: two servers on one file lose data. */
async function endOrphan(options: OpenTemporalOptions): Promise<void> {
  const record = await readRecord(options.stateFolder);
  if (record === null || !isAlive(record.pid) || !(await isServer(record.pid, options.stateFolder))) return;
  options.log(`temporal: ending server ${record.pid}, whose owner is gone`);
  process.kill(record.pid, 'SIGINT');
  const deadline = Date.now() + stopMs;
  while (isAlive(record.pid) && Date.now() < deadline) await sleep(50);
  if (isAlive(record.pid)) process.kill(record.pid, 'SIGKILL');
}

/** Process ids are used again; only a process that has our database on its command line is ours to end. */
async function isServer(pid: number, stateFolder: string): Promise<boolean> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'args=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.includes(join(stateFolder, databaseFile));
}

async function serverArguments(
  executable: string,
  options: OpenTemporalOptions,
  ports: { port: number; uiPort: number | null },
): Promise<readonly string[]> {
  const argv = [
    ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(ports.port)],
    ...['--db-filename', join(options.stateFolder, databaseFile), '--namespace', options.namespace],
    ...['--log-level', 'warn', '--log-format', 'json'],
    ...speedSettings,
    ...(ports.uiPort === null ? ['--headless'] : ['--ui-ip', '127.0.0.1', '--ui-port', String(ports.uiPort)]),
  ];
  // Older programs do not know the flag, and refuse what they do not know.
  const { stdout } = await promisify(execFile)(executable, ['server', 'start-dev', '--help']);
  return stdout.includes('--ui-disable-news-fetch') ? [...argv, '--ui-disable-news-fetch'] : argv;
}

/** @throws Error after 30 s, or as soon as `ended` gives a reason; with the last lines of the log. */
async function untilServing(target: TemporalTarget, ended: () => string | null, logFile?: string): Promise<void> {
  const deadline = Date.now() + healthMs;
  for (;;) {
    try {
      const connection = await Connection.connect({ ...target.connection, connectTimeout: 2_000 });
      try {
        await connection.workflowService.describeNamespace({ namespace: target.namespace });
        return;
      } finally {
        await connection.close();
      }
    } catch (error) {
      const reason = ended() ?? (Date.now() > deadline ? `no answer after ${healthMs / 1000} s` : null);
      if (reason !== null) {
        const log = logFile === undefined ? '' : await readFile(logFile, 'utf8').catch(() => '');
        const tail = log.trimEnd().split('\n').slice(-5).join('\n');
        throw new Error(
          `Temporal server at ${target.address}, namespace ${target.namespace}: ${reason}${tail === '' ? '' : `\n${tail}`}`,
          { cause: error },
        );
      }
      await sleep(50);
    }
  }
}

/** The server that an `almanac up` of this project started and that still lives, or null. */
export async function runningServer(stateFolder: string): Promise<TemporalTarget | null> {
  const record = await readRecord(stateFolder);
  return record !== null && isAlive(record.pid) ? localTarget(record.address, record.namespace) : null;
}

async function readRecord(stateFolder: string): Promise<ServerRecord | null> {
  const text = await readFile(join(stateFolder, recordFile), 'utf8').catch(() => null);
  return text === null ? null : (JSON.parse(text) as ServerRecord);
}

async function writeRecord(stateFolder: string, record: ServerRecord): Promise<void> {
  const path = join(stateFolder, recordFile);
  await writeFile(`${path}.tmp`, `${JSON.stringify(record, null, 2)}\n`);
  await rename(`${path}.tmp`, path);
}
