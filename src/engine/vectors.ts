/**
 * DuckDB's vectors as typed arrays. The binding keeps `items` and the validity bits private in its types although they
 * are what makes it fast; this file is the one place that looks at them. `items` is a copy owned by JavaScript.
 *
 * Whoever names the types of the columns gets their bytes straight from the native binding: finding a vector's type out
 * and wrapping it costs as much as copying its values.
 *
 * Where a validity bit is 0 the item is arbitrary (0, or what was there before): whoever reads `items` patches the rows of
 * `nullRows`, or a NULL becomes a number.
 */
import type { DuckDBDataChunk, DuckDBType, DuckDBVector } from '@duckdb/node-api';
import native, { type DataChunk, type Vector } from '@duckdb/node-bindings';
import { DuckDBTypeId } from './duckdb-api.ts';

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

interface ItemArray {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): NumberArray | BigInt64Array;
}

/** How the items of a vector lie in memory, for the types whose bytes are read without the binding's classes. */
const PLAIN: ReadonlyMap<number, ItemArray> = new Map<number, ItemArray>([
  [DuckDBTypeId.TINYINT, Int8Array],
  [DuckDBTypeId.SMALLINT, Int16Array],
  [DuckDBTypeId.INTEGER, Int32Array],
  [DuckDBTypeId.DATE, Int32Array],
  [DuckDBTypeId.BIGINT, BigInt64Array],
  [DuckDBTypeId.TIMESTAMP, BigInt64Array],
  [DuckDBTypeId.TIMESTAMP_TZ, BigInt64Array],
  [DuckDBTypeId.FLOAT, Float32Array],
  [DuckDBTypeId.DOUBLE, Float64Array],
]);

const NONE = new Int32Array(0);

/** Rows of several columns, which are named by their position. */
export interface RowVectors {
  readonly rows: number;
  numbers(column: number): NumberArray;
  bigints(column: number): BigInt64Array;
  /** A text, or null. Slow (0.4 µs): codes of an ENUM are the way for many rows. */
  text(column: number, row: number): string | null;
  /** Rows whose value is NULL, ascending. */
  nullRows(column: number): Int32Array;
}

export class Vectors implements RowVectors {
  readonly #chunk: DuckDBDataChunk;
  readonly #types: readonly DuckDBType[] | null;
  readonly #vectors: (DuckDBVector | undefined)[];
  readonly #native: (Vector | undefined)[];
  readonly #items: (NumberArray | BigInt64Array | undefined)[];
  readonly #nullRows: (Int32Array | undefined)[];
  readonly rows: number;

  /** `columns` are the types of the chunk's columns, or their number where nobody knows the types. */
  constructor(chunk: DuckDBDataChunk, columns: number | readonly DuckDBType[]) {
    const count = typeof columns === 'number' ? columns : columns.length;
    this.#chunk = chunk;
    this.#types = typeof columns === 'number' ? null : columns;
    this.rows = chunk.rowCount;
    this.#vectors = new Array<DuckDBVector | undefined>(count);
    this.#native = new Array<Vector | undefined>(count);
    this.#items = new Array<NumberArray | BigInt64Array | undefined>(count);
    this.#nullRows = new Array<Int32Array | undefined>(count);
  }

  numbers(column: number): NumberArray {
    return this.#itemsOf(column) as NumberArray;
  }

  bigints(column: number): BigInt64Array {
    return this.#itemsOf(column) as BigInt64Array;
  }

  text(column: number, row: number): string | null {
    const item = this.#vector(column).getItem(row);
    return item === null ? null : String(item);
  }

  /** Model and profile both ask, and asking DuckDB costs as much as 200 values. */
  nullRows(column: number): Int32Array {
    const known = this.#nullRows[column];
    if (known !== undefined) return known;
    const words = this.#validityOf(column);
    const rows = words === null ? NONE : rowsOfZeroBits(words, this.rows);
    this.#nullRows[column] = rows;
    return rows;
  }

  #itemsOf(column: number): NumberArray | BigInt64Array {
    const known = this.#items[column];
    if (known !== undefined) return known;
    const Items = this.#plain(column);
    const items = Items === undefined ? this.#private(column).items : this.#readItems(column, Items);
    this.#items[column] = items;
    return items;
  }

  #readItems(column: number, Items: ItemArray): NumberArray | BigInt64Array {
    const bytes = native.vector_get_data(this.#nativeVector(column), this.rows * Items.BYTES_PER_ELEMENT);
    return new Items(bytes.buffer, bytes.byteOffset, this.rows);
  }

  /** The validity bits in words of 32, or null when no row is NULL. */
  #validityOf(column: number): Uint32Array | null {
    const bytes =
      this.#plain(column) === undefined
        ? this.#private(column).validity.data
        : native.vector_get_validity(this.#nativeVector(column), Math.ceil(this.rows / 64) * 8);
    return bytes === null ? null : new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  }

  #plain(column: number): ItemArray | undefined {
    return PLAIN.get(this.#types?.[column]?.typeId ?? DuckDBTypeId.INVALID);
  }

  #nativeVector(column: number): Vector {
    const { chunk } = this.#chunk as unknown as { readonly chunk: DataChunk };
    this.#native[column] ??= native.data_chunk_get_vector(chunk, column);
    return this.#native[column];
  }

  #vector(column: number): DuckDBVector {
    this.#vectors[column] ??= this.#chunk.getColumnVector(column);
    return this.#vectors[column];
  }

  #private(column: number): PrivateVector {
    return this.#vector(column) as unknown as PrivateVector;
  }
}

function rowsOfZeroBits(words: Uint32Array, rows: number): Int32Array {
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
