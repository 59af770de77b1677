/**
 * Lays repairs over the files of a partition: rows whose key a repair names get its values, all others stay as they are and
 * where they are. A file without such rows is not written again.
 */
import { join } from 'node:path';
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import { assertUnchanged, stampFiles, writeWhole } from '../files.ts';
import type { RepairedInput, RepairJob, RepairOutput } from '../quarantine-job.ts';
import { rowGroupsOf } from '../source.ts';
import { identifier, literal, PARQUET_OPTIONS, pathLiteral, readerCall } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

export async function run(job: RepairJob, context: VerbContext): Promise<RepairOutput> {
  const stamps = await stampFiles([...job.inputs, ...job.repairs].map(({ path }) => path));
  const session = await DuckDbSession.open({
    files: [...stamps.keys(), ...(job.quarantined ?? [])],
    folders: [job.outputFolder],
    limits: context,
  });
  try {
    let files: readonly RepairedInput[] = [];
    let repaired = 0;
    let inputs = job.inputs;
    for (const [number, repair] of job.repairs.entries()) {
      const round = await applyRepair(session, { job, inputs, repair, number });
      // A later repair starts from what the earlier ones made.
      inputs = inputs.map((input, index) => {
        const path = round.files.find(file => file.index === index)?.file.path;
        return path === undefined ? input : { path, format: 'parquet' };
      });
      files = [...files.filter(({ index }) => !round.files.some(file => file.index === index)), ...round.files];
      repaired += round.repaired;
    }
    await assertUnchanged(stamps);
    return { files: files.toSorted((left, right) => left.index - right.index), repaired };
  } finally {
    session.close();
  }
}

interface Round {
  readonly job: RepairJob;
  readonly inputs: RepairJob['inputs'];
  readonly repair: RepairJob['repairs'][number];
  readonly number: number;
}

async function applyRepair(session: DuckDbSession, round: Round): Promise<RepairOutput> {
  const { job, inputs, repair, number } = round;
  const { keys } = job;
  const fixes = `almanac_fixes_${number}`;
  const columns = await readFixes(session, fixes, { keys, repair });
  if (job.quarantined !== undefined) await assertQuarantined(session, fixes, { ...job, name: repair.path });
  const files: RepairedInput[] = [];
  const hit = new Set<string>();
  for (const [index, input] of inputs.entries()) {
    const relation = readerCall(input.format ?? 'parquet', [input.path]);
    const known = await session.describe(`SELECT * FROM ${relation}`);
    const stray = columns.filter(name => !known.some(column => column.name === name));
    if (stray.length > 0) {
      throw new EngineFault(
        'bad_input',
        `${repair.path}: column ${stray.join(', ')} is not in the partition; it has ${known.map(column => column.name).join(', ')}`,
        { stray },
      );
    }
    const on = keys.map(key => `CAST(f.${identifier(key)} AS VARCHAR) = r.${identifier(key)}`).join(' AND ');
    const found = await session.jsonRows(
      `SELECT DISTINCT ${keys.map(key => `r.${identifier(key)}`).join(', ')} FROM ${fixes} r SEMI JOIN ${relation} f ON ${on}`,
    );
    if (found.length === 0) continue;
    for (const key of found) hit.add(JSON.stringify(key));
    const select = known.map(({ name, type }) => {
      const column = identifier(name);
      if (!columns.includes(name) || keys.includes(name)) return `f.${column}`;
      return `CASE WHEN r.almanac_fixed THEN CAST(r.${column} AS ${type}) ELSE f.${column} END AS ${column}`;
    });
    const file = await writeWhole(join(job.outputFolder, `repaired-${number}-${index}.parquet`), temporary =>
      session.run(
        `COPY (SELECT ${select.join(', ')} FROM (SELECT *, row_number() OVER () AS almanac_number FROM ${relation}) f ` +
          `LEFT JOIN ${fixes} r ON ${on} ORDER BY f.almanac_number) TO ${literal(temporary)} ${PARQUET_OPTIONS}`,
      ),
    );
    const [count] = await session.rows(`SELECT count(*) AS n FROM ${relation}`);
    if (Number(count?.['n']) !== file.rows)
      throw new EngineFault('failed', `${input.path}: ${count?.['n']} rows became ${file.rows} under the repair`);
    const groups = (await rowGroupsOf(session, [file.path])).get(file.path) ?? [];
    files.push({ index, file, rowGroups: groups.map(({ rows }) => rows) });
  }
  const [wanted] = await session.rows(`SELECT count(*) AS n FROM ${fixes}`);
  const strangers = Number(wanted?.['n']) - hit.size;
  if (strangers > 0) {
    throw new EngineFault(
      'bad_input',
      `${repair.path}: ${strangers} of ${wanted?.['n']} rows have a key (${keys.join(', ')}) that no row of the partition has`,
      { strangers },
    );
  }
  return { files, repaired: hit.size };
}

/** The repairs as a table with one row per key, keys as text; gives its columns. */
async function readFixes(
  session: DuckDbSession,
  fixes: string,
  { keys, repair }: { readonly keys: readonly string[]; readonly repair: Round['repair'] },
): Promise<readonly string[]> {
  const relation = readerCall(repair.format ?? 'parquet', [repair.path]);
  const found = (await session.describe(`SELECT * FROM ${relation}`)).map(column => column.name);
  const columns = found.filter(name => !name.startsWith('almanac_'));
  const missing = keys.filter(key => !columns.includes(key));
  if (missing.length > 0) {
    throw new EngineFault(
      'bad_input',
      `${repair.path}: the key ${missing.join(', ')} is missing, a repair is laid over rows by key; columns found: ${found.join(', ')}`,
      { missing },
    );
  }
  if (columns.length === keys.length)
    throw new EngineFault('bad_input', `${repair.path}: it has keys only; add the columns that are repaired`);
  const select = columns.map(name => (keys.includes(name) ? textOf(name) : identifier(name)));
  await session.run(`CREATE TABLE ${fixes} AS SELECT ${select.join(', ')}, true AS almanac_fixed FROM ${relation}`);
  const names = keys.map(identifier).join(', ');
  const [doubled] = await session.rows(
    `SELECT count(*) AS n FROM (SELECT 1 FROM ${fixes} GROUP BY ${names} HAVING count(*) > 1)`,
  );
  if (Number(doubled?.['n']) > 0)
    throw new EngineFault('bad_input', `${repair.path}: ${doubled?.['n']} key(s) occur twice; keep one row per key`);
  return columns;
}

/** Rows that were fine stay as they are: a repair is for rows in quarantine. */
async function assertQuarantined(
  session: DuckDbSession,
  fixes: string,
  { keys, quarantined = [], name }: Pick<RepairJob, 'keys' | 'quarantined'> & { readonly name: string },
): Promise<void> {
  const names = keys.map(identifier).join(', ');
  const held = `SELECT ${keys.map(textOf).join(', ')} FROM read_parquet([${quarantined.map(pathLiteral).join(', ')}], union_by_name = true)`;
  const strangers = await session.jsonRows(
    `SELECT ${names} FROM ${fixes} ANTI JOIN (${held}) USING (${names}) LIMIT 6`,
  );
  if (strangers.length === 0) return;
  const shown = strangers.slice(0, 5).map(key => key.join('/'));
  throw new EngineFault(
    'bad_input',
    `${name}: ${shown.join(', ')}${strangers.length > 5 ? ', …' : ''} are not in quarantine; a repair changes quarantined rows only`,
    { strangers: shown },
  );
}

/** Keys are compared as text, so that a CSV's 7 finds the file's 7 whatever integer type either has. */
function textOf(name: string): string {
  return `CAST(${identifier(name)} AS VARCHAR) AS ${identifier(name)}`;
}
