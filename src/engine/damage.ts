/** Finds what exactly cannot be read, after a read failed: DuckDB's message often names neither file nor row group. */
import type { DuckDbSession } from './duckdb.ts';
import { EngineFault } from './fault.ts';
import type { InputRange } from './job.ts';
import { rowGroupStarts } from './source.ts';
import { identifier, inputRelation } from './sql.ts';

/** The fault with file, row group and column in it; the same fault when every input reads well. */
export async function locateDamage(
  session: DuckDbSession,
  inputs: readonly InputRange[],
  fault: EngineFault,
): Promise<EngineFault> {
  for (const { path } of inputs.filter(input => (input.format ?? 'parquet') === 'parquet')) {
    const starts = await rowGroupStarts(session, [path]).catch(() => null);
    if (starts === null) return damaged(fault, { path }, `${path}: its footer cannot be read`);
    const groups = (starts.get(path)?.length ?? 1) - 1;
    for (let group = 0; group < groups; group++) {
      const rows = inputRelation([{ path, rowGroups: [group, group + 1] }], starts);
      const columns = (await session.describe(rows)).map(column => column.name);
      const reads = (names: readonly string[]) =>
        session.run(`SELECT ${names.map(name => `max(hash(${identifier(name)}))`).join(', ')} FROM (${rows})`).then(
          () => true,
          () => false,
        );
      if (await reads(columns)) continue;
      for (const column of columns) {
        if (await reads([column])) continue;
        return damaged(
          fault,
          { path, rowGroup: group, column },
          `${path}: row group ${group}, column ${column} cannot be read`,
        );
      }
    }
  }
  return fault;
}

function damaged(fault: EngineFault, facts: Readonly<Record<string, unknown>>, where: string): EngineFault {
  const message = `${where}: ${fault.message}; the file is damaged, write or fetch it again`;
  return new EngineFault('bad_input', message, facts, { cause: fault });
}
