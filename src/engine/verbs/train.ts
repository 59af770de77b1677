/** Trains a built-in trainer on a training set and leaves a bundle: graph, signature, metrics, importance, golden rows. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { scoreColumns } from '../../domain/signature.ts';
import { effectiveRows } from '../../stats/weighted.ts';
import { trainerNamed } from '../../trainers/index.ts';
import { trainingMetrics } from '../../trainers/metrics.ts';
import { ParameterError } from '../../trainers/parameters.ts';
import { permutationImportance } from '../../trainers/permutation.ts';
import {
  encodeFeatures,
  relativeWeights,
  type Table,
  type TrainedModel,
  TrainingDataError,
} from '../../trainers/trainer.ts';
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import { writeWhole } from '../files.ts';
import type { GoldenRows, TrainedFiles, TrainJob } from '../job.ts';
import { identifier, literal, readerCall } from '../sql.ts';
import { labelled, openRowReader } from '../training-rows.ts';
import type { VerbContext } from '../verbs.ts';

const GOLDEN_ROWS = 256;
/** Metrics on the training rows are there to see overfitting; a part of the rows shows it. */
const TRAIN_METRIC_ROWS = 50_000;

export async function run(job: TrainJob, context: VerbContext): Promise<TrainedFiles> {
  const started = performance.now();
  const trainer = trainerOf(job);
  const session = await DuckDbSession.open({
    files: [job.file, ...(job.holdout === undefined ? [] : [job.holdout])],
    folders: [job.outputFolder],
    limits: context,
  });
  try {
    const reader = await openRowReader(session, job);
    const table = await reader.read(job.file);
    const task = { task: job.task, classes: reader.classes, seed: job.seed, threads: job.threads };
    const model = await trainer
      .train(table, task, job.parameters, ({ round, rounds }) =>
        context.progress({ done: round, total: rounds, unit: 'rounds', resume: null }),
      )
      .catch(asFault);
    const onnx = await writeModel(job, model);
    const holdout = job.holdout === undefined ? null : await reader.read(job.holdout);
    const metrics = metricsOf(model, table, holdout);
    const worth = table.weights ? effectiveRows(table.weights) : null;
    const notes = worth === null ? model.notes : [...model.notes, weightNote(job, table.rows, worth)];
    const shares = reader.features.map(({ name }, index) => [name, model.importance.values[index] ?? 0] as const);

    await writeJson(join(job.outputFolder, 'signature.json'), model.signature);
    await writeJson(join(job.outputFolder, 'metrics.json'), {
      trainer: job.trainer,
      rows: { train: table.rows, holdout: holdout?.rows ?? 0 },
      metrics,
      rounds: model.rounds,
      notes,
      seconds: (performance.now() - started) / 1000,
    });
    await writeJson(join(job.outputFolder, 'importance.json'), {
      kind: model.importance.kind,
      shares: Object.fromEntries(shares),
      /** Rise of the mean loss on held-out rows when the column is shuffled. */
      permutation: holdout === null || holdout.rows === 0 ? null : permutationOf(model, holdout, job.seed),
    });
    const golden = await writeGolden(session, job, {
      model,
      file: job.holdout ?? job.file,
      table: holdout ?? table,
    });
    return {
      onnx,
      signature: model.signature,
      golden,
      importance: Object.fromEntries(shares),
      metrics,
      notes,
      rows: table.rows,
      effectiveRows: worth,
    };
  } finally {
    session.close();
  }
}

function trainerOf(job: TrainJob) {
  try {
    const trainer = trainerNamed(job.trainer);
    trainer.check(job.parameters);
    return trainer;
  } catch (error) {
    return asFault(error);
  }
}

function weightNote({ label }: TrainJob, rows: number, worth: number): string {
  return `each row counts by its ${label.weight}: ${rows} rows are worth ${Math.round(worth)} of equal weight`;
}

async function writeModel(job: TrainJob, model: TrainedModel): Promise<string> {
  const bytes = model.toOnnx({
    ...job.metadata,
    'almanac.trainer': job.trainer,
    'almanac.parameters': JSON.stringify(job.parameters),
    'almanac.seed': String(job.seed),
    'almanac.features': JSON.stringify(model.signature.inputs[0]?.columns.map(({ column }) => column)),
  });
  const { path } = await writeWhole(join(job.outputFolder, 'model.onnx'), async temporary => {
    await writeFile(temporary, bytes);
    return 0;
  });
  return path;
}

/** Held-out metrics under their own names, those of the training rows as `train_<name>`. */
function metricsOf(model: TrainedModel, table: Table, holdout: Table | null): Record<string, number | null> {
  const seen = metricsOn(model, table, TRAIN_METRIC_ROWS);
  const unseen = holdout === null ? {} : metricsOn(model, holdout, holdout.rows);
  return { ...unseen, ...Object.fromEntries(Object.entries(seen).map(([name, value]) => [`train_${name}`, value])) };
}

function metricsOn(model: TrainedModel, table: Table, rowsMax: number): Record<string, number | null> {
  const columns = firstRows(model, table, rowsMax);
  const weights = relativeWeights(table)?.subarray(0, rowsMax) ?? null;
  return trainingMetrics(model.signature.task, model.predict(columns), table.labels.subarray(0, rowsMax), weights);
}

function firstRows(model: TrainedModel, table: Table, rows: number): Float32Array[] {
  return encodeFeatures(table.features, model.signature).map(column => column.subarray(0, rows));
}

function permutationOf(model: TrainedModel, holdout: Table, seed: number): Record<string, number> {
  const columns = encodeFeatures(holdout.features, model.signature);
  const rows = { columns, labels: holdout.labels, weights: relativeWeights(holdout) };
  const rises = permutationImportance(model, rows, seed);
  return Object.fromEntries(holdout.features.map(({ name }, index) => [name, rises[index] ?? 0]));
}

/**
 * The first rows with the trainer's own predictions, which whoever serves the model has to reproduce: encoded in the
 * result, and as they are in the table in golden.parquet.
 */
async function writeGolden(
  session: DuckDbSession,
  job: TrainJob,
  { model, file, table }: { readonly model: TrainedModel; readonly file: string; readonly table: Table },
): Promise<GoldenRows> {
  const rows = Math.min(table.rows, GOLDEN_ROWS);
  const columns = firstRows(model, table, rows);
  const predictions = model.predict(columns);
  if (rows > 0) {
    const width = predictions.length / rows;
    const names = scoreColumns(model.signature).map(identifier);
    const values = Array.from({ length: rows }, (_, row) => {
      const numbers = predictions.subarray(row * width, (row + 1) * width);
      return `(${Array.from(numbers, value => `'${value}'::FLOAT`).join(', ')})`;
    });
    const features = table.features.map(({ name }) => identifier(name)).join(', ');
    const raw = `SELECT ${features} FROM ${readerCall('parquet', [file])} WHERE ${labelled(job)} LIMIT ${rows}`;
    const predicted = `SELECT * FROM (VALUES ${values.join(', ')}) predictions(${names.join(', ')})`;
    await writeWhole(join(job.outputFolder, 'golden.parquet'), temporary =>
      session.run(
        `COPY (SELECT * FROM (${raw}) POSITIONAL JOIN (${predicted})) TO ${literal(temporary)} (FORMAT parquet)`,
      ),
    );
  }
  return {
    inputs: columns.map(column => Array.from(column, value => (Number.isNaN(value) ? null : value))),
    outputs: Array.from(predictions),
  };
}

async function writeJson(path: string, document: unknown): Promise<void> {
  await writeWhole(path, async temporary => {
    await writeFile(temporary, `${JSON.stringify(document, null, 2)}\n`);
    return 0;
  });
}

/** Faults of the data and of the definition are permanent: the same rows and parameters fail again. */
function asFault(error: unknown): never {
  if (error instanceof TrainingDataError) throw new EngineFault('bad_input', error.message, {}, { cause: error });
  if (error instanceof ParameterError || error instanceof RangeError) {
    throw new EngineFault('bad_job', error.message, {}, { cause: error });
  }
  throw error;
}
