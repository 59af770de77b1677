/**
 * Checkpoints of the table's log, for Delta readers: the state at one version as a Parquet file, so that they need not read
 * every entry. Our own readers never look at them (the chain has verified segments), and no commit waits for one: a
 * checkpoint that is missing, late or damaged costs other readers time or an error, never anybody a row.
 */
import { canonicalJson } from '../digest.ts';
import { StorageFault } from '../fault.ts';
import { keys } from '../keys.ts';
import type { StoragePorts } from '../ports.ts';
import type { Action } from './actions.ts';
import type { TableState } from './state.ts';

/** Entries between two checkpoints. */
export const checkpointEvery = 100;

/** The actions that make up a state: what a reader of all entries up to its version would be left with. */
export function checkpointActions(state: TableState): readonly Action[] {
  const { protocol, metaData } = state;
  if (protocol === null || metaData === null) return [];
  const transactions = new Map<string, Action>();
  const files: Action[] = [];
  for (const { partition, generation, decision, files: own, timestamp, superseded } of state.generations()) {
    if (decision.kind !== 'commit') continue;
    const appId = `almanac/${partition}`;
    transactions.set(appId, { txn: { appId, version: generation, lastUpdated: timestamp } });
    const partitionValues = { partition };
    for (const { path, bytes: size, rows, sha256 } of own) {
      if (superseded === null) {
        const stats = JSON.stringify({ numRecords: rows });
        const tags = { generation: String(generation), sha256 };
        files.push({
          add: { path, partitionValues, size, modificationTime: timestamp, dataChange: false, stats, tags },
        });
      } else {
        const removed = { deletionTimestamp: superseded.timestamp, dataChange: false, extendedFileMetadata: true };
        files.push({ remove: { path, ...removed, partitionValues, size } });
      }
    }
  }
  return [{ protocol }, { metaData }, ...transactions.values(), ...files];
}

/**
 * Makes a checkpoint file (Parquet, from `checkpointActions` of the state at this version) known to readers. Safe to run
 * twice and beside others: checkpoints of one version say the same, and the pointer may name any of them.
 */
export async function publishCheckpoint(
  ports: StoragePorts,
  root: string,
  checkpoint: { readonly version: number; readonly actions: number; readonly file: string },
): Promise<void> {
  const { version, actions, file } = checkpoint;
  const key = keys.deltaCheckpoint(root, version);
  const uploaded = await ports.store.upload(key, file);
  if (uploaded.kind === 'unknown') throw new StorageFault('unavailable', key, uploaded.cause);
  if (uploaded.kind === 'not_applied' && uploaded.reason !== 'exists')
    throw new StorageFault('unavailable', key, `not written: ${uploaded.detail}`);
  // The one name in the store that is used again, and by no reader of ours. Between the two steps Delta readers list the folder.
  const pointer = keys.deltaLastCheckpoint(root);
  await ports.store.delete(pointer);
  const text = `${canonicalJson({ version, size: actions })}\n`;
  await ports.store.putIfAbsent(pointer, new TextEncoder().encode(text));
}
