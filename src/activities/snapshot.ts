/** Freezing a snapshot and building training data from it: which partitions, which files, whose labels are known by then. */
import { join } from 'node:path';
import type { ModelDefinition } from '../domain/definition.ts';
import type { SnapshotFile } from '../domain/snapshot.ts';
import { addDays, dateOf, isDate } from '../domain/time.ts';
import type { LabelledPartition, LabelSource } from '../engine/job.ts';
import { checkTrainer } from '../trainers/index.ts';
import { PermanentFault } from './fault.ts';
import { assertPinned, localInputs, pinFiles, pinTables, tablesOf, type UnreadFile, withoutDetails } from './inputs.ts';
import { beating, type Work } from './long.ts';
import { profileTrainingSet } from './profiles.ts';
import { inScratch, type Services } from './services.ts';
import type { DataActivities, FrozenSnapshot, TrainingPlan } from './types.ts';

const materialiseMs = 4 * 60 * 60_000;

type SnapshotVerbs = Pick<DataActivities, 'freezeSnapshot' | 'buildTrainingData'>;

export function createSnapshots(services: Services): SnapshotVerbs {
  const { catalog } = services;
  return {
    freezeSnapshot: plan => beating(work => freezeSnapshot(services, plan, work)),

    buildTrainingData: input =>
      beating(work =>
        inScratch(services, async folder => {
          const definition = await catalog.definition(input.definition);
          const partitions = await labelledPartitions(services, { ...input, side: 'train', folder }, work);
          const set = await services.engine.run(
            'materialise',
            {
              partitions,
              transform: definition.data.transform,
              contract: definition.contract,
              outputFolder: folder,
            },
            { deadlineMs: materialiseMs, signal: work.signal, onProgress: work.report },
          );
          if (set.file.rows === 0) {
            const { from, to } = input.snapshot.train;
            throw new PermanentFault(
              'EmptyTrainingSet',
              `${input.model}: no labelled rows from ${from} to ${to}; do the labels have the keys of the features?`,
            );
          }
          const counted = await profileTrainingSet(
            services,
            { definition, file: set.file.path, folder, asOf: instantOf(input.asOf) },
            work,
          );
          return { file: await catalog.putArtifact(set.file.path), rows: set.file.rows, ...counted };
        }),
      ),
  };
}

export function instantOf(asOf: string): string {
  return isDate(asOf) ? `${asOf}T00:00:00Z` : asOf;
}

async function freezeSnapshot(services: Services, plan: TrainingPlan, work: Work): Promise<FrozenSnapshot> {
  const { catalog } = services;
  const definition = await catalog.definition(plan.definition);
  // Said now, not after hours of reading data.
  checkTrainer(definition.train.trainer);
  const { labels } = definition.data;
  if (labels === null) {
    throw new PermanentFault(
      'NoLabels',
      `models/${plan.model}.yaml: data.labels is missing; training needs to know the answers`,
    );
  }
  const answered = new Set(await services.inputs.partitions(labels));
  const present = (await services.inputs.partitions(definition.data.features)).filter(partition =>
    answered.has(partition),
  );
  const excluded = await excludedWindows(services, plan.trigger);
  const split = splitPartitions(present, definition, { asOf: dateOf(plan.asOf), excluded });
  if (split.train.length === 0 || split.holdout.length === 0) {
    const known =
      present.length === 0 ? 'there are none' : `there are ${present.length}, ${present[0]} to ${present.at(-1)}`;
    throw new PermanentFault(
      'TooFewPartitions',
      `${plan.model}: as of ${plan.asOf} with labels known after ${labels.horizonDays} days and ${definition.train.purgeDays ?? 0} days between training and held-out days (train.purge), ${split.train.length} partitions are left to ` +
        `train on and ${split.holdout.length} to judge with, at least one of each is needed; ${known} at ${definition.data.features.path}`,
    );
  }
  const partitions = [...new Set([...split.train, ...split.holdout])];
  const features = await pinFiles(services, definition.data.features, partitions, work);
  const answers = await pinFiles(services, labels, partitions, work);
  const tables = await pinTables(services, definition, partitions, work);
  const common = { schema: 'snapshot/1', model: plan.model, asOf: plan.asOf, partitions } as const;
  const rows = features.reduce((sum, file) => sum + file.rows, 0);
  const rowsOfLabels = answers.reduce((sum, file) => sum + file.rows, 0);
  return {
    features: await catalog.putSnapshot({
      ...common,
      kind: 'features',
      files: features.map(withoutDetails),
      rows,
      ...(Object.keys(tables).length === 0 ? {} : { tables }),
    }),
    labels: await catalog.putSnapshot({
      ...common,
      kind: 'labels',
      files: answers.map(withoutDetails),
      rows: rowsOfLabels,
    }),
    train: rangeOf(split.train),
    holdout: rangeOf(split.holdout),
    rows,
  };
}

/**
 * The newest `holdoutDays` with known labels are kept to judge with; `purgeDays` before them the `windowDays` that are
 * learned from end, so that their labels are known when the held-out days begin, as they will be in production. A
 * partition's labels are known at the end of the day `horizonDays` after its own. Partitions that are not dates are split by
 * their order. With `holdoutShare` rows of every partition are held out, so both sides have all of them.
 */
export function splitPartitions(
  present: readonly string[],
  { data, train }: ModelDefinition,
  { asOf, excluded = [] }: { readonly asOf: string; readonly excluded?: readonly string[] },
): { readonly train: readonly string[]; readonly holdout: readonly string[] } {
  const { windowDays, holdoutDays, holdoutShare, purgeDays = 0 } = train;
  const horizonDays = data.labels?.horizonDays ?? 0;
  const usable = present.filter(partition => !excluded.includes(partition));
  const dated = usable.filter(isDate);
  if (dated.length < usable.length) {
    if (holdoutShare !== null) return { train: usable.slice(-windowDays), holdout: usable.slice(-windowDays) };
    const cut = Math.max(1, usable.length - holdoutDays);
    return { train: usable.slice(Math.max(0, cut - windowDays), cut), holdout: usable.slice(cut) };
  }
  const labelled = dated.filter(partition => partition < asOf && addDays(partition, horizonDays) < asOf);
  const last = labelled.at(-1);
  if (last === undefined) return { train: [], holdout: [] };
  if (holdoutShare !== null) {
    const window = labelled.filter(partition => partition > addDays(last, -windowDays));
    return { train: window, holdout: window };
  }
  const boundary = addDays(last, -holdoutDays);
  const end = addDays(boundary, 1 - Math.max(1, purgeDays));
  const first = addDays(end, -windowDays);
  return {
    train: labelled.filter(partition => partition > first && partition <= end),
    holdout: labelled.filter(partition => partition > boundary),
  };
}

/** Windows that the decision behind this training found not to be learned from: a data bug, a passing event. */
async function excludedWindows(services: Services, trigger: string): Promise<readonly string[]> {
  if (!trigger.startsWith('decision:')) return [];
  const digest = trigger.slice('decision:'.length);
  const decision = await services.catalog.documents.get<{ readonly excludedWindows: readonly string[] }>(
    'decision',
    digest,
  );
  return decision.excludedWindows;
}

/**
 * Features and labels of the snapshot's partitions on one side of the split, as they were pinned; those of a bucket are
 * brought into the folder.
 */
export async function labelledPartitions(
  services: Services,
  input: { definition: string; snapshot: FrozenSnapshot; side: 'train' | 'holdout'; folder: string },
  work: Work,
): Promise<readonly LabelledPartition[]> {
  const { catalog } = services;
  const definition = await catalog.definition(input.definition);
  const features = await catalog.snapshot(input.snapshot.features);
  const labels = await catalog.snapshot(input.snapshot.labels ?? '');
  const table = definition.data.labels;
  if (table === null) throw new PermanentFault('NoLabels', `${definition.model}: the definition has no labels`);
  const { from, to } = input.snapshot[input.side];
  const share = definition.train.holdoutShare;
  const only = share === null ? null : { side: input.side, share, seed: definition.train.seed };
  const inRange = ({ partition }: SnapshotFile) => partition >= from && partition <= to;
  const joined = Object.values(features.tables ?? {}).flat();
  const wanted = [...features.files, ...labels.files, ...joined].filter(file => file.partition === '' || inRange(file));
  await assertPinned(services, wanted, work);
  const at = { folder: join(input.folder, 'inputs'), signal: work.signal };
  const partitions: LabelledPartition[] = [];
  for (const partition of features.partitions.filter(one => one >= from && one <= to)) {
    const pinned = { files: features.files, answers: labels.files, tables: features.tables ?? {}, only, at };
    partitions.push(await labelledPartition(services, definition, partition, pinned));
  }
  return partitions;
}

/** The features, labels and joined tables of one partition, out of the pinned files of many. */
export async function labelledPartition(
  services: Services,
  definition: ModelDefinition,
  partition: string,
  pinned: {
    readonly files: readonly SnapshotFile[];
    readonly answers: readonly SnapshotFile[];
    readonly tables: Readonly<Record<string, readonly SnapshotFile[]>>;
    /** Rows of one side of the split alone; null for all. */
    readonly only: LabelSource['only'];
    readonly at: { readonly folder: string; readonly signal: AbortSignal };
  },
): Promise<LabelledPartition> {
  const { at, only } = pinned;
  const files = pinned.files.filter(file => file.partition === partition);
  const answers = pinned.answers.filter(file => file.partition === partition);
  return {
    partition,
    inputs: await localInputs(services, definition.data.features, files, at),
    rows: files.reduce((sum, file) => sum + file.rows, 0),
    tables: await tablesOf(services, pinned.tables, partition, at),
    labels: { ...(await labelSource(services, definition, answers, at)), only },
  };
}

export async function labelSource(
  services: Services,
  definition: ModelDefinition,
  files: readonly UnreadFile[],
  at: { readonly folder: string; readonly signal: AbortSignal },
): Promise<LabelSource> {
  const table = definition.data.labels;
  if (table === null) throw new PermanentFault('NoLabels', `${definition.model}: the definition has no labels`);
  return {
    files: await localInputs(services, table, files, at),
    keys: table.keys,
    column: table.column,
    positive: definition.task === 'binary' ? table.positive : null,
    only: null,
    weight: table.weight ?? null,
  };
}

function rangeOf(partitions: readonly string[]): FrozenSnapshot['train'] {
  return { from: partitions[0] ?? '', to: partitions.at(-1) ?? '', partitions: partitions.length };
}
