/**
 * The engine of one worker process: a few children, one per core, and a queue. The pool itself only sends and receives
 * small messages, so the loop of the process it lives in never waits for rows, tensors or native code.
 *
 *   run(verb, job) ─► queue ─► idle child ─► output
 *                        │         ├─ out of memory ─► once more with half the batch
 *                        │         ├─ crash ─────────► once more in a fresh child ─► quarantined
 *                        │         └─ deadline, cancel ─► SIGTERM, 1 s, SIGKILL
 *                        └─ at most `size` children; a child is replaced after some jobs or when it has grown
 */
import { mkdirSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineChild } from './engine-child.ts';
import { EngineFault } from './fault.ts';
import type { ChildUsage, JobMessage } from './protocol.ts';
import type { Progress, Verb, Verbs } from './verbs.ts';

export interface EnginePoolOptions {
  /** Number of children; one per core is best (DuckDB and ONNX Runtime get one thread each). */
  readonly size: number;
  /** Folder for everything the children write besides their results. Created; emptied of a job's files after the job. */
  readonly scratch: string;
  /** Memory of one child in MB; above it the child is killed with `out_of_memory`. Default 2,048. */
  readonly memoryMb?: number;
  /** A child is replaced after this many jobs. Default 200. */
  readonly recycleAfterJobs?: number;
  /** A child is replaced when it holds more than this after a job, in MB. Default 60 % of `memoryMb`. */
  readonly recycleAboveMb?: number;
  /** The children's whole environment (device paths such as LD_LIBRARY_PATH); empty by default. */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface RunOptions {
  /** Counted from the start of the work, not from its queueing. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ProgressReport) => void;
}

export interface ProgressReport extends Progress {
  /** Mean rate since the job started, in units per second. */
  readonly perSecond: number;
}

const BATCH_ROWS_MIN = 128;

export class EnginePool {
  readonly #options: Required<EnginePoolOptions>;
  #idle: EngineChild[] = [];
  readonly #busy = new Set<EngineChild>();
  /** Every child that ever was, for `usage`; a dead child is only its last figures. */
  readonly #spawned: { readonly usage: ChildUsage }[] = [];
  readonly #waiting: (() => void)[] = [];
  #nextJob = 1;
  #closed: boolean = false;

  constructor(options: EnginePoolOptions) {
    const memoryMb = options.memoryMb ?? 2_048;
    this.#options = {
      recycleAfterJobs: 200,
      recycleAboveMb: Math.round(memoryMb * 0.6),
      environment: {},
      ...options,
      memoryMb,
    };
    mkdirSync(options.scratch, { recursive: true });
  }

  get size(): number {
    return this.#options.size;
  }

  /**
   * Runs a job in a child and gives its output. Rejects with an `EngineFault`. Running it twice runs it twice: verbs write
   * to names given in the job.
   */
  async run<V extends Verb>(verb: V, job: Verbs[V]['job'], options: RunOptions): Promise<Verbs[V]['output']> {
    try {
      return await this.#attempt(verb, job, options);
    } catch (error) {
      if (!(error instanceof EngineFault)) throw error;
      if (error.kind === 'crash') return this.#attemptAfterCrash(verb, job, options, error);
      const smaller = error.kind === 'out_of_memory' ? withHalfTheBatch(job) : null;
      if (smaller === null) throw error;
      return this.#attempt(verb, smaller, options);
    }
  }

  /**
   * Starts so many children now, at most all, and has those that are idle load what these verbs need, so that their first
   * jobs do not wait for it.
   */
  warm(children: number, verbs: readonly Verb[] = []): void {
    const wanted = Math.min(children, this.size);
    // Those that are up already are taken first.
    while (this.#idle.length + this.#busy.size < wanted) this.#idle.unshift(this.#spawn());
    for (const child of this.#idle) for (const verb of verbs) child.warm(verb);
  }

  /** CPU seconds of this process and of every child so far, and the sum of their peaks of resident memory. */
  usage(): { readonly cpuSeconds: number; readonly peakRssMb: number } {
    const own = process.resourceUsage();
    let cpuSeconds = (own.userCPUTime + own.systemCPUTime) / 1e6;
    let peakRssMb = own.maxRSS / 2 ** 10;
    for (const { usage } of this.#spawned) {
      cpuSeconds += usage.cpuSeconds;
      peakRssMb += usage.peakRssMb;
    }
    return { cpuSeconds, peakRssMb };
  }

  /** Kills the children; running jobs reject. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of this.#waiting.splice(0)) wake();
    await Promise.all([...this.#idle.splice(0), ...this.#busy].map(child => child.kill()));
  }

  async #attemptAfterCrash<V extends Verb>(
    verb: V,
    job: Verbs[V]['job'],
    options: RunOptions,
    first: EngineFault,
  ): Promise<Verbs[V]['output']> {
    try {
      return await this.#attempt(verb, job, options);
    } catch (error) {
      if (!(error instanceof EngineFault) || error.kind !== 'crash') throw error;
      throw new EngineFault(
        'quarantined',
        `${verb}: two children died on the same job, it will not be tried again: ${error.message}`,
        { verb, crashes: [first.facts, error.facts] },
        { cause: error },
      );
    }
  }

  async #attempt<V extends Verb>(verb: V, job: Verbs[V]['job'], options: RunOptions): Promise<Verbs[V]['output']> {
    const child = await this.#take(verb, options.signal);
    const id = this.#nextJob++;
    const scratch = join(this.#options.scratch, `job-${process.pid}-${id}`);
    try {
      await mkdir(scratch, { recursive: true });
      const { memoryMb } = this.#options;
      const kernels = join(this.#options.scratch, 'kernels');
      const message: JobMessage = { type: 'job', id, verb, job, scratch, kernels, memoryMb };
      const output = await child.execute(message, {
        deadlineMs: options.deadlineMs,
        signal: options.signal,
        onProgress: options.onProgress === undefined ? undefined : withRate(options.onProgress),
      });
      return output as Verbs[V]['output'];
    } catch (error) {
      // Memory that was refused, or a GPU that failed, leaves a process behind that nobody knows: it serves no other job.
      if (error instanceof EngineFault && (error.kind === 'out_of_memory' || error.kind === 'crash'))
        await child.kill();
      throw error;
    } finally {
      this.#giveBack(child);
      await rm(scratch, { recursive: true, force: true });
    }
  }

  async #take(verb: Verb, signal: AbortSignal | undefined): Promise<EngineChild> {
    while (!this.#closed && signal?.aborted !== true && this.#busy.size >= this.size) await this.#freed(signal);
    if (this.#closed) throw new EngineFault('closed', `${verb}: the engine pool is closed`, { verb });
    if (signal?.aborted === true) throw new EngineFault('cancelled', `${verb}: cancelled before it started`, { verb });
    const child = this.#takeIdle(verb) ?? this.#spawn();
    this.#busy.add(child);
    return child;
  }

  /** Of those that have the verb's code, if any has, the one used last: it may have the model too. */
  #takeIdle(verb: Verb): EngineChild | undefined {
    this.#idle = this.#idle.filter(child => child.alive);
    const child = this.#idle.findLast(idle => idle.hasLoaded(verb)) ?? this.#idle.at(-1);
    this.#idle = this.#idle.filter(idle => idle !== child);
    return child;
  }

  /** Resolves when a child may have become free, or when the signal aborts. */
  #freed(signal: AbortSignal | undefined): Promise<void> {
    return new Promise(resolve => {
      const wake = () => {
        signal?.removeEventListener('abort', abandon);
        resolve();
      };
      const abandon = () => {
        const index = this.#waiting.indexOf(wake);
        if (index >= 0) this.#waiting.splice(index, 1);
        resolve();
      };
      signal?.addEventListener('abort', abandon, { once: true });
      this.#waiting.push(wake);
    });
  }

  #giveBack(child: EngineChild): void {
    this.#busy.delete(child);
    const worn = child.jobs >= this.#options.recycleAfterJobs || child.rssMb > this.#options.recycleAboveMb;
    if (worn || this.#closed) void child.kill();
    else if (child.alive) this.#idle.push(child);
    this.#waiting.shift()?.();
  }

  #spawn(): EngineChild {
    const { scratch, memoryMb, environment } = this.#options;
    const child = new EngineChild({ folder: scratch, memoryMb, environment });
    this.#spawned.push(child);
    return child;
  }
}

/** Null when the job has no batch or it is already small. */
function withHalfTheBatch<T>(job: T): T | null {
  if (typeof job !== 'object' || job === null || !('batchRows' in job)) return null;
  const batchRows = Number(job.batchRows);
  return batchRows > BATCH_ROWS_MIN ? { ...job, batchRows: Math.floor(batchRows / 2) } : null;
}

function withRate(listen: (progress: ProgressReport) => void): (progress: Progress) => void {
  const startedMs = performance.now();
  return progress => {
    const seconds = (performance.now() - startedMs) / 1_000;
    listen({ ...progress, perSecond: seconds > 0 ? progress.done / seconds : 0 });
  };
}
