/**
 * Rows on their way through a batch session. Vectors go in as they are read, predictions come out in the same order:
 *
 *   offer(vectors) ─► buffer being filled ─► session (up to 3 under way) ─► answers ─► take(rows)
 *
 * `offer` waits when all buffers are under way, so memory is bounded by them.
 */
import { EngineFault } from '../fault.ts';
import type { TensorData } from '../onnx-session.ts';
import type { NumericArray, TensorFiller } from '../tensors.ts';
import { newArray } from '../tensors.ts';
import type { Vectors } from '../vectors.ts';
import type { FeedSpec } from './messages.ts';
import type { BatchAnswer, BatchSession } from './session.ts';

const BUFFERS = 3;

type Numbers = Float32Array | Float64Array;
type Buffer = NumericArray | string[];

export interface BatchQueueOptions {
  readonly session: BatchSession;
  readonly feeds: readonly FeedSpec[];
  /** Fills the rows of one vector, row after row. */
  readonly filler: TensorFiller;
  /** Numbers of an answer, `width` per row. */
  readonly read: (output: BatchAnswer['output'], rows: number) => Numbers;
  readonly width: number;
  /** Rows of a batch when it is not the session's own. */
  readonly batchRows: number;
}

export class BatchQueue {
  readonly #options: BatchQueueOptions;
  readonly #free: Buffer[][];
  readonly #underWay = new Set<Promise<void>>();
  #filling: Buffer[] | null = null;
  #filled = 0;
  #answers: Numbers[] = [];
  /** Rows of the first answer that were taken. */
  #taken = 0;
  #ready = 0;
  #fault: unknown = null;

  constructor(options: BatchQueueOptions) {
    this.#options = options;
    const { feeds, batchRows } = options;
    this.#free = Array.from({ length: BUFFERS }, () =>
      feeds.map(({ type, width }) =>
        type === 'string' ? new Array<string>(batchRows * width) : newArray(type, batchRows * width),
      ),
    );
  }

  /** Rows that `take` can give now. */
  get ready(): number {
    return this.#ready;
  }

  async offer(vectors: Vectors): Promise<void> {
    const { filler, feeds, batchRows } = this.#options;
    for (let from = 0; from < vectors.rows; ) {
      this.#filling ??= await this.#freeBuffer();
      const to = Math.min(vectors.rows, from + batchRows - this.#filled);
      for (const [index, { data }] of filler.fill(vectors, from, to).entries()) {
        put(this.#filling[index]!, data, this.#filled * feeds[index]!.width);
      }
      this.#filled += to - from;
      if (this.#filled === batchRows) this.#send();
      from = to;
    }
  }

  /** Sends what is left and waits for every answer. */
  async finish(): Promise<void> {
    if (this.#filled > 0) this.#send();
    await Promise.all(this.#underWay);
    if (this.#fault !== null) throw this.#fault;
  }

  /** The next `rows` predictions; valid until the next call. */
  take(rows: number): Numbers {
    if (rows > this.#ready) throw new EngineFault('failed', `${rows} predictions are wanted, ${this.#ready} are ready`);
    const { width } = this.#options;
    this.#ready -= rows;
    const first = this.#answers[0]!;
    const end = (this.#taken + rows) * width;
    if (end <= first.length) {
      const found = first.subarray(this.#taken * width, end);
      this.#advance(rows);
      return found;
    }
    const joined = first instanceof Float32Array ? new Float32Array(rows * width) : new Float64Array(rows * width);
    for (let done = 0; done < rows; ) {
      const answer = this.#answers[0]!;
      const piece = answer.subarray(this.#taken * width, (this.#taken + rows - done) * width);
      joined.set(piece, done * width);
      done += piece.length / width;
      this.#advance(piece.length / width);
    }
    return joined;
  }

  #advance(rows: number): void {
    this.#taken += rows;
    if (this.#taken * this.#options.width < this.#answers[0]!.length) return;
    this.#answers.shift();
    this.#taken = 0;
  }

  async #freeBuffer(): Promise<Buffer[]> {
    while (this.#free.length === 0 && this.#fault === null) await Promise.race(this.#underWay);
    if (this.#fault !== null) throw this.#fault;
    return this.#free.pop()!;
  }

  #send(): void {
    const { session, feeds } = this.#options;
    const rows = this.#filled;
    const data = this.#filling!.map((buffer, index) => firstRows(buffer, rows * feeds[index]!.width));
    this.#filling = null;
    this.#filled = 0;
    const running: Promise<void> = this.#receive(session.run(rows, data), rows)
      .catch((error: unknown) => {
        this.#fault ??= error;
      })
      .finally(() => this.#underWay.delete(running));
    this.#underWay.add(running);
  }

  async #receive(running: Promise<BatchAnswer>, rows: number): Promise<void> {
    const { output, data } = await running;
    this.#free.push(data.map(whole));
    this.#answers.push(this.#options.read(output, rows));
    this.#ready += rows;
  }
}

function put(buffer: Buffer, data: TensorData, offset: number): void {
  if (Array.isArray(buffer))
    for (const [index, text] of (data as readonly string[]).entries()) buffer[offset + index] = text;
  // Both were made for the same input, so both hold numbers of its type.
  else (buffer as Float32Array).set(data as Float32Array, offset);
}

function firstRows(buffer: Buffer, length: number): TensorData {
  return Array.isArray(buffer) ? buffer.slice(0, length) : buffer.subarray(0, length);
}

/** The buffer behind a view that came back; a shorter last batch is a view of its front. */
function whole(data: TensorData): Buffer {
  if (!('buffer' in data)) return [...data];
  const { buffer } = data;
  if (data instanceof Float32Array) return new Float32Array(buffer);
  if (data instanceof Float64Array) return new Float64Array(buffer);
  if (data instanceof BigInt64Array) return new BigInt64Array(buffer);
  if (data instanceof Int32Array) return new Int32Array(buffer);
  return new Uint8Array(buffer);
}
