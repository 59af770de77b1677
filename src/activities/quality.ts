/**
 * Quality of what a model said: estimated while labels are out, measured once they are mature, measured again when they are
 * revised. A cohort is what one version served in one window; each look at it is evidence of its own.
 */
import { createHash } from 'node:crypto';
import { compareWithTruth } from '../checks/estimate.ts';
import { judgeQuality as judgeQualityOf, judgeRevision, type QualityInput } from '../checks/quality.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult, Evidence } from '../domain/evidence.ts';
import type { Job } from '../domain/job.ts';
import { addDays, endOfPartition, isDate } from '../domain/time.ts';
import { estimateWindow } from './estimate.ts';
import { recordEvidence } from './evidence.ts';
import { judgeArrival } from './label-arrival.ts';
import type { Work } from './long.ts';
import { judgeByProbe } from './probe.ts';
import { newestJobs, partitionsOfWindow, planOf } from './scored-windows.ts';
import { labelFiles, servedScores } from './served-labels.ts';
import type { Services } from './services.ts';
import { instantOf } from './snapshot.ts';
import type { EvidenceSummary } from './types.ts';

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
  /** What makes it ripe before its horizon; null when the horizon is over. */
  readonly early: Pick<QualityInput, 'end' | 'wanted'> | null;
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
  const before = await judgedBefore(services, model, asOf);
  const isJudged = (name: string) => before.some(({ subject }) => subject['partition'] === name);
  const given = { definition, model, jobs, asOf };
  const arrival = await judgeArrival(services, { ...given, partition, window, isJudged }, work);
  summaries.push(...arrival.summaries);
  const looks = [{ window, checks: arrival.checks, early: null }];
  for (const look of arrival.early === null ? looks : [...looks, { ...arrival.early, early: arrival.early }]) {
    for (const cohort of await cohortsOf(services, { ...given, ...look })) {
      // What was judged before its horizon is judged once more when that is over, as a revision.
      const first = await newestOf(services, before, cohort);
      summaries.push(
        first === null || !isEarly(first)
          ? await judgeFirst(services, cohort, look.checks, work)
          : await judgeAgain(services, cohort, { before: first, arrival: look.checks }, work),
      );
    }
  }
  const earlier = known.filter(name => name < last);
  return [...summaries, ...(await judgeRevised(services, { ...given, known: earlier }, work))];
}

async function judgeFirst(
  services: Services,
  cohort: Cohort,
  arrival: readonly CheckResult[],
  work: Work,
): Promise<EvidenceSummary> {
  const checks = await judgeCohort(services, cohort, work);
  const partitions = cohort.members.map(member => member.partition);
  const compared = await judgeByProbe(services, cohort.definition, { ...cohort, partitions }, work);
  const promised = await estimateOf(services, cohort);
  const truth = checks.find(({ check }) => check === 'quality');
  const kept = promised === null || truth === undefined ? [] : compareWithTruth(promised, truth);
  return await recordCohort(services, cohort, [...checks, ...arrival, ...compared, ...kept]);
}

/** With `arrival` null, how the labels came at first stands. */
async function judgeAgain(
  services: Services,
  cohort: Cohort,
  { before, arrival }: { readonly before: Evidence; readonly arrival: readonly CheckResult[] | null },
  work: Work,
): Promise<EvidenceSummary> {
  const checks = await judgeCohort(services, cohort, work);
  const kept = (name: string) => before.checks.filter(({ check }) => check === name);
  // The probe's comparison stands: it would be trained again for a few labels.
  const others = [...(arrival ?? kept('label_arrival')), ...kept('behind_probe')];
  return await recordCohort(services, cohort, [...checks, ...others, ...judgeRevision(before, checks)]);
}

function isEarly({ checks }: Evidence): boolean {
  return checks.some(({ check, details }) => check === 'label_coverage' && details['arrived'] !== undefined);
}

type Judged = Awaited<ReturnType<Services['catalog']['evidenceList']>>[number];

/** Measured quality that looks before this one recorded. */
async function judgedBefore({ catalog }: Services, model: string, asOf: string): Promise<readonly Judged[]> {
  const entries = await catalog.evidenceList(model, { kind: 'quality' });
  return entries.filter(entry => entry.subject['labels'] !== undefined && entry.asOf < asOf);
}

async function newestOf({ catalog }: Services, before: readonly Judged[], cohort: Cohort): Promise<Evidence | null> {
  const { version, window } = subjectOf(cohort);
  const entry = before.findLast(({ subject }) => subject['window'] === window && subject['version'] === version);
  return entry === undefined ? null : await catalog.evidence(entry.digest);
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
    readonly early: Cohort['early'];
  },
): Promise<readonly Cohort[]> {
  const { definition, model, jobs, window, asOf, early } = input;
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
    const found = await fingerprintOf(services, definition, members);
    // Of the labels of a young cohort those are taken that are known by now: with the same files it has more later.
    const labels = early === null ? found : `${found} by ${asOf}`;
    cohorts.push({ model, version, definition, members, labels, asOf, early });
  }
  return cohorts;
}

async function judgeCohort(services: Services, cohort: Cohort, work: Work): Promise<CheckResult[]> {
  const { definition, members, asOf, early } = cohort;
  const { metric, min, minRows } = definition.monitor.quality;
  const knownBy = early === null ? null : asOf;
  const rows = await servedScores(services, { ...cohort, jobs: members, knownBy }, work);
  const labels = joined(rows.map(part => part.labels));
  const isWeighted = (definition.data.labels?.weight ?? null) !== null;
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
    end: early?.end ?? null,
    wanted: early?.wanted ?? 1,
    labels,
    scores: joined(rows.map(part => part.scores)),
    unlabelledScores: definition.task === 'multiclass' ? null : unlabelledScores,
    weights: isWeighted ? joined(rows.map(part => part.weights ?? new Float64Array())) : null,
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
  for (const before of await newestOfCohorts(services, model, known)) {
    const { partition = '', version, window = '' } = before.subject;
    const [first = ''] = window.split(' ');
    const names = known.filter(name => name >= first && name <= partition);
    const cohorts = await cohortsOf(services, { definition, model, jobs, window: names, asOf, early: null });
    const cohort = cohorts.find(one => String(one.version) === version);
    if (cohort === undefined || cohort.labels === before.subject['labels']) continue;
    if (subjectOf(cohort).window !== window) continue;
    summaries.push(await judgeAgain(services, cohort, { before, arrival: null }, work));
  }
  return summaries;
}

/** The newest evidence of each of the newest cohorts that end with one of these partitions. */
async function newestOfCohorts(
  { catalog }: Services,
  model: string,
  known: readonly string[],
): Promise<readonly Evidence[]> {
  const newest = new Map<string, string>();
  for (const { digest, subject } of await catalog.evidenceList(model, { kind: 'quality' })) {
    if (subject['labels'] !== undefined && known.includes(subject['partition'] ?? ''))
      newest.set(`${subject['window']}/${subject['version']}`, digest);
  }
  return await Promise.all([...newest.values()].slice(-revisedWindowsMax).map(digest => catalog.evidence(digest)));
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
