/** Watching a model: drift of what it was given, quality of what it said once the answers are known, and what follows. */

import { join } from 'node:path';
import { driftValues } from '../checks/drift.ts';
import { checkDrift, followIncidents } from '../checks/index.ts';
import { checkResult } from '../checks/result.ts';
import { decide } from '../domain/decision.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import { type CheckResult, type Evidence, type EvidenceKind, windowOf } from '../domain/evidence.ts';
import { seasonsOf } from '../domain/incident.ts';
import { labelledRowsSince } from '../domain/labels.ts';
import type { ModelVersion } from '../domain/model-version.ts';
import { addDays, endOfPartition, isDate } from '../domain/time.ts';
import { recordEvidence } from './evidence.ts';
import { PermanentFault } from './fault.ts';
import { beating, type Work } from './long.ts';
import { judgeMultivariate } from './multivariate.ts';
import { mergedProfile } from './profiles.ts';
import { judgeQuality } from './quality.ts';
import { newestJobs, partitionsOfWindow, planOf } from './scored-windows.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import { contractOf, fetchedBundle, readJson, type Services } from './services.ts';
import { judgeSkew } from './skew.ts';
import { instantOf } from './snapshot.ts';
import type { DataActivities, EvidenceSummary } from './types.ts';

type MonitoringVerbs = Pick<DataActivities, 'judgeDrift' | 'judgeQuality' | 'decideRetraining'>;

/** Evidence further back than this many windows decides nothing any more. */
const windowsMax = 120;

export function createMonitoring(services: Services): MonitoringVerbs {
  return {
    judgeDrift: input => beating(work => judgeDrift(services, input, work)),
    judgeQuality: input => beating(work => judgeQuality(services, input, work)),
    decideRetraining: input => decideRetraining(services, input),
  };
}

interface MonitorInput {
  readonly model: string;
  readonly partition: string;
  readonly definition: string;
}

/**
 * Drift of the window that ends with this partition: the merged profiles of its jobs against what the champion learned from.
 * Beside it, drift of all features together, and skew between what the champion learned from and what was served.
 */
async function judgeDrift(
  services: Services,
  { model, partition, definition: digest }: MonitorInput,
  work: Work,
): Promise<readonly EvidenceSummary[]> {
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
  const plans: ScoringPlan[] = [];
  for (const name of window) {
    const job = jobs.get(name);
    const earlier = job === undefined ? null : await planOf(services, job);
    // After a change of champion the edges change; earlier days are counted on others and cannot be added.
    if (earlier?.baseline !== plan.baseline) continue;
    plans.push(earlier);
    profiles.push(...(job?.ended?.profiles ?? []));
  }
  const version = plan.versions[0]?.version ?? 0;
  const subject = { partition, version: String(version), window: `${window[0]} ${partition}` };
  const importance = await importanceOf(services, plan);
  const { checks, isFirst } = await driftChecks(services, { definition, plan, profiles, model, importance });
  const firstWindow = isFirst ? checks : [];
  const { asOf, baseline } = plan;
  return [
    await recordEvidence(services, { kind: 'drift', model, subject, baseline, asOf, checks }),
    ...(await judgeMultivariate(services, { model, definition, subject, plans, importance }, work)),
    ...(await judgeSkew(services, { model, definition, partition, asOf, jobs, version, firstWindow }, work)),
  ];
}

type Importance = Readonly<Record<string, number>> | null;

/** Of the champion's features; null when its trainer did not say. */
async function importanceOf(services: Services, { versions }: ScoringPlan): Promise<Importance> {
  const bundle = await fetchedBundle(services, versions[0]?.bundle ?? '');
  return await readJson<Importance>(join(bundle, 'importance.json')).catch(() => null);
}

async function driftChecks(
  services: Services,
  input: {
    definition: ModelDefinition;
    plan: ScoringPlan;
    profiles: readonly string[];
    model: string;
    importance: Importance;
  },
): Promise<{ readonly checks: readonly CheckResult[]; readonly isFirst: boolean }> {
  const { catalog } = services;
  const { definition, plan, profiles, model, importance } = input;
  const profile = await mergedProfile(services, profiles);
  if (profile === null || plan.profile === null || plan.baseline === null) {
    const reason = `partition ${plan.partition}: ${profile === null ? 'the jobs of its window have' : 'the version has'} no profile to compare`;
    return { checks: [checkResult('drift', { status: 'insufficient', weight: 'required', reason })], isFirst: false };
  }
  const { warn, alert, minRows } = definition.monitor.drift;
  const earlier = await evidenceBefore(services, model, 'drift', plan.partition);
  // Only windows measured against the same reference say what is usual.
  const alike = earlier.filter(evidence => evidence.baseline === plan.baseline);
  const checks = checkDrift({
    contract: await contractOf(services, plan.versions[0]?.bundle ?? ''),
    profile,
    reference: await catalog.profile(plan.profile),
    baseline: await catalog.baseline(plan.baseline),
    limits: { warn, alert, minRows },
    importance,
    history: alike.map(evidence => ({
      window: windowOf(evidence),
      accepted: evidence.verdict === 'pass',
      values: driftValues(evidence.checks),
    })),
  });
  return { checks, isFirst: alike.length === 0 };
}

async function decideRetraining(services: Services, input: MonitorInput & { evidence: readonly string[] }) {
  const { catalog } = services;
  const { model, partition } = input;
  const definition = await catalog.definition(input.definition);
  const asOf = endOfPartition(partition) ?? instantOf(partition);
  const drift = await evidenceBefore(services, model, 'drift', justAfter(partition));
  const quality = await evidenceBefore(services, model, 'quality', justAfter(partition));
  const skew = await evidenceBefore(services, model, 'skew', justAfter(partition));
  const multivariate = await evidenceBefore(services, model, 'multivariate', justAfter(partition));
  const champion = (await catalog.deployment(model)).champion;
  const version = champion === null ? null : await catalog.version(model, champion.version);
  const runs = await catalog.runs(model);
  const trainedBy = runs.find(run => run.id === version?.run);
  const learnedUntil = version === null ? null : await lastPartitionOf(services, version);
  const { k, n } = definition.monitor.drift.persistence;
  const decision = decide({
    definition,
    partition,
    digests: input.evidence,
    asOf,
    champion: champion === null ? null : String(champion.version),
    trainedAt: trainedBy === undefined ? null : instantOf(trainedBy.asOf),
    evidence: [...drift, ...quality, ...skew, ...multivariate],
    incidents: followIncidents(drift, {
      persistence: { k, n, seasons: seasonsOf(definition.monitor.windowDays) },
    }),
    retrainings: runs
      .filter(run => run.status === 'succeeded' && run.trigger.startsWith('decision:'))
      .map(run => instantOf(run.asOf)),
    inFlight: await inFlight(services, model),
    newLabels: learnedUntil === null ? null : labelledRowsSince(quality, learnedUntil),
  });
  const digest = await catalog.recordDecision(decision);
  return {
    decision: digest,
    conclusion: decision.action,
    reason: decision.reasons.join('; '),
    asOf: isDate(partition) ? addDays(partition, 1) : partition,
  };
}

/** The newest partition that the version's makers have seen, held-out ones included; null when its snapshot has no dates. */
async function lastPartitionOf({ catalog }: Services, version: ModelVersion): Promise<string | null> {
  const { partitions } = await catalog.snapshot(version.snapshots['features'] ?? '');
  return partitions.filter(isDate).toSorted().at(-1) ?? null;
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
