/**
 * The same sample of a relation's rows every time, with the extremes of all its rows, from one scan. Rows are chosen by
 * their number (the engine has one thread, so numbers are stable) through a hash that spreads neighbours evenly.
 */
import type { DuckDbSession } from '../duckdb.ts';
import { TINYINT } from '../duckdb-api.ts';
import { SqlFunctions } from '../sql-functions.ts';
import { outputItems, Vectors } from '../vectors.ts';
import type { ProfileArgument } from './columns.ts';
import { widen } from './widen.ts';

export interface ColumnSample {
  /** Over the finite values of all rows; null when there are none. */
  readonly min: number | null;
  readonly max: number | null;
  /** Finite values of the chosen rows, ascending. */
  readonly values: Float64Array;
}

let functions = 0;

/** About `rowsMax` rows of the relation, or all of them when there are fewer. Columns are numbers. */
export async function sampleColumns(
  session: DuckDbSession,
  relation: string,
  { columns, rowsMax }: { readonly columns: readonly ProfileArgument[]; readonly rowsMax: number },
): Promise<ColumnSample[]> {
  if (columns.length === 0) return [];
  const [counted] = await session.rows(`SELECT count(*) AS n FROM (${relation})`);
  const total = Number(counted?.['n'] ?? 0);
  const limit = total <= rowsMax ? 2 ** 32 : Math.floor((rowsMax / total) * 2 ** 32);
  // One in a hundred more than wanted: the hash spreads rows evenly, not exactly.
  const expected = Math.ceil(1.01 * Math.min(total, rowsMax));
  const collectors = columns.map(() => new Collector(expected));
  const types = columns.map(({ type }) => type);
  const name = `almanac_sample_${functions++}`;
  const sql = new SqlFunctions(session);
  let row = 0;
  sql.register({
    name,
    parameterTypes: types,
    returnType: TINYINT,
    call: (chunk, output) => {
      const vectors = new Vectors(chunk, types);
      const chosen: number[] = [];
      // Fibonacci hashing: the multiplier is 2^32 divided by the golden ratio.
      for (let i = 0; i < vectors.rows; i++) if (Math.imul(++row, 2_654_435_769) >>> 0 < limit) chosen.push(i);
      for (const [index, collector] of collectors.entries()) {
        collector.add(vectors.numbers(index), vectors.nullRows(index), chosen);
      }
      outputItems(output).fill(0, 0, vectors.rows);
      output.flush();
    },
  });
  const call = `${name}(${columns.map(({ expression }) => expression).join(', ')})`;
  await sql.run(`SELECT count(${call}) FROM (${relation})`);
  return collectors.map(collector => collector.finish());
}

class Collector {
  #values: Float64Array;
  #count = 0;
  #min = Infinity;
  #max = -Infinity;

  constructor(expected: number) {
    this.#values = new Float64Array(Math.max(4096, expected));
  }

  add(items: ArrayLike<number> | BigInt64Array, nullRows: Int32Array, chosen: readonly number[]): void {
    const values = asDoubles(items);
    // What stands where a row is NULL is arbitrary.
    for (const row of nullRows) values[row] = Number.NaN;
    let [min, max] = [this.#min, this.#max];
    for (let row = 0; row < values.length; row++) {
      const value = values[row]!;
      if (value < min && value !== -Infinity) min = value;
      if (value > max && value !== Infinity) max = value;
    }
    [this.#min, this.#max] = [min, max];
    if (this.#count + chosen.length > this.#values.length) this.#grow(chosen.length);
    for (const row of chosen) {
      const value = values[row]!;
      // Adding 0 turns −0 into 0: they are one value.
      if (Number.isFinite(value)) this.#values[this.#count++] = value + 0;
    }
  }

  #grow(more: number): void {
    const grown = new Float64Array(Math.max(this.#values.length * 2, this.#count + more));
    grown.set(this.#values);
    this.#values = grown;
  }

  finish(): ColumnSample {
    const values = this.#values.subarray(0, this.#count).sort();
    const empty = this.#min > this.#max;
    return { min: empty ? null : this.#min + 0, max: empty ? null : this.#max + 0, values };
  }
}

const scratch = new Float64Array(2048);

/** The items as doubles; valid until the next call. */
function asDoubles(items: ArrayLike<number> | BigInt64Array): Float64Array {
  const doubles = items.length <= scratch.length ? scratch.subarray(0, items.length) : new Float64Array(items.length);
  if (items instanceof BigInt64Array) widen(items, 0, items.length, doubles, 0);
  else doubles.set(items);
  return doubles;
}

/** Quantile of ascending values, linear between neighbours (type 7); NaN when there are none. */
export function quantileOfSorted(values: Float64Array, q: number): number {
  const at = q * (values.length - 1);
  const below = Math.floor(at);
  const low = values[below] ?? Number.NaN;
  const high = values[below + 1] ?? low;
  return low + (high - low) * (at - below);
}
