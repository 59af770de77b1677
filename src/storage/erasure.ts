/**
 * Erasure of a subject. From a table: new generations without its rows, then a fence that takes every former
 * generation holding it out of time travel, then deletion of their files at once. From documents and artifacts: an entry in
 * the audit log that calls them erased, then their deletion. What remains is scanned again as proof.
 * Storage does not read Parquet: whoever calls says which files hold the subject and writes the new ones.
 */
import { createHmac } from 'node:crypto';
import { auditSchema } from './erased.ts';
import { StorageFault } from './fault.ts';
import { keys, parsePartFilePath } from './keys.ts';
import { Log } from './log.ts';
import { listAll } from './object-store.ts';
import type { StoragePorts } from './ports.ts';
import type { CommitRequest, PredictionsTable } from './table/predictions-table.ts';
import { type GenerationState, isGarbage } from './table/state.ts';

export interface ErasureRequest {
  readonly table: PredictionsTable;
  /** From `subjectHash`; the subject itself is never written anywhere. */
  readonly subject: string;
  /** Does this object hold a row of the subject? */
  readonly holds: (key: string) => Promise<boolean>;
  /** Writes the current generation again without the subject's rows, as `table.nextGeneration`, and describes the commit. */
  readonly rewrite: (generation: GenerationState) => Promise<CommitRequest>;
}

export interface ErasureReport {
  readonly subject: string;
  readonly rewritten: readonly { readonly partition: string; readonly generation: number }[];
  readonly deleted: readonly string[];
  /** Objects that still hold the subject: of jobs that are still running. Run the erasure again when they have ended. */
  readonly remaining: readonly string[];
}

/** HMAC-SHA-256 of the subject's key values: who has the secret can check a name, nobody can list them. */
export function subjectHash(secret: string, keyValues: readonly string[]): string {
  return createHmac('sha256', secret).update(JSON.stringify(keyValues)).digest('hex');
}

/** Safe to run twice: the second run finds what is left. Throws `StorageFault` before anything is deleted. */
export async function eraseSubject(ports: StoragePorts, request: ErasureRequest): Promise<ErasureReport> {
  const { table, subject, holds } = request;

  // Which generations hold it; those already forgotten are only waiting for their deletion.
  const affected: GenerationState[] = [];
  for (const generation of (await table.state()).generations()) {
    if (generation.forgotten !== null) continue;
    if (await holdsAny(table, generation, holds)) affected.push(generation);
  }

  // A current generation is replaced before it can be forgotten: readers never see a partition vanish.
  const rewritten: { partition: string; generation: number }[] = [];
  for (const generation of affected) {
    if (generation.superseded !== null) continue;
    const replacement = await request.rewrite(generation);
    const { partition } = replacement;
    const outcome = await table.commit(replacement);
    if (outcome.kind === 'fenced') {
      throw new StorageFault(
        'unavailable',
        table.root,
        `partition ${partition} was scored meanwhile (${outcome.reason}): erase again`,
      );
    }
    rewritten.push({ partition, generation: replacement.generation });
  }

  // The fence, then deletion on a fresh view of the log.
  if (affected.length > 0) await table.forget({ generations: affected.map(nameOf), why: 'erasure', subject });
  const deleted = await deleteHolding(ports, table, holds);
  const remaining = await objectsHolding(ports, table, holds);

  const log = new Log(ports, keys.auditLog, auditSchema);
  await log.append(() => ({
    act: 'erasure',
    table: table.root,
    subject,
    deleted: deleted.length,
    remaining: remaining.length,
  }));
  return { subject, rewritten, deleted, remaining };
}

async function holdsAny(
  table: PredictionsTable,
  generation: GenerationState,
  holds: (key: string) => Promise<boolean>,
): Promise<boolean> {
  for (const file of generation.files) if (await holds(`${table.root}/${file.path}`)) return true;
  return false;
}

async function deleteHolding(
  ports: StoragePorts,
  table: PredictionsTable,
  holds: (key: string) => Promise<boolean>,
): Promise<readonly string[]> {
  const found = await objectsHolding(ports, table, holds);
  const state = await table.state();
  const deleted: string[] = [];
  for (const key of found) {
    const path = key.slice(table.root.length + 1);
    const name = parsePartFilePath(path);
    if (name === null || !isGarbage(state, { ...name, path })) continue;
    const answer = await ports.store.delete(key);
    if (answer.kind === 'applied') deleted.push(key);
  }
  return deleted;
}

async function objectsHolding(
  ports: StoragePorts,
  table: PredictionsTable,
  holds: (key: string) => Promise<boolean>,
): Promise<readonly string[]> {
  const listing = await listAll(ports.store, `${table.root}/partition=`);
  if (listing.kind !== 'found') throw new StorageFault('unavailable', table.root, 'the part files could not be listed');
  const holding: string[] = [];
  for (const { key } of listing.value) if (await holds(key)) holding.push(key);
  return holding;
}

function nameOf({ partition, generation }: GenerationState): { partition: string; generation: number } {
  return { partition, generation };
}

/**
 * Deletes documents and artifacts that hold the subject. The audit log names them first: from then on reading one says when
 * it was erased, and `finishErasures` deletes it again should an attempt that was still running bring it back.
 */
export async function eraseObjects(
  ports: StoragePorts,
  { subject, objects }: { readonly subject: string; readonly objects: readonly string[] },
): Promise<DeletedObjects> {
  if (objects.length === 0) return { deleted: [], unclear: [] };
  const log = new Log(ports, keys.auditLog, auditSchema);
  await log.append(() => ({ act: 'erasure_of_objects', subject, objects }));
  return await deleteAll(ports, objects);
}

export interface DeletedObjects {
  readonly deleted: readonly string[];
  /** Deletions without a clear answer: `finishErasures` tries again. */
  readonly unclear: readonly string[];
}

/** Deletes what the audit log has given up and is still, or again, there. Knows no subject and needs none. Safe to run twice. */
export async function finishErasures(ports: StoragePorts): Promise<DeletedObjects> {
  const entries = await new Log(ports, keys.auditLog, auditSchema).read();
  const left: string[] = [];
  for (const key of new Set(entries.flatMap(({ body }) => (body.act === 'erasure_of_objects' ? body.objects : [])))) {
    if ((await ports.store.head(key)).kind !== 'not_found') left.push(key);
  }
  return await deleteAll(ports, left);
}

async function deleteAll(ports: StoragePorts, objects: readonly string[]): Promise<DeletedObjects> {
  const deleted: string[] = [];
  const unclear: string[] = [];
  for (const key of objects) {
    const answer = await ports.store.delete(key);
    if (answer.kind === 'applied') deleted.push(key);
    else unclear.push(key);
  }
  return { deleted, unclear };
}
