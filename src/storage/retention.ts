/**
 * Retention of documents by kind. Only kinds that nothing decided depends on can be given a time; what a serving version or a
 * visible generation needs stays whatever its age. The audit log names what goes before it goes, so that a reader hears
 * `deleted by retention on …` and the audit of the store knows a deletion from a loss.
 */
import { type AuditEntry, auditSchema } from './erased.ts';
import { StorageFault } from './fault.ts';
import { keys } from './keys.ts';
import { Log } from './log.ts';
import { listAll } from './object-store.ts';
import type { StoragePorts } from './ports.ts';

/** Plans, receipts and manifests of scoring jobs, and the profiles they left. */
export const retainedKinds = ['plan', 'receipts', 'job', 'profile'] as const;
export type RetainedKind = (typeof retainedKinds)[number];

/** No job takes as long: younger documents may belong to one that is still running. */
export const youngestMs = 7 * 86_400_000;

export interface RetainedDocuments {
  readonly deleted: readonly string[];
  readonly deletedBytes: number;
}

/**
 * Deletes documents that the store received longer ago than their kind's time. `needed` is read after the listing. Safe to run
 * twice; a deletion without a clear answer is made by the next run. Throws `StorageFault` before anything is deleted.
 */
export async function retainDocuments(
  ports: StoragePorts,
  policy: {
    /** A kind without a time is kept for ever. */
    readonly olderThanMs: Partial<Readonly<Record<RetainedKind, number>>>;
    readonly needed: () => Promise<ReadonlySet<string>>;
  },
): Promise<RetainedDocuments> {
  const nowMs = ports.clock.now().getTime();
  const old = new Map<string, number>();
  for (const kind of retainedKinds) {
    const limitMs = policy.olderThanMs[kind];
    if (limitMs === undefined) continue;
    const listing = await listAll(ports.store, `${keys.documents}${kind}/`);
    if (listing.kind !== 'found')
      throw new StorageFault('unavailable', `${keys.documents}${kind}`, 'it could not be listed; nothing was deleted');
    for (const { key, bytes, modified } of listing.value)
      if (nowMs - Date.parse(modified) > Math.max(limitMs, youngestMs)) old.set(key, bytes);
  }
  if (old.size === 0) return { deleted: [], deletedBytes: 0 };

  const needed = await policy.needed();
  const objects = [...old.keys()].filter(key => !needed.has(key));
  if (objects.length === 0) return { deleted: [], deletedBytes: 0 };
  const log = new Log<AuditEntry>(ports, keys.auditLog, auditSchema);
  await log.append(() => ({ act: 'retention_of_objects', objects }));
  const deleted: string[] = [];
  for (const key of objects) if ((await ports.store.delete(key)).kind === 'applied') deleted.push(key);
  return { deleted, deletedBytes: deleted.reduce((sum, key) => sum + (old.get(key) ?? 0), 0) };
}
