/** Some rows of a vector as if they were a vector of their own: an arm scores the rows it serves and no others. */
import type { NumberArray, RowVectors } from './vectors.ts';

export class PickedRows implements RowVectors {
  readonly #vectors: RowVectors;
  readonly #picked: Int32Array;
  readonly #items = new Map<number, NumberArray | BigInt64Array>();

  /** `picked`: numbers of the rows, ascending. */
  constructor(vectors: RowVectors, picked: Int32Array) {
    this.#vectors = vectors;
    this.#picked = picked;
  }

  get rows(): number {
    return this.#picked.length;
  }

  numbers(column: number): NumberArray {
    return this.#gathered(column, () => {
      const all = this.#vectors.numbers(column);
      const some = all.slice(0, this.rows);
      for (let at = 0; at < some.length; at++) some[at] = all[this.#picked[at]!]!;
      return some;
    }) as NumberArray;
  }

  bigints(column: number): BigInt64Array {
    return this.#gathered(column, () => {
      const all = this.#vectors.bigints(column);
      return BigInt64Array.from(this.#picked, row => all[row]!);
    }) as BigInt64Array;
  }

  text(column: number, row: number): string | null {
    return this.#vectors.text(column, this.#picked[row]!);
  }

  nullRows(column: number): Int32Array {
    return positionsOf(this.#vectors.nullRows(column), this.#picked);
  }

  #gathered(column: number, gather: () => NumberArray | BigInt64Array): NumberArray | BigInt64Array {
    const known = this.#items.get(column) ?? gather();
    this.#items.set(column, known);
    return known;
  }
}

/** Where `rows` stand among the picked ones; those that were not picked are left out. Both ascend. */
export function positionsOf(rows: Int32Array, picked: Int32Array): Int32Array {
  if (rows.length === 0) return rows;
  const wanted = new Set(rows);
  const found: number[] = [];
  for (let at = 0; at < picked.length; at++) if (wanted.has(picked[at]!)) found.push(at);
  return Int32Array.from(found);
}
