/** Part files of a table of ours: uploaded before any commit names them, in columns that a Delta table can hold. */
import type { ColumnInfo } from '../engine/job.ts';
import type { PartFile, PredictionsTable } from '../storage/table/predictions-table.ts';
import { deltaTypeOf, type TableColumn } from '../storage/table/schema.ts';
import { PermanentFault } from './fault.ts';
import type { Work } from './long.ts';
import type { Services } from './services.ts';

/** Under a name that is never used again, so that an unknown answer needs no other care than a next attempt. */
export async function uploadPart(
  { ports }: Pick<Services, 'ports'>,
  table: PredictionsTable,
  of: { readonly partition: string; readonly generation: number; readonly chunk: number },
  file: { readonly path: string; readonly rows: number; readonly bytes: number; readonly sha256: string },
  work: Work,
): Promise<PartFile> {
  const name = table.newPartFile({ ...of, attempt: work.attempt });
  const answer = await ports.store.upload(name.key, file.path, { signal: work.signal });
  // Unknown is not applied: the collector finds the file if it is there.
  if (answer.kind !== 'applied') {
    throw new Error(`${name.key}: ${answer.kind === 'unknown' ? answer.cause : `${answer.reason}: ${answer.detail}`}`);
  }
  return { path: name.path, bytes: file.bytes, rows: file.rows, sha256: file.sha256 };
}

export function tableColumns(columns: readonly ColumnInfo[]): readonly TableColumn[] {
  return columns.map(({ name, type }) => {
    const delta = deltaTypeOf(type);
    if (delta !== null) return { name, type: delta };
    throw new PermanentFault(
      'ColumnType',
      `column ${name} is ${type}, which a Delta table cannot hold: cast it in the transform`,
      { name, type },
    );
  });
}
