/**
 * Why the GPU provider of ONNX Runtime does or does not load, in the words of the person who has to mend it. The provider's
 * own error names the first library that is missing; this walks all of them, says what is there instead, and what to do.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { readElf } from './elf.ts';
import { findLibrary, findRelatives, type LoaderPaths } from './loader-paths.ts';

export interface NeededLibrary {
  readonly name: string;
  /** The file the loader takes, or null. */
  readonly path: string | null;
  /** When it is missing: other versions, or the same outside the loader's folders. */
  readonly relatives: readonly string[];
}

export interface ProviderLibrary {
  readonly path: string;
  readonly state: 'found' | 'missing' | 'unreadable';
  readonly problem: string | null;
  readonly needed: readonly NeededLibrary[];
}

export interface GpuDiagnosis {
  readonly runtime: { readonly version: string; readonly folder: string };
  readonly libraries: readonly ProviderLibrary[];
  /** NVIDIA's kernel driver, or null when it is not loaded. */
  readonly driver: string | null;
  /** What stands in the way, each with its next step; empty when the libraries can be loaded. */
  readonly problems: readonly string[];
}

/** `shared` is loaded first; it is the bridge that the provider needs. */
const PROVIDER_LIBRARIES = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'];
const DRIVER_VERSION = '/proc/driver/nvidia/version';

export interface RuntimeFolder {
  readonly version: string;
  readonly folder: string;
}

/** Where the installed package keeps its libraries: the only folder in which ONNX Runtime looks for providers. */
export function runtimeFolder(): RuntimeFolder {
  const manifest = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  const parsed: unknown = JSON.parse(readFileSync(manifest, 'utf8'));
  const version = parsed instanceof Object ? String(Reflect.get(parsed, 'version')) : 'unknown';
  return { version, folder: join(dirname(manifest), 'bin/napi-v6', process.platform, process.arch) };
}

export function diagnoseGpu(
  runtime: RuntimeFolder,
  paths: LoaderPaths,
  driverVersion: string = DRIVER_VERSION,
): GpuDiagnosis {
  const libraries = PROVIDER_LIBRARIES.map(name => lookAt(join(runtime.folder, name), paths));
  const driver = existsSync(driverVersion) ? (readFileSync(driverVersion, 'utf8').split('\n')[0] ?? '').trim() : null;
  const problems = [
    ...(driver === null
      ? [`no NVIDIA driver: ${driverVersion} is not there; install the driver, or start the container with its GPU`]
      : []),
    ...missingLibraries(libraries, runtime),
    ...libraries.flatMap(library => (library.state === 'unreadable' ? [`${library.problem}; copy it again`] : [])),
    ...unmetNeeds(libraries),
  ];
  return { runtime, libraries, driver, problems };
}

function lookAt(path: string, paths: LoaderPaths): ProviderLibrary {
  if (!existsSync(path)) return { path, state: 'missing', problem: null, needed: [] };
  try {
    const { needed, runPath } = readElf(path);
    const resolved = needed.map((name): NeededLibrary => {
      const found = findLibrary(name, paths, { path, runPath });
      return { name, path: found, relatives: found === null ? findRelatives(name, paths) : [] };
    });
    return { path, state: 'found', problem: null, needed: resolved };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { path, state: 'unreadable', problem, needed: [] };
  }
}

function missingLibraries(libraries: readonly ProviderLibrary[], { version, folder }: RuntimeFolder): string[] {
  const missing = libraries.filter(library => library.state === 'missing');
  if (missing.length === 0) return [];
  const names = missing.map(({ path }) => path.slice(folder.length + 1)).join(', ');
  return [
    `ONNX Runtime ${version} has no ${names} in ${folder}; fetch them with ` +
      `ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node, or copy them there from a GPU build of exactly ${version}`,
  ];
}

/** One sentence per library that cannot be found, whoever needs it. */
function unmetNeeds(libraries: readonly ProviderLibrary[]): string[] {
  const unmet = new Map<string, { readonly by: string[]; readonly relatives: readonly string[] }>();
  for (const { path, needed } of libraries) {
    for (const { name, path: found, relatives } of needed) {
      if (found !== null) continue;
      const known = unmet.get(name);
      const by = path.split('/').at(-1)!;
      if (known === undefined) unmet.set(name, { by: [by], relatives });
      else known.by.push(by);
    }
  }
  return [...unmet].map(
    ([name, { by, relatives }]) => `${by.join(' and ')} needs ${name}: ${nextStep(name, relatives)}`,
  );
}

const PRODUCTS: readonly (readonly [pattern: RegExp, product: string])[] = [
  [/^libcudnn/, 'cuDNN'],
  [/^libcu(dart|blas|blasLt|rand)\.|^libcublasLt|^libnvrtc|^libnvJitLink/, 'CUDA'],
  [/^libcufft/, 'CUDA (its cuFFT counts for itself)'],
  [/^libcuda\./, "NVIDIA's driver"],
  [/^libnvinfer/, 'TensorRT'],
];

function nextStep(name: string, relatives: readonly string[]): string {
  const same = relatives.find(path => path.endsWith(`/${name}`));
  if (same !== undefined) {
    return `it lies in ${dirname(same)}, where the loader does not look; add that folder to LD_LIBRARY_PATH or run ldconfig on it`;
  }
  const product = PRODUCTS.find(([pattern]) => pattern.test(name))?.[1];
  const major = /\.so\.(\d+)/.exec(name)?.[1];
  const wanted =
    product === undefined ? name : `${product}${major === undefined ? '' : ` with major version ${major}`}`;
  if (relatives.length === 0) return `it is nowhere on this machine; install ${wanted}`;
  const found = relatives.slice(0, 3).join(', ');
  return `found is another version, ${found}; install ${wanted} beside it, or provider libraries built for the version that is there`;
}
