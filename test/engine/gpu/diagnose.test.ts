/** What `almanac doctor gpu` finds out about provider libraries, on crafted libraries and on the real one. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { diagnoseGpu, runtimeFolder } from '../../../src/engine/gpu/diagnose.ts';
import { readElf } from '../../../src/engine/gpu/elf.ts';
import {
  findLibrary,
  type LoaderPaths,
  readLoaderCache,
  systemLoaderPaths,
} from '../../../src/engine/gpu/loader-paths.ts';
import { craftElf } from './crafted-elf.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'almanac-gpu-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const paths = (parts: Partial<LoaderPaths> = {}): LoaderPaths => ({
  libraryPath: [],
  cache: new Map(),
  defaults: [],
  usual: [],
  ...parts,
});

function write(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, bytes);
  return path;
}

/** A folder with both provider libraries; the CUDA one needs what is given. */
function runtimeThatNeeds(needed: readonly string[]) {
  write('runtime/libonnxruntime_providers_shared.so', craftElf({ needed: [] }));
  write('runtime/libonnxruntime_providers_cuda.so', craftElf({ needed, runPath: '$ORIGIN' }));
  return { version: '1.2.3', folder: join(folder, 'runtime') };
}
const driver = () => write('driver', 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.1\nGCC\n');

test('a crafted library tells its needs and its run path', () => {
  const path = write('a.so', craftElf({ needed: ['libcudart.so.12', 'libc.so.6'], runPath: '$ORIGIN:/opt/x' }));
  expect(readElf(path)).toEqual({ needed: ['libcudart.so.12', 'libc.so.6'], runPath: ['$ORIGIN', '/opt/x'] });
});

test.each([
  ['a text', 'not a library, only a text that is long enough to hold a header of 64 bytes', /is no ELF library/],
  ['a stub of a file', '', /cut short/],
  ['a library cut in the middle', craftElf({ needed: ['libcudart.so.12'] }).subarray(0, 200), /cut short/],
])('%s is refused with its name', (_, bytes, message) => {
  const path = write('bad.so', bytes);
  expect(() => readElf(path)).toThrow(message);
  expect(() => readElf(path)).toThrow('bad.so');
});

test('the installed ONNX Runtime is read, and the loader of this machine finds all it needs', () => {
  const path = join(runtimeFolder().folder, 'libonnxruntime.so.1');
  const library = readElf(path);
  expect(library.needed).toContain('libc.so.6');
  expect(library.runPath).toEqual(['$ORIGIN']);
  const system = systemLoaderPaths(null);
  const missing = library.needed.filter(name => findLibrary(name, system, { path, runPath: library.runPath }) === null);
  expect(missing).toEqual([]);
});

test('LD_LIBRARY_PATH comes before the run path, which comes before the cache', () => {
  const [first, second] = [write('one/liba.so.1', ''), write('two/liba.so.1', '')];
  const by = { path: join(folder, 'lib.so'), runPath: ['$ORIGIN/two'] };
  const cache = new Map([['liba.so.1', '/cached/liba.so.1']]);
  expect(findLibrary('liba.so.1', paths({ libraryPath: [join(folder, 'one')], cache }), by)).toBe(first);
  expect(findLibrary('liba.so.1', paths({ cache }), by)).toBe(second);
  expect(findLibrary('liba.so.1', paths({ cache }), { ...by, runPath: [] })).toBe('/cached/liba.so.1');
  expect(findLibrary('libb.so.1', paths({ cache }), by)).toBeNull();
});

test('bytes that are no loader cache hold no libraries', () => {
  expect(readLoaderCache(Buffer.from('something else')).size).toBe(0);
  expect(readLoaderCache(Buffer.from('glibc-ld.so.cache1.1')).size).toBe(0);
});

test('missing provider libraries are named with the command that brings them', () => {
  const { problems, libraries } = diagnoseGpu({ version: '1.2.3', folder: join(folder, 'none') }, paths(), driver());
  expect(libraries.map(({ state }) => state)).toEqual(['missing', 'missing']);
  expect(problems).toEqual([expect.stringMatching(/ONNX Runtime 1\.2\.3 has no .*cuda\.so .* npm rebuild/)]);
});

test('a CUDA of another version is named with both sides', () => {
  write('cuda/libcudart.so.13.0.1', '');
  const runtime = runtimeThatNeeds(['libcudart.so.12']);
  const { problems } = diagnoseGpu(runtime, paths({ usual: [join(folder, 'cuda')] }), driver());
  expect(problems).toEqual([
    expect.stringMatching(
      /providers_cuda\.so needs libcudart\.so\.12: found is another version, .*libcudart\.so\.13\.0\.1; install CUDA with major version 12/,
    ),
  ]);
});

test('a library outside the folders of the loader is said to be there in vain', () => {
  write('cuda/libcublasLt.so.12', '');
  const runtime = runtimeThatNeeds(['libcublasLt.so.12']);
  const { problems } = diagnoseGpu(runtime, paths({ usual: [join(folder, 'cuda')] }), driver());
  expect(problems).toEqual([
    expect.stringMatching(/lies in .*cuda, where the loader does not look; add .* LD_LIBRARY_PATH/),
  ]);
});

test('what is nowhere is named with the product it comes from', () => {
  const { problems } = diagnoseGpu(runtimeThatNeeds(['libcudnn.so.9']), paths(), driver());
  expect(problems).toEqual([
    expect.stringMatching(/libcudnn\.so\.9: it is nowhere .* install cuDNN with major version 9/),
  ]);
});

test('no driver is the first thing to mend', () => {
  const { driver: found, problems } = diagnoseGpu(runtimeThatNeeds([]), paths(), join(folder, 'no-driver'));
  expect(found).toBeNull();
  expect(problems).toEqual([expect.stringMatching(/no NVIDIA driver/)]);
});

test('with driver and all libraries there is nothing to say', () => {
  write('cuda/libcudart.so.12', '');
  const runtime = runtimeThatNeeds(['libcudart.so.12']);
  const diagnosis = diagnoseGpu(runtime, paths({ libraryPath: [join(folder, 'cuda')] }), driver());
  expect(diagnosis).toMatchObject({ problems: [], driver: expect.stringContaining('580.1') });
  expect(diagnosis.libraries[1]?.needed).toEqual([
    { name: 'libcudart.so.12', path: join(folder, 'cuda/libcudart.so.12'), relatives: [] },
  ]);
});
