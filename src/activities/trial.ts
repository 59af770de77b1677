/** A version on trial beside the champion: enough partitions were scored with it, and no job of theirs failed. */
import { checkResult } from '../checks/result.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { PlannedStep } from '../domain/rollout.ts';
import { recordEvidence } from './evidence.ts';
import { beating } from './long.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import type { Services } from './services.ts';
import type { DataActivities, TrialWatch } from './types.ts';

export function createTrials(services: Services): Pick<DataActivities, 'watchTrial'> {
  return { watchTrial: input => beating(() => watchTrial(services, input)) };
}

async function watchTrial(
  services: Services,
  { model, version, planned, sinceEntry }: { model: string; version: number; planned: PlannedStep; sinceEntry: number },
): Promise<TrialWatch> {
  const { catalog } = services;
  const seen = new Map<string, ScoringPlan>();
  for (const { partition, ended } of await catalog.jobs(model)) {
    if (ended?.outcome !== 'committed' || ended.plan === null || !ended.modelVersions.includes(version)) continue;
    const plan = await catalog.documents.get<ScoringPlan>('plan', ended.plan);
    // Jobs from before this step say nothing about it.
    if (plan.deploymentEntry >= sinceEntry) seen.set(partition, plan);
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
