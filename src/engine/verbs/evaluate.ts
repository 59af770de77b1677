/**
 * Scores labelled rows with one or several models. The scoring is the one of production, chunk by chunk; what is new here
 * is the join with the labels and the compact arrays that evaluation reads.
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Signature, scoreColumns } from '../../domain/signature.ts';
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import type { ChunkReceipt, EvaluateJob, Evaluation, LabelledPartition, ModelToScore } from '../job.ts';
import { predictionWidth } from '../predictions.ts';
import { scoreChunk } from '../score.ts';
import { identifier, literal, pathLiteral } from '../sql.ts';
import { Vectors } from '../vectors.ts';
import type { VerbContext } from '../verbs.ts';
import { createLabelView } from './materialise.ts';

export async function run(job: EvaluateJob, context: VerbContext): Promise<Evaluation> {
  const arrays = await EvaluationArrays.create(job);
  const totals = { rows: 0, rowsUnlabelled: 0, rowsQuarantined: 0 };
  let scorers: ChunkReceipt['scorers'] = [];
  try {
    for (const [index, partition] of job.partitions.entries()) {
      const folder = join(context.scratch, `evaluate-${index}`);
      await mkdir(folder, { recursive: true });
      const receipt = await scorePartition(job, partition, folder, context);
      const labelled = await appendPartition({ job, partition, index, receipt, arrays, context });
      totals.rows += labelled;
      totals.rowsUnlabelled += receipt.rowsScored - labelled;
      totals.rowsQuarantined += receipt.rowsQuarantined;
      scorers = receipt.scorers;
      await rm(folder, { recursive: true, force: true });
      context.progress({
        done: index + 1,
        total: job.partitions.length,
        unit: 'partitions',
        resume: partition.partition,
      });
    }
  } finally {
    await arrays.close();
  }
  return { ...totals, ...arrays.document(), scorers };
}

function scorePartition(
  job: EvaluateJob,
  partition: LabelledPartition,
  outputFolder: string,
  context: VerbContext,
): Promise<ChunkReceipt> {
  const models = job.models.map(
    (model, index): ModelToScore => ({
      ...model,
      scorer: 'auto',
      part: index === 0 ? { kind: 'champion' } : { kind: 'shadow' },
    }),
  );
  return scoreChunk(
    {
      inputs: partition.inputs,
      rows: partition.rows,
      tables: partition.tables,
      transform: job.transform,
      contract: job.contract,
      outputColumns: [...new Set([...job.contract.keys, ...job.sliceColumns])],
      models,
      scoredAt: '1970-01-01T00:00:00Z',
      baseline: null,
      sliceColumns: [],
      outputFolder,
      batchRows: job.batchRows,
      device: 'off',
    },
    // Progress counts partitions here, not the rows of one of them.
    { ...context, progress: () => {} },
  );
}

interface AppendOptions {
  readonly job: EvaluateJob;
  readonly partition: LabelledPartition;
  readonly index: number;
  readonly receipt: ChunkReceipt;
  readonly arrays: EvaluationArrays;
  readonly context: VerbContext;
}

/** Joins the predictions of a partition with its labels and appends the labelled rows; gives their number. */
async function appendPartition({ job, partition, index, receipt, arrays, context }: AppendOptions): Promise<number> {
  const predicted = [receipt.predictions!, ...receipt.shadows];
  const { labels } = partition;
  const session = await DuckDbSession.open({
    files: [...predicted.map(file => file.path), ...labels.files.map(file => file.path)],
    folders: [],
    limits: context,
  });
  try {
    const keys = labels.keys.map(identifier).join(', ');
    const column = identifier(labels.column);
    await createLabelView(session, 'almanac_labels', labels, partition.partition);
    const scores = predicted.flatMap((_file, model) =>
      scoreColumns(job.models[model]!.signature).map(name => `CAST(s${model}.${identifier(name)} AS DOUBLE)`),
    );
    const from = predicted
      .map((file, model) => `read_parquet(${pathLiteral(file.path)}) s${model}`)
      .join(' POSITIONAL JOIN ');
    const slices = job.sliceColumns.map(name => `CAST(s0.${identifier(name)} AS VARCHAR)`);
    const names = [...scores.map((_sql, i) => `almanac_v${i}`), ...slices.map((_sql, i) => `almanac_s${i}`)];
    const joinKeys = labels.keys.map(key => `s0.${identifier(key)}`);
    const rows = `SELECT ${[...joinKeys, ...[...scores, ...slices].map((sql, i) => `${sql} AS ${names[i]}`)].join(', ')} FROM ${from}`;
    const label = labelSql(job.models[0]!.signature, labels.positive, `l.${column}`);
    const weight = labels.weight ?? null;
    const weights = weight === null ? [] : [`CAST(l.${identifier(weight)} AS DOUBLE)`];
    const sql = `SELECT ${[label, ...names, ...weights].join(', ')} FROM (${rows}) JOIN almanac_labels l USING (${keys})`;
    const result = await session.connection.run(sql);
    for (let chunk = 0; chunk < result.chunkCount; chunk++) {
      const vectors = new Vectors(result.getChunk(chunk), 1 + names.length + weights.length);
      await arrays.append(vectors, index);
    }
    return result.rowCount;
  } finally {
    session.close();
  }
}

/** Texts are compared as written or as numbers, so that a positive `1` also finds 1.0. */
function labelSql(signature: Signature, positive: string | null, label: string): string {
  const text = `CAST(${label} AS VARCHAR)`;
  const equals = (value: string) =>
    `(${text} = ${literal(value)} OR coalesce(TRY_CAST(${text} AS DOUBLE) = TRY_CAST(${literal(value)} AS DOUBLE), false))`;
  switch (signature.task) {
    case 'binary':
      return `CASE WHEN ${equals(positive ?? signature.classes[1] ?? '1')} THEN 1.0::DOUBLE ELSE 0.0::DOUBLE END`;
    case 'multiclass':
      return `CASE ${signature.classes.map((name, i) => `WHEN ${equals(name)} THEN ${i}.0::DOUBLE`).join(' ')} ELSE -1.0::DOUBLE END`;
    case 'regression':
      return `CAST(${label} AS DOUBLE)`;
  }
}

/** All partitions come from one definition. */
function isWeighted({ partitions }: EvaluateJob): boolean {
  return (partitions[0]?.labels.weight ?? null) !== null;
}

/** Appends typed arrays to files, so that memory does not grow with the rows. */
class EvaluationArrays {
  readonly #job: EvaluateJob;
  readonly #files: ReadonlyMap<string, Awaited<ReturnType<typeof open>>>;
  readonly #slices: readonly Map<string, number>[];

  private constructor(job: EvaluateJob, files: ReadonlyMap<string, Awaited<ReturnType<typeof open>>>) {
    this.#job = job;
    this.#files = files;
    this.#slices = job.sliceColumns.map(() => new Map());
  }

  static async create(job: EvaluateJob): Promise<EvaluationArrays> {
    const names = [
      'labels.f64',
      'partitions.i32',
      ...(isWeighted(job) ? ['weights.f64'] : []),
      ...job.models.map(model => `scores-v${model.version}.f64`),
      ...job.sliceColumns.map((_name, index) => `slice-${index}.i32`),
    ];
    const files = new Map<string, Awaited<ReturnType<typeof open>>>();
    for (const name of names) files.set(name, await open(join(job.outputFolder, name), 'w'));
    return new EvaluationArrays(job, files);
  }

  async append(vectors: Vectors, partition: number): Promise<void> {
    await this.#write('labels.f64', Float64Array.from(vectors.numbers(0)));
    await this.#write('partitions.i32', new Int32Array(vectors.rows).fill(partition));
    let column = 1;
    for (const model of this.#job.models) {
      const width = predictionWidth(model.signature);
      const scores = new Float64Array(vectors.rows * width);
      for (let value = 0; value < width; value++, column++) {
        const items = vectors.numbers(column);
        for (let row = 0; row < vectors.rows; row++) scores[row * width + value] = items[row]!;
      }
      await this.#write(`scores-v${model.version}.f64`, scores);
    }
    for (const [index, codes] of this.#slices.entries()) {
      const items = new Int32Array(vectors.rows);
      for (let row = 0; row < vectors.rows; row++) {
        const value = vectors.text(column, row);
        if (value !== null && !codes.has(value)) codes.set(value, codes.size);
        items[row] = value === null ? -1 : codes.get(value)!;
      }
      await this.#write(`slice-${index}.i32`, items);
      column += 1;
    }
    if (isWeighted(this.#job)) await this.#write('weights.f64', Float64Array.from(vectors.numbers(column)));
  }

  document(): Pick<Evaluation, 'labels' | 'weights' | 'partitions' | 'scores' | 'slices'> {
    const path = (name: string) => join(this.#job.outputFolder, name);
    return {
      labels: path('labels.f64'),
      weights: isWeighted(this.#job) ? path('weights.f64') : null,
      partitions: path('partitions.i32'),
      scores: this.#job.models.map(({ version, signature }) => ({
        version,
        width: predictionWidth(signature),
        path: path(`scores-v${version}.f64`),
      })),
      slices: this.#job.sliceColumns.map((column, index) => ({
        column,
        values: [...this.#slices[index]!.keys()],
        path: path(`slice-${index}.i32`),
      })),
    };
  }

  async close(): Promise<void> {
    for (const file of this.#files.values()) await file.close();
  }

  async #write(name: string, array: Float64Array | Int32Array): Promise<void> {
    const file = this.#files.get(name);
    if (file === undefined) throw new EngineFault('failed', `evaluation has no array ${name}`);
    await file.appendFile(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }
}
