/** Digests of documents and files: SHA-256 in lower-case hexadecimal; documents are hashed as canonical JSON. */
import { createHash, hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';

export function sha256(bytes: string | Uint8Array): string {
  return hash('sha256', bytes, 'hex');
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

/**
 * JSON with sorted keys and no white space, so that equal documents have equal bytes. Fields that are `undefined` are left
 * out, as JSON does. Numbers that JSON would turn into `null` in silence (NaN, infinities) are refused.
 */
export function canonicalJson(value: unknown): string {
  return write(value, '$');
}

function write(value: unknown, path: string): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`${path} is ${value}: a document holds finite numbers or null`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value))
    return `[${value.map((item, index) => write(item ?? null, `${path}[${index}]`)).join(',')}]`;
  if (typeof value === 'object') {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    fields.sort(([left], [right]) => (left < right ? -1 : 1));
    return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${write(field, `${path}.${key}`)}`).join(',')}}`;
  }
  throw new TypeError(`${path} is a ${typeof value}: a document holds plain JSON values`);
}
