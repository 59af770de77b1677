/** The files of a project's tables, as the commands need them: on this machine, ready for the engine. */
import { join } from 'node:path';
import type { Project } from '../config/project.ts';
import type { InputTable } from '../domain/definition.ts';
import { isDate } from '../domain/time.ts';
import type { FileFormat, InputRange } from '../engine/job.ts';
import { InputTables, type TableFile } from '../inputs/input-tables.ts';
import { type CommandEngine, withEngine } from './engine.ts';
import { CommandFailure } from './output.ts';

/** The tables of one project, read by one command; what lies in a bucket is fetched into the command's own folder. */
export class ProjectTables {
  readonly #tables: InputTables;
  readonly #folder: string;
  readonly #at: string;

  constructor({ project, engine, scratch }: CommandEngine & { readonly project: Project }) {
    this.#tables = new InputTables({ folder: project.folder, s3: project.s3, engine });
    this.#folder = join(scratch, 'inputs');
    this.#at = project.folder;
  }

  async partitions(table: InputTable): Promise<readonly string[]> {
    return await this.#tables.partitions(table);
  }

  async files(table: InputTable, partition: string): Promise<readonly TableFile[]> {
    return await this.#tables.files(table, [partition]);
  }

  async newest(table: InputTable): Promise<string> {
    const newest = (await this.partitions(table)).filter(isDate).at(-1);
    if (newest !== undefined) return newest;
    throw new CommandFailure(`no partitions at ${this.#placeOf(table)}; expected one folder or file a day`);
  }

  /** None is a failure that names the pattern. */
  async inputs(table: InputTable, partition: string): Promise<readonly InputRange[]> {
    const files = await this.files(table, partition);
    if (files.length === 0) throw new CommandFailure(`no files match ${this.#placeOf(table)} for ${partition}`);
    const format: FileFormat = table.format === 'delta' ? 'parquet' : table.format;
    return await Promise.all(
      files.map(async ({ path, bytes, etag, constants }) => {
        const pinned = { path, bytes, ...(etag === null ? {} : { etag }) };
        const local = await this.#tables.fetch(pinned, { folder: this.#folder, format });
        return { path: local, format, ...(constants === undefined ? {} : { constants }) };
      }),
    );
  }

  #placeOf({ path }: InputTable): string {
    return path.startsWith('s3://') ? path : `${path} in ${this.#at}`;
  }

  /** Of tables that a transform joins, which are Parquet. */
  async paths(table: InputTable, partition: string): Promise<readonly string[]> {
    return (await this.inputs(table, partition)).map(({ path }) => path);
  }
}

export async function newestPartition(project: Project, table: InputTable): Promise<string> {
  return await withEngine('partitions', of => new ProjectTables({ ...of, project }).newest(table));
}
