/** Do labels come as they usually do? Looked at for the cohorts that are judged now and for a few that are still young. */
import {
  arrivalNotDeclared,
  type CohortArrivals,
  judgeArrivals,
  judgeWindowArrival,
  recordedArrivals,
} from '../checks/label-arrival.ts';
import { checkResult } from '../checks/result.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Job } from '../domain/job.ts';
import { agesOfYoung } from '../domain/labels.ts';
import { addDays, daysBetween, isDate } from '../domain/time.ts';
import { guarded, recordEvidence } from './evidence.ts';
import type { Work } from './long.ts';
import { arrivalsOf } from './served-labels.ts';
import type { Services } from './services.ts';
import type { EvidenceSummary } from './types.ts';

/** Older cohorts say how labels came once, not how they come. */
const earlierMax = 120;

interface ArrivalInput {
  readonly definition: ModelDefinition;
  readonly model: string;
  /** What is monitored now; ages are counted to its end. */
  readonly partition: string;
  readonly jobs: ReadonlyMap<string, Job>;
  /** Partitions whose labels are mature and judged now. */
  readonly window: readonly string[];
  readonly asOf: string;
}

interface JudgedArrival {
  /** Of evidence of kind `labels`. */
  readonly summaries: readonly EvidenceSummary[];
  /** About the window as a whole, for its evidence of quality. */
  readonly checks: readonly CheckResult[];
}

/** Evidence of kind `labels` is only recorded where the definition says when a label became known. */
export async function judgeArrival(services: Services, input: ArrivalInput, work: Work): Promise<JudgedArrival> {
  const { definition, model, partition, window, asOf } = input;
  const { labels } = definition.data;
  if (labels === null || (labels.knownAt ?? null) === null) return { summaries: [], checks: [arrivalNotDeclared()] };
  if (!isDate(partition)) {
    const reason = 'the partitions are no dates: labels have no age';
    return { summaries: [], checks: [checkResult('label_arrival', { status: 'not_applicable', reason })] };
  }
  const earlier = await earlierCohorts(services, model, partition);
  let checks: readonly CheckResult[] = [];
  const found = await guarded('label_arrival', async () => {
    const young = agesOfYoung(labels.horizonDays).map(age => addDays(partition, -age));
    const judged = await cohortsAt(services, { ...input, names: [...window, ...young] }, work);
    checks = judgeWindowArrival(
      judged.filter(cohort => window.includes(cohort.partition)),
      earlier,
    );
    return judgeArrivals({ judged, earlier });
  });
  const subject = { partition, window: `${window[0]} ${window.at(-1)}` };
  const summary = await recordEvidence(services, {
    kind: 'labels',
    model,
    subject,
    baseline: null,
    asOf,
    checks: found,
  });
  // What could not be looked at is an answer of the window's evidence too.
  return { summaries: [summary], checks: checks.length === 0 ? found : checks };
}

async function cohortsAt(
  services: Services,
  { definition, partition, jobs, names }: ArrivalInput & { readonly names: readonly string[] },
  work: Work,
): Promise<readonly CohortArrivals[]> {
  const observed = names.flatMap(name => {
    const job = jobs.get(name);
    return job === undefined ? [] : [{ job, observedDays: daysBetween(name, partition) }];
  });
  return await arrivalsOf(services, { definition, observed }, work);
}

/** As looks before this one recorded them. */
async function earlierCohorts(
  { catalog }: Services,
  model: string,
  partition: string,
): Promise<readonly CohortArrivals[]> {
  const entries = (await catalog.evidenceList(model, { kind: 'labels' })).filter(
    ({ subject }) => (subject['partition'] ?? '') < partition,
  );
  const looks = entries.slice(-earlierMax).map(({ digest }) => catalog.evidence(digest));
  return recordedArrivals(await Promise.all(looks));
}
