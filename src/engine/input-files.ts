/** From what a person types (a file, a folder, a pattern) to the files it means, in a stable order. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, relative, resolve, sep } from 'node:path';
import { EngineFault } from './fault.ts';
import type { FileFormat } from './job.ts';

export interface InputFile {
  readonly path: string;
  readonly format: FileFormat;
  /** Columns from folders named `key=value`, outermost first. */
  readonly constants: Readonly<Record<string, string>>;
}

const FORMATS: Readonly<Record<string, FileFormat>> = {
  '.parquet': 'parquet',
  '.csv': 'csv',
  '.tsv': 'csv',
  '.jsonl': 'json',
  '.ndjson': 'json',
};

/**
 * Files of a path, sorted by name. A folder is searched to any depth; names that start with `_` or `.` are skipped there,
 * as every writer of tables expects, and links are followed. A pattern may use `*`, `?` and `**`.
 */
export async function findInputFiles(input: string): Promise<readonly InputFile[]> {
  const isPattern = /[*?]/.test(input);
  const root = resolve(isPattern ? fixedPrefix(input) : input);
  const found = await stat(root).catch(() => null);
  if (found === null) throw new EngineFault('bad_input', `${input}: there is no such file or folder`, { input });
  if (!isPattern && found.isFile()) return [{ path: root, format: formatOf(root), constants: {} }];
  const pattern = isPattern ? patternToExpression(resolve(input)) : null;
  const paths = (await filesBelow(root)).filter(path =>
    pattern === null ? extname(path).toLowerCase() in FORMATS : pattern.test(path),
  );
  if (paths.length === 0) {
    throw new EngineFault('bad_input', `${input}: no files; expected ${Object.keys(FORMATS).join(', ')}`, { input });
  }
  return paths.sort().map(path => ({ path, format: formatOf(path), constants: hiveColumns(root, path) }));
}

function formatOf(path: string): FileFormat {
  const format = FORMATS[extname(path).toLowerCase()];
  if (format !== undefined) return format;
  throw new EngineFault('bad_input', `${path}: expected one of ${Object.keys(FORMATS).join(', ')}`, { path });
}

/** `above`: the folders that lead to this one, as they are without links. */
async function filesBelow(folder: string, above: readonly string[] = []): Promise<string[]> {
  const real = await realpath(folder);
  if (above.includes(real)) {
    throw new EngineFault('bad_input', `${folder} links to ${real}, which it lies in; remove the link`, { folder });
  }
  const paths: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith('.') || entry.name.startsWith('_')) continue;
    const path = join(folder, entry.name);
    const found = entry.isSymbolicLink() ? await stat(path).catch(() => null) : entry;
    if (found === null) {
      throw new EngineFault('bad_input', `${path} links to nothing; mend the link or remove it`, { path });
    }
    if (found.isDirectory()) paths.push(...(await filesBelow(path, [...above, real])));
    else if (found.isFile()) paths.push(path);
  }
  return paths;
}

function fixedPrefix(pattern: string): string {
  let folder = dirname(pattern);
  while (/[*?]/.test(folder)) folder = dirname(folder);
  return folder;
}

function patternToExpression(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*\*\/?|\*|\?/g, wild => (wild === '*' ? '[^/]*' : wild === '?' ? '[^/]' : '(?:.*/)?'));
  return new RegExp(`^${source}$`);
}

function hiveColumns(root: string, path: string): Record<string, string> {
  const columns: Record<string, string> = {};
  for (const folder of [basename(root), ...relative(root, dirname(path)).split(sep)]) {
    const cut = folder.indexOf('=');
    if (cut > 0) columns[folder.slice(0, cut)] = decodeURIComponent(folder.slice(cut + 1));
  }
  return columns;
}
