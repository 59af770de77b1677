/**
 * What is downloaded is written and hashed on a thread of its own: SHA-256 takes as much processor time as receiving the
 * bytes, and on the thread that receives them it would halve the rate. Buffers are handed over, not copied, and a sink holds
 * at most `bytesAheadMax` of them.
 *
 *     socket ──▶ this thread ── buffers ──▶ hash thread: write, update
 *                     ◀────── bytes done ──────┘
 */
import { availableParallelism } from 'node:os';
import { Writable } from 'node:stream';
import { type Transferable, Worker } from 'node:worker_threads';

export type DigestWanted = 'sha256' | 'none';

/** Handed over at once; a message per chunk of the network would cost more than the hash of it. */
const batchBytes = 1 << 20;
/** Handed over and not yet written. */
const bytesAheadMax = 8 << 20;
const threadsMax = Math.max(1, Math.min(4, availableParallelism() >> 1));

/** Replaces the file. After `finish` it is whole and closed, and `sha256` is known; after an error it is of no use. */
export class FileSink extends Writable {
  /** Null unless it was wanted and the sink has finished. */
  sha256: string | null = null;
  readonly #task: Task;
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #bytesAhead = 0;
  /** A write that waits for the thread to catch up. */
  #waiting: (() => void) | null = null;
  #finishing: ((error?: Error) => void) | null = null;

  constructor(path: string, digest: DigestWanted) {
    super({ highWaterMark: batchBytes });
    this.#task = startTask(answer => this.#hear(answer));
    this.#task.send({ act: 'write', path, digest });
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.#batch.push(ownBuffer(chunk));
    this.#batchBytes += chunk.length;
    if (this.#batchBytes >= batchBytes) this.#handOver();
    if (this.#bytesAhead < bytesAheadMax) done();
    else this.#waiting = done;
  }

  override _final(done: (error?: Error) => void): void {
    this.#handOver();
    this.#finishing = done;
    this.#task.send({ act: 'end' });
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.sha256 === null) this.#task.send({ act: 'drop' });
    this.#task.end();
    done(error);
  }

  #handOver(): void {
    this.#bytesAhead += this.#batchBytes;
    const buffers = this.#batch.map(chunk => chunk.buffer as ArrayBuffer);
    this.#task.send({ act: 'chunks', chunks: this.#batch, bytes: this.#batchBytes }, buffers);
    this.#batch = [];
    this.#batchBytes = 0;
  }

  #hear(answer: Answer): void {
    switch (answer.kind) {
      case 'written': {
        this.#bytesAhead -= answer.bytes;
        const resume = this.#waiting;
        this.#waiting = null;
        resume?.();
        return;
      }
      case 'done':
        this.sha256 = answer.sha256;
        this.#finishing?.();
        return;
      case 'failed':
        this.destroy(errorOf(answer));
    }
  }
}

/** SHA-256 of a file, computed on the hash thread. */
export function sha256OnThread(path: string, signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      signal?.removeEventListener('abort', stop);
      task.end();
      settle();
    };
    const task = startTask(answer => {
      if (answer.kind === 'done') end(() => resolve(answer.sha256 ?? ''));
      else if (answer.kind === 'failed') end(() => reject(errorOf(answer)));
    });
    const stop = () => {
      task.send({ act: 'drop' });
      end(() => reject(signal?.reason));
    };
    task.send({ act: 'read', path });
    if (signal?.aborted === true) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

/** A chunk of a stream has its bytes for itself in most cases; one that shares them with others is copied. */
function ownBuffer(chunk: Uint8Array): Uint8Array {
  const isWhole = chunk.byteLength === chunk.buffer.byteLength && chunk.buffer instanceof ArrayBuffer;
  return isWhole ? chunk : Uint8Array.from(chunk);
}

// --- The threads ------------------------------------------------------------------------------------------------------

type Request =
  | { readonly act: 'write'; readonly path: string; readonly digest: DigestWanted }
  | { readonly act: 'chunks'; readonly chunks: readonly Uint8Array[]; readonly bytes: number }
  | { readonly act: 'end' }
  | { readonly act: 'read'; readonly path: string }
  | { readonly act: 'drop' };

type Answer =
  | { readonly kind: 'written'; readonly bytes: number }
  | { readonly kind: 'done'; readonly sha256: string | null }
  | { readonly kind: 'failed'; readonly message: string; readonly code: string | undefined };

interface Task {
  send(request: Request, transfer?: readonly Transferable[]): void;
  /** Nothing more is sent or heard. */
  end(): void;
}

interface HashThread {
  readonly worker: Worker;
  readonly tasks: Map<number, (answer: Answer) => void>;
}

const threads: HashThread[] = [];
let lastTask = 0;

/** On the thread with the least to do; a new one while all are busy and there may be more. */
function startTask(hear: (answer: Answer) => void): Task {
  const [idlest] = threads.toSorted((left, right) => left.tasks.size - right.tasks.size);
  const isFree = idlest !== undefined && (idlest.tasks.size === 0 || threads.length >= threadsMax);
  const thread = isFree ? idlest : startThread();
  lastTask += 1;
  const id = lastTask;
  thread.tasks.set(id, hear);
  // A process may not end while a file is being written, and need not stay for a thread without work.
  thread.worker.ref();
  return {
    send: (request, transfer = []) => thread.worker.postMessage({ id, ...request }, [...transfer]),
    end: () => {
      thread.tasks.delete(id);
      if (thread.tasks.size === 0) thread.worker.unref();
    },
  };
}

function startThread(): HashThread {
  const worker = new Worker(threadCode, { eval: true, execArgv: [], env: {}, name: 'almanac-hash' });
  const thread: HashThread = { worker, tasks: new Map() };
  threads.push(thread);
  worker.on('message', ({ id, ...answer }: Answer & { readonly id: number }) => thread.tasks.get(id)?.(answer));
  // Whatever ends the thread ends its tasks; the next one starts another.
  const fail = (message: string) => {
    if (threads.includes(thread)) threads.splice(threads.indexOf(thread), 1);
    for (const hear of [...thread.tasks.values()]) hear({ kind: 'failed', message, code: undefined });
  };
  worker.on('error', error => fail(`the hash thread failed: ${error.message}`));
  worker.on('exit', code => fail(`the hash thread ended with code ${code}`));
  return thread;
}

/** Between threads an error would lose its code, which says whether another try can help. */
function errorOf({ message, code }: Extract<Answer, { kind: 'failed' }>): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}

/** As text, so that it starts in milliseconds wherever the program runs from: source, compiled, or bundled. */
const threadCode = `
const { parentPort } = require('node:worker_threads');
const { closeSync, openSync, readSync, writeSync } = require('node:fs');
const { createHash } = require('node:crypto');
const tasks = new Map();
const slice = Buffer.allocUnsafeSlow(4 << 20);

const acts = {
  write({ id, path, digest }) {
    tasks.set(id, { file: openSync(path, 'w'), hash: digest === 'sha256' ? createHash('sha256') : null });
  },
  chunks({ id, chunks, bytes }) {
    const task = tasks.get(id);
    if (task === undefined) return;
    for (const chunk of chunks) {
      for (let done = 0; done < chunk.length; ) done += writeSync(task.file, chunk, done);
      task.hash?.update(chunk);
    }
    parentPort.postMessage({ id, kind: 'written', bytes });
  },
  end({ id }) {
    const task = tasks.get(id);
    if (task === undefined) return;
    tasks.delete(id);
    closeSync(task.file);
    parentPort.postMessage({ id, kind: 'done', sha256: task.hash?.digest('hex') ?? null });
  },
  read({ id, path }) {
    tasks.set(id, { file: openSync(path, 'r'), hash: createHash('sha256') });
    readOn(id);
  },
  drop({ id }) {
    const task = tasks.get(id);
    tasks.delete(id);
    if (task !== undefined) closeSync(task.file);
  },
};

// One slice at a time, so that others on this thread have their turn and a task can be dropped.
function readOn(id) {
  const task = tasks.get(id);
  if (task === undefined) return;
  guarded(id, () => {
    const bytes = readSync(task.file, slice);
    task.hash.update(slice.subarray(0, bytes));
    if (bytes === 0) acts.end({ id });
    else setImmediate(readOn, id);
  });
}

function guarded(id, act) {
  try {
    act();
  } catch (error) {
    try { acts.drop({ id }); } catch {}
    parentPort.postMessage({ id, kind: 'failed', message: error.message, code: error.code });
  }
}

parentPort.on('message', request => guarded(request.id, () => acts[request.act](request)));
`;
