/** Documents: immutable JSON under its own digest. Writing one twice is writing it once. */
import { canonicalJson, sha256 } from './digest.ts';
import { absenceFault } from './erased.ts';
import { notWritten, StorageFault } from './fault.ts';
import { keys } from './keys.ts';
import type { ObjectStore } from './object-store.ts';

/** SHA-256, 64 lower-case hexadecimal digits. */
export type Digest = string;

const attemptsMax = 8;

export class Documents {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /** Stores the document and returns its digest. Safe to run twice. Throws `StorageFault`. */
  async put(kind: string, document: object): Promise<Digest> {
    const text = canonicalJson(document);
    const digest = sha256(text);
    const key = keys.document(kind, digest);
    let unclear = '';
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const answer = await this.#store.put(key, new TextEncoder().encode(text));
      if (answer.kind === 'applied') return digest;
      if (answer.kind === 'not_applied') {
        if (answer.reason !== 'exists') throw notWritten(key, answer.detail);
        const message =
          'other bytes are in the way under this digest. Nothing was overwritten; run `almanac audit verify`';
        throw new StorageFault('corrupt', key, message);
      }
      unclear = answer.cause;
    }
    throw new StorageFault('unavailable', key, `no clear answer after ${attemptsMax} tries: ${unclear}`);
  }

  /** The document with this digest, verified. The caller says what it is; the digest says that it is what was put. */
  async get<T>(kind: string, digest: Digest): Promise<T> {
    const key = keys.document(kind, digest);
    const text = await this.#readVerified(key, digest);
    return JSON.parse(text) as T;
  }

  async #readVerified(key: string, digest: Digest): Promise<string> {
    let problem = '';
    let kind: 'unavailable' | 'corrupt' = 'unavailable';
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const answer = await this.#store.get(key);
      if (answer.kind === 'not_found') {
        throw await absenceFault(this.#store, key);
      }
      if (answer.kind === 'found') {
        const text = new TextDecoder().decode(answer.value.bytes);
        const found = sha256(answer.value.bytes);
        if (found === digest) return text;
        kind = 'corrupt';
        problem = `the bytes have digest ${found}; run \`almanac audit verify\``;
      } else {
        kind = 'unavailable';
        problem = answer.kind === 'changed' ? answer.detail : answer.cause;
      }
    }
    throw new StorageFault(kind, key, problem);
  }
}
