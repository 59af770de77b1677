/** The parent's side of one engine child: start it, hand it a job, kill it, and say how it died. */
import { type ChildProcess, fork } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { getPriority, setPriority } from 'node:os';
import { endWithParent } from './end-with-parent.ts';
import { EngineFault, fromDocument, saysOutOfMemory } from './fault.ts';
import type { ChildMessage, ChildUsage, JobMessage, ParentMessage } from './protocol.ts';
import type { Progress, Verb } from './verbs.ts';

const STDERR_TAIL_CHARS = 4_000;
const TERM_GRACE_MS = 1_000;
const MEMORY_CHECK_MS = 500;
const PAGE_BYTES = 4_096;
/** Steps below its parent; the scale ends at 19. */
const CHILD_NICENESS = 5;

/**
 * Every vector arrives as a buffer of its own that dies at once. A young generation of 1 MB (per half) is collected before
 * their bytes add up; a larger one lets them pile up. V8 adds what waits (up to 20 MB) to the old generation and marks
 * that whole at every other collection, a sixth of a scan's CPU time, unless the old generation may start larger.
 */
export const HEAP_FLAGS: readonly string[] = ['--max-semi-space-size=1', '--initial-old-space-size=64'];

/** ONNX Runtime would keep an identifier of the machine in its user's home folder and send events to its maker. */
const BASE_ENVIRONMENT = { TZ: 'UTC', ORT_DISABLE_TELEMETRY: '1' };

export interface ChildOptions {
  readonly folder: string;
  readonly memoryMb: number;
  /** The child's whole environment, on top of `BASE_ENVIRONMENT`. */
  readonly environment: Readonly<Record<string, string>>;
}

export interface ExecuteOptions {
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

export class EngineChild {
  readonly #process: ChildProcess;
  readonly #memoryMb: number;
  readonly #loaded = new Set<Verb>();
  #stderr = '';
  jobs = 0;
  rssMb = 0;
  usage: ChildUsage = { rssMb: 0, peakRssMb: 0, cpuSeconds: 0 };

  constructor(options: ChildOptions) {
    const fromSource = import.meta.url.endsWith('.ts');
    const entry = new URL(fromSource ? './child.ts' : '../child/child.js', import.meta.url);
    this.#memoryMb = options.memoryMb;
    this.#process = fork(entry, [String(process.pid)], {
      cwd: options.folder,
      env: { ...BASE_ENVIRONMENT, ...options.environment },
      execArgv: [
        `--max-old-space-size=${Math.ceil(options.memoryMb / 2)}`,
        ...HEAP_FLAGS,
        '--disable-proto=delete',
        ...(fromSource ? ['--import', import.meta.resolve('tsx')] : []),
      ],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.#giveWay();
    endWithParent(this.#process);
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_TAIL_CHARS);
    });
    // Without a listener a failed spawn or a broken channel would throw into the worker's loop; `close` tells the rest.
    this.#process.on('error', error => {
      this.#stderr += `\n${error.message}`;
    });
  }

  /** The worker's loop sends heartbeats and must not queue for a core behind arithmetic: such waits were 160 ms long. */
  #giveWay(): void {
    if (this.#process.pid === undefined) return;
    try {
      setPriority(this.#process.pid, Math.min(getPriority() + CHILD_NICENESS, 19));
    } catch {
      // It ended already, which its exit code tells, or the system does not allow it.
    }
  }

  /** Has the child load what a verb needs, between two jobs. */
  warm(verb: Verb): void {
    if (this.#loaded.has(verb) || !this.alive) return;
    this.#loaded.add(verb);
    // A child that is gone is not warmed; whoever gives it a job hears why.
    this.#process.send({ type: 'warm', verb } satisfies ParentMessage, () => undefined);
  }

  /** Whether the child has loaded, or is loading, what a verb needs. */
  hasLoaded(verb: Verb): boolean {
    return this.#loaded.has(verb);
  }

  get alive(): boolean {
    return !this.#ended && this.#process.connected;
  }

  /** Also true for a process that never started. */
  get #ended(): boolean {
    return this.#process.pid === undefined || this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** Runs one job; the child is dead or idle when the promise settles. */
  execute(message: JobMessage, options: ExecuteOptions): Promise<unknown> {
    this.jobs += 1;
    this.#loaded.add(message.verb);
    return new Promise((resolve, reject) => {
      let ended: EngineFault | null = null;
      const endBecause = (fault: EngineFault) => {
        ended ??= fault;
        void this.kill();
      };
      const deadline = setTimeout(() => {
        endBecause(
          new EngineFault(
            'deadline',
            `${message.verb}: no result within ${options.deadlineMs} ms; the child was killed`,
            {
              verb: message.verb,
              deadlineMs: options.deadlineMs,
            },
          ),
        );
      }, options.deadlineMs);
      const onAbort = () =>
        endBecause(new EngineFault('cancelled', `${message.verb}: cancelled`, { verb: message.verb }));
      options.signal?.addEventListener('abort', onAbort, { once: true });
      const memory = setInterval(() => {
        void this.#residentMb().then(resident => {
          this.rssMb = Math.max(this.rssMb, resident);
          if (resident > this.#memoryMb) {
            endBecause(
              new EngineFault(
                'out_of_memory',
                `${message.verb}: the child used ${resident} MB, allowed are ${this.#memoryMb} MB`,
                { residentMb: resident, memoryMb: this.#memoryMb },
              ),
            );
          }
        });
      }, MEMORY_CHECK_MS);

      const settle = (finish: () => void) => {
        clearTimeout(deadline);
        clearInterval(memory);
        options.signal?.removeEventListener('abort', onAbort);
        this.#process.off('message', onMessage);
        this.#process.off('close', onClose);
        finish();
      };
      const onMessage = (answer: ChildMessage) => {
        if (answer.id !== message.id || ended !== null) return;
        if (answer.type === 'progress') {
          options.onProgress?.(answer.progress);
          return;
        }
        this.usage = answer.usage;
        this.rssMb = answer.usage.rssMb;
        if (answer.type === 'done') settle(() => resolve(answer.output));
        else settle(() => reject(fromDocument(answer.fault)));
      };
      const onClose = (code: number | null, signal: NodeJS.Signals | null) => {
        settle(() => reject(ended ?? this.#death(message, code, signal)));
      };
      this.#process.on('message', onMessage);
      this.#process.on('close', onClose);
      if (options.signal?.aborted === true) onAbort();
      else {
        this.#process.send(message, error => {
          if (error !== null)
            settle(() => reject(ended ?? this.#death(message, this.#process.exitCode, this.#process.signalCode)));
        });
      }
    });
  }

  /** SIGTERM, one second of grace, SIGKILL. Resolves when the process is gone. */
  async kill(): Promise<void> {
    if (this.#ended) return;
    const gone = new Promise<void>(resolve => this.#process.once('exit', () => resolve()));
    this.#process.kill('SIGTERM');
    const hard = setTimeout(() => this.#process.kill('SIGKILL'), TERM_GRACE_MS);
    await gone;
    clearTimeout(hard);
  }

  #death(message: JobMessage, code: number | null, signal: NodeJS.Signals | null): EngineFault {
    const facts = { verb: message.verb, exitCode: code, signal, stderr: this.#stderr };
    // A SIGKILL that we did not send is the kernel's out-of-memory killer in all but the rarest cases.
    if (saysOutOfMemory(this.#stderr) || signal === 'SIGKILL' || code === 137) {
      return new EngineFault(
        'out_of_memory',
        `${message.verb}: the child ran out of memory (${signal ?? code})`,
        facts,
      );
    }
    const how = signal === null ? `exit code ${code}` : signal;
    const tail = this.#stderr.trim().split('\n').slice(-3).join(' | ');
    return new EngineFault(
      'crash',
      `${message.verb}: the child died with ${how}${tail === '' ? '' : `: ${tail}`}`,
      facts,
    );
  }

  /** Resident memory from /proc; 0 where there is none (then only the job's own answer tells). */
  async #residentMb(): Promise<number> {
    try {
      const statm = await readFile(`/proc/${this.#process.pid}/statm`, 'utf8');
      return Math.round((Number(statm.split(' ')[1]) * PAGE_BYTES) / 2 ** 20);
    } catch {
      return 0;
    }
  }
}
