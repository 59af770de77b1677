/** Where an S3 store is, and the SDK's client as the store wants it: no retries and no checksums but our own. */
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import type { RetryLimits } from './s3-answers.ts';

export interface S3Location {
  readonly bucket: string;
  /** Without slashes at its ends; empty for the whole bucket. */
  readonly prefix: string;
}

export interface S3Options {
  /** Of a server other than AWS; buckets are then part of the path. */
  readonly endpoint?: string;
  readonly region?: string;
  /** Default: the SDK's chain (environment, profile, web identity, instance). */
  readonly credentials?: S3ClientConfig['credentials'];
  /** Larger files are uploaded in parts. Default 256 MiB; S3 takes up to 5 GiB in one piece. */
  readonly singleBytesMax?: number;
  /** Default 16 MiB; S3 wants at least 5 MiB and at most 10,000 parts. */
  readonly partBytes?: number;
  readonly retry?: RetryLimits;
  /** Without a byte in this time, a request is given up. Default 30 s. */
  readonly idleMs?: number;
}

export function openClient({ endpoint, region, credentials, idleMs = 30_000 }: S3Options): S3Client {
  return new S3Client({
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    ...(credentials === undefined ? {} : { credentials }),
    maxAttempts: 1,
    // Checksums are sent as plain headers (`s3.ts`); the SDK's default trailers break several servers.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: Math.min(5_000, idleMs),
      requestTimeout: idleMs,
      socketTimeout: idleMs,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets: 256 },
      httpsAgent: { keepAlive: true, maxSockets: 256 },
    },
  });
}
