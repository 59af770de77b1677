/**
 * A model that runs on a thread of its own, batch by batch (strategy B): for GPUs, which work while the next rows are
 * read, and for batches larger than a vector. Loading it proves the provider; which nodes it runs is part of the answer.
 */
import type { Worker } from 'node:worker_threads';
import { EngineFault, fromDocument } from '../fault.ts';
import type { OnnxTensor, TensorData } from '../onnx-session.ts';
import { startThread } from '../start-thread.ts';
import { buffersOf, type FromThread, type Opened, type ThreadData, type ToThread } from './messages.ts';

export interface BatchAnswer {
  readonly output: Pick<OnnxTensor, 'data' | 'dims'>;
  /** The buffers that were handed over. */
  readonly data: readonly TensorData[];
}

interface Waiting {
  resolve(message: FromThread): void;
  reject(fault: EngineFault): void;
}

export class BatchSession {
  readonly #thread: Worker;
  readonly #label: string;
  readonly #waiting: Waiting[] = [];
  #opened: Opened | null = null;
  #fault: EngineFault | null = null;

  private constructor(data: ThreadData) {
    this.#label = data.label;
    this.#thread = startThread(new URL('./thread.ts', import.meta.url), data);
    this.#thread.on('message', (message: FromThread) => {
      if (message.type === 'fault') this.#fail(fromDocument(message.fault));
      else this.#waiting.shift()?.resolve(message);
    });
    this.#thread.on('error', error => this.#fail(new EngineFault('crash', `${this.#label}: ${error.message}`)));
    this.#thread.on('exit', () => this.#fail(new EngineFault('crash', `${this.#label}: its thread has ended`)));
  }

  /** @throws EngineFault as loading or the first run gave it. */
  static async open(data: ThreadData): Promise<BatchSession> {
    const session = new BatchSession(data);
    const message = await session.#answer();
    if (message.type !== 'opened')
      throw new EngineFault('failed', `${data.label}: its thread said ${message.type} first`);
    session.#opened = message;
    return session;
  }

  get opened(): Opened {
    return this.#opened!;
  }

  /** Hands a batch over; batches are answered in their order. After a fault every call rejects with it. */
  async run(rows: number, data: readonly TensorData[]): Promise<BatchAnswer> {
    const message: ToThread = { type: 'run', rows, data };
    this.#thread.postMessage(message, data.flatMap(buffersOf));
    const answer = await this.#answer();
    if (answer.type !== 'ran') throw new EngineFault('failed', `${this.#label}: its thread said ${answer.type}`);
    return answer;
  }

  /** Lets the batch that runs end first: a thread that is terminated within native code takes the process along. */
  close(): void {
    const message: ToThread = { type: 'close' };
    this.#thread.postMessage(message);
  }

  #answer(): Promise<FromThread> {
    if (this.#fault !== null) return Promise.reject(this.#fault);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #fail(fault: EngineFault): void {
    this.#fault ??= fault;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#fault);
  }
}
