/**
 * Quarantined rows in the form of their table: the keys, rule, reason, and the row as JSON. The row is one text, because
 * columns of broken rows have whatever type the broken file gave them, and a table cannot change its types.
 */
import { join } from 'node:path';
import { DuckDbSession } from '../duckdb.ts';
import { writeWhole } from '../files.ts';
import type { QuarantineJob, QuarantineOutput } from '../quarantine-job.ts';
import { identifier, literal, PARQUET_OPTIONS, pathLiteral } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

const EXPLAINED = ['almanac_rule', 'almanac_reason'];

export async function run(job: QuarantineJob, context: VerbContext): Promise<QuarantineOutput> {
  const session = await DuckDbSession.open({
    files: [job.file],
    folders: [job.outputFolder],
    limits: context,
  });
  try {
    const rows = `SELECT * FROM read_parquet(${pathLiteral(job.file)})`;
    const fields = (await session.describe(rows))
      .filter(({ name }) => !EXPLAINED.includes(name) && !job.personal.includes(name))
      .map(({ name, type }) => `${identifier(name)} := ${asJson(identifier(name), type)}`);
    // Without any column left the row is an empty object.
    const row = fields.length === 0 ? `'{}'` : `CAST(to_json(struct_pack(${fields.join(', ')})) AS VARCHAR)`;
    const keys = job.keys.map(identifier);
    const select = `SELECT ${[...keys, ...EXPLAINED, `${row} AS almanac_row`].join(', ')} FROM (${rows})`;
    const file = await writeWhole(join(job.outputFolder, 'quarantined.parquet'), temporary =>
      session.run(`COPY (${select}) TO ${literal(temporary)} ${PARQUET_OPTIONS}`),
    );
    return { file, columns: await session.describe(`SELECT * FROM read_parquet(${pathLiteral(file.path)})`) };
  } finally {
    session.close();
  }
}

/** JSON has no NaN and no infinity; as texts they survive. */
function asJson(column: string, type: string): string {
  if (type !== 'FLOAT' && type !== 'DOUBLE') return column;
  return `CASE WHEN isfinite(${column}) THEN to_json(${column}) WHEN ${column} IS NOT NULL THEN to_json(CAST(${column} AS VARCHAR)) END`;
}
