/** Training: learns in an engine child, scores the held-out days once for reference, and registers what came out. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, release } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { childEnvironment } from '../config/environment.ts';
import { featureColumns } from '../domain/contract.ts';
import type { ModelDefinition, TrainerChoice } from '../domain/definition.ts';
import type { ScorerRecord } from '../domain/model-version.ts';
import type { Profile } from '../domain/profile.ts';
import { mergeProfiles } from '../domain/profile-merge.ts';
import type { Run } from '../domain/run.ts';
import { batchRows } from '../domain/scoring.ts';
import type { Signature } from '../domain/signature.ts';
import { EngineFault, isPermanent } from '../engine/fault.ts';
import type { LabelColumns, LabelSource, ScorerUsed } from '../engine/job.ts';
import { TREE_COMPILER } from '../engine/kernel-file.ts';
import { identifier, rowShareSql } from '../engine/sql.ts';
import { canonicalJson } from '../storage/digest.ts';
import { trainByCommand } from '../trainers/command.ts';
import { PermanentFault } from './fault.ts';
import { beating, type Work } from './long.ts';
import { fetchedBaseline, inScratch, type Services } from './services.ts';
import { instantOf, labelledPartitions } from './snapshot.ts';
import type { FrozenSnapshot, TrainedVersion, TrainingActivities, TrainingData, TrainingPlan } from './types.ts';

const trainMs = 12 * 60 * 60_000;

type TrainInput = TrainingPlan & { readonly snapshot: FrozenSnapshot; readonly data: TrainingData };

export function createTraining(services: Services): Pick<TrainingActivities, 'trainVersion'> {
  return {
    trainVersion: input => beating(work => inScratch(services, folder => trainVersion(services, input, folder, work))),
  };
}

async function trainVersion(
  services: Services,
  input: TrainInput,
  folder: string,
  work: Work,
): Promise<TrainedVersion> {
  const { catalog, ports } = services;
  // An earlier attempt may have got as far as the registry: its run stands, and training again would only make a twin.
  const earlier = (await catalog.versions(input.model)).find(({ run }) => run === input.run);
  if (earlier !== undefined) {
    return { version: earlier.number, bundle: earlier.bundle, run: input.run, metrics: earlier.metrics };
  }
  const definition = await catalog.definition(input.definition);
  const startedAt = ports.clock.now().toISOString();
  const file = join(folder, 'training.parquet');
  await catalog.fetchArtifact(input.data.file, file);

  const output = join(folder, 'output');
  await mkdir(output, { recursive: true });
  const holdout = await materialiseHoldout(services, input, definition, folder, work);
  const about = await describeRun(services, input, definition);
  const options = { input, definition, file, holdout: holdout.path, output };
  const trained = await learn(services, options, work).catch(async (error: unknown) => {
    if (error instanceof EngineFault && isPermanent(error)) {
      const rows = { train: input.data.rows, holdout: holdout.rows };
      const log = await keptLog(services, join(output, 'train.log'));
      const endedAt = ports.clock.now().toISOString();
      const failed = { status: 'failed', startedAt, endedAt, rows, metrics: {}, log, failure: error.message } as const;
      await catalog.recordRun({ ...about, ...failed });
    }
    throw error;
  });
  const bundleFolder = await writeBundle(folder, definition, trained);
  const bundle = await catalog.putBundle(bundleFolder);
  const { profile, scorer } = await scoreHoldout(services, input, { definition, trained, folder }, work);

  const run: Run = {
    ...about,
    status: 'succeeded',
    startedAt,
    endedAt: ports.clock.now().toISOString(),
    rows: { train: trained.rows, holdout: holdout.rows },
    ...weightsOf(definition, trained),
    metrics: trained.metrics,
    log: trained.log === null ? null : await catalog.putArtifact(trained.log),
    failure: null,
  };
  await catalog.recordRun(run);
  const version = await catalog.registerVersion({
    model: input.model,
    bundle,
    run: input.run,
    definition: input.definition,
    profile,
    baseline: input.data.baseline,
    snapshots: about.snapshots,
    metrics: trained.metrics,
    ...(scorer === null ? {} : { scorer }),
  });
  return { version: version.number, bundle, run: input.run, metrics: version.metrics };
}

function weightsOf(definition: ModelDefinition, { effectiveRows }: Learned): Pick<Run, 'weights'> {
  const { weight } = labelOf(definition);
  return weight === null || effectiveRows === null ? {} : { weights: { column: weight, effectiveRows } };
}

/** What explains a run whichever way it ends. */
async function describeRun({ project }: Services, input: TrainInput, definition: ModelDefinition) {
  return {
    schema: 'run/1',
    id: input.run,
    model: input.model,
    asOf: input.asOf,
    trigger: input.trigger,
    code: await codeOf(project.folder),
    definition: input.definition,
    snapshots: { features: input.snapshot.features, labels: input.snapshot.labels ?? '' },
    trainer: trainerName(definition),
    parameters: definition.train.trainer.parameters,
    seed: definition.train.seed,
    environment: { node: process.version, platform: `${process.platform}-${process.arch}`, system: release() },
    artifacts: { training: input.data.file },
  } as const;
}

/** The log of a program that failed, if it got as far as writing one. */
async function keptLog({ catalog }: Services, path: string): Promise<string | null> {
  return existsSync(path) ? await catalog.putArtifact(path) : null;
}

/** What a trainer left, whichever kind it is. */
interface Learned {
  readonly onnx: string;
  readonly signature: Signature;
  readonly metrics: Readonly<Record<string, number | null>>;
  readonly importance: Readonly<Record<string, number>>;
  readonly golden: string | null;
  readonly log: string | null;
  readonly rows: number;
  /** What weighted rows are worth; null where all rows count alike. */
  readonly effectiveRows: number | null;
}

interface LearnOptions {
  readonly input: TrainInput;
  readonly definition: ModelDefinition;
  readonly file: string;
  /** Held-out rows in the form of the training set. */
  readonly holdout: string;
  readonly output: string;
}

async function learn(services: Services, options: LearnOptions, work: Work): Promise<Learned> {
  const { definition, file, holdout, output, input } = options;
  const { trainer, seed } = definition.train;
  if (trainer.kind === 'command') return await learnByCommand(services, options, trainer, work);
  const trained = await services.engine.run(
    'train',
    {
      file,
      holdout,
      task: definition.task,
      label: labelOf(definition),
      features: featureColumns(definition.contract),
      trainer: trainer.name,
      parameters: trainer.parameters,
      seed,
      threads: availableParallelism(),
      metadata: { model: definition.model, run: input.run },
      outputFolder: output,
    },
    {
      deadlineMs: trainMs,
      signal: work.signal,
      onProgress: ({ done, total, unit, perSecond }) => work.report({ done, total, unit, rate: perSecond }),
    },
  );
  const { onnx, signature, metrics, importance, rows, effectiveRows } = trained;
  const golden = join(output, 'golden.parquet');
  return { onnx, signature, metrics, importance, rows, effectiveRows, golden, log: null };
}

/** A program of the user's; its argv stands in the pinned definition, never in workflow input. */
async function learnByCommand(
  services: Services,
  { definition, file, holdout, output, input }: LearnOptions,
  trainer: Extract<TrainerChoice, { kind: 'command' }>,
  work: Work,
): Promise<Learned> {
  const { engine, project } = services;
  const features = featureColumns(definition.contract);
  const trained = await trainByCommand({
    argv: trainer.argv,
    spec: {
      schema: 'train-spec/1',
      model: definition.model,
      task: definition.task,
      seed: definition.train.seed,
      label: labelOf(definition),
      classes: await classesOf(services, definition, file, work),
      features: features.map(({ name, type, nulls, values }) => ({ name, type, nulls, values })),
      parameters: trainer.parameters,
      trainFiles: [file],
      holdoutFiles: [holdout],
      outputFolder: output,
    },
    workingFolder: project.folder,
    environment: childEnvironment(),
    deadlineMs: trainMs,
    signal: work.signal,
    onProgress: ({ done, total, unit }) => work.report({ done, total, unit }),
  });
  // The file comes from a foreign program: its first reader is a child.
  const prepared = await engine.run(
    'prepare-model',
    { onnx: trained.onnx, columns: features.map(({ name }) => name), outputFolder: output },
    { deadlineMs: trainMs, signal: work.signal },
  );
  const { onnx, signature } = prepared;
  const { metrics, golden, log } = trained;
  const effectiveRows = await effectiveRowsOf(services, definition, file, work);
  return { onnx, signature, metrics, importance: {}, golden, log, rows: input.data.rows, effectiveRows };
}

function labelOf(definition: ModelDefinition): Required<LabelColumns> {
  const { labels } = definition.data;
  if (labels === null) throw new PermanentFault('NoLabels', `${definition.model}: the definition has no labels`);
  const positive = definition.task === 'binary' ? labels.positive : null;
  return { column: labels.column, positive, weight: labels.weight ?? null };
}

async function classesOf(
  services: Services,
  definition: ModelDefinition,
  file: string,
  work: Work,
): Promise<readonly string[]> {
  if (definition.task === 'regression') return [];
  const { column, positive } = labelOf(definition);
  const name = identifier(column);
  const sql = `SELECT DISTINCT CAST(${name} AS VARCHAR) AS v FROM training WHERE ${name} IS NOT NULL ORDER BY 1`;
  const limits = { deadlineMs: trainMs, signal: work.signal };
  const found = await services.engine.run('query', { sql, tables: { training: [file] } }, limits);
  const values = found.rows.map(row => String(row[0]));
  return positive === null ? values : [...values.filter(value => value !== positive), positive];
}

/** (Σw)²/Σw² of the training rows; null where all rows count alike. */
async function effectiveRowsOf(
  { engine }: Services,
  definition: ModelDefinition,
  file: string,
  work: Work,
): Promise<number | null> {
  const { weight } = labelOf(definition);
  if (weight === null) return null;
  const name = identifier(weight);
  const sql = `SELECT sum(${name}) ** 2 / sum(${name} ** 2) FROM training`;
  const limits = { deadlineMs: trainMs, signal: work.signal };
  const { rows } = await engine.run('query', { sql, tables: { training: [file] } }, limits);
  return Number(rows[0]?.[0]);
}

/** The held-out days joined with their labels, like the training set. */
async function materialiseHoldout(
  services: Services,
  input: TrainInput,
  definition: ModelDefinition,
  folder: string,
  work: Work,
) {
  const outputFolder = join(folder, 'holdout');
  await mkdir(outputFolder, { recursive: true });
  const partitions = await labelledPartitions(services, { ...input, side: 'holdout', folder }, work);
  const { transform } = definition.data;
  const set = await services.engine.run(
    'materialise',
    { partitions, transform, contract: definition.contract, outputFolder },
    { deadlineMs: trainMs, signal: work.signal },
  );
  return set.file;
}

/** Everything scoring needs, under fixed names; equal trainings give equal bundles. */
async function writeBundle(folder: string, definition: ModelDefinition, trained: Learned): Promise<string> {
  const bundle = join(folder, 'bundle');
  await mkdir(bundle, { recursive: true });
  await writeFile(join(bundle, 'model.onnx'), await readFile(trained.onnx));
  await writeFile(join(bundle, 'signature.json'), canonicalJson(trained.signature));
  await writeFile(join(bundle, 'contract.json'), canonicalJson(definition.contract));
  if (trained.golden !== null) await copyFile(trained.golden, join(bundle, 'golden.parquet'));
  await writeFile(join(bundle, 'importance.json'), canonicalJson(trained.importance));
  if (definition.data.transform !== null) await writeFile(join(bundle, 'transform.sql'), definition.data.transform);
  return bundle;
}

/**
 * What later windows are compared with: columns as in the training set, predictions as on the held-out days. Predictions
 * for the rows a model has learned from are too sure of themselves. What scored them is what will score the version.
 */
async function scoreHoldout(
  services: Services,
  input: TrainInput,
  { definition, trained, folder }: { definition: ModelDefinition; trained: Learned; folder: string },
  work: Work,
): Promise<{ readonly profile: string; readonly scorer: ScorerRecord | null }> {
  const { catalog, engine } = services;
  const baseline = await fetchedBaseline(services, input.data.baseline);
  const partitions = await labelledPartitions(services, { ...input, side: 'holdout', folder }, work);
  const profiles: Profile[] = [];
  let used: ScorerUsed | undefined;
  for (const { partition, inputs, rows, tables, labels } of partitions) {
    const outputFolder = join(folder, `holdout-${partition}`);
    await mkdir(outputFolder, { recursive: true });
    const receipt = await engine.run(
      'score-chunk',
      {
        inputs,
        rows,
        tables,
        transform: heldOutRows(definition.data.transform, labels),
        contract: definition.contract,
        outputColumns: definition.contract.keys,
        models: [
          { version: 0, onnx: trained.onnx, signature: trained.signature, scorer: 'auto', part: { kind: 'champion' } },
        ],
        scoredAt: instantOf(input.asOf),
        baseline,
        sliceColumns: [],
        dataset: `${input.model}/holdout`,
        outputFolder,
        batchRows,
        device: 'off',
      },
      { deadlineMs: trainMs, signal: work.signal },
    );
    used = receipt.scorers[0];
    if (receipt.profile !== null) profiles.push(JSON.parse(await readFile(receipt.profile, 'utf8')) as Profile);
  }
  const training = await catalog.profile(input.data.profile);
  const score = profiles.length === 0 ? null : mergeProfiles(profiles).score;
  const profile = await catalog.putProfile({ ...training, score });
  if (used === undefined) return { profile, scorer: null };
  const { scorer, reason, compared = null } = used;
  return { profile, scorer: { scorer, reason, compared, compiler: TREE_COMPILER } };
}

/** The transform, and, when rows are held out instead of days, only those rows of it. */
function heldOutRows(transform: string | null, { only, keys }: LabelSource): string | null {
  if (only === null) return transform;
  return `SELECT * FROM (${transform ?? 'SELECT * FROM features'}) WHERE ${rowShareSql(only, keys)}`;
}

function trainerName({ train: { trainer } }: ModelDefinition): string {
  return trainer.kind === 'builtin' ? `builtin:${trainer.name}` : `command:${trainer.argv.join(' ')}`;
}

/** The commit of the project, if it is a git repository; without git it is simply not known. */
async function codeOf(folder: string): Promise<Run['code']> {
  const git = (argv: readonly string[]) => promisify(execFile)('git', ['-C', folder, ...argv], { timeout: 5_000 });
  try {
    const { stdout: commit } = await git(['rev-parse', 'HEAD']);
    const { stdout: changes } = await git(['status', '--porcelain', '--', '.']);
    return { commit: commit.trim(), dirty: changes.trim() !== '' };
  } catch {
    return { commit: null, dirty: false };
  }
}
