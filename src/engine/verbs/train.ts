/** Trains a built-in trainer on Parquet files and leaves a model bundle: graph, signature, metrics, importance, golden rows. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { predictionColumns } from '../../domain/signature.ts';
import { trainerNamed } from '../../trainers/index.ts';
import type { FeatureImportance, TrainingMetrics, TrainJob, TrainOutput } from '../../trainers/job.ts';
import { trainingMetrics } from '../../trainers/metrics.ts';
import { ParameterError } from '../../trainers/parameters.ts';
import { permutationImportance } from '../../trainers/permutation.ts';
import { encodeFeatures, type Table, type TrainedModel, TrainingDataError } from '../../trainers/trainer.ts';
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import { writeWhole } from '../files.ts';
import { identifier, literal, readerCall } from '../sql.ts';
import { labelled, openRowReader } from '../training-rows.ts';
import type { VerbContext } from '../verbs.ts';

const GOLDEN_ROWS = 256;
/** Metrics on the training rows are there to see overfitting; a part of the rows shows it. */
const TRAIN_METRIC_ROWS = 50_000;

export async function run(job: TrainJob, context: VerbContext): Promise<TrainOutput> {
  const started = performance.now();
  const trainer = askTrainer(() => {
    const found = trainerNamed(job.trainer);
    found.check(job.parameters);
    return found;
  });
  const session = await DuckDbSession.open({
    files: [...job.trainFiles, ...job.holdoutFiles],
    folders: [job.outputFolder],
    scratch: context.scratch,
    memoryMb: Math.round(context.memoryMb / 2),
  });
  try {
    const reader = await openRowReader(session, job);
    const train = await reader.read(job.trainFiles);
    const task = { task: job.task, classes: reader.classes, seed: job.seed, threads: job.threads ?? 1 };
    const model = await trainer
      .train(train, task, job.parameters, ({ round, rounds }) =>
        context.progress({ done: round, total: rounds, unit: 'rounds', resume: null }),
      )
      .catch(asFault);

    const onnx = await writeModel(job, model);
    const holdout = await reader.read(job.holdoutFiles);
    const columns = encodeFeatures(holdout.features, model.signature);
    const metrics: TrainingMetrics = {
      schema: 'training-metrics/1',
      trainer: job.trainer,
      rowsTrained: train.rows,
      rowsHeldOut: holdout.rows,
      train: metricsOnPart(train, model),
      holdout: trainingMetrics(job.task, model.predict(columns), holdout.labels),
      rounds: model.rounds.map(({ round, loss, validationLoss }) => ({ round, loss, validationLoss })),
      notes: model.notes,
      seconds: (performance.now() - started) / 1000,
    };
    const shuffled = holdout.rows > 0 ? permutationImportance(model, columns, holdout.labels, job.seed) : null;
    const importance = job.features.map(
      ({ name }, index): FeatureImportance => ({
        feature: name,
        kind: model.importance.kind,
        share: model.importance.values[index] ?? 0,
        permutation: shuffled?.[index] ?? null,
      }),
    );
    await writeJson(join(job.outputFolder, 'signature.json'), model.signature);
    await writeJson(join(job.outputFolder, 'metrics.json'), metrics);
    await writeJson(join(job.outputFolder, 'importance.json'), importance);
    const golden =
      holdout.rows > 0
        ? await writeGolden(session, { job, files: job.holdoutFiles, table: holdout, model })
        : await writeGolden(session, { job, files: job.trainFiles, table: train, model });
    return { onnx, signature: model.signature, metrics, importance, golden };
  } finally {
    session.close();
  }
}

async function writeModel(job: TrainJob, model: TrainedModel): Promise<string> {
  const bytes = model.toOnnx({
    'almanac.trainer': job.trainer,
    'almanac.parameters': JSON.stringify(job.parameters),
    'almanac.seed': String(job.seed),
    'almanac.features': JSON.stringify(job.features.map(column => column.name)),
  });
  const { path } = await writeWhole(join(job.outputFolder, 'model.onnx'), async temporary => {
    await writeFile(temporary, bytes);
    return 0;
  });
  return path;
}

function metricsOnPart(table: Table, model: TrainedModel): Record<string, number | null> {
  const rows = Math.min(table.rows, TRAIN_METRIC_ROWS);
  const columns = encodeFeatures(table.features, model.signature).map(column => column.subarray(0, rows));
  return trainingMetrics(model.signature.task, model.predict(columns), table.labels.subarray(0, rows));
}

/** The first rows as they are in the files, with the trainer's own predictions: whoever serves the model must reproduce them. */
async function writeGolden(
  session: DuckDbSession,
  given: {
    readonly job: TrainJob;
    readonly files: readonly string[];
    readonly table: Table;
    readonly model: TrainedModel;
  },
): Promise<TrainOutput['golden']> {
  const { job, files, table, model } = given;
  const { signature } = model;
  const rows = Math.min(table.rows, GOLDEN_ROWS);
  const columns = encodeFeatures(table.features, signature).map(column => column.subarray(0, rows));
  const predictions = model.predict(columns);
  const width = predictions.length / rows;
  const names = predictionColumns(signature).slice(0, width).map(identifier);
  const values = Array.from({ length: rows }, (_, row) => {
    const numbers = predictions.subarray(row * width, (row + 1) * width);
    return `(${Array.from(numbers, value => `'${value}'::FLOAT`).join(', ')})`;
  });
  const features = job.features.map(column => identifier(column.name)).join(', ');
  const raw = `SELECT ${features} FROM ${readerCall('parquet', files)} WHERE ${labelled(job)} LIMIT ${rows}`;
  const predicted = `SELECT * FROM (VALUES ${values.join(', ')}) predictions(${names.join(', ')})`;
  const file = await writeWhole(join(job.outputFolder, 'golden.parquet'), temporary =>
    session.run(
      `COPY (SELECT * FROM (${raw}) POSITIONAL JOIN (${predicted})) TO ${literal(temporary)} (FORMAT parquet)`,
    ),
  );
  return { path: file.path, rows: file.rows };
}

async function writeJson(path: string, document: unknown): Promise<void> {
  await writeWhole(path, async temporary => {
    await writeFile(temporary, `${JSON.stringify(document, null, 2)}\n`);
    return 0;
  });
}

function askTrainer<T>(ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    return asFault(error);
  }
}

/** Faults of the data and of the definition are permanent: the same rows and parameters fail again. */
function asFault(error: unknown): never {
  if (error instanceof TrainingDataError) throw new EngineFault('bad_input', error.message, {}, { cause: error });
  if (error instanceof ParameterError || error instanceof RangeError) {
    throw new EngineFault('bad_job', error.message, {}, { cause: error });
  }
  throw error;
}
