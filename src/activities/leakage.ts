/**
 * Facts from after the prediction, looked for before anything is trained: times of the training rows, features recomputed as
 * of the prediction, what the two sides of the split share, and features that know the label too well.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { checkLabelLeakage, checkLabelsKnown, checkSplit, checkTemporalLeakage } from '../checks/leakage.ts';
import { checkResult } from '../checks/result.ts';
import { featureColumns } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import { predictionTimeOf } from '../domain/prediction-time.ts';
import { addDays, isDate } from '../domain/time.ts';
import type { LabelledPartition, QueryJob } from '../engine/job.ts';
import { rowShareSql } from '../engine/sql.ts';
import { guarded } from './evidence.ts';
import { asOfSql, duplicatesSql, labelsKnownSql, type Queries, timesSql } from './leakage-sql.ts';
import { aggregationChecks, leadLagChecks, randomSplitChecks } from './leakage-suspicion.ts';
import type { Work } from './long.ts';
import { inScratch, type Services } from './services.ts';
import { instantOf, labelledPartitions } from './snapshot.ts';
import type { FrozenSnapshot, TrainingData, TrainingPlan } from './types.ts';

const queryMs = 60 * 60_000;
/** Partitions of the training window that are recomputed, spread over it, and the share of their rows that is compared. */
const recomputedPartitions = 5;
const recomputedShare = 0.01;
/** Fewer rows than this prove little: a small partition is compared whole. */
const recomputedRowsMin = 1_000;

type LeakageInput = TrainingPlan & { readonly snapshot: FrozenSnapshot; readonly data: TrainingData };

/** Every check of leakage that the data allows; what cannot be looked at is said, not skipped. */
export async function leakageChecks(services: Services, input: LeakageInput, work: Work): Promise<CheckResult[]> {
  const { catalog } = services;
  const definition = await catalog.definition(input.definition);
  return await inScratch(services, async folder => {
    const limits = { deadlineMs: queryMs, signal: work.signal, onProgress: work.report };
    const ask: Queries = {
      one: async (sql, tables) => await services.engine.run('query', { sql, tables }, limits),
      each: async queries => await services.engine.run('queries', { queries }, limits),
    };
    const side = { ...input, side: 'train' as const, folder };
    const partitions = await labelledPartitions(services, side, work);
    const training = join(folder, 'training.parquet');
    await catalog.fetchArtifact(input.data.file, training);
    const rows = { definition, training, ask };
    return [
      ...(await guarded('leakage_times', () => temporalChecks(definition, input, partitions, ask))),
      ...(await guarded('leakage_label_known_at', () => labelsKnownChecks(definition, input.asOf, partitions, ask))),
      ...(await guarded('leakage_aggregation', () => aggregationChecks(definition, partitions, ask))),
      ...(await guarded('leakage_random_split', () => randomSplitChecks(services, rows, work))),
      ...(await guarded('leakage_lead_lag', () => leadLagChecks(rows))),
      ...(await guarded('split', () =>
        splitChecks(services, definition, { ...input, training, folder }, { ask, work }),
      )),
      ...(await labelChecks(services, definition, input)),
    ];
  });
}

interface Tools {
  readonly ask: Queries;
  readonly work: Work;
}

async function temporalChecks(
  definition: ModelDefinition,
  input: LeakageInput,
  partitions: readonly LabelledPartition[],
  ask: Queries,
): Promise<CheckResult[]> {
  const { contract, data } = definition;
  if (!partitions.every(({ partition }) => isDate(partition))) {
    const reason = 'the partitions are no dates: prediction times are not known';
    return [checkResult('leakage_times', { status: 'not_applicable', reason })];
  }
  const late = { event: { rows: 0, leadHours: 0 }, known: { rows: 0, leadHours: 0 } };
  let rows = 0;
  const times = partitions.map(({ partition, inputs }) => ({
    sql: timesSql(contract, predictionTimeOf(definition, partition) ?? ''),
    tables: { features: inputs },
  }));
  for (const found of await ask.each(times)) {
    const [all, event, eventLead, known, knownLead] = found.rows[0] ?? [];
    rows += Number(all);
    late.event = worse(late.event, event, eventLead);
    late.known = worse(late.known, known, knownLead);
  }
  const horizonDays = data.labels?.horizonDays ?? 0;
  const immature = partitions.filter(({ partition }) => addDays(partition, horizonDays) >= input.asOf.slice(0, 10));
  return checkTemporalLeakage(contract, {
    rows,
    eventAfterPrediction: contract.eventTime === null ? null : late.event,
    knownAfterPrediction: contract.knownAt === null ? null : late.known,
    // A label belongs to the partition that it is for, and its horizon starts there.
    labelBeforePrediction: { rows: 0, immature: immature.reduce((sum, one) => sum + one.rows, 0) },
    asOfRecomputation: contract.knownAt === null ? null : await recompute(definition, spread(partitions), ask),
  });
}

/** Nothing to say where the definition does not tell when labels became known. */
async function labelsKnownChecks(
  { data }: ModelDefinition,
  asOf: string,
  partitions: readonly LabelledPartition[],
  ask: Queries,
): Promise<readonly CheckResult[]> {
  const knownAt = data.labels?.knownAt ?? null;
  if (data.labels === null || knownAt === null) return [];
  const sql = labelsKnownSql(data.labels.column, knownAt, instantOf(asOf));
  const found = await ask.each(partitions.map(({ labels }) => ({ sql, tables: { labels: labels.files } })));
  const total = (at: number) => found.reduce((sum, { rows }) => sum + Number(rows[0]?.[at] ?? 0), 0);
  const facts = { rows: total(0), late: total(1) };
  return [checkLabelsKnown({ ...facts, asOf })];
}

function worse(so: { rows: number; leadHours: number }, rows: unknown, leadHours: unknown) {
  return { rows: so.rows + Number(rows), leadHours: Math.max(so.leadHours, Number(leadHours ?? 0)) };
}

function spread(partitions: readonly LabelledPartition[]): readonly LabelledPartition[] {
  const step = Math.max(1, partitions.length / recomputedPartitions);
  return partitions.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
}

/** A sample of rows by the hash of their keys, once with everything and once with sources cut at prediction time. */
async function recompute(definition: ModelDefinition, partitions: readonly LabelledPartition[], ask: Queries) {
  const { contract, data } = definition;
  const columns = featureColumns(contract);
  const mismatches: Record<string, number> = Object.fromEntries(columns.map(({ name }) => [name, 0]));
  let rows = 0;
  for (const { partition, inputs, tables, rows: size } of partitions) {
    const share = Math.min(1, Math.max(recomputedShare, recomputedRowsMin / Math.max(1, size)));
    const sample =
      share === 1 || contract.keys.length === 0
        ? 'TRUE'
        : rowShareSql({ side: 'holdout', share, seed: definition.train.seed }, contract.keys);
    const sources = { features: inputs, ...tables };
    const cut = await cutSources(sources, contract.knownAt ?? '', ask);
    const sql = asOfSql({
      contract,
      transform: data.transform,
      sources: Object.keys(sources),
      cut,
      time: predictionTimeOf(definition, partition) ?? '',
      sample,
    });
    const renamed = Object.fromEntries(Object.entries(sources).map(([name, paths]) => [`source_${name}`, paths]));
    const [compared, ...bad] = (await ask.one(sql, renamed)).rows[0] ?? [];
    rows += Number(compared);
    columns.forEach(({ name }, index) => {
      mismatches[name] = (mismatches[name] ?? 0) + Number(bad[index]);
    });
  }
  return { rows, mismatches };
}

/** Those of the sources that say when a row became known. */
async function cutSources(sources: QueryJob['tables'], knownAt: string, ask: Queries): Promise<readonly string[]> {
  const cut: string[] = [];
  for (const [name, paths] of Object.entries(sources)) {
    const { columns } = await ask.one('SELECT * FROM source LIMIT 0', { source: paths });
    if (columns.some(column => column.name === knownAt)) cut.push(name);
  }
  return cut;
}

async function splitChecks(
  services: Services,
  definition: ModelDefinition,
  input: LeakageInput & { readonly training: string; readonly folder: string },
  { ask, work }: Tools,
): Promise<CheckResult[]> {
  const { engine } = services;
  const { contract, data, train } = definition;
  const { training, folder } = input;
  const outputFolder = join(folder, 'held-out');
  await mkdir(outputFolder, { recursive: true });
  const side = { ...input, side: 'holdout' as const, folder: outputFolder };
  const partitions = await labelledPartitions(services, side, work);
  const held = await engine.run(
    'materialise',
    { partitions, transform: data.transform, contract, outputFolder },
    { deadlineMs: queryMs, signal: work.signal },
  );
  const sql = duplicatesSql(contract, data.labels?.column ?? '');
  const found = await ask.one(sql, { training: [training], held_out: [held.file.path] });
  const count = (at: number) => Number(found.rows[0]?.[at] ?? 0);
  const [trainRows, testRows] = [count(0), count(1)];
  const { train: learned, holdout } = input.snapshot;
  const isDated = isDate(learned.to) && isDate(holdout.from);
  const checks = checkSplit({
    trainMaxPrediction: learned.to,
    testMinPrediction: holdout.from,
    horizonDays: data.labels?.horizonDays ?? 0,
    purgeDays: train.purgeDays ?? 0,
    testRows,
    overlappingRows: holdout.from <= learned.to ? testRows : 0,
    sharedKeys: count(2),
    sharedEntities: count(3),
    duplicatesInTrain: count(4),
    testRowsInTrain: count(5),
    conflictingLabels: count(6),
    heldOut: train.holdoutShare === null ? 'by time' : 'by hash',
    trainRows,
  });
  // Rows held out by the hash of their keys are of the same days on purpose, and partitions that are no dates have no gap.
  const hasDays = train.holdoutShare === null && isDated;
  return checks.filter(({ check }) => hasDays || (check !== 'split_gap' && check !== 'split_overlap'));
}

async function labelChecks(
  { catalog }: Services,
  { contract, task }: ModelDefinition,
  { data }: LeakageInput,
): Promise<CheckResult[]> {
  if (task !== 'binary') return [];
  return checkLabelLeakage(contract, await catalog.profile(data.profile), await catalog.baseline(data.baseline), null);
}
