/** What `score-file` scores: files, or a Delta table at one version. */
import { resolve } from 'node:path';
import { findInputFiles, type InputFile } from '../engine/input-files.ts';
import type { EnginePool } from '../engine/pool.ts';
import { isDeltaTable, readCheckpointBy, readDeltaInput } from '../inputs/delta.ts';
import { LocalPlace } from '../inputs/local-place.ts';
import { CommandFailure, exitCode } from './output.ts';

export interface Input {
  readonly files: readonly InputFile[];
  /** Null where the input is no Delta table. */
  readonly tableVersion: number | null;
}

/** Files of a path as a person types it; a folder with a Delta log is read as its log says. */
export async function findInput(input: string, tableVersion: number | undefined, pool: EnginePool): Promise<Input> {
  const folder = resolve(input);
  const place = new LocalPlace(folder);
  if (!(await isDeltaTable(place, ''))) {
    if (tableVersion !== undefined) {
      throw new CommandFailure(`score-file: ${input} is no Delta table, so it has no version`, exitCode.usage);
    }
    return { files: await findInputFiles(input), tableVersion: null };
  }
  const { files, version } = await readDeltaInput(place, '', {
    ...(tableVersion === undefined ? {} : { version: tableVersion }),
    readCheckpoint: paths =>
      readCheckpointBy(
        pool,
        paths.map(path => resolve(folder, path)),
      ),
  });
  return {
    files: files.map(({ path, constants }) => ({ path: resolve(folder, path), format: 'parquet', constants })),
    tableVersion: version,
  };
}
