/**
 * A table of predictions: a Delta table that one system writes. Part files get names that are never reused; one
 * create-if-absent of the next log entry makes a whole generation of a partition visible and hides the former one. Any
 * Delta reader sees all of a job or none of it.
 *
 *     <root>/_delta_log/00000000000000000007.json       the decision (see `actions.ts`, rules in `state.ts`)
 *     <root>/partition=2026-01-31/g2-c0-1-<id>.parquet   generation 2, chunk 0, attempt 1
 */
import { Chain, type ChainFormat } from '../chain.ts';
import { Documents } from '../documents.ts';
import { StorageFault } from '../fault.ts';
import { keys, partFilePath } from '../keys.ts';
import type { StoragePorts } from '../ports.ts';
import {
  type Action,
  type AddFile,
  type Decision,
  ForeignCommit,
  type ForgottenGeneration,
  newMetaData,
  parseCommit,
  type RemoveFile,
  supportedProtocol,
  type TableCommit,
  writeCommit,
} from './actions.ts';
import { columnsOf, mergeColumns, schemaString, type TableColumn } from './schema.ts';
import {
  foldTable,
  type GenerationState,
  ruleAbort,
  ruleCommit,
  ruleForget,
  type TableFile,
  TableState,
} from './state.ts';
import { findBadFile } from './verify-files.ts';

export interface PartFile {
  /** Relative to the table, from `newPartFile`. */
  readonly path: string;
  readonly bytes: number;
  readonly rows: number;
  readonly sha256: string;
}

export interface CommitRequest {
  readonly partition: string;
  /** From 1. */
  readonly generation: number;
  /** Digest of the plan: inputs, model versions, chunks. */
  readonly planDigest: string;
  /** Columns of the files in file order, without the partition. */
  readonly columns: readonly TableColumn[];
  readonly files: readonly PartFile[];
  /** The job's as-of time (ISO, UTC). */
  readonly asOf: string;
  readonly workflowId: string;
  readonly runId: string;
  readonly attempt: number;
}

export type CommitOutcome =
  /** `already`: another attempt committed it first; its files count, and the manifest says which. */
  | { readonly kind: 'committed' | 'already'; readonly version: number; readonly manifestDigest: string }
  | { readonly kind: 'fenced'; readonly reason: string };

export type AbortOutcome =
  | { readonly kind: 'aborted' | 'already'; readonly version: number }
  | { readonly kind: 'committed'; readonly version: number };

export interface TableSnapshot {
  readonly version: number;
  /** When the version was written (ISO, UTC). */
  readonly committedAt: string;
  readonly columns: readonly TableColumn[];
  readonly generations: readonly SnapshotGeneration[];
  readonly files: readonly TableFile[];
  readonly rows: number;
}

export interface SnapshotGeneration {
  readonly partition: string;
  readonly generation: number;
  readonly rows: number;
  readonly asOf: string;
  /** Table version that published it. */
  readonly version: number;
  readonly manifestDigest: string;
}

export class PredictionsTable {
  /** Folder of the table in the store. */
  readonly root: string;
  readonly #ports: StoragePorts;
  readonly #chain: Chain<TableCommit>;
  readonly #documents: Documents;
  #state = new TableState();

  constructor(ports: StoragePorts, root: string) {
    this.root = root;
    this.#ports = ports;
    this.#chain = new Chain(ports.store, tableFormat(root));
    this.#documents = new Documents(ports.store);
  }

  /** A name for a part file that nobody has used or will use: `path` goes into the commit, `key` into the store. */
  newPartFile(name: { partition: string; generation: number; chunk: number; attempt: number }): {
    readonly path: string;
    readonly key: string;
  } {
    const path = partFilePath({ ...name, unique: this.#ports.random.id() });
    return { path, key: `${this.root}/${path}` };
  }

  /**
   * Makes a generation visible, once: a second call, from any attempt, finds the first. Files must be in the store.
   * Throws `StorageFault`: `missing` when a file is not there as described, `conflict` when the columns do not fit.
   */
  async commit(request: CommitRequest): Promise<CommitOutcome> {
    const { partition, generation } = request;
    const early = settled(await this.state(), partition, generation);
    if (early !== null) return early;

    await this.#create(request.columns);
    const bad = await findBadFile(this.#ports.store, this.root, request.files);
    if (bad !== null) {
      // Meanwhile another attempt may have won, and the collector have taken the files of this one.
      const decided = settled(await this.state(), partition, generation);
      if (decided !== null) return decided;
      throw bad;
    }
    const { planDigest, files, columns } = request;
    const manifest = { schema: 'manifest/1', table: this.root, partition, generation, planDigest, columns, files };
    const manifestDigest = await this.#documents.put('manifest', manifest);

    const appended = await this.#append(state => {
      const ruling = ruleCommit(state, partition, generation);
      if (ruling.kind !== 'write') return null;
      const replaces = ruling.replaces?.generation ?? null;
      const { asOf, workflowId, runId, attempt } = request;
      const rows = files.reduce((sum, file) => sum + file.rows, 0);
      const said = {
        partition,
        generation,
        planDigest,
        manifestDigest,
        replaces,
        rows,
        asOf,
        workflowId,
        runId,
        attempt,
      };
      return {
        decision: { kind: 'commit', ...said },
        actions: timestamp => this.#commitActions(state, request, ruling.replaces, timestamp),
      };
    });
    if (appended !== null) {
      return { kind: 'committed', version: appended.version, manifestDigest };
    }
    const late = settled(await this.state(), partition, generation);
    if (late !== null) return late;
    throw new StorageFault(
      'conflict',
      this.root,
      `partition ${partition} generation ${generation} was neither written nor decided`,
    );
  }

  /** Gives a generation up: from here on it can never be committed. A committed one stays. */
  async abort(cid: { partition: string; generation: number; reason: string }): Promise<AbortOutcome> {
    const { partition, generation, reason } = cid;
    await this.#create([]);
    const appended = await this.#append(state =>
      ruleAbort(state, partition, generation).kind === 'write'
        ? { decision: { kind: 'abort', partition, generation, reason }, actions: () => [] }
        : null,
    );
    if (appended !== null) return { kind: 'aborted', version: appended.version };
    const ruling = ruleAbort(await this.state(), partition, generation);
    if (ruling.kind !== 'write') return ruling;
    throw new StorageFault('conflict', this.root, `partition ${partition} generation ${generation} was not given up`);
  }

  /**
   * Takes superseded generations out of time travel, so that the collector may delete their files. Those that are current,
   * undecided or forgotten already are left out; returns the ones forgotten by this call.
   */
  async forget(request: {
    readonly generations: readonly ForgottenGeneration[];
    readonly why: 'retention' | 'erasure';
    readonly subject: string | null;
  }): Promise<readonly ForgottenGeneration[]> {
    let forgotten: readonly ForgottenGeneration[] = [];
    await this.#append(state => {
      forgotten = ruleForget(state, request.generations);
      if (forgotten.length === 0) return null;
      return { decision: { kind: 'forget', ...request, generations: forgotten }, actions: () => [] };
    });
    return forgotten;
  }

  /**
   * What readers see at the newest version, at a version, or at a time (the last version written at or before it).
   * Throws `StorageFault`: `missing` for a version that does not exist, `gone` for one whose files were deleted.
   */
  async snapshot(at: { readonly version?: number; readonly asOf?: string } = {}): Promise<TableSnapshot> {
    const present = await this.state();
    const commits = await this.#chain.read();
    const version = at.version ?? versionAsOf(commits, at.asOf) ?? present.version;
    if (present.version < 0)
      throw new StorageFault('missing', this.root, 'the table does not exist yet: nothing was committed');
    if (version < 0 || version > present.version) {
      const asked = at.version ?? `as of ${at.asOf}`;
      throw new StorageFault('missing', this.root, `no version ${asked}: there are versions 0 to ${present.version}`);
    }
    const state = version === present.version ? present : foldTable(commits.slice(0, version + 1));
    for (const { partition, generation } of state.currents())
      this.#refuseForgotten(present, version, partition, generation);
    return snapshotOf(state);
  }

  /** Every decision, oldest first. */
  async history(): Promise<readonly TableCommit[]> {
    return await this.#chain.read();
  }

  /** Highest generation of a partition that was committed or given up; 0 when there is none. */
  async highestGeneration(partition: string): Promise<number> {
    return (await this.state()).highest(partition);
  }

  async nextGeneration(partition: string): Promise<number> {
    return (await this.highestGeneration(partition)) + 1;
  }

  /** The fold of the whole log; read-only for the caller. */
  async state(): Promise<TableState> {
    return this.#fold(await this.#chain.read());
  }

  /** The fold up to this version, as it was then. */
  async stateAt(version: number): Promise<TableState> {
    return foldTable((await this.history()).slice(0, version + 1));
  }

  // --- Writing ----------------------------------------------------------------------------------------------------------

  /** Opens the table if it does not exist yet. */
  async #create(columns: readonly TableColumn[]): Promise<void> {
    if (this.#state.version >= 0 || (await this.state()).version >= 0) return;
    const id = asUuid(this.#ports.random.id() + this.#ports.random.id());
    await this.#append(state =>
      state.version >= 0
        ? null
        : {
            decision: { kind: 'create' },
            actions: createdTime => {
              const name = this.root.split('/').at(-1) ?? this.root;
              const metaData = newMetaData({ id, name, schemaString: schemaString(columns), createdTime });
              return [{ protocol: supportedProtocol }, { metaData }];
            },
          },
    );
  }

  async #append(
    decide: (state: TableState) => { decision: Decision; actions: (timestamp: number) => readonly Action[] } | null,
  ): Promise<TableCommit | null> {
    const commit = this.#ports.random.id();
    const appended = await this.#chain.append((commits, draft) => {
      const state = this.#fold(commits);
      const decided = decide(state);
      if (decided === null) return null;
      // Time travel by time needs times that grow, whatever the writers' clocks say.
      const timestamp = Math.max(this.#ports.clock.now().getTime(), state.timestamp + 1);
      const { decision, actions } = decided;
      const { number: version, prevHash } = draft;
      return writeCommit({ version, prevHash, commit, timestamp, decision, actions: actions(timestamp) });
    }, commit);
    return appended.kind === 'appended' ? appended.entry : null;
  }

  /** Continues the fold where the last call left it: entries never change. */
  #fold(commits: readonly TableCommit[]): TableState {
    for (const commit of commits.slice(this.#state.version + 1)) this.#state.apply(commit);
    return this.#state;
  }

  #commitActions(
    state: TableState,
    request: CommitRequest,
    replaces: GenerationState | null,
    timestamp: number,
  ): readonly Action[] {
    const { partition, generation, files } = request;
    const metaData = this.#grownMetaData(state, request.columns);
    const partitionValues = { partition };
    const removes = (replaces?.files ?? []).map((file): { remove: RemoveFile } => ({
      remove: {
        path: file.path,
        deletionTimestamp: timestamp,
        dataChange: true,
        extendedFileMetadata: true,
        partitionValues,
        size: file.bytes,
      },
    }));
    const adds = files.map((file): { add: AddFile } => ({
      add: {
        path: file.path,
        partitionValues,
        size: file.bytes,
        modificationTime: timestamp,
        dataChange: true,
        stats: JSON.stringify({ numRecords: file.rows }),
        tags: { generation: String(generation), sha256: file.sha256 },
      },
    }));
    const txn = { appId: `almanac/${partition}`, version: generation, lastUpdated: timestamp };
    return [...(metaData === null ? [] : [{ metaData }]), { txn }, ...removes, ...adds];
  }

  #grownMetaData(state: TableState, columns: readonly TableColumn[]) {
    const metaData = state.metaData;
    if (metaData === null) throw new StorageFault('corrupt', this.root, 'the log has no metaData action');
    const merged = mergeColumns(columnsOf(metaData.schemaString), columns);
    if (merged.kind === 'contradiction') throw new StorageFault('conflict', this.root, merged.reason);
    return merged.kind === 'same' ? null : { ...metaData, schemaString: schemaString(merged.columns) };
  }

  #refuseForgotten(present: TableState, version: number, partition: string, generation: number): void {
    const forgotten = present.generation(partition, generation)?.forgotten ?? null;
    if (forgotten === null) return;
    const day = new Date(forgotten.timestamp).toISOString();
    const how = forgotten.why === 'erasure' ? `erased on ${day}` : `deleted by retention on ${day}`;
    const message = `version ${version} shows partition ${partition} generation ${generation}, which was ${how}; read version ${forgotten.version} or later`;
    throw new StorageFault('gone', this.root, message);
  }
}

/** The outcome of a commit that the log has decided already; null while it is open. */
function settled(state: TableState, partition: string, generation: number): CommitOutcome | null {
  const ruling = ruleCommit(state, partition, generation);
  if (ruling.kind === 'fenced') return ruling;
  if (ruling.kind === 'write') return null;
  const { decision } = state.generation(partition, generation)!;
  const manifestDigest = decision.kind === 'commit' ? decision.manifestDigest : '';
  return { kind: 'already', version: ruling.version, manifestDigest };
}

function versionAsOf(commits: readonly TableCommit[], asOf: string | undefined): number | undefined {
  if (asOf === undefined) return undefined;
  const time = Date.parse(asOf);
  return commits.findLast(commit => commit.timestamp <= time)?.version ?? -1;
}

function snapshotOf(state: TableState): TableSnapshot {
  const generations = state.currents().flatMap(({ partition, generation, version, decision }) => {
    if (decision.kind !== 'commit') return [];
    const { rows, asOf, manifestDigest } = decision;
    return [{ partition, generation, version, rows, asOf, manifestDigest }];
  });
  return {
    version: state.version,
    committedAt: new Date(state.timestamp).toISOString(),
    columns: state.metaData === null ? [] : columnsOf(state.metaData.schemaString),
    generations,
    files: state.currents().flatMap(({ files }) => files),
    rows: generations.reduce((sum, { rows }) => sum + rows, 0),
  };
}

/** The log of a table as a chain; the audit reads it through this as well. */
export function tableFormat(root: string): ChainFormat<TableCommit> {
  const name = keys.deltaLog(root);
  return {
    name,
    entryKey: version => keys.logEntry(name, version),
    segmentKey: first => keys.deltaSegment(root, first),
    parse: (text, version) => {
      try {
        return parseCommit(text, version);
      } catch (error) {
        if (!(error instanceof ForeignCommit)) throw error;
        const message =
          `${error.message}; only one system may write a table of predictions. Nothing was changed: ` +
          'point `score.output` of the model at another folder, or restore this log from a backup';
        throw new StorageFault('foreign', keys.logEntry(name, version), message);
      }
    },
  };
}

function asUuid(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
