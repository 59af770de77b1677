/** Served rows, drawn from the chunks of scoring jobs into small files: the partition, the keys and the features. */
import { join } from 'node:path';
import type { Contract } from '../domain/contract.ts';
import { featureColumns } from '../domain/contract.ts';
import type { ServedChunk } from './served-job.ts';
import { Source } from './source.ts';
import { identifier, literal } from './sql.ts';
import type { VerbContext } from './verbs.ts';

/** Column of a drawn row that lists the features it has. */
export const servedColumns = 'almanac_features';

/** One file per chunk with the rows that satisfy `where`, a condition on the partition and the keys. */
export async function drawServed(
  of: { readonly chunks: readonly ServedChunk[]; readonly contract: Contract; readonly where: string },
  context: VerbContext,
): Promise<readonly string[]> {
  const pieces: string[] = [];
  for (const [index, chunk] of of.chunks.entries()) {
    const path = join(context.scratch, `served-${index}.parquet`);
    await drawChunk({ chunk, contract: of.contract, where: of.where, path }, context);
    pieces.push(path);
    context.progress({ done: index + 1, total: of.chunks.length, unit: 'chunks', resume: null });
  }
  return pieces;
}

async function drawChunk(
  {
    chunk,
    contract,
    where,
    path,
  }: { readonly chunk: ServedChunk; readonly contract: Contract; readonly where: string; readonly path: string },
  context: VerbContext,
): Promise<void> {
  const { inputs, rows, tables, transform, features, partition } = chunk;
  const known = new Set(features);
  const present = contract.columns.filter(column => known.has(column.name));
  // The rules have had their say when the rows were scored.
  const job = { inputs, rows, tables, transform, contract: { ...contract, columns: present, rules: [] } };
  const source = await Source.open({ job, folders: [], context });
  try {
    const names = [...new Set([...contract.keys, ...featureColumns(contract).map(({ name }) => name)])];
    const isThere = (name: string) => source.has(name) && (known.has(name) || contract.keys.includes(name));
    const columns = names.map(name => (isThere(name) ? identifier(name) : `NULL AS ${identifier(name)}`));
    const list = `[${features.map(literal).join(', ')}]::VARCHAR[] AS ${identifier(servedColumns)}`;
    await source.session.run(
      `COPY (SELECT * FROM (SELECT ${literal(partition)} AS partition, ${[...columns, list].join(', ')} ` +
        `FROM (${source.sql})) WHERE ${where}) TO ${literal(path)} (FORMAT parquet)`,
    );
    await source.assertUnchanged();
  } finally {
    source.close();
  }
}
