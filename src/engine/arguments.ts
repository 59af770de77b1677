/**
 * The arguments of the row function: SQL expressions over the transformed rows whose vectors JavaScript sees. Two users of
 * the same expression share one argument, so a column is decoded and copied once, however many models and rules read it.
 */
import type { DuckDBType } from '@duckdb/node-api';
import { BIGINT, DOUBLE, ENUM, FLOAT, INTEGER, TIMESTAMP, TINYINT, VARCHAR } from './duckdb-api.ts';
import { EngineFault } from './fault.ts';
import type { ColumnInfo } from './job.ts';
import { identifier, literal } from './sql.ts';

/** A numeric argument; `unreadable` is an argument that is 1 where a text was not a number. */
export interface NumberArgument {
  readonly values: number;
  readonly unreadable: number | null;
}

/** A category as index into a vocabulary: NULL in `codes` is unseen unless `isNull` is 1. */
export interface CodeArgument {
  readonly codes: number;
  readonly isNull: number;
}

const NATIVE: Readonly<Record<string, DuckDBType>> = {
  FLOAT,
  DOUBLE,
  TINYINT,
  INTEGER,
};
const WHOLE = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|BOOLEAN)$/;
const NUMERIC = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|BOOLEAN|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\))$/;

export class ArgumentList {
  readonly #columns: ReadonlyMap<string, ColumnInfo>;
  readonly #indexes = new Map<string, number>();
  readonly #types: DuckDBType[] = [];

  constructor(columns: readonly ColumnInfo[]) {
    this.#columns = new Map(columns.map(column => [column.name, column]));
  }

  /** Comma-separated expressions, in the order of `types`. */
  get sql(): string {
    return [...this.#indexes.keys()].join(', ');
  }

  get types(): readonly DuckDBType[] {
    return this.#types;
  }

  has(column: string): boolean {
    return this.#columns.has(column);
  }

  /**
   * A column as numbers. FLOAT stays FLOAT; everything else becomes DOUBLE unless its vector is read natively. A column
   * that no file has is all NULL. Texts are cast; those that are no numbers are NULL and marked in `unreadable`.
   */
  number(column: string): NumberArgument {
    const name = identifier(column);
    const type = this.#columns.get(column)?.type;
    if (type === undefined) return { values: this.#add('CAST(NULL AS FLOAT)', FLOAT), unreadable: null };
    const native = NATIVE[type];
    if (native !== undefined) return { values: this.#add(name, native), unreadable: null };
    if (type === 'BOOLEAN') return { values: this.#add(`CAST(${name} AS TINYINT)`, TINYINT), unreadable: null };
    if (NUMERIC.test(type)) return { values: this.#add(`CAST(${name} AS DOUBLE)`, DOUBLE), unreadable: null };
    if (type === 'VARCHAR') {
      const values = this.#add(`TRY_CAST(${name} AS DOUBLE)`, DOUBLE);
      const unreadable = `${name} IS NOT NULL AND TRY_CAST(${name} AS DOUBLE) IS NULL`;
      return { values, unreadable: this.#add(`CAST(${unreadable} AS TINYINT)`, TINYINT) };
    }
    throw new EngineFault(
      'bad_input',
      `column ${column} is ${type}, a number is wanted; turn it into one in the transform (for a time: epoch(${column}))`,
      { column, type },
    );
  }

  /** A column as 64-bit or 32-bit integers; fractions would be cut silently, so only integers and booleans are taken. */
  integer(column: string, width: 32 | 64): number {
    const type = this.#columns.get(column)?.type ?? 'BIGINT';
    if (!WHOLE.test(type)) {
      throw new EngineFault(
        'bad_input',
        `column ${column} is ${type}, the model wants int${width}; cast it in the transform (CAST(${column} AS BIGINT))`,
        { column, type, wanted: `int${width}` },
      );
    }
    const source = this.#columns.has(column) ? identifier(column) : 'NULL';
    return width === 64
      ? this.#add(`CAST(${source} AS BIGINT)`, BIGINT)
      : this.#add(`CAST(${source} AS INTEGER)`, INTEGER);
  }

  /** A category as codes; ENUM vectors are 25 times cheaper than texts. */
  code(column: string, vocabulary: readonly string[]): CodeArgument {
    const isNull = this.isNull(column);
    if (vocabulary.length === 0) return { codes: this.#add('CAST(NULL AS FLOAT)', FLOAT), isNull };
    const type = ENUM(vocabulary);
    const source = this.#columns.has(column) ? `CAST(${identifier(column)} AS VARCHAR)` : 'CAST(NULL AS VARCHAR)';
    return { codes: this.#add(`TRY_CAST(${source} AS ENUM(${vocabulary.map(literal).join(', ')}))`, type), isNull };
  }

  text(column: string): number {
    const source = this.#columns.has(column) ? identifier(column) : 'NULL';
    return this.#add(`CAST(${source} AS VARCHAR)`, VARCHAR);
  }

  /** A time as microseconds since 1970 UTC; texts that are no times are NULL. */
  time(column: string): number {
    const source = this.#columns.has(column) ? identifier(column) : 'NULL';
    return this.#add(`TRY_CAST(${source} AS TIMESTAMP)`, TIMESTAMP);
  }

  isNull(column: string): number {
    return this.condition(this.#columns.has(column) ? `${identifier(column)} IS NULL` : 'TRUE');
  }

  /** A condition as 1 and 0. */
  condition(sql: string): number {
    return this.#add(`CAST((${sql}) AS TINYINT)`, TINYINT);
  }

  /** Any DOUBLE expression. */
  double(sql: string): number {
    return this.#add(`CAST((${sql}) AS DOUBLE)`, DOUBLE);
  }

  #add(sql: string, type: DuckDBType): number {
    const known = this.#indexes.get(sql);
    if (known !== undefined) return known;
    const index = this.#types.length;
    this.#indexes.set(sql, index);
    this.#types.push(type);
    return index;
  }
}
