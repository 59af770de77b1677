/** Rows for the bench, from hashes, so equal on every machine; made once. */
import { existsSync } from 'node:fs';
import { link, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';

export const FEATURES: readonly string[] = Array.from({ length: 30 }, (_, i) => `f${i}`);
export const SEGMENTS: readonly string[] = ['north', 'south', 'east', 'west', 'centre', 'online', 'partner', 'other'];
export const FILES = 8;

/** Two keys, a text of 8 values, 10 normal, 10 rounded and 10 count features, in 8 files. */
export async function generateRows(parent: string, rows: number, log: (line: string) => void): Promise<string> {
  const folder = join(parent, `rows-${rows}`);
  if (existsSync(folder)) return folder;
  log(`generating ${rows} rows`);
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  const columns = FEATURES.map((name, k) => `(${valueSql(k)})::FLOAT AS ${name}`);
  const segments = SEGMENTS.map(name => `'${name}'`).join(', ');
  for (let file = 0; file < FILES; file++) {
    const range = `range(${(file * rows) / FILES}, ${((file + 1) * rows) / FILES})`;
    await connection.run(
      `COPY (SELECT (i * 7919 + 13)::BIGINT AS id, TIMESTAMP '2026-01-01' + to_microseconds(i * 1000003) AS ts,
        ${columns.join(', ')}, [${segments}][1 + (hash(i) % ${SEGMENTS.length})::INTEGER] AS seg FROM ${range} t(i))
       TO '${join(partial, `part-${file}.parquet`)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)`,
    );
  }
  instance.closeSync();
  await rename(partial, folder);
  return folder;
}

function valueSql(k: number): string {
  const uniform = (salt: number) => `((hash(i * 37 + ${salt}) >> 11)::DOUBLE / 9007199254740992.0)`;
  if (k < 10) return `sqrt(-2 * ln(${uniform(k)} + 1e-12)) * cos(6.2831853 * ${uniform(k + 100)})`;
  return k < 20 ? `round((${uniform(k)} - 0.5) * 6, 2)` : `floor(pow(${uniform(k)}, 3) * 12) - 2`;
}

/** The same files under more names: more rows to read without more disk. */
export async function repeatRows(folder: string, times: number): Promise<string> {
  const repeated = `${folder}-times-${times}`;
  if (existsSync(repeated)) return repeated;
  const partial = `${repeated}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  for (let copy = 0; copy < times; copy++) {
    for (let file = 0; file < FILES; file++) {
      await link(join(folder, `part-${file}.parquet`), join(partial, `part-${copy}-${file}.parquet`));
    }
  }
  await rename(partial, repeated);
  return repeated;
}
