/** Predictions of a shadow version for the rows that were not quarantined, in order, until they are written. */
import type { DuckDBDataChunk, DuckDBVector } from '@duckdb/node-api';
import { writeRows } from './arms.ts';
import { EngineFault } from './fault.ts';
import type { OutputColumns } from './output-columns.ts';
import type { Numbers } from './predictions.ts';
import type { Scorer } from './scorer.ts';
import { outputItems, Vectors } from './vectors.ts';

export class KeptRows {
  readonly #scorer: Scorer;
  readonly #pieces: Numbers[] = [];
  #all: Numbers | null = null;

  constructor(scorer: Scorer) {
    this.#scorer = scorer;
  }

  /** `values`: predictions of the rows [from, to) of a vector, of which `quarantined` are left out. */
  keep(values: Numbers, from: number, to: number, quarantined: Int32Array): void {
    const { width } = this.#scorer;
    const dropped = quarantined.filter(row => row >= from && row < to);
    if (dropped.length === 0) {
      this.#pieces.push(values.slice(0, (to - from) * width));
      return;
    }
    const gone = new Set(dropped);
    const kept: number[] = [];
    for (let row = from; row < to; row++) {
      if (gone.has(row)) continue;
      for (let column = 0; column < width; column++) kept.push(values[(row - from) * width + column]!);
    }
    this.#pieces.push(Float64Array.from(kept));
  }

  /** The second pass: `input` holds the numbers of consecutive rows of the file of predictions. */
  lookUp(input: DuckDBDataChunk, vector: DuckDBVector, output: OutputColumns): void {
    this.#all ??= joined(this.#pieces, output.isDouble);
    const vectors = new Vectors(input, 1);
    const numbers = vectors.bigints(0);
    const first = Number(numbers[0] ?? 0n);
    const { width } = this.#scorer;
    const values = this.#all.subarray(first * width, (first + vectors.rows) * width);
    const items = outputItems(vector) as Numbers;
    if (Number(numbers.at(-1) ?? 0n) - first !== vectors.rows - 1 || values.length !== vectors.rows * width) {
      throw new EngineFault(
        'failed',
        `shadow v${this.#scorer.version}: rows ${first} and following are not the ones that were scored`,
      );
    }
    if (output.width === output.values) items.set(values);
    else writeRows(values, this.#scorer, output, { arm: 0, items, rowOf: n => n });
    vector.flush();
  }
}

function joined(pieces: readonly Numbers[], isDouble: boolean): Numbers {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const all = isDouble ? new Float64Array(length) : new Float32Array(length);
  let offset = 0;
  for (const piece of pieces) {
    all.set(piece, offset);
    offset += piece.length;
  }
  return all;
}
