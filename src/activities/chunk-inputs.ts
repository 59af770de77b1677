/**
 * The inputs of a batch's chunks on this machine. Of a bucket, the next chunk's are fetched while this one is scored, only
 * the column chunks that scoring reads, and they are removed after use.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelDefinition } from '../domain/definition.ts';
import type { ChunkRange } from '../domain/scoring.ts';
import type { SnapshotFile } from '../domain/snapshot.ts';
import type { InputRange } from '../engine/job.ts';
import type { InputTables } from '../inputs/input-tables.ts';
import { formatOf } from './inputs.ts';
import { isArtifact } from './quarantine.ts';
import type { ScoringPlan } from './scoring-plan.ts';

export class ChunkInputs {
  readonly #of: ChunkInputsOptions;
  readonly #pinned: ReadonlyMap<string, SnapshotFile>;
  readonly #wantsColumn: ((name: string) => boolean) | undefined;
  readonly #arriving = new Map<number, Promise<readonly InputRange[]>>();

  constructor(of: ChunkInputsOptions) {
    this.#of = of;
    this.#pinned = new Map(of.plan.inputs.map(file => [file.path, file]));
    this.#wantsColumn = columnsRead(of.definition);
  }

  /** The inputs of this chunk; those of the next set out meanwhile. */
  async take(index: number): Promise<readonly InputRange[]> {
    this.#setOut(index);
    const inputs = await this.#arriving.get(index);
    if (index + 1 < this.#of.to) this.#setOut(index + 1);
    return inputs ?? [];
  }

  async drop(index: number): Promise<void> {
    this.#arriving.delete(index);
    await rm(this.#folderOf(index), { recursive: true, force: true });
  }

  #setOut(index: number): void {
    if (this.#arriving.has(index)) return;
    const ranges = this.#of.plan.chunks[index]?.inputs ?? [];
    const arriving = Promise.all(ranges.map(range => this.#fetch(range, this.#folderOf(index))));
    // Whoever takes the chunk hears of a failure; until then nobody waits for it.
    arriving.catch(() => undefined);
    this.#arriving.set(index, arriving);
  }

  async #fetch(range: ChunkRange, folder: string): Promise<InputRange> {
    // Repaired files are written by the engine, whatever the format of the source.
    if (isArtifact(range.path)) {
      return { ...range, path: await this.#of.fetchRepair(range.path), format: 'parquet' };
    }
    const file = this.#pinned.get(range.path);
    if (file === undefined) throw new Error(`${range.path}: a chunk of the plan names it, its inputs do not`);
    const { tables, definition, signal } = this.#of;
    const format = formatOf(definition.data.features);
    const part = {
      ...(range.rowGroups === undefined ? {} : { rowGroups: range.rowGroups }),
      ...(this.#wantsColumn === undefined ? {} : { wantsColumn: this.#wantsColumn }),
    };
    const path = await tables.fetch(file, { folder, format, part, signal });
    return { ...range, path, format };
  }

  #folderOf(index: number): string {
    return join(this.#of.folder, String(index));
  }
}

/** What of a definition says which columns are read. */
export interface ReadByScoring {
  readonly data: Pick<ModelDefinition['data'], 'features' | 'transform'>;
  readonly contract: ModelDefinition['contract'];
  readonly evaluate: Pick<ModelDefinition['evaluate'], 'slices'>;
  readonly score: Pick<ModelDefinition['score'], 'passThrough'>;
}

export interface ChunkInputsOptions {
  readonly tables: Pick<InputTables, 'fetch'>;
  /** Brings a repaired file here. */
  readonly fetchRepair: (path: string) => Promise<string>;
  readonly plan: Pick<ScoringPlan, 'inputs' | 'chunks'>;
  readonly definition: ReadByScoring;
  /** The batch ends before this chunk. */
  readonly to: number;
  readonly folder: string;
  readonly signal: AbortSignal;
}

/**
 * Which columns of the files scoring reads; undefined means all. SQL can name columns in more ways than can be listed here
 * (`FROM features`, `COLUMNS(…)`, a row as a struct), so a transform reads everything, and a rule all that its text may mean.
 */
export function columnsRead({ data, contract, evaluate, score }: ReadByScoring) {
  const rules = contract.rules.map(({ sql }) => sql.toLowerCase()).join('\n');
  if (data.transform !== null || /\*|\bselect\b|\bfrom\b|\bcolumns\b|\bfeatures\b/.test(rules)) return undefined;
  const { keys, columns, eventTime, knownAt } = contract;
  const declared = [...keys, ...columns.map(({ name }) => name), ...evaluate.slices, ...score.passThrough];
  const wanted = new Set([...declared, eventTime, knownAt].flatMap(name => name?.toLowerCase() ?? []));
  return (name: string) => wanted.has(name.toLowerCase()) || rules.includes(name.toLowerCase());
}
