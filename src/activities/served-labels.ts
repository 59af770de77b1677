/** Served rows and the labels that belong to them: what a version answered in a partition, and when its labels came. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CohortArrivals } from '../checks/label-arrival.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { Job } from '../domain/job.ts';
import { endOfPartition } from '../domain/time.ts';
import type { LabelSource, QueryJob, QueryResult } from '../engine/job.ts';
import { weightCountsSql, weightProblem } from '../engine/label-weights.ts';
import { identifier, literal } from '../engine/sql.ts';
import type { TableFile } from '../inputs/input-tables.ts';
import { PermanentFault } from './fault.ts';
import { pinOf } from './inputs.ts';
import type { Work } from './long.ts';
import { inScratch, predictionsOf, type Services } from './services.ts';
import { labelSource } from './snapshot.ts';

const queryMs = 30 * 60_000;
const rowsMaxOfPartition = 1_000_000;
/** Partitions are joined with their labels by one engine job, up to this many rows: small ones cost little more than one. */
const rowsAtOnce = 500_000;
/** Scores are compared on this grid: 10,000 different values keep the answer small and move an AUC by less than 1e-4. */
const scoreDigits = 4;

export async function labelFiles(
  { inputs }: Services,
  { data }: ModelDefinition,
  partition: string,
): Promise<readonly TableFile[]> {
  return data.labels === null ? [] : await inputs.files(data.labels, [partition]);
}

export interface ServedScores {
  readonly labels: Float64Array;
  readonly scores: Float64Array;
  /** Inverse sampling probabilities of the labels, where the definition names a column of them. */
  readonly weights: Float64Array | null;
  /** Of the rows that have no label. */
  readonly unlabelled: Float64Array;
}

/** What the version served in each of these partitions, with the labels that were known by then where somebody says when. */
export async function servedScores(
  services: Services,
  {
    definition,
    version,
    jobs,
    knownBy,
  }: {
    readonly definition: ModelDefinition;
    readonly version: number;
    readonly jobs: readonly Job[];
    /** Later labels count as not there; null takes all. */
    readonly knownBy: string | null;
  },
  work: Work,
): Promise<readonly ServedScores[]> {
  const { weight = null, knownAt = null } = definition.data.labels ?? {};
  const groups = await joinedWithLabels(services, { definition, jobs }, work, ({ column, positive }, from) => {
    const label = knownLabel(`l.${identifier(column)}`, knownAt, knownBy);
    const weightOf =
      weight === null
        ? 'NULL'
        : `CASE WHEN ${label} IS NULL THEN NULL ELSE CAST(l.${identifier(weight)} AS DOUBLE) END`;
    const items = `${answerAndScore(definition, label, positive)}, ${weightOf} AS w`;
    return `SELECT y, s, w, count(*) AS n FROM (SELECT ${items} ${from} WHERE p.model_version = ${version}) GROUP BY y, s, w`;
  });
  return groups.map(rows => expand(rows, weight !== null));
}

/** Labels without a time of arrival count as known. */
function knownLabel(label: string, knownAt: string | null, knownBy: string | null): string {
  if (knownAt === null || knownBy === null) return label;
  const time = `epoch(CAST(l.${identifier(knownAt)} AS TIMESTAMP))`;
  return `CASE WHEN coalesce(${time} <= ${Date.parse(knownBy) / 1000}, true) THEN ${label} END`;
}

/** When the labels of these partitions arrived, as far as they are known at `observedDays` after each. */
export async function arrivalsOf(
  services: Services,
  {
    definition,
    observed,
  }: {
    readonly definition: ModelDefinition;
    readonly observed: readonly { readonly job: Job; readonly observedDays: number }[];
  },
  work: Work,
): Promise<readonly CohortArrivals[]> {
  const known = identifier(definition.data.labels?.knownAt ?? '');
  const jobs: Job[] = [];
  for (const { job } of observed)
    if ((await labelFiles(services, definition, job.partition)).length > 0) jobs.push(job);
  const groups = await joinedWithLabels(services, { definition, jobs }, work, ({ column }, from, { partition }) => {
    const end = endOfPartition(partition);
    if (end === null) throw new Error(`${partition} is no date: its labels have no age`);
    const days = `ceil((epoch(CAST(l.${known} AS TIMESTAMP)) - ${Date.parse(end) / 1000}) / 86400)`;
    return (
      `SELECT l.${identifier(column)} IS NOT NULL AS has_label, CAST(greatest(0, ${days}) AS INTEGER) AS age, count(*) AS n ` +
      `${from} GROUP BY ALL ORDER BY age`
    );
  });
  return observed.map(({ job, observedDays }) => {
    const { partition } = job;
    const found = groups[jobs.indexOf(job)];
    if (found === undefined) return { partition, rows: job.ended?.rows ?? 0, observedDays, arrived: [], undated: 0 };
    const labelled = found.filter(([hasLabel]) => hasLabel === true);
    return {
      partition,
      rows: found.reduce((sum, [, , count]) => sum + Number(count), 0),
      observedDays,
      arrived: labelled.flatMap(([, age, count]) =>
        age !== null && Number(age) <= observedDays ? [[Number(age), Number(count)] as const] : [],
      ),
      undated: labelled.reduce((sum, [, age, count]) => sum + (age === null ? Number(count) : 0), 0),
    };
  });
}

/** Answers a query over the rows of `predictions p LEFT JOIN labels l` of each job's partition; their rows in the jobs' order. */
async function joinedWithLabels(
  services: Services,
  { definition, jobs }: { readonly definition: ModelDefinition; readonly jobs: readonly Job[] },
  work: Work,
  query: (labels: LabelSource, from: string, job: Job) => string,
): Promise<readonly QueryResult['rows'][]> {
  const using = definition.contract.keys.map(key => `p.${identifier(key)} = l.${identifier(key)}`).join(' AND ');
  const from = `FROM predictions p LEFT JOIN labels l ON ${using}`;
  const limits = { deadlineMs: queryMs, signal: work.signal };
  const answers: QueryResult['rows'][] = [];
  for (const batch of batchesOf(jobs)) {
    const results = await inScratch(services, async folder => {
      const queries: QueryJob[] = [];
      for (const job of batch) {
        const { partition } = job;
        const at = { folder: join(folder, String(queries.length)), signal: work.signal };
        await mkdir(at.folder);
        const files = await labelFiles(services, definition, partition);
        const source = await labelSource(services, definition, files.map(pinOf), at);
        await assertWeights(services, { partition, source, files }, work);
        const predictions = await fetchPredictions(services, definition, partition, at.folder, work);
        const tables = { predictions, labels: source.files };
        queries.push({ sql: query(source, from, job), tables, rowsMax: rowsMaxOfPartition });
      }
      return await services.engine.run('queries', { queries }, limits);
    });
    answers.push(...results.map(({ rows }) => rows));
    work.report({ done: answers.length, total: jobs.length, unit: 'partitions' });
  }
  return answers;
}

/** Jobs whose rows are asked for together. */
function batchesOf(jobs: readonly Job[]): readonly (readonly Job[])[] {
  const batches: Job[][] = [];
  let rows = Number.POSITIVE_INFINITY;
  for (const job of jobs) {
    const own = job.ended?.rows ?? 0;
    if (rows + own > rowsAtOnce) {
      batches.push([]);
      rows = 0;
    }
    batches.at(-1)?.push(job);
    rows += own;
  }
  return batches;
}

/** A weight that is none would silently take its row out of every sum; the file and the column are named instead. */
async function assertWeights(
  services: Services,
  {
    partition,
    source,
    files,
  }: { readonly partition: string; readonly source: LabelSource; readonly files: readonly TableFile[] },
  work: Work,
): Promise<void> {
  const weight = source.weight ?? null;
  if (weight === null) return;
  const names = source.files.map((_, index) => `labels_${index}`);
  const { columns, rows } = await services.engine.run(
    'query',
    {
      sql: names.map(name => weightCountsSql(name, source.column, weight)).join(' UNION ALL '),
      tables: Object.fromEntries(names.map((name, index) => [name, source.files.slice(index, index + 1)])),
    },
    { deadlineMs: queryMs, signal: work.signal },
  );
  for (const [index, values] of rows.entries()) {
    const problem = weightProblem(Object.fromEntries(columns.map(({ name }, column) => [name, values[column]])));
    if (problem === null) continue;
    const path = files[index]?.path ?? '';
    throw new PermanentFault(
      'BadWeight',
      `labels of partition ${partition}: column ${weight} of ${path}: ${problem}; a weight is the inverse of the probability that the row was labelled`,
      { partition, path, column: weight },
    );
  }
}

/** SQL of `y`, NULL without a label, and of `s`, the score it is compared with. */
function answerAndScore({ task }: ModelDefinition, label: string, positive: string | null): string {
  // Several classes: whether the label was hit is what the answer is compared with.
  if (task === 'multiclass') {
    return `CASE WHEN ${label} IS NULL THEN NULL ELSE 1 END AS y, CAST(p.prediction = CAST(${label} AS VARCHAR) AS INTEGER) AS s`;
  }
  const answer =
    positive === null
      ? `CAST(${label} AS DOUBLE)`
      : `CAST(CAST(${label} AS VARCHAR) = ${literal(positive)} AS INTEGER)`;
  return `${answer} AS y, ${task === 'binary' ? `round(p.score, ${scoreDigits})` : 'p.prediction'} AS s`;
}

/** Groups of equal rows back to rows. */
function expand(groups: readonly (readonly unknown[])[], isWeighted: boolean): ServedScores {
  const rowsOf = (some: readonly (readonly unknown[])[], column: number) => {
    const values = new Float64Array(some.reduce((sum, group) => sum + Number(group[3]), 0));
    let at = 0;
    for (const group of some) {
      values.fill(Number(group[column]), at, at + Number(group[3]));
      at += Number(group[3]);
    }
    return values;
  };
  const labelled = groups.filter(([label]) => label !== null);
  const rest = groups.filter(([label]) => label === null);
  return {
    labels: rowsOf(labelled, 0),
    scores: rowsOf(labelled, 1),
    weights: isWeighted ? rowsOf(labelled, 2) : null,
    unlabelled: rowsOf(rest, 1),
  };
}

/** Local copies of the partition's present part files. */
export async function fetchPredictions(
  services: Services,
  definition: ModelDefinition,
  partition: string,
  folder: string,
  work: Work,
) {
  const table = predictionsOf(services, definition);
  const files = (await table.state()).current(partition)?.files ?? [];
  const paths: string[] = [];
  for (const [index, file] of files.entries()) {
    const path = `${folder}/part-${index}.parquet`;
    const answer = await services.ports.store.download(`${table.root}/${file.path}`, path, { signal: work.signal });
    if (answer.kind !== 'found') throw new Error(`${table.root}/${file.path}: ${answer.kind}`);
    if (answer.value.sha256 !== file.sha256) {
      throw new PermanentFault(
        'CorruptFile',
        `${table.root}/${file.path}: sha256 is ${answer.value.sha256}, the table says ${file.sha256}`,
      );
    }
    paths.push(path);
  }
  return paths;
}
