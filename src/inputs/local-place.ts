/** Files of the project's folder. Names that start with a dot are nobody's input. */
import type { Dirent } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expressionOf, type Place, type PlacedFile } from './place.ts';

export class LocalPlace implements Place {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  async match(pattern: string): Promise<readonly PlacedFile[]> {
    const segments = pattern.split('/');
    let paths: readonly string[] = [''];
    for (const [depth, segment] of segments.entries()) {
      const wantsFile = depth === segments.length - 1;
      const deeper = await Promise.all(paths.map(path => this.#matchesIn({ path, segment, wantsFile })));
      paths = deeper.flat();
    }
    const found = await Promise.all([...paths].sort().map(path => this.stat(path)));
    return found.filter(file => file !== null);
  }

  async stat(path: string): Promise<PlacedFile | null> {
    const found = await stat(resolve(this.#root, path)).catch(absentAs(null));
    return found === null ? null : { path, bytes: found.size, etag: null, modified: String(found.mtimeMs) };
  }

  async text(path: string): Promise<string> {
    return await readFile(resolve(this.#root, path), 'utf8');
  }

  async #matchesIn({
    path,
    segment,
    wantsFile,
  }: {
    readonly path: string;
    readonly segment: string;
    readonly wantsFile: boolean;
  }): Promise<readonly string[]> {
    const matcher = expressionOf(segment);
    const entries = await readdir(join(this.#root, path), { withFileTypes: true }).catch(absentAs<Dirent[]>([]));
    const isWanted = (entry: Dirent) => entry.isSymbolicLink() || (wantsFile ? entry.isFile() : entry.isDirectory());
    return entries
      .filter(entry => matcher.test(entry.name) && !entry.name.startsWith('.') && isWanted(entry))
      .map(entry => (path === '' ? entry.name : `${path}/${entry.name}`));
  }
}

function absentAs<Instead>(instead: Instead): (error: unknown) => Instead {
  return error => {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return instead;
    throw error;
  };
}
