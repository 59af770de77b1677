/**
 * What an answer of an S3 server means for the request. Servers differ and clients have confused these before: 409 is not
 * "exists", a 200 may carry an error, and a lost answer is neither success nor failure.
 */
import { causeOf } from './object-store.ts';

export type S3Fault =
  /** 412 (some servers: 304): a condition did not hold. For a create: the key is taken, perhaps by our own lost attempt. */
  | { readonly kind: 'condition_failed'; readonly cause: string }
  /** 409: another operation is under way and nothing is settled. */
  | { readonly kind: 'conflict'; readonly cause: string }
  | { readonly kind: 'no_such_key'; readonly cause: string }
  | { readonly kind: 'no_such_upload'; readonly cause: string }
  | { readonly kind: 'no_such_range'; readonly cause: string }
  /** The server understood and said no. Nothing was applied, and asking again will not help. */
  | { readonly kind: 'refused'; readonly cause: string }
  /** Nothing was applied, and asking again may help: not reached, throttled at the door, token renewed, damaged on the way. */
  | { readonly kind: 'try_again'; readonly cause: string }
  /** It may have been applied, or may be applied later: timeouts, cut connections, 5xx, unreadable answers. */
  | { readonly kind: 'ambiguous'; readonly cause: string };

/** The connection was never made, so no server has seen the request. */
const neverSent = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);
/** 4xx answers that say "this time" rather than "no". */
const passing = new Set([
  ...['ExpiredToken', 'ExpiredTokenException', 'RequestExpired', 'RequestTimeTooSkewed', 'SlowDown', 'TooManyRequests'],
  ...['BadDigest', 'IncompleteBody', 'XAmzContentChecksumMismatch', 'XAmzContentSHA256Mismatch', 'RequestTimeout'],
]);

export function faultOf(error: unknown): S3Fault {
  const { status, name, code } = factsOf(error);
  const cause = status === null ? causeOf(error) : `${status} ${causeOf(error)}`;
  if (name === 'CredentialsProviderError') return { kind: 'refused', cause };
  if (status === null) return { kind: neverSent.has(code) ? 'try_again' : 'ambiguous', cause };
  if (status === 412 || status === 304) return { kind: 'condition_failed', cause };
  if (status === 409) return { kind: 'conflict', cause };
  if (name === 'NoSuchUpload') return { kind: 'no_such_upload', cause };
  // A HEAD has no body to name what is missing; the bucket was there when the store was probed.
  if (status === 404 && (name === 'NoSuchKey' || name === 'NotFound')) return { kind: 'no_such_key', cause };
  if (status === 416) return { kind: 'no_such_range', cause };
  if (status === 429 || (status >= 400 && status < 500 && passing.has(name))) return { kind: 'try_again', cause };
  if ((status >= 300 && status < 500) || status === 501) return { kind: 'refused', cause };
  return { kind: 'ambiguous', cause };
}

function factsOf(error: unknown): { status: number | null; name: string; code: string } {
  if (!(error instanceof Error)) return { status: null, name: '', code: '' };
  const metadata = '$metadata' in error ? error.$metadata : null;
  const status =
    typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata ? metadata.httpStatusCode : null;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return { status: typeof status === 'number' ? status : null, name: error.name, code };
}

export interface RetryLimits {
  /** Tries of one request, the first included. */
  readonly attempts: number;
  readonly firstDelayMs: number;
  readonly delayMsMax: number;
}

/** Full jitter (a random share of an exponentially growing bound): a crowd that was refused together must not return together. */
export function delayMsOf(attempt: number, limits: RetryLimits, random: () => number): number {
  return random() * Math.min(limits.delayMsMax, limits.firstDelayMs * 2 ** attempt);
}
