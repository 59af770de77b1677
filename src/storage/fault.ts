/**
 * What storage throws. Expected outcomes (a lost race, a fenced commit) are values; a fault is a surprise, and its kind says
 * whether trying again can help.
 */
export type StorageFaultKind =
  /** The store gave no clear answer often enough; the same call may be made again and will find what happened. */
  | 'unavailable'
  /** Bytes are not what their digest, their place in a chain or their schema says. */
  | 'corrupt'
  /** The table or log was written by another system or a newer version of this one. */
  | 'foreign'
  /** Something that is referenced is not there. */
  | 'missing'
  /** It was there, and was deleted on purpose: by retention or by the erasure of a subject. */
  | 'gone'
  /** What the caller asks contradicts what is stored. */
  | 'conflict';

export class StorageFault extends Error {
  override readonly name = 'StorageFault';
  readonly kind: StorageFaultKind;
  /** Object name (key) the fault was found at. */
  readonly where: string;

  constructor(kind: StorageFaultKind, where: string, message: string) {
    super(`${where}: ${message}`);
    this.kind = kind;
    this.where = where;
  }

  /** Trying again cannot help. */
  get isPermanent(): boolean {
    return this.kind !== 'unavailable';
  }
}

/** A store that says no to a write: full, read-only, forbidden. The name stays free, and another try may succeed. */
export function notWritten(key: string, detail: string): StorageFault {
  const message =
    `not written: ${detail}. Nothing was changed: give this user the right to write there, free space or clear what is in ` +
    'the way, then run `almanac doctor`';
  return new StorageFault('unavailable', key, message);
}
