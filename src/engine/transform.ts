/**
 * The checker of user-written SQL. A transform is one SELECT over the declared relations; it reads no files, calls no
 * network, looks at no settings, and gives the same rows today and tomorrow. DuckDB parses it; the tree it gives back is
 * walked, and every refusal is named. The locked session would stop most of this too: this is the part that explains.
 */
import type { DuckDbSession } from './duckdb.ts';
import { EngineFault } from './fault.ts';
import { literal } from './sql.ts';

const TABLE_FUNCTIONS: ReadonlySet<string> = new Set(['unnest', 'range', 'generate_series']);

/** Functions that look outside the rows: files, settings, the environment, other statements. */
const OUTSIDE =
  /^(read_\w+|glob|sniff_csv|parquet_\w+|query|query_table|getenv|getvariable|current_setting|duckdb_\w+|pragma_\w+|sqlite_\w+|postgres_\w+|write_log|txid_current|nextval|currval|current_(database|schema|schemas|user|query|role|catalog)|user|session_user|version|which_secret)$/;

/** Functions whose value differs between two runs over the same rows. */
const UNSTEADY =
  /^(random|setseed|uuid\w*|gen_random_uuid|now|today|current_(date|time|timestamp|localtime|localtimestamp)|get_current_(time|timestamp)|transaction_timestamp|localtime|localtimestamp)$/;

/** The transform as it will be used, without a trailing semicolon. Throws a `bad_job` fault listing all refusals. */
export async function checkSelect(session: DuckDbSession, sql: string, relations: readonly string[]): Promise<string> {
  const text = sql.trim().replace(/;\s*$/, '');
  const [row] = await session.rows(`SELECT json_serialize_sql(${literal(text)}) AS tree`);
  const tree = JSON.parse(String(row?.['tree'])) as Parsed;
  if (tree.error) {
    const message = tree.error_type === 'not implemented' ? 'it must be one SELECT statement' : tree.error_message;
    throw refused([`${message}`], text);
  }
  if (tree.statements.length !== 1)
    throw refused([`it has ${tree.statements.length} statements, one SELECT is allowed`], text);
  const allowed = new Set([...relations, ...commonTables(tree.statements)].map(name => name.toLowerCase()));
  const refusals = new Set<string>();
  walk(tree.statements, node => {
    const refusal = refusalOf(node, allowed, relations);
    if (refusal !== null) refusals.add(refusal);
  });
  if (refusals.size > 0) throw refused([...refusals], text);
  return text;
}

interface Parsed {
  readonly error: boolean;
  readonly error_type?: string;
  readonly error_message?: string;
  readonly statements: readonly unknown[];
}

function refused(refusals: readonly string[], sql: string): EngineFault {
  return new EngineFault('bad_job', `the SQL is refused: ${refusals.join('; ')}`, { refusals, sql });
}

function refusalOf(node: Node, allowed: ReadonlySet<string>, relations: readonly string[]): string | null {
  if (node['type'] === 'BASE_TABLE') {
    const name = String(node['table_name']);
    if (node['schema_name'] !== '' || node['catalog_name'] !== '') return `it reads ${node['schema_name']}.${name}`;
    return allowed.has(name.toLowerCase())
      ? null
      : `it reads ${name}, which is not declared (declared: ${relations.join(', ')})`;
  }
  if (node['type'] === 'TABLE_FUNCTION') {
    const call = node['function'] as Node;
    const name = String(call['function_name']).toLowerCase();
    return TABLE_FUNCTIONS.has(name) ? null : `it calls ${name}(), which reads outside the declared relations`;
  }
  if (node['class'] === 'FUNCTION') {
    const name = String(node['function_name']).toLowerCase();
    if (OUTSIDE.test(name)) return `it calls ${name}(), which looks outside the rows`;
    if (UNSTEADY.test(name))
      return `it calls ${name}(), which gives another value at every run; use a column of the data`;
  }
  if (node['class'] === 'COLUMN_REF') {
    const names = node['column_names'] as readonly string[];
    const name = (names.at(-1) ?? '').toLowerCase();
    // `current_date` and its like come without parentheses and look like columns to the parser.
    if (names.length === 1 && UNSTEADY.test(name)) return `it uses ${name}, which gives another value at every run`;
  }
  if (node['sample'] !== null && node['sample'] !== undefined)
    return 'it samples rows, which gives others at every run';
  return null;
}

type Node = Readonly<Record<string, unknown>>;

function walk(value: unknown, visit: (node: Node) => void): void {
  if (Array.isArray(value)) {
    for (const item of value) walk(item, visit);
  } else if (typeof value === 'object' && value !== null) {
    visit(value as Node);
    for (const item of Object.values(value)) walk(item, visit);
  }
}

function commonTables(statements: readonly unknown[]): string[] {
  const names: string[] = [];
  walk(statements, node => {
    const map = (node['cte_map'] as { map?: readonly { key: string }[] } | undefined)?.map;
    for (const entry of map ?? []) names.push(entry.key);
  });
  return names;
}
