/**
 * Artifacts: files under their own digest, and bundles of them. A bundle's manifest is a document, so that its digest
 * covers every byte and every path of the folder.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import type { Bundle } from '../domain/model-version.ts';
import { sha256OfFile } from './digest.ts';
import type { Digest, Documents } from './documents.ts';
import { absenceFault } from './erased.ts';
import { StorageFault } from './fault.ts';
import { keys } from './keys.ts';
import type { ObjectStore } from './object-store.ts';

const attemptsMax = 4;

export class Artifacts {
  readonly #store: ObjectStore;
  readonly #documents: Documents;

  constructor(store: ObjectStore, documents: Documents) {
    this.#store = store;
    this.#documents = documents;
  }

  /** Stores a file and returns its digest. Safe to run twice. */
  async putFile(path: string): Promise<Digest> {
    const digest = await sha256OfFile(path);
    const key = keys.artifact(digest);
    let unclear = '';
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const answer = await this.#store.upload(key, path);
      if (answer.kind === 'applied') return digest;
      if (answer.kind === 'not_applied') {
        const isTaken = answer.reason === 'exists';
        throw new StorageFault(isTaken ? 'corrupt' : 'unavailable', key, `${path} was not stored: ${answer.detail}`);
      }
      unclear = answer.cause;
    }
    throw new StorageFault('unavailable', key, `no clear answer after ${attemptsMax} tries: ${unclear}`);
  }

  /** Brings a file to `path`; it appears there whole and verified, or not at all. */
  async fetchFile(digest: Digest, path: string): Promise<void> {
    const key = keys.artifact(digest);
    await mkdir(dirname(path), { recursive: true });
    // A name of its own: activities side by side fetch the same file, and one must not cut off what the other publishes.
    const arriving = `${path}.${randomUUID()}`;
    let problem = '';
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const answer = await this.#store.download(key, arriving);
      if (answer.kind === 'not_found') throw await absenceFault(this.#store, key);
      if (answer.kind === 'found') {
        if (answer.value.sha256 === digest) return rename(arriving, path);
        await rm(arriving, { force: true });
        throw new StorageFault(
          'corrupt',
          key,
          `the bytes have digest ${answer.value.sha256}; run \`almanac audit verify\``,
        );
      }
      problem = answer.kind === 'changed' ? answer.detail : answer.cause;
    }
    throw new StorageFault('unavailable', key, `no clear answer after ${attemptsMax} tries: ${problem}`);
  }

  /** Stores every file of a folder and returns the digest of their manifest. Equal folders have equal digests. */
  async putBundle(folder: string): Promise<Digest> {
    const files: { path: string; bytes: number; sha256: string }[] = [];
    for (const path of await filesUnder(folder)) {
      const sha256 = await this.putFile(path);
      files.push({ path: relative(folder, path).split(sep).join('/'), bytes: (await stat(path)).size, sha256 });
    }
    if (files.length === 0) throw new StorageFault('missing', folder, 'the folder has no files to make a bundle of');
    files.sort((left, right) => (left.path < right.path ? -1 : 1));
    return this.#documents.put('bundle', { schema: 'bundle/1', files } satisfies Bundle);
  }

  bundle(digest: Digest): Promise<Bundle> {
    return this.#documents.get<Bundle>('bundle', digest);
  }

  /** Brings all files of a bundle into a folder. Files already there with the right content are not fetched again. */
  async fetchBundle(digest: Digest, folder: string): Promise<Bundle> {
    const bundle = await this.bundle(digest);
    for (const file of bundle.files) {
      const path = resolve(folder, file.path);
      if (!path.startsWith(resolve(folder) + sep)) {
        throw new StorageFault('corrupt', keys.document('bundle', digest), `path ${file.path} leaves the folder`);
      }
      const isThere = await sha256OfFile(path).catch(() => null);
      if (isThere !== file.sha256) await this.fetchFile(file.sha256, path);
    }
    return bundle;
  }
}

async function filesUnder(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
}
