/** One `almanac up` per project: a lock file with the owner's process id. A lock whose owner has died is free. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

export type LockResult =
  | { readonly kind: 'taken'; release(): Promise<void> }
  | { readonly kind: 'held'; readonly pid: number };

export async function takeLock(path: string): Promise<LockResult> {
  await mkdir(dirname(path), { recursive: true });
  for (;;) {
    try {
      await writeFile(path, `${process.pid}\n`, { flag: 'wx' });
      return { kind: 'taken', release: async () => await rm(path, { force: true }) };
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw error;
    }
    const pid = await readPid(path);
    if (pid !== null && pid !== process.pid && isAlive(pid)) return { kind: 'held', pid };
    await removeStale(path, pid);
  }
}

/** Two processes may find the same dead owner; renaming first lets each see whether it caught the dead lock or a new one. */
async function removeStale(path: string, stale: number | null): Promise<void> {
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return;
    throw error;
  }
  if ((await readPid(aside)) === stale) await rm(aside, { force: true });
  else await rename(aside, path);
}

async function readPid(path: string): Promise<number | null> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  return Number.isInteger(pid) && pid > 0 ? pid : null;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isCode(error, 'EPERM');
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
