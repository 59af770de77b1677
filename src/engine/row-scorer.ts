/**
 * What happens to the rows of one vector, however they were read: rules, champion or the arm of each row, shadows, profile.
 * It is filled in two steps: `load` collects the arguments that rules, models and profile want to see; then `score` is
 * called with the vectors of those arguments, in the order of the rows.
 */
import type { DuckDBType } from '@duckdb/node-api';
import { ArgumentList } from './arguments.ts';
import { armSql, outputColumns, writeRows } from './arms.ts';
import type { BatchQueue } from './batched/queue.ts';
import { ChunkProfile } from './chunk-profile.ts';
import { EngineFault } from './fault.ts';
import type { ModelToScore, ScoreChunkJob } from './job.ts';
import { KeptRows } from './kept-rows.ts';
import type { ScorerFolders } from './loaded-model.ts';
import type { OutputColumns } from './output-columns.ts';
import { PickedRows, positionsOf } from './picked-rows.ts';
import type { Numbers } from './predictions.ts';
import { RowRules } from './row-rules.ts';
import { loadScorer, type Scorer } from './scorer.ts';
import type { Source } from './source.ts';
import type { NumberArray, RowVectors, Vectors } from './vectors.ts';

export interface Shadow {
  readonly scorer: Scorer;
  readonly kept: KeptRows;
}

export class RowScorer {
  readonly rules: RowRules;
  readonly profile: ChunkProfile | null;
  /** What `score` writes per row; null when there are no models. */
  readonly output: OutputColumns | null;
  readonly shadows: readonly Shadow[];
  readonly #args: ArgumentList;
  readonly #served: readonly Scorer[];
  readonly #batchRows: number;
  /** Which arm serves a row; -1 with one model. */
  readonly #armArgument: number;
  /** One number per row of the vector for the profile: the score, the target, or the largest class probability. */
  readonly #scores: Float32Array;

  private constructor(parts: {
    readonly args: ArgumentList;
    readonly rules: RowRules;
    readonly profile: ChunkProfile | null;
    readonly output: OutputColumns | null;
    readonly served: readonly Scorer[];
    readonly shadows: readonly Shadow[];
    readonly armArgument: number;
    readonly batchRows: number;
    readonly vectorRows: number;
  }) {
    this.#args = parts.args;
    this.rules = parts.rules;
    this.profile = parts.profile;
    this.output = parts.output;
    this.#served = parts.served;
    this.shadows = parts.shadows;
    this.#armArgument = parts.armArgument;
    this.#batchRows = parts.batchRows;
    this.#scores = new Float32Array(parts.vectorRows);
  }

  /** `vectorRows`: the most rows that `score` will be given at once. */
  static async load(
    job: ScoreChunkJob,
    source: Source,
    { vectorRows, scratch, kernels }: { readonly vectorRows: number } & ScorerFolders,
  ): Promise<RowScorer> {
    const args = new ArgumentList(source.columns);
    const rules = new RowRules(job.contract, args, vocabularies(job.models));
    const order = [...job.models].sort(
      (a, b) => Number(b.part.kind === 'champion') - Number(a.part.kind === 'champion'),
    );
    const batchRows = Math.min(job.batchRows, vectorRows);
    const served: Scorer[] = [];
    const shadows: Shadow[] = [];
    for (const { version, onnx, signature, scorer: wanted, recorded, part } of order) {
      const { contract, device, provider = 'cuda' } = job;
      const scorer = await loadScorer({
        ...{ version, onnx, signature, scorer: wanted, recorded, contract, args, device, provider, scratch, kernels },
        rowsMax: batchRows,
        batchRows: job.batchRows,
      });
      if (part.kind === 'shadow') shadows.push({ scorer, kept: new KeptRows(scorer) });
      else served.push(scorer);
    }
    const tabled = order.filter(model => model.part.kind !== 'shadow');
    const output = job.models.length > 0 ? outputColumns(tabled, job.outputForm) : null;
    const armArgument = tabled.length > 1 ? args.double(armSql(tabled, job.contract.keys)) : -1;
    const profile = await ChunkProfile.create(job, source.columns, args);
    // A function without arguments would be called once, not once per vector.
    if (args.types.length === 0) args.condition('TRUE');
    return new RowScorer({ args, rules, profile, output, served, shadows, armArgument, batchRows, vectorRows });
  }

  get scorers(): readonly Scorer[] {
    return [...this.#served, ...this.shadows.map(shadow => shadow.scorer)];
  }

  /** Of the models that answer in their own time: rows are offered to them before `score` is called. */
  get queues(): readonly BatchQueue[] {
    return this.scorers.flatMap(({ queue }) => (queue === undefined ? [] : [queue]));
  }

  /** The vectors that `score` wants, as SQL over the source's columns, and their types. */
  get argumentSql(): string {
    return this.#args.sql;
  }

  get argumentTypes(): readonly DuckDBType[] {
    return this.#args.types;
  }

  /** Fills `items` with `output.width` numbers per row (zeros without models); gives the rows to be quarantined. */
  score(vectors: Vectors, items: Numbers): Int32Array {
    const quarantined = this.rules.judge(vectors);
    if (this.output === null) items.fill(0);
    else {
      for (let from = 0; from < vectors.rows; from += this.#batchRows) {
        const to = Math.min(from + this.#batchRows, vectors.rows);
        this.#serve(this.output, { vectors, from, to, quarantined, items });
        for (const { scorer, kept } of this.shadows) {
          const values = scorer.score(vectors, from, to);
          assertNumbers(values, scorer, { vectors, from, quarantined }, this.#args);
          kept.keep(values, from, to, quarantined);
        }
      }
    }
    this.profile?.add(vectors, this.output === null ? null : this.#scores.subarray(0, vectors.rows));
    return quarantined;
  }

  #serve(output: OutputColumns, batch: Batch): void {
    if (output.hasArm) {
      const arms = batch.vectors.numbers(this.#armArgument);
      for (const [arm, scorer] of this.#served.entries()) this.#serveArm(output, batch, { arm, scorer, arms });
      return;
    }
    const { vectors, from, to, items } = batch;
    const champion = this.#served[0]!;
    const values = champion.score(vectors, from, to);
    assertNumbers(values, champion, batch, this.#args);
    if (this.profile !== null) summarize(values, output.values, this.#scores.subarray(from, to));
    if (output.width === output.values) items.set(values, from * output.width);
    else writeRows(values, champion, output, { arm: 0, items, rowOf: n => from + n });
  }

  /** An arm scores its own rows and no others. */
  #serveArm(
    output: OutputColumns,
    { vectors, from, to, items, quarantined }: Batch,
    { arm, scorer, arms }: { readonly arm: number; readonly scorer: Scorer; readonly arms: NumberArray },
  ): void {
    const picked = Int32Array.from({ length: to - from }, (_, n) => from + n).filter(row => arms[row] === arm);
    // A model that answers in its own time was offered all rows, and gives all of its answers.
    const all = scorer.queue === undefined ? null : scorer.score(vectors, from, to);
    if (picked.length === 0) return;
    const rows = new PickedRows(vectors, picked);
    const values = all === null ? scorer.score(rows, 0, rows.rows) : pickRows(all, scorer.width, picked, from);
    const dropped = positionsOf(quarantined, picked);
    assertNumbers(values, scorer, { vectors: rows, from: 0, quarantined: dropped }, this.#args);
    writeRows(values, scorer, output, { arm, items, rowOf: n => picked[n]! });
    if (this.profile === null) return;
    const scores = new Float32Array(picked.length);
    summarize(values, output.values, scores);
    for (let n = 0; n < picked.length; n++) this.#scores[picked[n]!] = scores[n]!;
  }
}

interface Rows {
  readonly vectors: RowVectors;
  readonly from: number;
  readonly quarantined: Int32Array;
}

interface Batch extends Rows {
  readonly to: number;
  readonly items: Numbers;
}

/** The values of the picked rows, of which the first could be row `from`. */
function pickRows(values: Numbers, width: number, picked: Int32Array, from: number): Numbers {
  const found = values.slice(0, picked.length * width);
  for (let n = 0; n < picked.length; n++) {
    const source = (picked[n]! - from) * width;
    for (let column = 0; column < width; column++) found[n * width + column] = values[source + column]!;
  }
  return found;
}

function summarize(values: Numbers, width: number, into: Float32Array): void {
  if (width === 1) {
    into.set(values);
    return;
  }
  for (let row = 0; row < into.length; row++) {
    let largest = values[row * width]!;
    for (let column = 1; column < width; column++) largest = Math.max(largest, values[row * width + column]!);
    into[row] = largest;
  }
}

/** A NaN is no prediction. The message names the row's missing features, the usual reason. */
function assertNumbers(values: Numbers, scorer: Scorer, rows: Rows, args: ArgumentList): void {
  const { vectors, from, quarantined } = rows;
  let sum = 0;
  const length = values.length;
  for (let index = 0; index < length; index++) sum += values[index]! * 0;
  if (sum === 0) return;
  for (let index = 0; index < length; index++) {
    const row = from + Math.floor(index / scorer.width);
    if (!Number.isNaN(values[index]!) || quarantined.includes(row)) continue;
    const missing = scorer.signature.inputs
      .flatMap(input => input.columns)
      .filter(column => column.kind === 'number' && isMissing(vectors, args.number(column.column).values, row))
      .map(column => column.column);
    throw new EngineFault(
      'bad_model',
      `model version ${scorer.version} returned NaN` +
        (missing.length === 0
          ? '; none of its features is missing in that row, so the model itself is at fault'
          : ` where ${missing.slice(0, 5).join(', ')} is missing; declare nulls: { as: default } or { as: quarantine } for it`),
      { version: scorer.version, missing },
    );
  }
}

function isMissing(vectors: RowVectors, argument: number, row: number): boolean {
  return vectors.nullRows(argument).includes(row) || Number.isNaN(vectors.numbers(argument)[row]);
}

/** Categories known to the champion, for columns whose contract declares no values. */
function vocabularies(models: readonly ModelToScore[]): ReadonlyMap<string, readonly string[]> {
  const champion = models.find(model => model.part.kind === 'champion');
  const found = new Map<string, readonly string[]>();
  for (const column of champion?.signature.inputs.flatMap(input => input.columns) ?? []) {
    if (column.kind === 'code') found.set(column.column, column.vocabulary);
  }
  return found;
}
