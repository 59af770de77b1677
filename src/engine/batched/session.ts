/**
 * A model that runs on another thread, batch by batch (strategy B): for GPUs, which work while the next rows are read, and
 * for batches larger than a vector. Loading it proves the provider; which nodes it runs is part of the answer.
 */
import type { Worker } from 'node:worker_threads';
import { EngineFault, fromDocument } from '../fault.ts';
import type { OnnxTensor, TensorData } from '../onnx-session.ts';
import { startThread } from '../start-thread.ts';
import { type BatchModel, buffersOf, type FromThread, type Opened, type ToThread } from './messages.ts';

export interface BatchAnswer {
  readonly output: Pick<OnnxTensor, 'data' | 'dims'>;
  /** The buffers that were handed over. */
  readonly data: readonly TensorData[];
}

export class BatchSession {
  readonly #thread: SessionThread;
  readonly #number: number;
  readonly #label: string;
  readonly opened: Opened;

  private constructor(thread: SessionThread, number: number, label: string, opened: Opened) {
    this.#thread = thread;
    this.#number = number;
    this.#label = label;
    this.opened = opened;
  }

  /** @throws EngineFault as loading or the first runs gave it. */
  static async open(model: BatchModel): Promise<BatchSession> {
    const { label } = model;
    const thread = sessionThread();
    const session = thread.nextNumber();
    const answer = await thread.ask({ session, type: 'open', model });
    if (answer.type !== 'opened') throw new EngineFault('failed', `${label}: its thread said ${answer.type} first`);
    return new BatchSession(thread, session, label, answer);
  }

  /** Hands a batch over; batches are answered in their order. After a fault every call rejects with it. */
  async run(rows: number, data: readonly TensorData[]): Promise<BatchAnswer> {
    const answer = await this.#thread.ask({ session: this.#number, type: 'run', rows, data }, data.flatMap(buffersOf));
    if (answer.type !== 'ran') throw new EngineFault('failed', `${this.#label}: its thread said ${answer.type}`);
    return answer;
  }

  close(): void {
    this.#thread.tell({ session: this.#number, type: 'close' });
  }
}

let started: SessionThread | null = null;

/** The one thread of this process that runs sessions. */
function sessionThread(): SessionThread {
  if (started === null || started.ended) started = new SessionThread();
  return started;
}

interface Waiting {
  resolve(message: FromThread): void;
  reject(fault: EngineFault): void;
}

class SessionThread {
  readonly #worker: Worker = startThread(new URL('./thread.ts', import.meta.url), null);
  /** Per session, in the order of its questions. */
  readonly #waiting = new Map<number, Waiting[]>();
  readonly #faults = new Map<number, EngineFault>();
  #sessions = 0;
  ended = false;

  constructor() {
    this.#worker.on('message', (message: FromThread) => {
      if (message.type === 'fault') this.#fail(message.session, fromDocument(message.fault));
      else this.#next(message.session)?.resolve(message);
    });
    this.#worker.on('error', error => this.#end(`the thread of the sessions failed: ${error.stack ?? error.message}`));
    this.#worker.on('exit', code => this.#end(`the thread of the sessions ended with exit code ${code}`));
    this.#worker.unref();
  }

  nextNumber(): number {
    return ++this.#sessions;
  }

  ask(message: ToThread, buffers: readonly ArrayBuffer[] = []): Promise<FromThread> {
    const fault = this.#faults.get(message.session);
    if (fault !== undefined) return Promise.reject(fault);
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(message.session) ?? [];
      this.#waiting.set(message.session, [...waiting, { resolve, reject }]);
      this.#worker.ref();
      this.#worker.postMessage(message, buffers);
    });
  }

  tell(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #next(session: number): Waiting | undefined {
    const waiting = this.#waiting.get(session);
    const next = waiting?.shift();
    if (waiting?.length === 0) this.#waiting.delete(session);
    // An idle thread keeps no process alive.
    if (this.#waiting.size === 0) this.#worker.unref();
    return next;
  }

  #fail(session: number, fault: EngineFault): void {
    this.#faults.set(session, fault);
    for (let next = this.#next(session); next !== undefined; next = this.#next(session)) next.reject(fault);
  }

  #end(why: string): void {
    this.ended = true;
    for (const session of [...this.#waiting.keys()]) this.#fail(session, new EngineFault('crash', why));
  }
}
