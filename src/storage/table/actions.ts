/**
 * The actions of the Delta protocol that this table writes (reader version 1, writer version 2), and one commit as text.
 * https://github.com/delta-io/delta/blob/master/PROTOCOL.md
 *
 * A commit's first line is `commitInfo`; under `almanac` it holds what other readers ignore: the decision, the hash of the
 * commit before, and the hash of the lines that follow, so that a commit cut short at a line break is noticed.
 */
import type { Linked } from '../chain.ts';
import { canonicalJson, sha256 } from '../digest.ts';

export interface AddFile {
  /** Relative to the table. */
  readonly path: string;
  readonly partitionValues: Readonly<Record<string, string>>;
  readonly size: number;
  readonly modificationTime: number;
  readonly dataChange: boolean;
  /**
   * JSON text. Only the number of rows: log entries are kept for ever, and the least and largest value of a key column
   * would outlive the erasure of its subject.
   */
  readonly stats: string;
  readonly tags: Readonly<Record<string, string>>;
}

export interface RemoveFile {
  readonly path: string;
  readonly deletionTimestamp: number;
  readonly dataChange: boolean;
  readonly extendedFileMetadata: boolean;
  readonly partitionValues: Readonly<Record<string, string>>;
  readonly size: number;
}

export interface Protocol {
  readonly minReaderVersion: number;
  readonly minWriterVersion: number;
  readonly readerFeatures?: readonly string[];
  readonly writerFeatures?: readonly string[];
}

export interface MetaData {
  readonly id: string;
  readonly name: string | null;
  readonly format: { readonly provider: string; readonly options: Readonly<Record<string, string>> };
  readonly schemaString: string;
  readonly partitionColumns: readonly string[];
  readonly createdTime: number;
  readonly configuration: Readonly<Record<string, string>>;
}

/** The application's own idempotency mark: appId is the partition, version the generation. */
export interface Transaction {
  readonly appId: string;
  readonly version: number;
  readonly lastUpdated: number;
}

export type Action =
  | { readonly add: AddFile }
  | { readonly remove: RemoveFile }
  | { readonly txn: Transaction }
  | { readonly protocol: Protocol }
  | { readonly metaData: MetaData };

/** Generations of one partition whose files may go. */
export interface ForgottenGeneration {
  readonly partition: string;
  readonly generation: number;
}

/** What a commit decided. `create` opens the table; every other kind is about generations. */
export type Decision =
  | { readonly kind: 'create' }
  | {
      readonly kind: 'commit';
      readonly partition: string;
      readonly generation: number;
      readonly planDigest: string;
      readonly manifestDigest: string;
      /** Generation that was visible before; null when there was none. */
      readonly replaces: number | null;
      readonly rows: number;
      /** The job's as-of time. */
      readonly asOf: string;
      readonly workflowId: string;
      readonly runId: string;
      readonly attempt: number;
    }
  | { readonly kind: 'abort'; readonly partition: string; readonly generation: number; readonly reason: string }
  /** From here on these generations cannot be read, and their files may be deleted. */
  | {
      readonly kind: 'forget';
      readonly why: 'retention' | 'erasure';
      readonly generations: readonly ForgottenGeneration[];
      /** Keyed hash of the erased subject; null for retention. */
      readonly subject: string | null;
    };

export interface TableCommit extends Linked {
  readonly version: number;
  /** Milliseconds since 1970; strictly increasing along the log. */
  readonly timestamp: number;
  readonly decision: Decision;
  readonly actions: readonly Action[];
}

const operations: Record<Decision['kind'], string> = {
  create: 'CREATE TABLE',
  commit: 'WRITE',
  abort: 'ABORT',
  forget: 'FORGET',
};

const engineInfo = 'almanac/1';

export function writeCommit(commit: TableCommit): string {
  const { version, timestamp, decision, actions, prevHash, commit: commitId } = commit;
  const lines = actions.map(action => `${canonicalJson(action)}\n`).join('');
  const { kind, ...parameters } = decision;
  const commitInfo = {
    timestamp,
    operation: operations[kind],
    // Delta wants text values here.
    operationParameters: Object.fromEntries(
      Object.entries(parameters).map(([name, value]) => [
        name,
        typeof value === 'string' ? value : canonicalJson(value),
      ]),
    ),
    isBlindAppend: false,
    engineInfo,
    almanac: { schema: 'table/1', version, prevHash, commit: commitId, decision, actionsHash: sha256(lines) },
  };
  return `${canonicalJson({ commitInfo })}\n${lines}`;
}

/** Throws with what is wrong; the caller names the file. */
export function parseCommit(text: string, version: number): TableCommit {
  if (!text.endsWith('\n')) throw new Error(`the commit is cut short after ${text.length} characters`);
  const firstEnd = text.indexOf('\n') + 1;
  const lines = text.slice(firstEnd);
  const { commitInfo } = JSON.parse(text.slice(0, firstEnd)) as { commitInfo?: CommitInfo };
  const own = commitInfo?.almanac;
  if (commitInfo === undefined || own === undefined) throw new ForeignCommit(writerOf(text));
  if (own.schema !== 'table/1') throw new ForeignCommit(`a newer Almanac (${own.schema}, this one reads table/1)`);
  if (own.version !== version) throw new Error(`the commit calls itself version ${own.version}`);
  const actionsHash = sha256(lines);
  if (actionsHash !== own.actionsHash) {
    throw new Error(`the actions have hash ${actionsHash}, the commit says ${own.actionsHash}`);
  }
  const actions = lines
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line) as Action);
  return {
    version,
    timestamp: commitInfo.timestamp,
    prevHash: own.prevHash,
    commit: own.commit,
    decision: own.decision,
    actions,
  };
}

interface CommitInfo {
  readonly timestamp: number;
  readonly engineInfo?: string;
  readonly almanac?: {
    readonly schema: string;
    readonly version: number;
    readonly prevHash: string | null;
    readonly commit: string;
    readonly decision: Decision;
    readonly actionsHash: string;
  };
}

/** Who says to have written a commit that is not ours: its `commitInfo` may stand on any line. */
function writerOf(text: string): string {
  const engine = /"engineInfo"\s*:\s*"([^"]{1,80})"/.exec(text)?.[1];
  return engine ?? 'another system that does not give its name';
}

/** A commit that another system, or a newer version of this one, has written. */
export class ForeignCommit extends Error {
  override readonly name = 'ForeignCommit';
  constructor(writer: string) {
    super(`the commit was written by ${writer}`);
  }
}

export const supportedProtocol: Protocol = { minReaderVersion: 1, minWriterVersion: 2 };

export function newMetaData(table: {
  readonly id: string;
  readonly name: string;
  readonly schemaString: string;
  readonly createdTime: number;
}): MetaData {
  return {
    ...table,
    format: { provider: 'parquet', options: {} },
    partitionColumns: ['partition'],
    configuration: {
      // A freed slot would let a late create-if-absent land in the past: no system may clean this log up.
      'delta.enableExpiredLogCleanup': 'false',
      'delta.logRetentionDuration': 'interval 36500 days',
      // Almanac's collector deletes; `VACUUM` of another system would not know the undecided files.
      'delta.deletedFileRetentionDuration': 'interval 36500 days',
    },
  };
}
