/**
 * What can go wrong in the engine, as one typed error. It crosses the process boundary as plain data, so a fault thrown in
 * an engine child is the same fault for the caller of the pool.
 */

export type FaultKind =
  /** The rows or files cannot be used: unreadable, changed while read, of other types than declared. */
  | 'bad_input'
  /** The model cannot be used: not loadable, wrong signature, predictions that are not numbers. */
  | 'bad_model'
  /** The job itself is wrong: refused SQL, unknown columns, contradicting options. */
  | 'bad_job'
  /** The demanded device is not there. */
  | 'device'
  | 'out_of_memory'
  /** The child died without an answer; the pool tries once more in a fresh child. */
  | 'crash'
  /** The same job killed two children; it is never tried again by itself. */
  | 'quarantined'
  | 'deadline'
  | 'cancelled'
  /** The pool was closed. */
  | 'closed'
  /** An unexpected error inside the child, with its message. */
  | 'failed';

export type FaultFacts = Readonly<Record<string, unknown>>;

/** Plain form for messages between processes. */
export interface FaultDocument {
  readonly kind: FaultKind;
  readonly message: string;
  readonly facts: FaultFacts;
}

export class EngineFault extends Error {
  override readonly name = 'EngineFault';
  readonly kind: FaultKind;
  readonly facts: FaultFacts;

  constructor(kind: FaultKind, message: string, facts: FaultFacts = {}, options?: { readonly cause: unknown }) {
    super(message, options);
    this.kind = kind;
    this.facts = facts;
  }
}

const PERMANENT: ReadonlySet<FaultKind> = new Set(['bad_input', 'bad_model', 'bad_job', 'device', 'quarantined']);

/** True when trying the same job again cannot help. */
export function isPermanent(fault: EngineFault): boolean {
  return PERMANENT.has(fault.kind);
}

/** The fault as data; an error of another kind becomes `out_of_memory` when it says so, else `failed`. */
export function toDocument(error: unknown): FaultDocument {
  if (error instanceof EngineFault) return { kind: error.kind, message: error.message, facts: error.facts };
  const message = error instanceof Error ? error.message : String(error);
  const kind = saysOutOfMemory(message) ? 'out_of_memory' : 'failed';
  return { kind, message, facts: error instanceof Error ? { stack: error.stack ?? null } : {} };
}

export function fromDocument(document: FaultDocument): EngineFault {
  return new EngineFault(document.kind, document.message, document.facts);
}

/** DuckDB, ONNX Runtime and V8 each have their own words for it. */
export function saysOutOfMemory(text: string): boolean {
  return /out of memory|failed to allocate|bad_alloc|cannot allocate memory|array buffer allocation failed/i.test(text);
}
