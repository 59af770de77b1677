/** The audit log of deletions, and what it says about an object that is no longer there. */
import { StorageFault } from './fault.ts';
import { keys } from './keys.ts';
import { Log, type LogSchema } from './log.ts';
import type { ObjectStore } from './object-store.ts';
import { systemPorts } from './ports.ts';

/** Subjects are keyed hashes (`subjectHash`); no entry holds a key. */
export type AuditEntry =
  /** A table was searched; `remaining` objects of running jobs still hold the subject. */
  | {
      readonly act: 'erasure';
      readonly table: string;
      readonly subject: string;
      readonly deleted: number;
      readonly remaining: number;
    }
  /** From here on these documents and artifacts are gone, whether or not their deletion has been answered. */
  | { readonly act: 'erasure_of_objects'; readonly subject: string; readonly objects: readonly string[] }
  | { readonly act: 'retention_of_objects'; readonly objects: readonly string[] };

export const auditSchema: LogSchema<AuditEntry> = { name: 'audit', version: 1, upgrades: [] };

/** Objects that were deleted on purpose → what to say: `erased on <time>` or `deleted by retention on <time>`. */
export async function deletedOnPurpose(store: ObjectStore): Promise<ReadonlyMap<string, string>> {
  const said = new Map<string, string>();
  for (const { at, body } of await new Log(systemPorts(store), keys.auditLog, auditSchema).read()) {
    if (!('objects' in body)) continue;
    const how = body.act === 'retention_of_objects' ? 'deleted by retention on' : 'erased on';
    for (const key of body.objects) said.set(key, `${how} ${at}`);
  }
  return said;
}

/** The fault of an object that is referenced and absent: deleted on purpose (`gone`), or lost (`missing`). */
export async function absenceFault(store: ObjectStore, key: string): Promise<StorageFault> {
  const how = (await deletedOnPurpose(store)).get(key);
  if (how !== undefined) return new StorageFault('gone', key, how);
  return new StorageFault('missing', key, 'it is referenced but not in the store; run `almanac audit verify`');
}
