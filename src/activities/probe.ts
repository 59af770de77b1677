/**
 * The probe in production: what a training right before the cohort would have given, made for one comparison and thrown away.
 * Its peer is not the champion but a twin of it, made in the same way of the rows that the champion learned from: program,
 * size and sample are the same on both sides, so it is the newer rows alone that make the difference.
 */
import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { judgeProbe } from '../checks/index.ts';
import { checkResult } from '../checks/result.ts';
import { featureColumns } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { ModelVersion } from '../domain/model-version.ts';
import { batchRows } from '../domain/scoring.ts';
import { dateOf } from '../domain/time.ts';
import { readEvaluation } from '../engine/evaluation.ts';
import { EngineFault } from '../engine/fault.ts';
import type { LabelledPartition } from '../engine/job.ts';
import { comparisonTrainer } from '../trainers/index.ts';
import { pinFiles, pinTables } from './inputs.ts';
import type { Work } from './long.ts';
import { inScratch, type Services } from './services.ts';
import { labelledPartition, splitPartitions } from './snapshot.ts';

const probeMs = 2 * 60 * 60_000;
/** Enough to tell newer rows from older ones; above it a share of the keys is drawn by their hash, on both sides. */
const probeRowsMax = 500_000;

export interface ProbedCohort {
  readonly model: string;
  /** Version that served. */
  readonly version: number;
  /** Partitions of the cohort, in order, with labels. */
  readonly partitions: readonly string[];
}

/**
 * How the rows the version learned from stand against newer ones on the cohort's rows; nothing when no trigger asks. Both are
 * seen by the contract and transform of the version. What cannot be learned from is a check that erred.
 */
export async function judgeByProbe(
  services: Services,
  definition: ModelDefinition,
  cohort: ProbedCohort,
  work: Work,
): Promise<readonly CheckResult[]> {
  const trigger = definition.retrain.when.find(({ kind }) => kind === 'behind_probe');
  if (trigger?.kind !== 'behind_probe' || definition.task !== 'binary') return [];
  const version = await services.catalog.version(cohort.model, cohort.version);
  const own = await services.catalog.definition(version.definition);
  const twin = await learnedPartitions(services, own, version);
  const probe = await newerPartitions(services, own, cohort.partitions);
  const name = `v${cohort.version}`;
  if (probe.length === 0 || twin.length === 0) {
    const reason = `no labelled partitions ${probe.length === 0 ? `before ${cohort.partitions[0]}` : `of ${name}`} are left for a probe to learn from`;
    return [checkResult('behind_probe', { status: 'insufficient', reason })];
  }
  if (probe.join() === twin.join()) {
    const reason = `a training before ${cohort.partitions[0]} would have learned from what ${name} did: ${rangeOf(twin)}`;
    return [checkResult('behind_probe', { status: 'not_applicable', reason })];
  }
  try {
    const rows = await inScratch(services, folder =>
      scoreBoth(services, { definition: own, probe, twin, cohort, folder }, work),
    );
    const { metric, minRows } = definition.monitor.quality;
    return judgeProbe({
      metric,
      ...rows,
      margin: trigger.margin,
      minRows,
      champion: `a model of what ${name} learned from (${rangeOf(twin)})`,
      probe: `one of ${rangeOf(probe)}`,
      threshold: 0.5,
      seed: own.train.seed,
    });
  } catch (error) {
    if (!(error instanceof EngineFault) || (error.kind !== 'bad_input' && error.kind !== 'bad_job')) throw error;
    return [checkResult('behind_probe', { status: 'error', reason: `the probe could not be made: ${error.message}` })];
  }
}

/** What a training on the day the cohort begins would have learned from. */
async function newerPartitions(
  services: Services,
  definition: ModelDefinition,
  [first]: readonly string[],
): Promise<readonly string[]> {
  if (first === undefined) return [];
  const earlier = (await answeredPartitions(services, definition)).filter(partition => partition < first);
  return splitPartitions(earlier, definition, { asOf: first }).train;
}

/** What the version learned from, as far as it is still there. */
async function learnedPartitions(
  services: Services,
  definition: ModelDefinition,
  version: ModelVersion,
): Promise<readonly string[]> {
  const { partitions, asOf } = await services.catalog.snapshot(version.snapshots['features'] ?? '');
  const present = new Set(await answeredPartitions(services, definition));
  return splitPartitions(partitions, definition, { asOf: dateOf(asOf) }).train.filter(partition =>
    present.has(partition),
  );
}

async function answeredPartitions({ inputs }: Services, { data }: ModelDefinition): Promise<readonly string[]> {
  if (data.labels === null) return [];
  const answered = new Set(await inputs.partitions(data.labels));
  return (await inputs.partitions(data.features)).filter(partition => answered.has(partition));
}

function rangeOf(partitions: readonly string[]): string {
  return `${partitions[0]} to ${partitions.at(-1)}`;
}

interface Comparison {
  readonly definition: ModelDefinition;
  /** Partitions that each learns from. */
  readonly probe: readonly string[];
  readonly twin: readonly string[];
  readonly cohort: ProbedCohort;
  readonly folder: string;
}

async function scoreBoth(services: Services, input: Comparison, work: Work) {
  const { definition, probe, twin, cohort, folder } = input;
  const { contract, data } = definition;
  const champion = await learn(services, { definition, partitions: twin, folder: join(folder, 'twin') }, work);
  const newer = await learn(services, { definition, partitions: probe, folder: join(folder, 'probe') }, work);
  const evaluation = await services.engine.run(
    'evaluate',
    {
      partitions: await presentPartitions(services, { definition, partitions: cohort.partitions, folder }, work),
      transform: data.transform,
      contract,
      models: [
        { version: 1, ...champion.model },
        { version: 2, ...newer.model },
      ],
      sliceColumns: [],
      outputFolder: await folderOf(folder, 'scores'),
      batchRows,
    },
    { deadlineMs: probeMs, signal: work.signal },
  );
  const { labels, weights, scores } = await readEvaluation(evaluation);
  const scoresOf = (number: number) => scores.find(one => one.version === number)?.values ?? new Float64Array();
  const learned = { champion: champion.rows, probe: newer.rows };
  return { labels, weights, championScores: scoresOf(1), probeScores: scoresOf(2), learned };
}

/** Trains with the parameters of the definition. */
async function learn(
  services: Services,
  input: { readonly definition: ModelDefinition; readonly partitions: readonly string[]; readonly folder: string },
  work: Work,
) {
  const { definition, partitions, folder } = input;
  const { contract, data, task, train } = definition;
  const limits = { deadlineMs: probeMs, signal: work.signal };
  const present = await presentPartitions(services, { definition, partitions, folder }, work);
  const set = await services.engine.run(
    'materialise',
    {
      partitions: sampled(present, train.seed),
      transform: data.transform,
      contract,
      outputFolder: await folderOf(folder, 'rows'),
    },
    limits,
  );
  const { name, parameters } = comparisonTrainer(train.trainer);
  const { onnx, signature } = await services.engine.run(
    'train',
    {
      file: set.file.path,
      task,
      label: {
        column: data.labels?.column ?? '',
        positive: data.labels?.positive ?? null,
        weight: data.labels?.weight ?? null,
      },
      features: featureColumns(contract),
      trainer: name,
      parameters,
      seed: train.seed,
      threads: availableParallelism(),
      metadata: {},
      outputFolder: await folderOf(folder, 'model'),
    },
    limits,
  );
  return { model: { onnx, signature }, rows: set.file.rows };
}

async function folderOf(parent: string, name: string): Promise<string> {
  const path = join(parent, name);
  await mkdir(path, { recursive: true });
  return path;
}

function sampled(partitions: readonly LabelledPartition[], seed: number): readonly LabelledPartition[] {
  const rows = partitions.reduce((sum, partition) => sum + partition.rows, 0);
  if (rows <= probeRowsMax) return partitions;
  const only = { side: 'holdout', share: probeRowsMax / rows, seed } as const;
  return partitions.map(partition => ({ ...partition, labels: { ...partition.labels, only } }));
}

/** Features and labels of these partitions as they are now. */
async function presentPartitions(
  services: Services,
  { definition, partitions, folder }: { definition: ModelDefinition; partitions: readonly string[]; folder: string },
  work: Work,
): Promise<readonly LabelledPartition[]> {
  const { features, labels } = definition.data;
  const files = await pinFiles(services, features, partitions, work);
  const answers = labels === null ? [] : await pinFiles(services, labels, partitions, work);
  const tables = await pinTables(services, definition, partitions, work);
  const at = { folder: join(folder, 'inputs'), signal: work.signal };
  return await Promise.all(
    partitions.map(partition =>
      labelledPartition(services, definition, partition, { files, answers, tables, only: null, at }),
    ),
  );
}
