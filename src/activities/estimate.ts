/** The estimate of a window's quality while its labels are out: from its profile alone, so no row is read again. */
import {
  estimateQualityOf,
  estimateReferenceIn,
  isEstimatedMetric,
  scoresOfProfile,
  unknownShareOf,
} from '../checks/estimate.ts';
import { checkResult } from '../checks/result.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Job } from '../domain/job.ts';
import { applyIsotonic } from '../stats/calibration.ts';
import { recordEvidence } from './evidence.ts';
import { mergedProfile } from './profiles.ts';
import { partitionsOfWindow, planOf } from './scored-windows.ts';
import type { Services } from './services.ts';
import type { EvidenceSummary } from './types.ts';

const threshold = 0.5;

interface EstimatedWindow {
  readonly definition: ModelDefinition;
  readonly model: string;
  /** The window ends with it. */
  readonly partition: string;
  readonly jobs: ReadonlyMap<string, Job>;
  readonly asOf: string;
}

/** Null where there is nothing to estimate: no binary task, or a metric that is no function of the expected confusion. */
export async function estimateWindow(services: Services, input: EstimatedWindow): Promise<EvidenceSummary | null> {
  const { definition, model, partition, jobs, asOf } = input;
  const last = jobs.get(partition);
  if (definition.task !== 'binary' || !isEstimatedMetric(definition.monitor.quality.metric)) return null;
  if (last === undefined) return null;
  const plan = await planOf(services, last);
  const version = plan.versions[0]?.version ?? 0;
  const members: Job[] = [];
  for (const name of partitionsOfWindow([...jobs.keys()], partition, definition.monitor.windowDays)) {
    const job = jobs.get(name);
    if (job !== undefined && (await planOf(services, job)).versions[0]?.version === version) members.push(job);
  }
  const subject = { partition, version: String(version), window: `${members[0]?.partition} ${partition}` };
  const checks = await estimate(services, { definition, model, version, members, baseline: plan.baseline });
  return await recordEvidence(services, { kind: 'quality', model, subject, baseline: plan.baseline, asOf, checks });
}

async function estimate(
  services: Services,
  input: {
    readonly definition: ModelDefinition;
    readonly model: string;
    readonly version: number;
    readonly members: readonly Job[];
    readonly baseline: string | null;
  },
): Promise<readonly CheckResult[]> {
  const { definition, model, version, members, baseline } = input;
  const { metric, min } = definition.monitor.quality;
  const insufficient = (reason: string) => [checkResult('estimated_quality', { status: 'insufficient', reason })];
  const reference = await referenceOf(services, model, version);
  const deviation = isEstimatedMetric(metric) ? reference?.deviations[metric] : undefined;
  if (!isEstimatedMetric(metric) || reference === null || deviation === undefined) {
    return insufficient(`the evaluation of v${version} left no reference to estimate ${metric} from`);
  }
  const profile = await mergedProfile(
    services,
    members.flatMap(job => job.ended?.profiles ?? []),
  );
  const found = profile === null ? null : scoresOfProfile(profile);
  if (profile === null || found === null || baseline === null)
    return insufficient('the window has no profile of scores');
  const { calibration } = reference;
  const { scores, counts } = found;
  return estimateQualityOf({
    metric,
    min,
    probabilities:
      calibration === null ? scores : Float64Array.from(scores, score => applyIsotonic(calibration, score)),
    scores,
    counts,
    threshold,
    deviation,
    unknownShare: unknownShareOf(profile, await services.catalog.baseline(baseline)),
  });
}

/** What the version's evaluation found about its scores on held-out rows. */
async function referenceOf({ catalog }: Services, model: string, version: number) {
  const entries = await catalog.evidenceList(model, { kind: 'evaluation' });
  const last = entries.findLast(({ subject }) => subject['version'] === String(version));
  return last === undefined ? null : estimateReferenceIn((await catalog.evidence(last.digest)).checks);
}
