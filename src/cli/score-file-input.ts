/** What `score-file` scores: files, or a Delta table at one version. */
import { resolve } from 'node:path';
import { isDeltaTable, readDeltaInput } from '../engine/delta-input.ts';
import { findInputFiles, type InputFile } from '../engine/input-files.ts';
import type { EnginePool } from '../engine/pool.ts';
import { CommandFailure, exitCode } from './output.ts';

const DEADLINE_MS = 3_600_000;
/** Files of a table, one row each in its checkpoint. */
const FILES_MAX = 10_000_000;

export interface Input {
  readonly files: readonly InputFile[];
  /** Null where the input is no Delta table. */
  readonly tableVersion: number | null;
}

/** Files of a path as a person types it; a folder with a Delta log is read as its log says. */
export async function findInput(input: string, tableVersion: number | undefined, pool: EnginePool): Promise<Input> {
  if (!(await isDeltaTable(input))) {
    if (tableVersion !== undefined) {
      throw new CommandFailure(`score-file: ${input} is no Delta table, so it has no version`, exitCode.usage);
    }
    return { files: await findInputFiles(input), tableVersion: null };
  }
  const { files, version } = await readDeltaInput(resolve(input), {
    ...(tableVersion === undefined ? {} : { version: tableVersion }),
    readCheckpoint: async paths => {
      const query = { sql: 'SELECT to_json(c) FROM checkpoint c', tables: { checkpoint: paths }, rowsMax: FILES_MAX };
      const { rows } = await pool.run('query', query, { deadlineMs: DEADLINE_MS });
      return rows.map((row): unknown => JSON.parse(String(row[0])));
    },
  });
  return { files, tableVersion: version };
}
