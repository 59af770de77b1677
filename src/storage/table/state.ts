/**
 * The table as a fold of its log, and the rules of the commit protocol over it. Pure: the same code decides in production
 * and in the simulation.
 *
 * A generation of a partition is *undecided* until one entry commits or aborts it; that entry is final. A committed
 * generation is *current* until a higher one is committed, then *superseded*, and *forgotten* once retention or an erasure
 * says so. Files are deleted only when the log says that no reader may want them.
 */
import type { AddFile, Decision, ForgottenGeneration, MetaData, Protocol, TableCommit } from './actions.ts';

export interface TableFile {
  /** Relative to the table. */
  readonly path: string;
  readonly partition: string;
  readonly generation: number;
  readonly bytes: number;
  readonly rows: number;
  readonly sha256: string;
}

export interface GenerationState {
  readonly partition: string;
  readonly generation: number;
  readonly version: number;
  readonly timestamp: number;
  readonly decision: Extract<Decision, { kind: 'commit' | 'abort' }>;
  /** Empty for an aborted generation. */
  readonly files: readonly TableFile[];
  /** The commit that replaced it. */
  superseded: { readonly version: number; readonly timestamp: number } | null;
  forgotten: { readonly version: number; readonly timestamp: number; readonly why: 'retention' | 'erasure' } | null;
}

export class TableState {
  /** Version of the last entry folded; -1 before the table exists. */
  version = -1;
  timestamp = 0;
  metaData: MetaData | null = null;
  protocol: Protocol | null = null;
  readonly #generations = new Map<string, GenerationState>();
  /** Partition → its current generation. */
  readonly #current = new Map<string, GenerationState>();
  /** Partition → highest decided generation. */
  readonly #highest = new Map<string, number>();

  generation(partition: string, generation: number): GenerationState | undefined {
    return this.#generations.get(nameOf(partition, generation));
  }
  current(partition: string): GenerationState | undefined {
    return this.#current.get(partition);
  }
  /** Highest generation that was committed or aborted; 0 when none was. */
  highest(partition: string): number {
    return this.#highest.get(partition) ?? 0;
  }
  /** Every decided generation, in the order of decision. */
  generations(): Iterable<GenerationState> {
    return this.#generations.values();
  }
  /** Current generations by partition. */
  currents(): readonly GenerationState[] {
    return [...this.#current.values()].sort((left, right) => (left.partition < right.partition ? -1 : 1));
  }

  apply(commit: TableCommit): void {
    this.version = commit.version;
    this.timestamp = commit.timestamp;
    const files: TableFile[] = [];
    for (const action of commit.actions) {
      if ('metaData' in action) this.metaData = action.metaData;
      else if ('protocol' in action) this.protocol = action.protocol;
      else if ('add' in action) files.push(tableFile(action.add));
    }
    const { decision } = commit;
    if (decision.kind === 'commit' || decision.kind === 'abort') this.#decide(commit, decision, files);
    else if (decision.kind === 'forget') this.#forget(commit, decision.generations, decision.why);
  }

  #decide(commit: TableCommit, decision: GenerationState['decision'], files: readonly TableFile[]): void {
    const { version, timestamp } = commit;
    const { partition, generation } = decision;
    const state: GenerationState = {
      ...{ partition, generation, version, timestamp, decision, files },
      superseded: null,
      forgotten: null,
    };
    this.#generations.set(nameOf(partition, generation), state);
    this.#highest.set(partition, Math.max(this.highest(partition), generation));
    if (decision.kind === 'abort') return;
    const before = this.#current.get(partition);
    if (before !== undefined) before.superseded = { version, timestamp };
    this.#current.set(partition, state);
  }

  #forget(commit: TableCommit, generations: readonly ForgottenGeneration[], why: 'retention' | 'erasure'): void {
    const { version, timestamp } = commit;
    for (const { partition, generation } of generations) {
      const state = this.generation(partition, generation);
      if (state !== undefined) state.forgotten ??= { version, timestamp, why };
    }
  }
}

export function foldTable(commits: Iterable<TableCommit>): TableState {
  const state = new TableState();
  for (const commit of commits) state.apply(commit);
  return state;
}

// --- Rules ----------------------------------------------------------------------------------------------------------

export type CommitRuling =
  | { readonly kind: 'write'; readonly replaces: GenerationState | null }
  /** It was committed before, perhaps by another attempt: that one's files count. */
  | { readonly kind: 'already'; readonly version: number }
  | { readonly kind: 'fenced'; readonly reason: string };

/** May this generation become visible? */
export function ruleCommit(state: TableState, partition: string, generation: number): CommitRuling {
  const own = state.generation(partition, generation);
  if (own?.decision.kind === 'commit') return { kind: 'already', version: own.version };
  if (own?.decision.kind === 'abort') {
    return {
      kind: 'fenced',
      reason: `generation ${generation} was given up at version ${own.version}: ${own.decision.reason}`,
    };
  }
  const highest = state.highest(partition);
  if (highest > generation) {
    return { kind: 'fenced', reason: `generation ${highest} was decided before generation ${generation} was ready` };
  }
  return { kind: 'write', replaces: state.current(partition) ?? null };
}

export type AbortRuling =
  | { readonly kind: 'write' }
  | { readonly kind: 'already'; readonly version: number }
  | { readonly kind: 'committed'; readonly version: number };

export function ruleAbort(state: TableState, partition: string, generation: number): AbortRuling {
  const own = state.generation(partition, generation);
  if (own === undefined) return { kind: 'write' };
  return { kind: own.decision.kind === 'commit' ? 'committed' : 'already', version: own.version };
}

/** Of the generations asked, those that may be forgotten now: committed, superseded, not yet forgotten. */
export function ruleForget(state: TableState, asked: readonly ForgottenGeneration[]): readonly ForgottenGeneration[] {
  return asked.filter(({ partition, generation }) => {
    const own = state.generation(partition, generation);
    return own?.decision.kind === 'commit' && own.superseded !== null && own.forgotten === null;
  });
}

/**
 * May a part file be deleted? Only when its generation is decided and no reader may want the file: the generation was given
 * up, or forgotten, or it was committed with the files of another attempt.
 */
export function isGarbage(state: TableState, file: { path: string; partition: string; generation: number }): boolean {
  const own = state.generation(file.partition, file.generation);
  if (own === undefined) return false;
  if (own.decision.kind === 'abort' || own.forgotten !== null) return true;
  return !own.files.some(({ path }) => path === file.path);
}

function nameOf(partition: string, generation: number): string {
  return `${generation}/${partition}`;
}

function tableFile(add: AddFile): TableFile {
  const { numRecords } = JSON.parse(add.stats) as { readonly numRecords: number };
  return {
    path: add.path,
    partition: add.partitionValues['partition'] ?? '',
    generation: Number(add.tags['generation']),
    bytes: add.size,
    rows: numRecords,
    sha256: add.tags['sha256'] ?? '',
  };
}
