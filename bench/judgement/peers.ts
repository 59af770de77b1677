/** The peers: each in a virtual environment of its own under `.cache/`, because their requirements contradict each other. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Cost } from './cost.ts';

const run = promisify(execFile);
const FOLDER = fileURLToPath(new URL('../../.cache/bench-judgement/peers', import.meta.url));
const INSTALL_MS_MAX = 300_000;

/** Versions as measured; what they need of older packages is pinned with them. */
const REQUIREMENTS = {
  numba: ['numba', 'numpy', 'pyarrow'],
  evidently: ['evidently==0.7.23', 'pandas==2.3.3', 'pyarrow'],
  whylogs: ['whylogs[viz]==1.6.4', 'numpy==1.26.4', 'pandas<3', 'pyarrow<19', 'scipy'],
  'great-expectations': ['great-expectations==1.24.1', 'pandas<3', 'pyarrow'],
  pandera: ['pandera[polars]==0.35.0', 'polars==2.1.0'],
} as const;

export type PeerName = keyof typeof REQUIREMENTS;

export const peerNames = Object.keys(REQUIREMENTS) as PeerName[];

export interface Peer {
  readonly name: PeerName;
  readonly python: string;
}

/** The peer's environment, made once; a reason where it cannot be installed here. */
export async function preparePeer(name: PeerName, log: (line: string) => void): Promise<Peer | { reason: string }> {
  const folder = `${FOLDER}/${name}`;
  const python = `${folder}/bin/python`;
  // Written last: an environment without it was interrupted.
  const complete = `${folder}/complete`;
  if (existsSync(complete)) return { name, python };
  log(`installing ${REQUIREMENTS[name].join(' ')}`);
  try {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(FOLDER, { recursive: true });
    await run('python3', ['-m', 'venv', folder], { timeout: INSTALL_MS_MAX });
    await run(python, ['-m', 'pip', 'install', '--quiet', ...REQUIREMENTS[name]], { timeout: INSTALL_MS_MAX });
    writeFileSync(complete, '');
    return { name, python };
  } catch (error) {
    return { reason: `${name} could not be installed: ${lastLine(error)}` };
  }
}

/** Runs a script of `peers/` to its end: the whole process, imports included. */
export async function runPeer(
  { python, name }: Peer,
  { script, args, msMax }: { readonly script: string; readonly args: readonly string[]; readonly msMax: number },
): Promise<Cost> {
  const path = fileURLToPath(new URL(`peers/${script}`, import.meta.url));
  const began = performance.now();
  const { stdout } = await run(python, [path, ...args], {
    timeout: msMax,
    maxBuffer: 2 ** 26,
    cwd: FOLDER,
    env: {
      ...process.env,
      DO_NOT_TRACK: '1',
      WHYLOGS_NO_ANALYTICS: 'True',
      GX_ANALYTICS_ENABLED: 'False',
    },
  }).catch((error: unknown) => {
    const stopped = error instanceof Error && 'killed' in error && error.killed === true;
    throw stopped ? new Error(`${name} was stopped after ${msMax / 1000} s`, { cause: error }) : error;
  });
  return { ...JSON.parse(stdout.trimEnd().split('\n').at(-1)!), wall: (performance.now() - began) / 1000 };
}

export function lastLine(error: unknown): string {
  const text = error instanceof Error && 'stderr' in error ? String(error.stderr) : `${error}`;
  return text.trimEnd().split('\n').at(-1)?.slice(0, 300) ?? 'unknown';
}
