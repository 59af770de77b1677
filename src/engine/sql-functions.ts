/** JavaScript functions over DuckDB's vectors, and statements that call them. */
import type { DuckDBDataChunk, DuckDBType, DuckDBVector } from '@duckdb/node-api';
import type { DuckDbSession } from './duckdb.ts';
import { DuckDBScalarFunction } from './duckdb-api.ts';

export interface SqlFunction {
  readonly name: string;
  readonly parameterTypes: readonly DuckDBType[];
  readonly returnType: DuckDBType;
  /** Fills the output vector and flushes it: what is not flushed is written as uninitialised memory. */
  readonly call: (input: DuckDBDataChunk, output: DuckDBVector) => void;
}

export class SqlFunctions {
  readonly #session: DuckDbSession;
  /** A JavaScript error passes through DuckDB as text; the original is kept here. */
  #fault: unknown = null;

  constructor(session: DuckDbSession) {
    this.#session = session;
  }

  register({ name, parameterTypes, returnType, call }: SqlFunction): void {
    this.#session.register(
      DuckDBScalarFunction.create({
        name,
        parameterTypes,
        returnType,
        // Otherwise DuckDB may call it once and reuse the result, or push filters through it.
        volatile: true,
        // An argument that DuckDB knows to be NULL would fold the whole call to NULL: no row would be scored.
        specialHandling: true,
        mainFunction: (_info, input, output) => {
          try {
            call(input, output);
          } catch (error) {
            this.#fault ??= error;
            throw error;
          }
        },
      }),
    );
  }

  /** Runs a statement; what a function threw is thrown as it was. */
  async run(sql: string): Promise<number> {
    try {
      return await this.#session.run(sql);
    } catch (error) {
      throw this.#fault ?? error;
    }
  }
}
