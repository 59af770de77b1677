/**
 * Exact key duplicates by an external pass: every chunk writes 128 bits per key to disk, and one pass over all of them
 * counts what is left when equal keys fall together. Nothing grows with the rows but the file.
 */
import type { DuckDbSession } from '../duckdb.ts';
import { identifier, literal } from '../sql.ts';

/** Keys that are grouped in memory at once; more are split by hash into passes. */
const KEYS_PER_PASS = 20_000_000;

const WHOLE = /^U?(TINY|SMALL)INT$|^U?INTEGER$|^BIGINT$/;

/**
 * Writes the key hashes of a relation to a Parquet file (hi, lo). One whole-number key is its own hash; anything else is
 * the MD5 of an unambiguous text (length before value, so that ('a', 'bc') and ('ab', 'c') differ). NULL equals NULL.
 * @returns the number of keys written.
 */
export async function writeKeyHashes(
  session: DuckDbSession,
  source: { readonly relation: string; readonly keys: readonly string[]; readonly path: string },
): Promise<number> {
  const types = new Map((await session.describe(source.relation)).map(column => [column.name, column.type]));
  const missing = source.keys.filter(key => !types.has(key));
  if (missing.length > 0) {
    throw new Error(`key columns ${missing.join(', ')} are not among ${[...types.keys()].join(', ')}`);
  }
  const [first] = source.keys;
  const whole = source.keys.length === 1 && WHOLE.test(types.get(first!) ?? '');
  const hash = whole
    ? `CAST(${identifier(first!)} IS NULL AS UBIGINT) AS hi, CAST(coalesce(${identifier(first!)}, 0) AS BIGINT) AS lo`
    : 'md5_number_upper(text) AS hi, md5_number_lower(text) AS lo';
  const from = whole
    ? `(${source.relation})`
    : `(SELECT ${source.keys.map(unambiguousText).join(' || ')} AS text FROM (${source.relation}))`;
  return session.run(
    `COPY (SELECT ${hash} FROM ${from}) TO ${literal(source.path)} (FORMAT parquet, COMPRESSION lz4_raw)`,
  );
}

function unambiguousText(key: string): string {
  const text = `CAST(${identifier(key)} AS VARCHAR)`;
  return `coalesce(strlen(${text}) || ':' || ${text}, 'N')`;
}

/** Rows beyond the first of each key, over all files written by `writeKeyHashes`. Exact up to 128-bit collisions. */
export async function countDuplicateKeys(session: DuckDbSession, paths: readonly string[]): Promise<number> {
  const files = `read_parquet([${paths.map(literal).join(', ')}])`;
  const [counted] = await session.rows(`SELECT count(*) AS n FROM ${files}`);
  const rows = Number(counted?.['n']);
  const passes = Math.max(1, Math.ceil(rows / KEYS_PER_PASS));
  let distinct = 0;
  for (let pass = 0; pass < passes; pass++) {
    const part = passes === 1 ? '' : `WHERE abs(lo % ${passes}) = ${pass}`;
    const [found] = await session.rows(`SELECT count(*) AS n FROM (SELECT DISTINCT hi, lo FROM ${files} ${part})`);
    distinct += Number(found?.['n']);
  }
  return rows - distinct;
}
