/** How a DuckDB column enters the profile: as which kind, by which expression, as which vector. */
import type { DuckDBType } from '@duckdb/node-api';
import { BIGINT, DATE, DOUBLE, FLOAT, INTEGER, SMALLINT, TIMESTAMP, TIMESTAMPTZ, TINYINT } from '../duckdb-api.ts';
import type { ColumnInfo } from '../job.ts';
import { identifier } from '../sql.ts';
import type { ProfiledColumn } from './profiler.ts';

export interface ProfileArgument {
  readonly column: ProfiledColumn;
  /** SQL expression over the rows; null for categories, which the engine groups itself. */
  readonly expression: string | null;
  readonly type: DuckDBType;
}

/** Vectors that are read as they are. */
const NATIVE: ReadonlyMap<string, DuckDBType> = new Map<string, DuckDBType>([
  ['FLOAT', FLOAT],
  ['DOUBLE', DOUBLE],
  ['TINYINT', TINYINT],
  ['SMALLINT', SMALLINT],
  ['INTEGER', INTEGER],
  ['BIGINT', BIGINT],
]);

/** Columns that a profile can hold, in order; nested values, blobs and intervals are left out. */
export function profileArguments(columns: readonly ColumnInfo[], personal: ReadonlySet<string>): ProfileArgument[] {
  return columns.flatMap(({ name, type }): ProfileArgument[] => {
    const expression = identifier(name);
    const column = (kind: ProfiledColumn['kind']): ProfiledColumn => ({
      name,
      type,
      kind,
      personal: personal.has(name),
    });
    const native = NATIVE.get(type);
    if (native !== undefined) return [{ column: column('numeric'), expression, type: native }];
    if (type === 'BOOLEAN') {
      return [{ column: column('numeric'), expression: `CAST(${expression} AS TINYINT)`, type: TINYINT }];
    }
    if (/^(U(TINY|SMALL|BIG|HUGE)?INT(EGER)?|HUGEINT|DECIMAL.*)$/.test(type)) {
      return [{ column: column('numeric'), expression: `CAST(${expression} AS DOUBLE)`, type: DOUBLE }];
    }
    if (type === 'DATE') return [{ column: column('time'), expression, type: DATE }];
    // Instants with a time zone are UTC microseconds already, whatever zone their text had.
    if (type === 'TIMESTAMP WITH TIME ZONE') return [{ column: column('time'), expression, type: TIMESTAMPTZ }];
    if (type.startsWith('TIMESTAMP')) {
      return [{ column: column('time'), expression: `CAST(${expression} AS TIMESTAMP)`, type: TIMESTAMP }];
    }
    if (type === 'VARCHAR' || type === 'UUID' || type.startsWith('ENUM')) {
      return [{ column: column('category'), expression: null, type: TINYINT }];
    }
    return [];
  });
}
