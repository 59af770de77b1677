/**
 * DuckDB's client, loaded with `require`. It is CommonJS, and Node reads the text of all its hundred files for their names
 * when a module imports it: 0.15 s of CPU time in every child. What runs takes DuckDB from here; types may come from the
 * package itself.
 */
import { createRequire } from 'node:module';

const api = createRequire(import.meta.url)('@duckdb/node-api') as typeof import('@duckdb/node-api');

export const {
  ARRAY,
  BIGINT,
  DATE,
  DOUBLE,
  DuckDBInstance,
  DuckDBScalarFunction,
  DuckDBTypeId,
  ENUM,
  FLOAT,
  INTEGER,
  SMALLINT,
  TIMESTAMP,
  TIMESTAMPTZ,
  TINYINT,
  VARCHAR,
  version,
} = api;
