/** Result files appear whole or not at all: they are written under another name, measured, digested and renamed. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EngineFault } from './fault.ts';
import type { WrittenFile } from './job.ts';

/** SHA-256 of a file's bytes, hexadecimal. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(piece);
  return hash.digest('hex');
}

/** Calls `write` with a temporary path beside `path`; renames when it has succeeded, removes what it left when not. */
export async function writeWhole(path: string, write: (temporary: string) => Promise<number>): Promise<WrittenFile> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.partial`);
  try {
    const rows = await write(temporary);
    const [{ size }, sha256] = [await stat(temporary), await sha256OfFile(temporary)];
    await rename(temporary, path);
    return { path, rows, bytes: size, sha256 };
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** What tells that a file was replaced or changed: identity, size and time of change. */
export type FileStamps = ReadonlyMap<string, string>;

export async function stampFiles(paths: readonly string[]): Promise<FileStamps> {
  const stamps = new Map<string, string>();
  for (const path of paths) {
    const found = await stat(path).catch((error: unknown) => {
      throw new EngineFault('bad_input', `${path}: cannot be read: ${String(error)}`, { path }, { cause: error });
    });
    stamps.set(path, `${found.ino} ${found.size} ${found.mtimeMs} ${found.ctimeMs}`);
  }
  return stamps;
}

/** Throws when a file is not the one that was stamped: rows of two states of a file must never be mixed. */
export async function assertUnchanged(stamps: FileStamps): Promise<void> {
  const now = await stampFiles([...stamps.keys()]);
  for (const [path, stamp] of stamps) {
    if (now.get(path) !== stamp) {
      throw new EngineFault(
        'bad_input',
        `${path}: the file changed while it was read; run the job again on files that stay`,
        {
          path,
          before: stamp,
          after: now.get(path) ?? null,
        },
      );
    }
  }
}
