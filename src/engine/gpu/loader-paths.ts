/**
 * Where the dynamic loader of glibc finds a library (ld.so(8)): LD_LIBRARY_PATH, the run path of the library that needs
 * it, the cache that ldconfig writes, the default folders. In that order; the first file of that name wins.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface LoaderPaths {
  /** LD_LIBRARY_PATH, split. */
  readonly libraryPath: readonly string[];
  /** Name → path, as ldconfig knows them. */
  readonly cache: ReadonlyMap<string, string>;
  readonly defaults: readonly string[];
  /** Not searched by the loader: where people install CUDA. Only to say what is there in vain. */
  readonly usual: readonly string[];
}

const DEFAULTS = ['/lib/x86_64-linux-gnu', '/usr/lib/x86_64-linux-gnu', '/lib64', '/usr/lib64', '/lib', '/usr/lib'];
const CACHE_MAGIC = 'glibc-ld.so.cache1.1';

export function systemLoaderPaths(libraryPath: string | null): LoaderPaths {
  const cacheFile = '/etc/ld.so.cache';
  return {
    libraryPath: (libraryPath ?? '').split(':').filter(folder => folder !== ''),
    cache: existsSync(cacheFile) ? readLoaderCache(readFileSync(cacheFile)) : new Map(),
    defaults: DEFAULTS,
    usual: usualCudaFolders(),
  };
}

/** The file that would be loaded for a name needed by the library at `neededBy`, or null. */
export function findLibrary(
  name: string,
  paths: LoaderPaths,
  neededBy: { readonly path: string; readonly runPath: readonly string[] },
): string | null {
  const origin = dirname(neededBy.path);
  const runPath = neededBy.runPath.map(folder => folder.replace(/\$\{?ORIGIN\}?/, origin));
  const inFolders = (folders: readonly string[]) =>
    folders.map(folder => join(folder, name)).find(path => existsSync(path));
  return inFolders([...paths.libraryPath, ...runPath]) ?? paths.cache.get(name) ?? inFolders(paths.defaults) ?? null;
}

/** Files of the same library with another version, or of the same name in a folder that the loader does not search. */
export function findRelatives(name: string, paths: LoaderPaths): readonly string[] {
  const stem = name.replace(/\.so(\.\d+)*$/, '.so');
  const isRelative = (file: string) => file === stem || file.startsWith(`${stem}.`);
  const inFolders = [...paths.libraryPath, ...paths.usual].flatMap(folder => {
    const files = existsSync(folder) ? readdirSync(folder) : [];
    return files.filter(isRelative).map(file => join(folder, file));
  });
  const cached = [...paths.cache].filter(([file]) => isRelative(file)).map(([, path]) => path);
  return [...new Set([...cached, ...inFolders])].sort();
}

/**
 * The cache of glibc 2.2 and later: a header of 48 bytes, entries of 24 bytes (flags, name, path, …), then the texts,
 * whose places count from the header's start. Older systems put an old-style cache in front of it.
 */
export function readLoaderCache(bytes: Uint8Array): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(CACHE_MAGIC);
  if (start < 0 || start + 48 > bytes.length) return found;
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, bytes.byteLength - start);
  const text = (offset: number) => {
    const end = bytes.indexOf(0, start + offset);
    return end < 0 ? '' : new TextDecoder().decode(bytes.subarray(start + offset, end));
  };
  const count = Math.min(view.getUint32(20, true), Math.floor((view.byteLength - 48) / 24));
  for (let index = 0; index < count; index++) {
    const at = 48 + 24 * index;
    const name = text(view.getUint32(at + 4, true));
    // Sorted by preference: the first entry of a name is the one that is loaded.
    if (!found.has(name)) found.set(name, text(view.getUint32(at + 8, true)));
  }
  return found;
}

function usualCudaFolders(): readonly string[] {
  const versions = existsSync('/usr/local') ? readdirSync('/usr/local').filter(name => name.startsWith('cuda')) : [];
  return [...versions.flatMap(name => [`/usr/local/${name}/lib64`, `/usr/local/${name}/compat`]), '/opt/cuda/lib64'];
}
