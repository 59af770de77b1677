/**
 * Threads that learn: each fits one model at a time, keeps it, and scores with it between the rounds of its next training.
 * Which thread fits which model depends on who is free first; the models do not.
 */
import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { startThread } from '../engine/start-thread.ts';
import type { LabelledRows, LearnedModel, Lesson } from './learner.ts';
import type { Feature } from './trainer.ts';

export type ToLearner =
  | { readonly type: 'fit'; readonly question: number; readonly lesson: Lesson; readonly rows: LabelledRows }
  | {
      readonly type: 'score';
      readonly question: number;
      /** The question whose answer the model was. */
      readonly model: number;
      readonly columns: readonly Feature[];
    }
  | { readonly type: 'forget'; readonly model: number };

export type FromLearner =
  | { readonly type: 'fitted'; readonly question: number }
  | { readonly type: 'scored'; readonly question: number; readonly scores: Float32Array }
  | { readonly type: 'failed'; readonly question: number; readonly error: Error };

/** Each takes some 50 MB, and more of them would wait for the one thread that judges what they learned. */
const threadsMax = 16;

export class LearnerThreads {
  /** Trainings under way at a time. */
  readonly count: number;
  readonly #start: () => Worker;
  readonly #started: LearnerThread[] = [];
  readonly #idle: LearnerThread[] = [];
  /** Trainings that wait for a thread, first come first served. */
  readonly #waiting: ((thread: LearnerThread) => void)[] = [];

  constructor(count = Math.min(threadsMax, availableParallelism()), start: () => Worker = startLearner) {
    this.count = count;
    this.#start = start;
  }

  /**
   * Fits on the next free thread, which is started when it is needed first. The rows are copied once a thread is free.
   *
   * @throws what the trainer throws; Error when the thread ends before it has answered.
   */
  async fit(lesson: Lesson, { columns, labels, weights = null }: LabelledRows): Promise<LearnedModel> {
    const thread = await this.#free();
    try {
      const copy = { columns: columns.map(copyFeature), labels: labels.slice(), weights: weights?.slice() ?? null };
      return await thread.fit(lesson, copy);
    } finally {
      this.#release(thread);
    }
  }

  /** Ends the threads and their models. */
  async close(): Promise<void> {
    await Promise.all(this.#started.map(thread => thread.close()));
  }

  #free(): LearnerThread | Promise<LearnerThread> {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#started.length === this.count) return new Promise(resolve => this.#waiting.push(resolve));
    const thread = new LearnerThread(this.#start());
    this.#started.push(thread);
    return thread;
  }

  #release(thread: LearnerThread): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(thread);
    else next(thread);
  }
}

interface Waiting {
  resolve(answer: FromLearner): void;
  reject(error: Error): void;
}

class LearnerThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #questions = 0;
  #ended: Error | null = null;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', (answer: FromLearner) => {
      if (answer.type === 'failed') this.#take(answer.question)?.reject(answer.error);
      else this.#take(answer.question)?.resolve(answer);
    });
    worker.on('error', error => this.#end(error.message, error));
    worker.on('exit', code => this.#end(`exit code ${code}`));
    worker.unref();
  }

  async fit(lesson: Lesson, rows: LabelledRows): Promise<LearnedModel> {
    const model = this.#questions++;
    await this.#ask({ type: 'fit', question: model, lesson, rows }, [...buffersOf(rows.columns), rows.labels.buffer]);
    return {
      score: ({ columns }) => this.#score(model, columns.map(copyFeature)),
      close: () => this.#worker.postMessage({ type: 'forget', model } satisfies ToLearner),
    };
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  async #score(model: number, columns: readonly Feature[]): Promise<Float32Array> {
    const question = this.#questions++;
    const answer = await this.#ask({ type: 'score', question, model, columns }, buffersOf(columns));
    if (answer.type !== 'scored') throw new Error(`a training thread was asked for scores and said ${answer.type}`);
    return answer.scores;
  }

  #ask(message: Exclude<ToLearner, { type: 'forget' }>, buffers: readonly ArrayBufferLike[]): Promise<FromLearner> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#waiting.set(message.question, { resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage(
        message,
        buffers.filter(buffer => buffer instanceof ArrayBuffer),
      );
    });
  }

  #take(question: number): Waiting | undefined {
    const waiting = this.#waiting.get(question);
    this.#waiting.delete(question);
    // An idle thread keeps no process alive.
    if (this.#waiting.size === 0) this.#worker.unref();
    return waiting;
  }

  #end(why: string, cause?: Error): void {
    this.#ended ??= new Error(
      `a training thread ended (${why}) before it answered; where memory was short, give a shorter history`,
      { cause },
    );
    for (const question of [...this.#waiting.keys()]) this.#take(question)?.reject(this.#ended);
  }
}

function startLearner(): Worker {
  return startThread(new URL('./learner-thread.ts', import.meta.url), null);
}

/** A slice has a buffer of its own, which can be handed over; its history's buffer cannot. */
function copyFeature(feature: Feature): Feature {
  return feature.kind === 'number'
    ? { ...feature, values: feature.values.slice() }
    : { ...feature, codes: feature.codes.slice() };
}

function buffersOf(columns: readonly Feature[]): readonly ArrayBufferLike[] {
  return columns.map(column => (column.kind === 'number' ? column.values.buffer : column.codes.buffer));
}
