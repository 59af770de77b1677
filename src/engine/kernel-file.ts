/**
 * Compiled trees kept in a file: what took a second to compile and to compare is opened in a tenth of it. The children of a
 * pool share a folder of them. A file holds for one model, signature and machine, and for this build; anything else is
 * compiled and compared anew.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { ScorerComparison } from '../domain/model-version.ts';
import type { Signature } from '../domain/signature.ts';
import type { TreesImage } from './compile-trees.ts';

/** Raise it with every change of the kernels or of what is kept. */
export const TREE_COMPILER: string = 'almanac-trees/5';
const DIGEST_BYTES = 32;
const FILES_MAX = 32;

export interface KernelFile {
  readonly image: TreesImage;
  /** Vocabulary of the codes that nodes before the trees take for texts; null where they take none, or the texts. */
  readonly texts: readonly string[] | null;
  /** What the gate found when the model was first loaded, and on rows of an input; null before any. */
  readonly compared: ScorerComparison | null;
  /** Rows of some input among them. */
  readonly inputRows: number;
}

/** The place of a model's compiled trees. */
export class KernelStore {
  readonly #folder: string;
  readonly #path: string;

  constructor(folder: string, model: Uint8Array, signature: Signature) {
    const machine = `${process.arch} ${cpus()[0]?.model ?? ''} ${process.versions.v8}`;
    const key = createHash('sha256')
      .update(`${TREE_COMPILER} ${machine} ${JSON.stringify(signature)}\0`)
      .update(model);
    this.#folder = folder;
    this.#path = join(folder, `${key.digest('hex')}.trees`);
  }

  /** Null when there is none, or it was damaged. */
  async read(): Promise<KernelFile | null> {
    const bytes = await readFile(this.#path).catch(() => null);
    if (bytes === null || bytes.length < DIGEST_BYTES) return null;
    const content = bytes.subarray(DIGEST_BYTES);
    return bytes.subarray(0, DIGEST_BYTES).equals(digestOf(content)) ? (deserialize(content) as KernelFile) : null;
  }

  /** Appears whole or not at all; of two writers the last one stays, and both wrote the same. */
  async write(file: KernelFile): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const content = serialize(file);
    const temporary = `${this.#path}.${randomUUID()}`;
    await writeFile(temporary, Buffer.concat([digestOf(content), content]));
    await rename(temporary, this.#path);
    await this.#removeOldest();
  }

  async #removeOldest(): Promise<void> {
    const names = (await readdir(this.#folder)).filter(name => name.endsWith('.trees'));
    if (names.length <= FILES_MAX) return;
    const found = await Promise.all(
      names.map(async name => {
        const path = join(this.#folder, name);
        // Another child may have removed it meanwhile.
        return { path, writtenMs: (await stat(path).catch(() => null))?.mtimeMs ?? 0 };
      }),
    );
    const oldest = found.sort((a, b) => a.writtenMs - b.writtenMs).slice(0, names.length - FILES_MAX);
    for (const { path } of oldest) await rm(path, { force: true });
  }
}

function digestOf(content: Uint8Array): Buffer {
  return createHash('sha256').update(content).digest();
}
