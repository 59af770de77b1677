/** The files of a project's tables, as the commands need them. */
import { join } from 'node:path';
import type { Project } from '../config/project.ts';
import { filesOfPartition, listPartitions } from '../config/table-files.ts';
import type { InputTable, ModelDefinition } from '../domain/definition.ts';
import { isDate } from '../domain/time.ts';
import type { FileFormat } from '../engine/job.ts';
import { CommandFailure } from './output.ts';

export async function newestPartition(project: Project, table: InputTable): Promise<string> {
  const newest = (await listPartitions(project.folder, table)).filter(isDate).at(-1);
  if (newest !== undefined) return newest;
  throw new CommandFailure(`no partitions at ${table.path} in ${project.folder}; expected one folder or file a day`);
}

/** Absolute paths of a partition's files; none is a failure that names the pattern. */
export async function partitionFiles(
  project: Project,
  table: InputTable,
  partition: string,
): Promise<readonly string[]> {
  const files = await filesOfPartition(project.folder, table, partition);
  if (files.length > 0) return files.map(file => join(project.folder, file));
  throw new CommandFailure(`no files match ${table.path} for ${partition} in ${project.folder}`);
}

/** How the features are read. A Delta table as input is for `score-file`; a definition names its Parquet files. */
export function featureFormat({ model, data }: ModelDefinition): FileFormat {
  if (data.features.format !== 'delta') return data.features.format;
  throw new CommandFailure(`${model}: name the Parquet files of the Delta table`);
}
