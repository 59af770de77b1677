/** From the place a person wrote down to the store behind it. */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LocalStore } from './local.ts';
import { causeOf, type ObjectStore } from './object-store.ts';
import { S3StoreLater } from './s3-later.ts';

export interface StoreOptions {
  /** URL of an S3 server other than AWS. */
  readonly endpoint?: string;
  readonly region?: string;
}

/**
 * `s3://bucket/prefix`, or a folder (path or `file:` URL), which is created if it is missing. Opening asks the store
 * nothing: whoever is going to write runs `probeStore` first. Throws when the place cannot be understood or created.
 */
export function openStore(place: string, options: StoreOptions = {}): ObjectStore {
  if (place === '') throw new Error('store "": expected a folder or s3://bucket/prefix');
  if (place.startsWith('s3://')) return new S3StoreLater(parseS3Url(place), options);
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(place) && !place.startsWith('file:')) {
    throw new Error(`store ${JSON.stringify(place)}: expected a folder or s3://bucket/prefix`);
  }
  const folder = place.startsWith('file:') ? fileURLToPath(place) : place;
  makeFolder(folder, place);
  return new LocalStore(folder);
}

function makeFolder(folder: string, place: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    const message =
      `store ${JSON.stringify(place)}: the folder cannot be created: ${causeOf(error)}. Nothing was changed: free the way ` +
      'to it, or name another place as `store:` in almanac.yaml or as ALMANAC_STORE';
    throw new Error(message, { cause: error });
  }
}

function parseS3Url(url: string): { bucket: string; prefix: string } {
  const match = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/.exec(url);
  if (match === null) throw new Error(`store ${JSON.stringify(url)}: expected s3://bucket or s3://bucket/prefix`);
  return { bucket: match[1]!, prefix: (match[2] ?? '').replace(/^\/+|\/+$/g, '') };
}
