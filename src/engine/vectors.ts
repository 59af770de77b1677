/**
 * DuckDB's vectors as typed arrays. The binding keeps `items` and the validity bits private in its types although they
 * are what makes it fast; this file is the one place that looks at them. `items` is a copy owned by JavaScript.
 *
 * Where a validity bit is 0 the item is arbitrary (0, or what was there before): whoever reads `items` patches the rows of
 * `nullRows`, or a NULL becomes a number.
 */
import type { DuckDBDataChunk, DuckDBVector } from '@duckdb/node-api';

export type NumberArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array;

interface PrivateVector {
  readonly items: NumberArray | BigInt64Array;
  readonly validity: { data: BigUint64Array | null };
  readonly childData: PrivateVector;
}

const NONE = new Int32Array(0);

export class Vectors {
  readonly #chunk: DuckDBDataChunk;
  readonly #vectors: (DuckDBVector | undefined)[];
  readonly rows: number;

  constructor(chunk: DuckDBDataChunk, columnCount: number) {
    this.#chunk = chunk;
    this.rows = chunk.rowCount;
    this.#vectors = new Array<DuckDBVector | undefined>(columnCount);
  }

  numbers(column: number): NumberArray {
    return this.#private(column).items as NumberArray;
  }

  bigints(column: number): BigInt64Array {
    return this.#private(column).items as BigInt64Array;
  }

  /** A text, or null. Slow (0.4 µs): codes of an ENUM are the way for many rows. */
  text(column: number, row: number): string | null {
    const item = this.#vector(column).getItem(row);
    return item === null ? null : String(item);
  }

  /** Rows whose value is NULL, ascending. */
  nullRows(column: number): Int32Array {
    const { data } = this.#private(column).validity;
    return data === null ? NONE : rowsOfZeroBits(data, this.rows);
  }

  #vector(column: number): DuckDBVector {
    this.#vectors[column] ??= this.#chunk.getColumnVector(column);
    return this.#vectors[column];
  }

  #private(column: number): PrivateVector {
    return this.#vector(column) as unknown as PrivateVector;
  }
}

function rowsOfZeroBits(data: BigUint64Array, rows: number): Int32Array {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length * 2);
  const found: number[] = [];
  for (let word = 0; word * 32 < rows; word++) {
    const bits = words[word]!;
    if (bits === 0xffff_ffff) continue;
    const end = Math.min(32, rows - word * 32);
    for (let bit = 0; bit < end; bit++) if ((bits & (1 << bit)) === 0) found.push(word * 32 + bit);
  }
  return found.length === 0 ? NONE : Int32Array.from(found);
}

/** The output vector of a scalar function as an array to fill; an ARRAY type gives its child, row after row. */
export function outputItems(output: DuckDBVector): NumberArray {
  const vector = output as unknown as PrivateVector;
  return (vector.childData === undefined ? vector.items : vector.childData.items) as NumberArray;
}

/** Marks rows of an output vector as NULL. Call before `flush()`, which writes items and validity. */
export function setNull(output: DuckDBVector, rows: Int32Array, rowCount: number): void {
  if (rows.length === 0) return;
  const bits = new Uint32Array(Math.ceil(rowCount / 64) * 2).fill(0xffff_ffff);
  for (const row of rows) bits[row >> 5]! &= ~(1 << (row & 31));
  (output as unknown as PrivateVector).validity.data = new BigUint64Array(bits.buffer);
}
