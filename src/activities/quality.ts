/**
 * Quality of what a model said: estimated while labels are out, measured once they are mature, measured again when they are
 * revised. A cohort is what one version served in one window; each look at it is evidence of its own.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { compareWithTruth } from '../checks/estimate.ts';
import { judgeQuality as judgeQualityOf, judgeRevision } from '../checks/quality.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult, Evidence } from '../domain/evidence.ts';
import type { Job } from '../domain/job.ts';
import { addDays, endOfPartition, isDate } from '../domain/time.ts';
import { identifier, literal } from '../engine/sql.ts';
import type { TableFile } from '../inputs/input-tables.ts';
import { estimateWindow } from './estimate.ts';
import { recordEvidence } from './evidence.ts';
import { PermanentFault } from './fault.ts';
import { pinOf } from './inputs.ts';
import type { Work } from './long.ts';
import { judgeByProbe } from './probe.ts';
import { newestJobs, partitionsOfWindow, planOf } from './scored-windows.ts';
import { inScratch, predictionsOf, type Services } from './services.ts';
import { instantOf, labelSource } from './snapshot.ts';
import type { EvidenceSummary } from './types.ts';

const queryMs = 30 * 60_000;
/** Scores are compared on this grid: 10,000 different values keep the answer small and move an AUC by less than 1e-4. */
const scoreDigits = 4;
/** Labels that change in windows further back than this change nothing any more. */
const revisedWindowsMax = 10;

interface Cohort {
  readonly model: string;
  readonly version: number;
  readonly definition: ModelDefinition;
  /** Jobs of its partitions, in order; at least one. */
  readonly members: readonly Job[];
  /** Of the label files as they are now. */
  readonly labels: string;
  readonly asOf: string;
}

/** The estimate of the partition's window, then the newest cohorts whose labels are all known by now, then revised ones. */
export async function judgeQuality(
  services: Services,
  { model, partition, definition: digest }: { model: string; partition: string; definition: string },
  work: Work,
): Promise<readonly EvidenceSummary[]> {
  const { catalog } = services;
  const definition = await catalog.definition(digest);
  const { labels } = definition.data;
  const asOf = endOfPartition(partition) ?? instantOf(partition);
  const jobs = newestJobs(await catalog.jobs(model));
  const known = [...jobs.keys()].filter(name =>
    labels !== null && isDate(name) && isDate(partition)
      ? addDays(name, labels.horizonDays) < asOf.slice(0, 10)
      : labels !== null && name <= partition,
  );
  const estimate = known.includes(partition)
    ? null
    : await estimateWindow(services, { definition, model, partition, jobs, asOf });
  const summaries = estimate === null ? [] : [estimate];
  const last = known.sort().at(-1);
  if (last === undefined) return summaries;

  const window = partitionsOfWindow(known, last, definition.monitor.windowDays);
  const cohorts = await cohortsOf(services, { definition, model, jobs, window, asOf });
  for (const cohort of cohorts) {
    const checks = await judgeCohort(services, cohort, work);
    const partitions = cohort.members.map(member => member.partition);
    const compared = await judgeByProbe(services, definition, { ...cohort, partitions }, work);
    const promised = await estimateOf(services, cohort);
    const truth = checks.find(({ check }) => check === 'quality');
    const kept = promised === null || truth === undefined ? [] : compareWithTruth(promised, truth);
    summaries.push(await recordCohort(services, cohort, [...checks, ...compared, ...kept]));
  }
  const earlier = known.filter(name => name < last);
  return [...summaries, ...(await judgeRevised(services, { definition, model, jobs, known: earlier, asOf }, work))];
}

/** What served in these partitions, by version; partitions without label files are left out. */
async function cohortsOf(
  services: Services,
  input: {
    readonly definition: ModelDefinition;
    readonly model: string;
    readonly jobs: ReadonlyMap<string, Job>;
    readonly window: readonly string[];
    readonly asOf: string;
  },
): Promise<readonly Cohort[]> {
  const { definition, model, jobs, window, asOf } = input;
  const byVersion = new Map<number, Job[]>();
  for (const name of window) {
    const job = jobs.get(name);
    if (job === undefined || (await labelFiles(services, definition, name)).length === 0) continue;
    // A canary and an A/B arm serve rows of their own; a shadow serves none.
    const served = (await planOf(services, job)).versions.filter(({ part }) => part.kind !== 'shadow');
    for (const { version } of served) byVersion.set(version, [...(byVersion.get(version) ?? []), job]);
  }
  const cohorts: Cohort[] = [];
  for (const [version, members] of byVersion) {
    const labels = await fingerprintOf(services, definition, members);
    cohorts.push({ model, version, definition, members, labels, asOf });
  }
  return cohorts;
}

async function judgeCohort(services: Services, cohort: Cohort, work: Work): Promise<CheckResult[]> {
  const { definition, members, asOf } = cohort;
  const { metric, min, minRows } = definition.monitor.quality;
  const rows: ServedScores[] = [];
  for (const { partition } of members) {
    rows.push(await joinLabels(services, cohort, partition, work));
    work.report({ done: rows.length, total: members.length, unit: 'partitions' });
  }
  const labels = joined(rows.map(part => part.labels));
  const unlabelledScores = joined(rows.map(part => part.unlabelled));
  return judgeQualityOf({
    metric: definition.task === 'multiclass' ? 'accuracy' : metric,
    min,
    minRows,
    cohort: {
      partition: members.at(-1)?.partition ?? '',
      scored: labels.length + unlabelledScores.length,
      labelled: labels.length,
    },
    asOf,
    horizonDays: definition.data.labels?.horizonDays ?? 0,
    finalShares: [],
    labels,
    scores: joined(rows.map(part => part.scores)),
    unlabelledScores: definition.task === 'multiclass' ? null : unlabelledScores,
    weights: null,
    clusters: null,
    threshold: definition.task === 'regression' ? null : 0.5,
    seed: definition.train.seed,
  });
}

async function recordCohort(
  services: Services,
  cohort: Cohort,
  checks: readonly CheckResult[],
): Promise<EvidenceSummary> {
  const { model, asOf, labels } = cohort;
  const subject = { ...subjectOf(cohort), labels };
  return await recordEvidence(services, { kind: 'quality', model, subject, baseline: null, asOf, checks });
}

function subjectOf({ members, version }: Pick<Cohort, 'members' | 'version'>) {
  const partition = members.at(-1)?.partition ?? '';
  return { partition, version: String(version), window: `${members[0]?.partition} ${partition}` };
}

/** The estimate that was recorded for exactly this cohort before its labels came. */
async function estimateOf({ catalog }: Services, cohort: Cohort): Promise<CheckResult | null> {
  const { partition, version, window } = subjectOf(cohort);
  const entries = (await catalog.evidenceList(cohort.model, { kind: 'quality' })).filter(
    ({ subject }) =>
      subject['partition'] === partition &&
      subject['version'] === version &&
      subject['window'] === window &&
      subject['labels'] === undefined,
  );
  const last = entries.at(-1);
  if (last === undefined) return null;
  const { checks } = await catalog.evidence(last.digest);
  return checks.find(({ check }) => check === 'estimated_quality') ?? null;
}

/** Cohorts whose labels changed since they were judged: a late revision is new evidence beside the old. */
async function judgeRevised(
  services: Services,
  input: {
    readonly definition: ModelDefinition;
    readonly model: string;
    readonly jobs: ReadonlyMap<string, Job>;
    readonly known: readonly string[];
    readonly asOf: string;
  },
  work: Work,
): Promise<readonly EvidenceSummary[]> {
  const { definition, model, jobs, known, asOf } = input;
  const summaries: EvidenceSummary[] = [];
  for (const before of await newestOfCohorts(services, model)) {
    const { partition = '', version, window = '' } = before.subject;
    const [first = ''] = window.split(' ');
    const names = known.filter(name => name >= first && name <= partition);
    if (!names.includes(partition)) continue;
    const cohorts = await cohortsOf(services, { definition, model, jobs, window: names, asOf });
    const cohort = cohorts.find(one => String(one.version) === version);
    if (cohort === undefined || cohort.labels === before.subject['labels']) continue;
    if (subjectOf(cohort).window !== window) continue;
    const checks = await judgeCohort(services, cohort, work);
    // The probe's comparison stands: it would be trained again for a few labels.
    const compared = before.checks.filter(({ check }) => check === 'behind_probe');
    summaries.push(await recordCohort(services, cohort, [...checks, ...compared, ...judgeRevision(before, checks)]));
  }
  return summaries;
}

/** The newest evidence of each of the newest cohorts with labels. */
async function newestOfCohorts({ catalog }: Services, model: string): Promise<readonly Evidence[]> {
  const newest = new Map<string, string>();
  for (const { digest, subject } of await catalog.evidenceList(model, { kind: 'quality' })) {
    if (subject['labels'] !== undefined) newest.set(`${subject['window']}/${subject['version']}`, digest);
  }
  return await Promise.all([...newest.values()].slice(-revisedWindowsMax).map(digest => catalog.evidence(digest)));
}

async function labelFiles(
  { inputs }: Services,
  { data }: ModelDefinition,
  partition: string,
): Promise<readonly TableFile[]> {
  return data.labels === null ? [] : await inputs.files(data.labels, [partition]);
}

/** Names, sizes and times of the label files: whether they changed is asked of every window at every look. */
async function fingerprintOf(
  services: Services,
  definition: ModelDefinition,
  members: readonly Job[],
): Promise<string> {
  const hash = createHash('sha256');
  for (const { partition } of members) {
    for (const { path, bytes, modified } of await labelFiles(services, definition, partition)) {
      hash.update(JSON.stringify([path, bytes, modified]));
    }
  }
  return hash.digest('hex').slice(0, 16);
}

function joined(parts: readonly Float64Array[]): Float64Array {
  const all = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

interface ServedScores {
  readonly labels: Float64Array;
  readonly scores: Float64Array;
  /** Of the rows that have no label. */
  readonly unlabelled: Float64Array;
}

/** What the version served in a partition, with labels where there are any. */
async function joinLabels(
  services: Services,
  { definition, version }: Cohort,
  partition: string,
  work: Work,
): Promise<ServedScores> {
  const files = await labelFiles(services, definition, partition);
  return await inScratch(services, async folder => {
    const at = { folder: join(folder, 'labels'), signal: work.signal };
    const source = await labelSource(services, definition, files.map(pinOf), at);
    const predictions = await fetchPredictions(services, definition, partition, folder, work);
    const using = definition.contract.keys.map(key => `p.${identifier(key)} = l.${identifier(key)}`).join(' AND ');
    const result = await services.engine.run(
      'query',
      {
        sql:
          `SELECT y, s, count(*) AS n FROM (SELECT ${answerAndScore(definition, `l.${identifier(source.column)}`, source.positive)} ` +
          `FROM predictions p LEFT JOIN labels l ON ${using} WHERE p.model_version = ${version}) GROUP BY y, s`,
        tables: { predictions, labels: source.files },
        rowsMax: 1_000_000,
      },
      { deadlineMs: queryMs, signal: work.signal },
    );
    return expand(result.rows);
  });
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
function expand(groups: readonly (readonly unknown[])[]): ServedScores {
  const rowsOf = (some: readonly (readonly unknown[])[], column: number) => {
    const values = new Float64Array(some.reduce((sum, group) => sum + Number(group[2]), 0));
    let at = 0;
    for (const group of some) {
      values.fill(Number(group[column]), at, at + Number(group[2]));
      at += Number(group[2]);
    }
    return values;
  };
  const labelled = groups.filter(([label]) => label !== null);
  const rest = groups.filter(([label]) => label === null);
  return { labels: rowsOf(labelled, 0), scores: rowsOf(labelled, 1), unlabelled: rowsOf(rest, 1) };
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
