/**
 * The garbage collector of a table of predictions. It can run at any moment beside commits, backfills and itself, and needs
 * no clock to be safe; the clock only decides when it is worth the trouble. One pass:
 *
 *     (a) list the part files      (b) read the log, after the listing
 *     (c) fence: give up undecided generations that are old, forget superseded ones past retention.
 *         If anything was fenced, the pass ends: what it knows of the log is stale now.
 *     (d) delete the listed files whose generation is decided and that no reader may want (`isGarbage`).
 *
 * Deleting in the pass that fenced, or on a log read before the listing, loses committed files: the simulation shows it.
 */
import { StorageFault } from './fault.ts';
import { parsePartFilePath } from './keys.ts';
import { listAll, type ObjectInfo } from './object-store.ts';
import type { StoragePorts } from './ports.ts';
import type { ForgottenGeneration } from './table/actions.ts';
import type { PredictionsTable } from './table/predictions-table.ts';
import { type GenerationState, isGarbage, type TableState } from './table/state.ts';

export interface RetentionPolicy {
  /** Age of the youngest file after which an undecided generation is given up. Longer than any job may take. */
  readonly undecidedMs: number;
  /** A superseded generation stays readable this long after it was replaced; longer than any reader may run. */
  readonly supersededMs: number;
  /** This many generations of a partition stay, the current one included, whatever their age. At least 1. */
  readonly minGenerations: number;
}

export interface CollectorReport {
  /** Generations given up or forgotten by this pass; when there are any, nothing was deleted. */
  readonly fenced: readonly ForgottenGeneration[];
  readonly deleted: readonly string[];
  readonly deletedBytes: number;
  /** Deletions without a clear answer: the next pass tries again. */
  readonly unclear: readonly string[];
  /** Files in the table's folder that this system did not name; never touched. */
  readonly unknownFiles: readonly string[];
}

interface ListedFile extends ForgottenGeneration {
  readonly path: string;
  readonly object: ObjectInfo;
}

/** One pass over a table. Safe to run twice, and at any time. Throws `StorageFault` before it deletes anything. */
export async function collectTable(
  ports: StoragePorts,
  table: PredictionsTable,
  policy: RetentionPolicy,
): Promise<CollectorReport> {
  // (a) before (b): a file that appears in between is not in the list and cannot be deleted.
  const { files, unknownFiles } = await listPartFiles(ports, table.root);
  const state = await table.state();
  const nowMs = ports.clock.now().getTime();

  const fenced = await fence(table, { state, files, policy, nowMs });
  if (fenced.length > 0) return { fenced, deleted: [], deletedBytes: 0, unclear: [], unknownFiles };

  const garbage = files.filter(file => isGarbage(state, file));
  return { fenced, unknownFiles, ...(await deleteFiles(ports, garbage)) };
}

/** Passes until one neither fences nor deletes, at most four. */
export async function collectUntilQuiet(
  ports: StoragePorts,
  table: PredictionsTable,
  policy: RetentionPolicy,
): Promise<readonly CollectorReport[]> {
  const reports: CollectorReport[] = [];
  while (reports.length < 4) {
    const report = await collectTable(ports, table, policy);
    reports.push(report);
    if (report.fenced.length === 0) break;
  }
  return reports;
}

async function listPartFiles(
  ports: StoragePorts,
  root: string,
): Promise<{ files: readonly ListedFile[]; unknownFiles: readonly string[] }> {
  const listing = await listAll(ports.store, `${root}/partition=`);
  if (listing.kind !== 'found') {
    const cause = listing.kind === 'unknown' ? listing.cause : listing.kind;
    throw new StorageFault('unavailable', root, `the part files could not be listed, nothing was deleted: ${cause}`);
  }
  const files: ListedFile[] = [];
  const unknownFiles: string[] = [];
  for (const object of listing.value) {
    const path = object.key.slice(root.length + 1);
    const name = parsePartFilePath(path);
    if (name === null) unknownFiles.push(object.key);
    else files.push({ ...name, path, object });
  }
  return { files, unknownFiles };
}

async function fence(
  table: PredictionsTable,
  seen: { state: TableState; files: readonly ListedFile[]; policy: RetentionPolicy; nowMs: number },
): Promise<readonly ForgottenGeneration[]> {
  const abandoned = abandonedGenerations(seen);
  const expired = expiredGenerations(seen);
  const fenced: ForgottenGeneration[] = [];
  for (const { partition, generation } of abandoned) {
    const reason = 'given up by the collector: no decision within the time allowed';
    const outcome = await table.abort({ partition, generation, reason });
    // Also when it turned out to be decided: the state that was read before the listing is stale by then.
    if (outcome.kind !== 'already') fenced.push({ partition, generation });
  }
  if (expired.length > 0) {
    await table.forget({ generations: expired, why: 'retention', subject: null });
    fenced.push(...expired);
  }
  return fenced;
}

/** Undecided generations whose youngest file is older than the policy allows. */
function abandonedGenerations(seen: {
  state: TableState;
  files: readonly ListedFile[];
  policy: RetentionPolicy;
  nowMs: number;
}): readonly ForgottenGeneration[] {
  const youngest = new Map<string, { cid: ForgottenGeneration; modifiedMs: number }>();
  for (const { partition, generation, object } of seen.files) {
    if (seen.state.generation(partition, generation) !== undefined) continue;
    const name = `${generation}/${partition}`;
    const modifiedMs = Math.max(Date.parse(object.modified), youngest.get(name)?.modifiedMs ?? 0);
    youngest.set(name, { cid: { partition, generation }, modifiedMs });
  }
  return [...youngest.values()]
    .filter(({ modifiedMs }) => seen.nowMs - modifiedMs > seen.policy.undecidedMs)
    .map(({ cid }) => cid);
}

/** Superseded generations past retention, the newest `minGenerations` of each partition kept. */
export function expiredGenerations(seen: {
  readonly state: TableState;
  readonly policy: RetentionPolicy;
  readonly nowMs: number;
}): readonly ForgottenGeneration[] {
  const byPartition = new Map<string, GenerationState[]>();
  for (const generation of seen.state.generations()) {
    if (generation.decision.kind !== 'commit') continue;
    const known = byPartition.get(generation.partition) ?? [];
    byPartition.set(generation.partition, [...known, generation]);
  }
  return [...byPartition.values()].flatMap(generations =>
    generations
      .sort((left, right) => right.generation - left.generation)
      .slice(Math.max(1, seen.policy.minGenerations))
      .filter(({ superseded, forgotten }) => {
        if (superseded === null || forgotten !== null) return false;
        return seen.nowMs - superseded.timestamp > seen.policy.supersededMs;
      })
      .map(({ partition, generation }) => ({ partition, generation })),
  );
}

async function deleteFiles(
  ports: StoragePorts,
  garbage: readonly ListedFile[],
): Promise<{ deleted: string[]; deletedBytes: number; unclear: string[] }> {
  const deleted: string[] = [];
  const unclear: string[] = [];
  let deletedBytes = 0;
  for (const { object } of garbage) {
    const answer = await ports.store.delete(object.key);
    if (answer.kind === 'applied') {
      deleted.push(object.key);
      deletedBytes += object.bytes;
    } else unclear.push(object.key);
  }
  return { deleted, deletedBytes, unclear };
}
