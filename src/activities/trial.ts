/**
 * A version on trial beside the champion: enough partitions were scored with it, no job of theirs failed, and its answers are
 * no further from the champion's than the evaluation found them.
 */
import { join } from 'node:path';
import { checkResult } from '../checks/result.ts';
import { judgeTrial } from '../checks/trial.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { PlannedStep } from '../domain/rollout.ts';
import { identifier } from '../engine/sql.ts';
import type { JobManifest } from './audit-job.ts';
import { recordEvidence } from './evidence.ts';
import { beating, type Work } from './long.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import { fetchPredictions } from './served-labels.ts';
import { inScratch, type Services } from './services.ts';
import type { DataActivities, TrialWatch } from './types.ts';

export function createTrials(services: Services): Pick<DataActivities, 'watchTrial'> {
  return { watchTrial: input => beating(work => watchTrial(services, input, work)) };
}

async function watchTrial(
  services: Services,
  { model, version, planned, sinceEntry }: { model: string; version: number; planned: PlannedStep; sinceEntry: number },
  work: Work,
): Promise<TrialWatch> {
  const { catalog } = services;
  const seen = new Map<string, ScoringPlan>();
  const manifests = new Map<string, string | null>();
  for (const { partition, ended } of await catalog.jobs(model)) {
    if (ended?.outcome !== 'committed' || ended.plan === null || !ended.modelVersions.includes(version)) continue;
    const plan = await catalog.documents.get<ScoringPlan>('plan', ended.plan);
    // Jobs from before this step say nothing about it.
    if (plan.deploymentEntry < sinceEntry) continue;
    seen.set(partition, plan);
    manifests.set(partition, ended.manifest ?? null);
  }
  if (seen.size < planned.partitions) return { kind: 'waiting', seen: seen.size, wanted: planned.partitions };

  const failed = await failedJobs(services, model, [...seen.keys()]);
  const checks: CheckResult[] = [
    checkResult('trial_partitions', {
      status: 'pass',
      weight: 'required',
      value: seen.size,
      limit: planned.partitions,
      limitSource: 'declared',
      rows: [...seen.values()].reduce((sum, plan) => sum + plan.rows, 0),
      reason: `${seen.size} partitions were scored with v${version} beside the champion`,
    }),
    checkResult('trial_failures', {
      status: failed === 0 ? 'pass' : 'warn',
      value: failed,
      limit: 0,
      limitSource: 'declared',
      reason: `${failed} jobs of these partitions failed or were blocked meanwhile`,
    }),
    ...(await compareAnswers(services, { model, version, seen, manifests }, work)),
  ];
  const last = [...seen.values()].at(-1);
  const summary = await recordEvidence(services, {
    kind: planned.step.kind === 'canary' || planned.step.kind === 'ab' ? 'canary' : 'shadow',
    model,
    subject: { version: String(version), step: String(planned.index), partitions: [...seen.keys()].sort().join(' ') },
    baseline: null,
    asOf: last?.asOf ?? '',
    checks,
  });
  const isBad = summary.verdict === 'fail' || summary.verdict === 'insufficient';
  return { kind: isBad ? 'failed' : 'passed', evidence: [summary], reason: summary.reasons.join('; ') };
}

async function failedJobs(services: Services, model: string, partitions: readonly string[]): Promise<number> {
  const jobs = await services.catalog.jobs(model);
  return jobs.filter(
    ({ partition, ended }) => partitions.includes(partition) && ended !== null && ended.outcome !== 'committed',
  ).length;
}

/** Rows of each bin by champion and version, and how they agree row by row where both answered the same rows. */
interface Answers {
  readonly champion: Map<string, number>;
  readonly challenger: Map<string, number>;
  unmatched: number | null;
  changed: number | null;
}

const queryMs = 30 * 60_000;

async function compareAnswers(
  services: Services,
  input: {
    readonly model: string;
    readonly version: number;
    readonly seen: ReadonlyMap<string, ScoringPlan>;
    readonly manifests: ReadonlyMap<string, string | null>;
  },
  work: Work,
): Promise<CheckResult[]> {
  const { model, version, seen, manifests } = input;
  const { catalog } = services;
  const champion = [...seen.values()].at(-1)?.versions[0]?.version ?? 0;
  const definition = await catalog.definition((await catalog.version(model, version)).definition);
  const answers: Answers = { champion: new Map(), challenger: new Map(), unmatched: null, changed: null };
  // Bins of the first partition serve all: the champion is the same in all of them.
  let edges: readonly number[] | null = null;
  for (const [partition, plan] of seen) {
    const manifest = manifests.get(partition) ?? null;
    const shadow = plan.versions.find(one => one.version === version)?.part.kind === 'shadow';
    if (shadow && manifest === null) continue;
    const found = await inScratch(services, async folder => {
      const predictions = await fetchPredictions(services, definition, partition, folder, work);
      const shadows = shadow ? await fetchShadows(services, { manifest: manifest ?? '', version, folder }) : null;
      const tables = { predictions, ...(shadows === null ? {} : { shadows }) };
      const run = async (sql: string) =>
        (await services.engine.run('query', { sql, tables }, { deadlineMs: queryMs, signal: work.signal })).rows;
      edges ??= await decilesOf(definition, champion, run);
      const sides = sidesSql({ definition, champion, version, edges, hasShadows: shadows !== null });
      return { bins: await run(sides.bins), pairs: sides.pairs === null ? [] : await run(sides.pairs) };
    });
    for (const [side, bin, rows] of found.bins) {
      const counts = side === 'champion' ? answers.champion : answers.challenger;
      counts.set(String(bin), (counts.get(String(bin)) ?? 0) + Number(rows));
    }
    for (const [unmatched, changed] of found.pairs) {
      answers.unmatched = (answers.unmatched ?? 0) + Number(unmatched);
      answers.changed = (answers.changed ?? 0) + Number(changed);
    }
    work.report({ done: answers.champion.size, total: seen.size, unit: 'partitions' });
  }
  const bins = [...new Set([...answers.champion.keys(), ...answers.challenger.keys()])].sort();
  const { warn, alert, minRows } = definition.monitor.drift;
  return judgeTrial({
    version,
    champion: bins.map(bin => answers.champion.get(bin) ?? 0),
    challenger: bins.map(bin => answers.challenger.get(bin) ?? 0),
    unmatched: answers.unmatched,
    // Two regressions never agree to the last digit.
    changed: definition.task === 'regression' ? null : answers.changed,
    heldOut: await heldOutPsi(services, { model, version, champion }),
    limits: { warn, alert, minRows },
  });
}

type Query = (sql: string) => Promise<readonly (readonly unknown[])[]>;

/** Deciles of the champion's answers; classes need none. */
async function decilesOf(definition: ModelDefinition, champion: number, run: Query): Promise<readonly number[]> {
  if (definition.task === 'multiclass') return [];
  const shares = Array.from({ length: 9 }, (_, index) => (index + 1) / 10).join(', ');
  const [row] = await run(
    `SELECT ${Array.from({ length: 9 }, (_, index) => `q[${index + 1}]`).join(', ')} FROM (SELECT quantile_disc(${answerOf(definition)}, [${shares}]) AS q ` +
      `FROM predictions WHERE model_version = ${champion})`,
  );
  return [...new Set((row ?? []).map(Number).filter(Number.isFinite))];
}

function answerOf({ task }: ModelDefinition): string {
  return task === 'binary' ? 'score' : 'prediction';
}

function sidesSql(input: {
  readonly definition: ModelDefinition;
  readonly champion: number;
  readonly version: number;
  readonly edges: readonly number[];
  readonly hasShadows: boolean;
}): { readonly bins: string; readonly pairs: string | null } {
  const { definition, champion, version, edges, hasShadows } = input;
  const bin =
    definition.task === 'multiclass'
      ? 'CAST(prediction AS VARCHAR)'
      : edges.length === 0
        ? '0'
        : `(${edges.map(edge => `CAST(${answerOf(definition)} > ${edge} AS INTEGER)`).join(' + ')})`;
  const theirs = `SELECT 'champion' AS side, ${bin} AS bin FROM predictions WHERE model_version = ${champion}`;
  const ours = hasShadows
    ? `SELECT 'challenger' AS side, ${bin} AS bin FROM shadows`
    : `SELECT 'challenger' AS side, ${bin} AS bin FROM predictions WHERE model_version = ${version}`;
  const bins = `SELECT side, bin, count(*) FROM (${theirs} UNION ALL ${ours}) GROUP BY side, bin`;
  if (!hasShadows || definition.contract.keys.length === 0) return { bins, pairs: null };
  const keys = definition.contract.keys.map(identifier).join(', ');
  const pairs =
    `SELECT count(*) FILTER (p.prediction IS NULL OR s.prediction IS NULL), ` +
    `count(*) FILTER (p.prediction IS DISTINCT FROM s.prediction) FROM predictions p FULL JOIN shadows s USING (${keys})`;
  return { bins, pairs };
}

/** Local copies of what the version answered in the shadow. */
async function fetchShadows(
  { catalog }: Services,
  { manifest, version, folder }: { readonly manifest: string; readonly version: number; readonly folder: string },
): Promise<readonly string[]> {
  const { shadows } = await catalog.documents.get<JobManifest>('job', manifest);
  const artifacts = shadows.find(shadow => shadow.version === version)?.artifacts ?? [];
  const paths: string[] = [];
  for (const [index, artifact] of artifacts.entries()) {
    const path = join(folder, `shadow-${index}.parquet`);
    await catalog.fetchArtifact(artifact, path);
    paths.push(path);
  }
  return paths;
}

/** How far the two were apart on the held-out rows, when the evaluation compared with this champion. */
async function heldOutPsi(
  { catalog }: Services,
  { model, version, champion }: { readonly model: string; readonly version: number; readonly champion: number },
): Promise<number | null> {
  const entries = await catalog.evidenceList(model, { kind: 'evaluation' });
  const last = entries.findLast(({ subject }) => subject['version'] === String(version));
  if (last === undefined) return null;
  const { baseline, checks } = await catalog.evidence(last.digest);
  if (baseline !== String(champion)) return null;
  return checks.find(({ check }) => check === 'prediction_distribution')?.value ?? null;
}
