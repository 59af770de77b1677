/**
 * Starts the worker processes of a project and keeps them: one that dies is started again. Separate processes, so that
 * heavy work can be killed, by the system or by a test, without the workflows noticing more than a retry.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { workerEnvironment } from '../config/environment.ts';
import type { TemporalTarget } from '../dev/given-server.ts';
import { scriptArguments } from '../dev/script.ts';
import type { Role } from './roles.ts';

export interface StartWorkersOptions {
  /** Folder of the project. */
  readonly project: string;
  readonly stateFolder: string;
  readonly target: TemporalTarget;
  /** True when the target is the server of environment or profile: the workers read its credentials there themselves. */
  readonly given: boolean;
  readonly executable: string | null;
  /** One process per entry. Default: workflows and light activities in one, the heavy roles in another. */
  readonly processes?: readonly (readonly Role[])[];
  readonly log: (line: string) => void;
  /** Set in the workers' environment on top of ours. */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface WorkerProcesses {
  readonly logFile: string;
  /** Process ids by roles, as they are now. */
  list(): readonly { readonly roles: readonly Role[]; readonly pid: number }[];
  /** Lets running activities end or be cancelled, and waits. */
  stop(): Promise<void>;
}

const defaultProcesses: readonly (readonly Role[])[] = [['control'], ['data', 'training', 'scoring']];
const readyMs = 60_000;
const stopMs = 20_000;
const restartMs = 500;
/** A process that ends so often before it was ready once has a fault that starting again does not mend. */
const startsMax = 3;
/** Of what a process said last, for the message when it does not start. */
const lastWordsMax = 2_000;
const restartMaxMs = 30_000;

/** Answers when every process polls its queues. */
export async function startWorkers(options: StartWorkersOptions): Promise<WorkerProcesses> {
  const folder = join(options.stateFolder, 'logs');
  mkdirSync(folder, { recursive: true });
  const logFile = join(folder, 'workers.log');
  const log = createWriteStream(logFile, { flags: 'a' });
  const supervised = (options.processes ?? defaultProcesses).map(roles => supervise(options, roles, log));
  const stop = async () => {
    await Promise.all(supervised.map(one => one.stop()));
    log.end();
  };
  try {
    await Promise.all(supervised.map(one => one.ready));
  } catch (error) {
    await stop();
    throw new Error(`${error instanceof Error ? error.message : String(error)}; see ${logFile}`, { cause: error });
  }
  return {
    logFile,
    list: () => supervised.flatMap(({ roles, pid }) => (pid() === null ? [] : [{ roles, pid: pid() ?? 0 }])),
    stop,
  };
}

function supervise(options: StartWorkersOptions, roles: readonly Role[], log: NodeJS.WritableStream) {
  const { target } = options;
  const argv = [
    ...scriptArguments('./main', import.meta.url),
    ...['--project', options.project, '--roles', roles.join(','), '--namespace', target.namespace],
    ...(options.given ? [] : ['--address', target.address]),
    ...(options.executable === null ? [] : ['--executable', options.executable]),
  ];
  let child: ChildProcess;
  let stopping = false;
  let waitMs = restartMs;
  let timer: NodeJS.Timeout | undefined;
  let starts = 0;
  let lastWords = '';
  let stopWaiting = () => {};
  let settle: { ready(): void; failed(why: string): void } = { ready: () => {}, failed: () => {} };

  const start = () => {
    starts += 1;
    lastWords = '';
    child = spawn(process.execPath, argv, {
      // A process group of its own: Ctrl-C reaches the parent alone, which ends things in order.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: workerEnvironment(options.environment),
    });
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    child.stderr?.on('data', (bytes: Buffer) => {
      lastWords = `${lastWords}${bytes.toString()}`.slice(-lastWordsMax);
    });
    child.once('exit', (code, signal) => {
      if (stopping) return;
      const how = signal ?? `code ${code}`;
      if (starts >= startsMax) settle.failed(`ended ${starts} times before it was ready (${how}): ${lastWords.trim()}`);
      options.log(`worker ${roles.join(', ')} ended (${how}); starting it again`);
      timer = setTimeout(start, waitMs);
      waitMs = Math.min(waitMs * 2, restartMaxMs);
    });
    child.on('message', () => {
      waitMs = restartMs;
      settle.ready();
    });
  };
  const ready = new Promise<void>((resolve, reject) => {
    const failed = (why: string) => reject(new Error(`worker ${roles.join(', ')} ${why}`));
    const limit = setTimeout(() => failed(`was not ready after ${readyMs / 1000} s`), readyMs);
    settle = { ready: resolve, failed };
    stopWaiting = () => clearTimeout(limit);
  });
  start();
  // Whoever stops early must not be left with an unheard rejection.
  ready.catch(() => undefined).finally(stopWaiting);

  return {
    roles,
    ready,
    pid: () => (child.exitCode === null && child.signalCode === null ? (child.pid ?? null) : null),
    stop: async () => {
      stopping = true;
      clearTimeout(timer);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise<void>(resolve => {
        child.once('exit', () => resolve());
      });
      child.kill('SIGTERM');
      const kill = setTimeout(() => child.kill('SIGKILL'), stopMs);
      await ended;
      clearTimeout(kill);
    },
  };
}
