/**
 * Strategy B, for models that answer batch by batch on a thread of their own (GPUs, large batches): the rows are streamed,
 * and a second pass puts the predictions beside the keys, by row number.
 *
 *   source ─► stream ─► vectors ─► batch queues ─► answers
 *                          └─ wait ─────────────────► row scorer ─► kept predictions
 *   source ─► keys, row number ─► look up ─► predictions.parquet
 *
 * A stream of DuckDB ends without an error when something goes wrong, so its rows are counted against the plan.
 */
import type { DuckDBDataChunk, DuckDBVector } from '@duckdb/node-api';
import type { BatchQueue } from './batched/queue.ts';
import { asFault } from './duckdb.ts';
import { EngineFault } from './fault.ts';
import type { OutputColumns } from './output-columns.ts';
import type { Numbers } from './predictions.ts';
import type { RowScorer } from './row-scorer.ts';
import type { Source } from './source.ts';
import { outputItems, setNull, Vectors } from './vectors.ts';

export interface StreamOptions {
  readonly source: Source;
  readonly rows: RowScorer;
  readonly queues: readonly BatchQueue[];
  readonly output: OutputColumns;
  /** Rows that are there: of the plan, or, after a transform, of the table it was kept in. */
  readonly rowCount: number;
  /** Where both passes read: a SELECT. */
  readonly relation: string;
  /** Called with each vector once it is scored. */
  readonly scored: (rows: number, quarantined: number) => void;
}

/** Rows of a transform may come in another order when other columns are asked for; kept in a table, they cannot. */
export async function keepTransformed(source: Source): Promise<{ readonly relation: string; readonly rows: number }> {
  await source.session.run(`CREATE TABLE almanac_transformed AS ${source.sql}`);
  const [counted] = await source.session.rows('SELECT count(*) AS n FROM almanac_transformed');
  return { relation: 'SELECT * FROM almanac_transformed', rows: Number(counted?.['n']) };
}

/** Predictions of all rows, in order, until they are written. */
export class StreamedRows {
  readonly #output: OutputColumns;
  readonly #items: Numbers;
  readonly #quarantined = new Set<number>();
  #rows = 0;

  private constructor(output: OutputColumns, rowCount: number) {
    this.#output = output;
    this.#items = new (output.isDouble ? Float64Array : Float32Array)(rowCount * output.width);
  }

  /** The first pass. */
  static async score(options: StreamOptions): Promise<StreamedRows> {
    const { queues, rowCount } = options;
    const kept = new StreamedRows(options.output, rowCount);
    const waiting: Vectors[] = [];
    const drain = () => {
      while (waiting.length > 0 && queues.every(queue => queue.ready >= waiting[0]!.rows)) {
        kept.#keep(waiting.shift()!, options);
      }
    };
    let read = 0;
    for await (const vectors of stream(options)) {
      read += vectors.rows;
      if (read > rowCount) throw wrongCount(read, rowCount);
      waiting.push(vectors);
      for (const queue of queues) await queue.offer(vectors);
      drain();
    }
    if (read !== rowCount) throw wrongCount(read, rowCount);
    for (const queue of queues) await queue.finish();
    drain();
    return kept;
  }

  /** The second pass: `input` holds consecutive row numbers. */
  lookUp(input: DuckDBDataChunk, vector: DuckDBVector): void {
    const vectors = new Vectors(input, 1);
    const numbers = vectors.bigints(0);
    const first = Number(numbers[0] ?? 0n);
    const { width } = this.#output;
    if (Number(numbers.at(-1) ?? 0n) - first !== vectors.rows - 1 || first + vectors.rows > this.#rows) {
      throw new EngineFault(
        'failed',
        `rows ${first} to ${first + vectors.rows} are not the ${this.#rows} that were scored`,
      );
    }
    const items = outputItems(vector) as Numbers;
    items.set(this.#items.subarray(first * width, (first + vectors.rows) * width));
    if (this.#quarantined.size > 0) {
      const dropped: number[] = [];
      for (let row = 0; row < vectors.rows; row++) if (this.#quarantined.has(first + row)) dropped.push(row);
      setNull(vector, Int32Array.from(dropped), vectors.rows);
    }
    vector.flush();
  }

  #keep(vectors: Vectors, { rows, output, scored }: StreamOptions): void {
    const to = this.#rows + vectors.rows;
    const quarantined = rows.score(vectors, this.#items.subarray(this.#rows * output.width, to * output.width));
    for (const row of quarantined) this.#quarantined.add(this.#rows + row);
    this.#rows = to;
    scored(vectors.rows, quarantined.length);
  }
}

async function* stream({ source, rows, relation }: StreamOptions): AsyncGenerator<Vectors> {
  const { argumentSql, argumentTypes } = rows;
  // A connection of its own: a stream ends in silence when its connection is used for anything else.
  const connection = await source.session.connect();
  try {
    const result = await connection.stream(`SELECT ${argumentSql} FROM (${relation})`);
    for (;;) {
      const chunk = await result.fetchChunk();
      if (chunk === null || chunk.rowCount === 0) return;
      yield new Vectors(chunk, argumentTypes.length);
    }
  } catch (error) {
    throw asFault(error);
  } finally {
    connection.closeSync();
  }
}

function wrongCount(read: number, rowCount: number): EngineFault {
  return new EngineFault(
    'bad_input',
    `the stream of rows ended at ${read}, the plan says ${rowCount}; nothing was written`,
    {
      rowsRead: read,
      plannedRows: rowCount,
    },
  );
}
