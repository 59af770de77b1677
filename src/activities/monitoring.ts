/** Watching a model: drift of what it was given, quality of what it said once the answers are known, and what follows. */

import { driftValues } from '../checks/drift.ts';
import { checkDrift, followIncidents } from '../checks/index.ts';
import { checkResult } from '../checks/result.ts';
import { directionOf, qualityMetric } from '../checks/score-quality.ts';
import { decide, windowOf } from '../domain/decision.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import { type CheckResult, type Evidence, type EvidenceKind, foldVerdict } from '../domain/evidence.ts';
import type { Job } from '../domain/job.ts';
import { addDays, endOfPartition, isDate } from '../domain/time.ts';
import { PermanentFault } from './fault.ts';
import { filesOfPartition } from './inputs.ts';
import { beating, type Work } from './long.ts';
import { measureMetric } from './metrics.ts';
import { contractOf, type ScoringPlan } from './scoring.ts';
import { inScratch, predictionsOf, type Services } from './services.ts';
import { instantOf, labelSource, reasonsOf } from './snapshot.ts';
import type { DataActivities, EvidenceSummary } from './types.ts';

type MonitoringVerbs = Pick<DataActivities, 'judgeDrift' | 'judgeQuality' | 'decideRetraining'>;

const queryMs = 30 * 60_000;
/** Partitions whose labels became known since; more than this many days without monitoring are caught up bit by bit. */
const cohortsMax = 40;
/** Evidence further back than this many windows decides nothing any more. */
const windowsMax = 120;
const confidence = 0.95;
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

async function judgeDrift(services: Services, { model, partition, definition: digest }: MonitorInput) {
  const { catalog } = services;
  const definition = await catalog.definition(digest);
  const job = newestJobs(await catalog.jobs(model)).get(partition);
  if (job?.ended?.plan === undefined || job.ended.plan === null) {
    throw new PermanentFault(
      'NotScored',
      `partition ${partition} of ${model} has no committed predictions: score it first`,
      { model, partition },
    );
  }
  const plan = await catalog.documents.get<ScoringPlan>('plan', job.ended.plan);
  const champion = plan.versions[0]?.version ?? 0;
  const subject = { partition, version: String(champion), generation: String(job.generation) };
  const checks = await driftChecks(services, { definition, plan, job, model });
  return [await record(services, { kind: 'drift', model, subject, baseline: plan.baseline, asOf: plan.asOf, checks })];
}

async function driftChecks(
  services: Services,
  { definition, plan, job, model }: { definition: ModelDefinition; plan: ScoringPlan; job: Job; model: string },
): Promise<readonly CheckResult[]> {
  const { catalog } = services;
  const profileDigest = job.ended?.profiles[0];
  if (profileDigest === undefined || plan.profile === null || plan.baseline === null) {
    const reason = `partition ${plan.partition}: ${profileDigest === undefined ? 'the job' : 'the version'} has no profile to compare`;
    return [checkResult('drift', { status: 'insufficient', weight: 'required', reason })];
  }
  const { warn, alert, minRows } = definition.monitor.drift;
  const earlier = await evidenceBefore(services, model, 'drift', plan.partition);
  return checkDrift({
    contract: await contractOf(services, plan.versions[0]?.bundle ?? ''),
    profile: await catalog.profile(profileDigest),
    reference: await catalog.profile(plan.profile),
    baseline: await catalog.baseline(plan.baseline),
    limits: { warn, alert, minRows },
    importance: null,
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

/** Quality of every scored partition whose labels are known by now and that has not been judged yet. */
async function judgeQuality(services: Services, { model, partition, definition: digest }: MonitorInput, work: Work) {
  const { catalog } = services;
  const definition = await catalog.definition(digest);
  const { labels } = definition.data;
  if (labels === null) return [];
  const now = endOfPartition(partition);
  const jobs = newestJobs(await catalog.jobs(model));
  const judged = new Set(
    (await catalog.evidenceList(model, { kind: 'quality' })).map(
      ({ subject }) => `${subject['partition']}/g${subject['generation']}`,
    ),
  );
  const isKnown = (window: string) =>
    isDate(window) && now !== null ? addDays(window, labels.horizonDays) <= now.slice(0, 10) : window <= partition;
  const due = [...jobs.values()]
    .filter(job => isKnown(job.partition) && !judged.has(`${job.partition}/g${job.generation}`))
    .sort((left, right) => (left.partition < right.partition ? -1 : 1))
    .slice(-cohortsMax);
  const summaries: EvidenceSummary[] = [];
  for (const job of due) {
    const summary = await judgeCohort(services, { definition, job, model, asOf: now ?? instantOf(partition) }, work);
    if (summary !== null) summaries.push(summary);
    work.report({ done: summaries.length, total: due.length, unit: 'partitions' });
  }
  return summaries;
}

/** Null when the partition's label files are not there yet: then it is looked at again next time. */
async function judgeCohort(
  services: Services,
  { definition, job, model, asOf }: { definition: ModelDefinition; job: Job; model: string; asOf: string },
  work: Work,
): Promise<EvidenceSummary | null> {
  const { catalog } = services;
  const { partition, generation } = job;
  const labels = definition.data.labels;
  if (labels === null) return null;
  const files = await filesOfPartition(services, labels, partition);
  if (files.length === 0) return null;
  const plan = await catalog.documents.get<ScoringPlan>('plan', job.ended?.plan ?? '');
  const rows = await joinLabels(services, { definition, partition, files }, work);
  const check = qualityCheck(definition, rows);
  const subject = { partition, version: String(plan.versions[0]?.version ?? 0), generation: String(generation) };
  return await record(services, { kind: 'quality', model, subject, baseline: null, asOf, checks: [check] });
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
    const using = definition.contract.keys.map(key => `p.${quoted(key)} = l.${quoted(key)}`).join(' AND ');
    const label = `l.${quoted(source.column)}`;
    const answer =
      source.positive === null
        ? `CAST(${label} AS DOUBLE)`
        : `CAST(CAST(${label} AS VARCHAR) = ${text(source.positive)} AS INTEGER)`;
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

function qualityCheck(definition: ModelDefinition, rows: LabelledScores): CheckResult {
  const { metric, min, minRows } = definition.monitor.quality;
  const name = definition.task === 'multiclass' ? 'accuracy' : metric;
  const isHigherBetter = directionOf(qualityMetric(name)) === 1;
  const count = rows.labels.length;
  const common = { weight: 'required', limit: min, rows: count, limitSource: 'declared' } as const;
  if (count < minRows) {
    return checkResult('quality', {
      ...common,
      status: 'insufficient',
      reason: `${count} labelled rows, ${minRows} are needed`,
    });
  }
  const measured = measureMetric(name, rows.labels, rows.scores, confidence);
  if (measured.value === null)
    return checkResult('quality', { ...common, status: 'insufficient', reason: measured.reason });
  const { value, interval } = measured.value;
  const isBad = min !== null && (isHigherBetter ? value < min : value > min);
  const reason = `${name} is ${value.toFixed(4)} (${interval.map(bound => bound.toFixed(4)).join(' to ')})${min === null ? '' : `, wanted ${isHigherBetter ? 'at least' : 'at most'} ${min}`}`;
  return checkResult('quality', {
    ...common,
    status: isBad ? 'fail' : 'pass',
    value,
    interval,
    reason,
    details: { metric: name },
  });
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
    asOf,
    champion: champion === null ? null : String(champion.version),
    trainedAt: trainedBy === undefined ? null : instantOf(trainedBy.asOf),
    evidence: [...drift, ...quality],
    incidents: followIncidents(drift, { persistence: { k, n } }),
    retrainings: runs.filter(run => run.trigger.startsWith('decision:')).map(run => instantOf(run.asOf)),
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

async function record(
  services: Services,
  said: Pick<Evidence, 'kind' | 'model' | 'subject' | 'baseline' | 'asOf' | 'checks'>,
): Promise<EvidenceSummary> {
  const reasons = reasonsOf(said.checks);
  const evidence: Evidence = { schema: 'evidence/1', ...said, verdict: foldVerdict(said.checks), reasons };
  const digest = await services.catalog.recordEvidence(evidence);
  return { digest, kind: evidence.kind, verdict: evidence.verdict, reasons: reasons.slice(0, 5) };
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}
