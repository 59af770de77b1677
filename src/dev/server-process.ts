/** A server process that is kept alive: one that dies is started again on the same address and the same database. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ServerProcessOptions {
  readonly executable: string;
  readonly argv: readonly string[];
  readonly logFile: string;
  readonly log: (line: string) => void;
  /** Resolves when the server serves; `ended` gives the reason as soon as there is no point in waiting. */
  readonly untilServing: (ended: () => string | null) => Promise<void>;
  readonly onServing: (pid: number) => Promise<void>;
}

const stopMs = 10_000;
const restartMs = 200;
/** A server that dies this often within the window will not get better by starting it again. */
const restartsMax = 5;
const restartWindowMs = 60_000;

export class ServerProcess {
  readonly #options: ServerProcessOptions;
  #child: ChildProcess | null = null;
  #closing = false;
  readonly #deaths: number[] = [];

  constructor(options: ServerProcessOptions) {
    this.#options = options;
    // A parent that ends without `stop` (an uncaught error) must not leave the server behind.
    process.once('exit', this.#killNow);
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** @throws Error when it ends before it serves. */
  async start(): Promise<void> {
    const child = this.#spawn();
    this.#child = child;
    await this.#options.untilServing(() => endOf(child));
    if (child.pid !== undefined) await this.#options.onServing(child.pid);
    child.once('exit', () => void this.#revive(child));
    // It may have died while nobody listened.
    if (endOf(child) !== null) void this.#revive(child);
  }

  async stop(): Promise<void> {
    this.#closing = true;
    process.off('exit', this.#killNow);
    const child = this.#child;
    if (child === null || endOf(child) !== null) return;
    const ended = new Promise<void>(resolve => {
      child.once('exit', () => resolve());
    });
    child.kill('SIGINT');
    const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
    await ended;
    clearTimeout(timer);
  }

  /** In a process group of its own: Ctrl-C reaches the parent alone, which stops workers first and the server last. */
  #spawn(): ChildProcess {
    const { executable, argv, logFile } = this.#options;
    const log = openSync(logFile, 'a');
    try {
      const child = spawn(executable, argv, { stdio: ['ignore', log, log], detached: true });
      // A program that cannot be started is seen by `untilServing`.
      child.on('error', error => this.#options.log(`temporal: ${error.message}`));
      return child;
    } finally {
      closeSync(log);
    }
  }

  async #revive(dead: ChildProcess): Promise<void> {
    if (this.#closing || this.#child !== dead) return;
    const { log, logFile } = this.#options;
    for (;;) {
      const now = Date.now();
      this.#deaths.push(now);
      const recent = this.#deaths.filter(at => at > now - restartWindowMs).length;
      if (recent > restartsMax) {
        log(`temporal: the server ended ${recent} times in a minute and is not started again; see ${logFile}`);
        return;
      }
      log(`temporal: the server ended (${endOf(this.#child ?? dead) ?? 'unknown'}); starting it again`);
      await sleep(restartMs);
      if (this.#closing) return;
      try {
        await this.start();
        return;
      } catch (error) {
        log(`temporal: ${error instanceof Error ? error.message : String(error)}`);
        this.#child?.kill('SIGKILL');
      }
    }
  }

  readonly #killNow = () => {
    this.#child?.kill('SIGKILL');
  };
}

/** How it ended, or null while it runs. */
function endOf(child: ChildProcess): string | null {
  if (child.exitCode !== null) return `ended with ${child.exitCode}`;
  if (child.signalCode !== null) return `ended by ${child.signalCode}`;
  return child.pid === undefined ? 'could not be started' : null;
}
