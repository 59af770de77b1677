/** Watching a model: drift of what it was given, quality of what it said once the answers are known, and what follows. */

import { join } from 'node:path';
import { driftValues } from '../checks/drift.ts';
import { checkDrift, followIncidents } from '../checks/index.ts';
import { judgeQuality as judgeQualityOf } from '../checks/quality.ts';
import { checkResult } from '../checks/result.ts';
import { filesOfPartition } from '../config/table-files.ts';
import { decide, windowOf } from '../domain/decision.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult, Evidence, EvidenceKind } from '../domain/evidence.ts';
import type { Job } from '../domain/job.ts';
import { addDays, endOfPartition, isDate } from '../domain/time.ts';
import { identifier, literal } from '../engine/sql.ts';
import { recordEvidence } from './evidence.ts';
import { PermanentFault } from './fault.ts';
import { beating, type Work } from './long.ts';
import { judgeByProbe } from './probe.ts';
import { mergedProfile } from './profiles.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import { contractOf, fetchedBundle, inScratch, predictionsOf, readJson, type Services } from './services.ts';
import { instantOf, labelSource } from './snapshot.ts';
import type { DataActivities, EvidenceSummary } from './types.ts';

type MonitoringVerbs = Pick<DataActivities, 'judgeDrift' | 'judgeQuality' | 'decideRetraining'>;

const queryMs = 30 * 60_000;
/** Evidence further back than this many windows decides nothing any more. */
const windowsMax = 120;
/** Scores are compared on this grid: 10,000 different values keep the answer small and move an AUC by less than 1e-4. */
const scoreDigits = 4;

export function createMonitoring(services: Services): MonitoringVerbs {
  return {
    judgeDrift: input => beating(() => judgeDrift(services, input)),
    judgeQuality: input => beating(work => judgeQuality(services, input, work)),
    decideRetraining: input => decideRetraining(services, input),
  };
}

interface MonitorInput {
  readonly model: string;
  readonly partition: string;
  readonly definition: string;
}

/** Drift of the window that ends with this partition: the merged profiles of its jobs against what the champion learned from. */
async function judgeDrift(services: Services, { model, partition, definition: digest }: MonitorInput) {
  const { catalog } = services;
  const definition = await catalog.definition(digest);
  const jobs = newestJobs(await catalog.jobs(model));
  const last = jobs.get(partition);
  if (last === undefined) {
    throw new PermanentFault(
      'NotScored',
      `partition ${partition} of ${model} has no committed predictions: score it first`,
      {
        model,
        partition,
      },
    );
  }
  const plan = await planOf(services, last);
  const window = partitionsOfWindow([...jobs.keys()], partition, definition.monitor.windowDays);
  const profiles: string[] = [];
  for (const name of window) {
    const job = jobs.get(name);
    // After a change of champion the edges change; earlier days are counted on others and cannot be added.
    if (job !== undefined && (await planOf(services, job)).baseline === plan.baseline)
      profiles.push(...(job.ended?.profiles ?? []));
  }
  const subject = { partition, version: String(plan.versions[0]?.version ?? 0), window: `${window[0]} ${partition}` };
  const checks = await driftChecks(services, { definition, plan, profiles, model });
  return [
    await recordEvidence(services, { kind: 'drift', model, subject, baseline: plan.baseline, asOf: plan.asOf, checks }),
  ];
}

async function driftChecks(
  services: Services,
  input: { definition: ModelDefinition; plan: ScoringPlan; profiles: readonly string[]; model: string },
): Promise<readonly CheckResult[]> {
  const { catalog } = services;
  const { definition, plan, profiles, model } = input;
  const profile = await mergedProfile(services, profiles);
  if (profile === null || plan.profile === null || plan.baseline === null) {
    const reason = `partition ${plan.partition}: ${profile === null ? 'the jobs of its window have' : 'the version has'} no profile to compare`;
    return [checkResult('drift', { status: 'insufficient', weight: 'required', reason })];
  }
  const { warn, alert, minRows } = definition.monitor.drift;
  const earlier = await evidenceBefore(services, model, 'drift', plan.partition);
  const bundle = await fetchedBundle(services, plan.versions[0]?.bundle ?? '');
  return checkDrift({
    contract: await contractOf(services, plan.versions[0]?.bundle ?? ''),
    profile,
    reference: await catalog.profile(plan.profile),
    baseline: await catalog.baseline(plan.baseline),
    limits: { warn, alert, minRows },
    importance: await readJson<Readonly<Record<string, number>>>(join(bundle, 'importance.json')).catch(() => null),
    // Only windows measured against the same reference say what is usual.
    history: earlier
      .filter(evidence => evidence.baseline === plan.baseline)
      .map(evidence => ({
        window: windowOf(evidence),
        accepted: evidence.verdict === 'pass',
        values: driftValues(evidence.checks),
      })),
  });
}

/** The scored partitions of the window of this many days that ends with `last`; partitions that are no dates are counted. */
function partitionsOfWindow(scored: readonly string[], last: string, days: number): readonly string[] {
  const earlier = scored.filter(partition => partition <= last).sort();
  return isDate(last)
    ? earlier.filter(partition => isDate(partition) && partition > addDays(last, -days))
    : earlier.slice(-days);
}

/** Quality of the newest window whose labels are all known by now, one cohort per version that served in it. */
async function judgeQuality(services: Services, { model, partition, definition: digest }: MonitorInput, work: Work) {
  const { catalog } = services;
  const definition = await catalog.definition(digest);
  const { labels } = definition.data;
  if (labels === null) return [];
  const now = endOfPartition(partition) ?? instantOf(partition);
  const jobs = newestJobs(await catalog.jobs(model));
  const known = [...jobs.keys()].filter(name =>
    isDate(name) && isDate(partition) ? addDays(name, labels.horizonDays) < now.slice(0, 10) : name <= partition,
  );
  const last = known.sort().at(-1);
  if (last === undefined) return [];
  const cohorts = new Map<number, Job[]>();
  for (const name of partitionsOfWindow(known, last, definition.monitor.windowDays)) {
    const job = jobs.get(name);
    if (job === undefined || (await filesOfPartition(services.project.folder, labels, name)).length === 0) continue;
    const version = (await planOf(services, job)).versions[0]?.version ?? 0;
    cohorts.set(version, [...(cohorts.get(version) ?? []), job]);
  }
  const summaries: EvidenceSummary[] = [];
  for (const [version, members] of cohorts) {
    summaries.push(await judgeCohort(services, { definition, members, version, model, asOf: now }, work));
  }
  return summaries;
}

async function judgeCohort(
  services: Services,
  input: { definition: ModelDefinition; members: readonly Job[]; version: number; model: string; asOf: string },
  work: Work,
): Promise<EvidenceSummary> {
  const { definition, members, version, model, asOf } = input;
  const { metric, min, minRows } = definition.monitor.quality;
  const rows: LabelledScores[] = [];
  for (const { partition } of members) {
    const labels = definition.data.labels;
    const files = labels === null ? [] : await filesOfPartition(services.project.folder, labels, partition);
    rows.push(await joinLabels(services, { definition, partition, files }, work));
    work.report({ done: rows.length, total: members.length, unit: 'partitions' });
  }
  const labels = joined(rows.map(part => part.labels));
  const partition = members.at(-1)?.partition ?? '';
  const checks = judgeQualityOf({
    metric: definition.task === 'multiclass' ? 'accuracy' : metric,
    min,
    minRows,
    cohort: {
      partition,
      scored: members.reduce((sum, job) => sum + (job.ended?.rows ?? 0), 0),
      labelled: labels.length,
    },
    asOf,
    horizonDays: definition.data.labels?.horizonDays ?? 0,
    finalShares: [],
    labels,
    scores: joined(rows.map(part => part.scores)),
    unlabelledScores: null,
    weights: null,
    clusters: null,
    threshold: definition.task === 'regression' ? null : 0.5,
    seed: definition.train.seed,
  });
  const partitions = members.map(member => member.partition);
  const compared = await judgeByProbe(services, definition, { model, version, partitions }, work);
  const subject = { partition, version: String(version), window: `${members[0]?.partition} ${partition}` };
  return await recordEvidence(services, {
    kind: 'quality',
    model,
    subject,
    baseline: null,
    asOf,
    checks: [...checks, ...compared],
  });
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

async function planOf(services: Services, job: Job): Promise<ScoringPlan> {
  return await services.catalog.documents.get<ScoringPlan>('plan', job.ended?.plan ?? '');
}

interface LabelledScores {
  readonly labels: Float64Array;
  readonly scores: Float64Array;
}

/** The published predictions of a partition with their labels. */
async function joinLabels(
  services: Services,
  { definition, partition, files }: { definition: ModelDefinition; partition: string; files: readonly string[] },
  work: Work,
): Promise<LabelledScores> {
  return await inScratch(services, async folder => {
    const source = labelSource(
      services,
      definition,
      files.map(path => ({ path, partition, bytes: 0, sha256: '', rows: 0 })),
    );
    const predictions = await fetchPredictions(services, definition, partition, folder, work);
    const using = definition.contract.keys.map(key => `p.${identifier(key)} = l.${identifier(key)}`).join(' AND ');
    const label = `l.${identifier(source.column)}`;
    const answer =
      source.positive === null
        ? `CAST(${label} AS DOUBLE)`
        : `CAST(CAST(${label} AS VARCHAR) = ${literal(source.positive)} AS INTEGER)`;
    const score =
      definition.task === 'binary'
        ? `round(p.score, ${scoreDigits})`
        : definition.task === 'regression'
          ? 'p.prediction'
          : null;
    // Several classes: whether the label was hit is what the answer is compared with.
    const pair =
      score === null
        ? `1 AS y, CAST(p.prediction = CAST(${label} AS VARCHAR) AS INTEGER) AS s`
        : `${answer} AS y, ${score} AS s`;
    const result = await services.engine.run(
      'query',
      {
        sql: `SELECT y, s, count(*) AS n FROM (SELECT ${pair} FROM predictions p JOIN labels l ON ${using} WHERE ${label} IS NOT NULL) GROUP BY y, s`,
        tables: { predictions, labels: source.files },
        rowsMax: 1_000_000,
      },
      { deadlineMs: queryMs, signal: work.signal },
    );
    return expand(result.rows);
  });
}

/** Groups of equal rows back to rows. */
function expand(groups: readonly (readonly unknown[])[]): LabelledScores {
  const total = groups.reduce((sum, group) => sum + Number(group[2]), 0);
  const labels = new Float64Array(total);
  const scores = new Float64Array(total);
  let at = 0;
  for (const [label, score, count] of groups) {
    const end = at + Number(count);
    labels.fill(Number(label), at, end);
    scores.fill(Number(score), at, end);
    at = end;
  }
  return { labels, scores };
}

/** Local copies of the partition's present part files. */
async function fetchPredictions(
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

async function decideRetraining(services: Services, input: MonitorInput & { evidence: readonly string[] }) {
  const { catalog } = services;
  const { model, partition } = input;
  const definition = await catalog.definition(input.definition);
  const asOf = endOfPartition(partition) ?? instantOf(partition);
  const drift = await evidenceBefore(services, model, 'drift', justAfter(partition));
  const quality = await evidenceBefore(services, model, 'quality', justAfter(partition));
  const champion = (await catalog.deployment(model)).champion;
  const version = champion === null ? null : await catalog.version(model, champion.version);
  const runs = await catalog.runs(model);
  const trainedBy = runs.find(run => run.id === version?.run);
  const { k, n } = definition.monitor.drift.persistence;
  const decision = decide({
    definition,
    partition,
    digests: input.evidence,
    asOf,
    champion: champion === null ? null : String(champion.version),
    trainedAt: trainedBy === undefined ? null : instantOf(trainedBy.asOf),
    evidence: [...drift, ...quality],
    incidents: followIncidents(drift, { persistence: { k, n } }),
    retrainings: runs
      .filter(run => run.status === 'succeeded' && run.trigger.startsWith('decision:'))
      .map(run => instantOf(run.asOf)),
    inFlight: await inFlight(services, model),
    newLabels: null,
  });
  const digest = await catalog.recordDecision(decision);
  return {
    decision: digest,
    conclusion: decision.action,
    reason: decision.reasons.join('; '),
    asOf: isDate(partition) ? addDays(partition, 1) : partition,
  };
}

/** A promotion that waits or rolls out, or a training that runs; another training would only compete with it. */
async function inFlight(services: Services, model: string): Promise<string | null> {
  const open = (await services.catalog.promotions(model)).find(
    ({ status }) => status === 'waiting' || status === 'rolling_out',
  );
  if (open !== undefined) return open.promotion;
  const query = `WorkflowType = 'trainModel' AND AlmanacModel = '${model.replaceAll("'", "\\'")}' AND ExecutionStatus = 'Running'`;
  for await (const run of services.client.workflow.list({ query, pageSize: 1 })) return run.workflowId;
  return null;
}

/** Evidence of a kind about windows before this one, the newest `windowsMax`. */
async function evidenceBefore(
  services: Services,
  model: string,
  kind: EvidenceKind,
  partition: string,
): Promise<readonly Evidence[]> {
  const entries = (await services.catalog.evidenceList(model, { kind })).filter(
    ({ subject }) => (subject['partition'] ?? '') < partition,
  );
  return await Promise.all(entries.slice(-windowsMax).map(({ digest }) => services.catalog.evidence(digest)));
}

/** The first window after this one, so that this one is included in `evidenceBefore`. */
function justAfter(partition: string): string {
  return `${partition}\u0000`;
}

/** The newest committed generation of each partition. */
function newestJobs(jobs: readonly Job[]): ReadonlyMap<string, Job> {
  const newest = new Map<string, Job>();
  for (const job of jobs) {
    if (job.ended?.outcome !== 'committed') continue;
    if ((newest.get(job.partition)?.generation ?? 0) < job.generation) newest.set(job.partition, job);
  }
  return newest;
}
