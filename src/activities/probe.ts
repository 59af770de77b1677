/** The probe in production: a small model of the newest labelled rows, trained for one comparison and thrown away. */
import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { judgeProbe } from '../checks/index.ts';
import { checkResult } from '../checks/result.ts';
import { featureColumns } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import { batchRows } from '../domain/scoring.ts';
import { addDays, isDate } from '../domain/time.ts';
import { readEvaluation } from '../engine/evaluation.ts';
import { EngineFault } from '../engine/fault.ts';
import type { LabelledPartition } from '../engine/job.ts';
import { probeParameters } from '../trainers/learner.ts';
import { pinFiles, pinTables } from './inputs.ts';
import type { Work } from './long.ts';
import { inScratch, modelFiles, type Services } from './services.ts';
import { labelledPartition } from './snapshot.ts';

const probeMs = 2 * 60 * 60_000;
/** A small model learns nothing more from more rows; above it a share of the keys is drawn by their hash. */
const probeRowsMax = 500_000;

export interface ProbedCohort {
  readonly model: string;
  /** Version that served. */
  readonly version: number;
  /** Partitions of the cohort, in order, with labels. */
  readonly partitions: readonly string[];
}

/**
 * How the version stands against a probe on the cohort's rows; nothing when no trigger asks. The probe is judged by the
 * contract and transform of the version, so both see the same rows. What cannot be learned from is a check that erred.
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
  const earlier = await earlierPartitions(services, own, cohort.partitions);
  if (earlier.length === 0) {
    const reason = `no labelled partitions before ${cohort.partitions[0]} for a probe to learn from`;
    return [checkResult('behind_probe', { status: 'insufficient', reason })];
  }
  try {
    const rows = await inScratch(services, folder =>
      scoreBoth(services, { definition: own, bundle: version.bundle, earlier, cohort, folder }, work),
    );
    const { metric, minRows } = definition.monitor.quality;
    return judgeProbe({
      metric,
      ...rows,
      margin: trigger.margin,
      minRows,
      probe: `a small model of ${earlier[0]} to ${earlier.at(-1)}`,
      threshold: 0.5,
      seed: own.train.seed,
    });
  } catch (error) {
    if (!(error instanceof EngineFault) || (error.kind !== 'bad_input' && error.kind !== 'bad_job')) throw error;
    return [checkResult('behind_probe', { status: 'error', reason: `the probe could not be made: ${error.message}` })];
  }
}

/** As many days as a training would take, up to the cohort: nothing of the cohort itself. */
async function earlierPartitions(
  { inputs }: Services,
  { data, train }: ModelDefinition,
  partitions: readonly string[],
): Promise<readonly string[]> {
  const first = partitions[0];
  if (first === undefined || data.labels === null) return [];
  const answered = new Set(await inputs.partitions(data.labels));
  const earlier = (await inputs.partitions(data.features)).filter(
    partition => partition < first && answered.has(partition),
  );
  return isDate(first)
    ? earlier.filter(partition => isDate(partition) && partition >= addDays(first, -train.windowDays))
    : earlier.slice(-train.windowDays);
}

async function scoreBoth(
  services: Services,
  input: {
    readonly definition: ModelDefinition;
    readonly bundle: string;
    readonly earlier: readonly string[];
    readonly cohort: ProbedCohort;
    readonly folder: string;
  },
  work: Work,
) {
  const { definition, bundle, earlier, cohort, folder } = input;
  const { contract, data, task, train } = definition;
  const limits = { deadlineMs: probeMs, signal: work.signal };
  const foldersOf = async (name: string) => {
    const path = join(folder, name);
    await mkdir(path, { recursive: true });
    return path;
  };
  const set = await services.engine.run(
    'materialise',
    {
      partitions: sampled(
        await presentPartitions(services, { definition, partitions: earlier, folder }, work),
        train.seed,
      ),
      transform: data.transform,
      contract,
      outputFolder: await foldersOf('rows'),
    },
    limits,
  );
  // A program of the user's is not started for a probe; trees stand in for it.
  const kind = train.trainer.kind === 'builtin' ? train.trainer : { name: 'gbdt', parameters: {} };
  const trained = await services.engine.run(
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
      trainer: kind.name,
      parameters: probeParameters(kind.name, kind.parameters),
      seed: train.seed,
      threads: availableParallelism(),
      metadata: {},
      outputFolder: await foldersOf('probe'),
    },
    limits,
  );
  const evaluation = await services.engine.run(
    'evaluate',
    {
      partitions: await presentPartitions(services, { definition, partitions: cohort.partitions, folder }, work),
      transform: data.transform,
      contract,
      models: [
        { version: cohort.version, ...(await modelFiles(services, bundle)) },
        // Versions count from 1; the probe has none.
        { version: 0, onnx: trained.onnx, signature: trained.signature },
      ],
      sliceColumns: [],
      outputFolder: await foldersOf('scores'),
      batchRows,
    },
    limits,
  );
  const { labels, weights, scores } = await readEvaluation(evaluation);
  const scoresOf = (number: number) => scores.find(one => one.version === number)?.values ?? new Float64Array();
  return { labels, weights, championScores: scoresOf(cohort.version), probeScores: scoresOf(0) };
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
