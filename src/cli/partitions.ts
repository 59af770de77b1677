/** The days a table of the project has, by the names of its folders or files. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Project } from '../config/project.ts';
import type { InputTable } from '../domain/definition.ts';
import { CommandFailure } from './output.ts';

export function newestPartition(project: Project, table: InputTable): string {
  const [before = '', after = ''] = table.path.split('{date}');
  const parent = dirname(`${before}x`);
  const prefix = `${before}x`.slice(parent.length + 1, -1);
  const suffix = after.split('/')[0] ?? '';
  const folder = join(project.folder, parent);
  const dates = (existsSync(folder) ? readdirSync(folder) : [])
    .filter(name => name.startsWith(prefix) && name.endsWith(suffix))
    .map(name => name.slice(prefix.length, name.length - suffix.length))
    .filter(name => /^\d{4}-\d{2}-\d{2}$/.test(name))
    .sort();
  const newest = dates.at(-1);
  if (newest !== undefined) return newest;
  throw new CommandFailure(`no partitions at ${table.path} in ${project.folder}; expected one folder or file a day`);
}
