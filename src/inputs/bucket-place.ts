/** Objects of a bucket as files of tables: `s3://bucket/key`. Every answer that is not clear is an error to try again. */
import { listAll, type ObjectStore, type ReadResult } from '../storage/object-store.ts';
import { expressionOf, type Place, type PlacedFile } from './place.ts';

export class BucketPlace implements Place {
  /** The whole bucket. */
  readonly store: ObjectStore;
  readonly #bucket: string;

  constructor(bucket: string, store: ObjectStore) {
    this.#bucket = bucket;
    this.store = store;
  }

  async match(pattern: string): Promise<readonly PlacedFile[]> {
    const wanted = this.keyOf(pattern);
    const objects = answered(await listAll(this.store, wanted.split('*')[0] ?? ''), pattern);
    const expression = expressionOf(wanted);
    return (objects ?? [])
      .filter(({ key }) => expression.test(key) && !isHidden(key))
      .map(({ key, bytes, etag, modified }) => ({ path: this.#pathOf(key), bytes, etag, modified }));
  }

  async stat(path: string): Promise<PlacedFile | null> {
    const found = answered(await this.store.head(this.keyOf(path)), path);
    return found === null ? null : { path, bytes: found.bytes, etag: found.etag, modified: found.modified };
  }

  async text(path: string): Promise<string> {
    const found = answered(await this.store.get(this.keyOf(path)), path);
    if (found === null) throw new Error(`${path}: it was listed and is gone; try again`);
    return new TextDecoder().decode(found.bytes);
  }

  keyOf(path: string): string {
    const prefix = this.#pathOf('');
    if (path.startsWith(prefix)) return path.slice(prefix.length);
    throw new Error(`${path}: expected an object of ${prefix}`);
  }

  #pathOf(key: string): string {
    return `s3://${this.#bucket}/${key}`;
  }
}

function answered<Value>(answer: ReadResult<Value>, path: string): Value | null {
  if (answer.kind === 'found') return answer.value;
  if (answer.kind === 'not_found') return null;
  const cause = answer.kind === 'unknown' ? answer.cause : answer.detail;
  throw new Error(`${path}: ${cause}${isAboutAccess.test(cause) ? `; ${accessHint}` : ''}`);
}

const isAboutAccess = /credential|signature|\b40[13]\b|\b301\b|nosuchbucket|access ?denied|enotfound|econnrefused/i;
const accessHint =
  'check the credentials (AWS_PROFILE, or AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY) and, of a server other than AWS, ' +
  'endpoint and region in almanac.yaml';

function isHidden(key: string): boolean {
  return key.split('/').some(segment => segment.startsWith('.'));
}
