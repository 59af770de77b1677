/** Do labels come as they usually do? Looked at for the cohorts that are judged now and for a few that are still young. */

import { earlyAges, usualEnd } from '../checks/early-cohorts.ts';
import {
  arrivalNotDeclared,
  type CohortArrivals,
  isDated,
  judgeArrivals,
  judgeWindowArrival,
  labelsFound,
  recordedArrivals,
} from '../checks/label-arrival.ts';
import { checkResult } from '../checks/result.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Job } from '../domain/job.ts';
import { agesOfYoung, arrivedShare, matureShare, type UsualEnd } from '../domain/labels.ts';
import { addDays, daysBetween, isDate } from '../domain/time.ts';
import { guarded, recordEvidence } from './evidence.ts';
import type { Work } from './long.ts';
import { partitionsOfWindow } from './scored-windows.ts';
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
  /** Whether an earlier look judged the quality of the window that ends with a partition. */
  readonly isJudged: (partition: string) => boolean;
}

/** A window that may be judged before its horizon. */
interface EarlyWindow {
  readonly window: readonly string[];
  readonly end: UsualEnd;
  readonly wanted: number;
  readonly checks: readonly CheckResult[];
}

interface JudgedArrival {
  /** Of evidence of kind `labels`. */
  readonly summaries: readonly EvidenceSummary[];
  /** About the window as a whole, for its evidence of quality. */
  readonly checks: readonly CheckResult[];
  /** The newest window that has enough of its labels although its horizon is not over; null without any. */
  readonly early: EarlyWindow | null;
}

/** Evidence of kind `labels` is only recorded where the definition says when a label became known. */
export async function judgeArrival(services: Services, input: ArrivalInput, work: Work): Promise<JudgedArrival> {
  const { definition, model, partition, window, asOf } = input;
  const { labels } = definition.data;
  if (labels === null || (labels.knownAt ?? null) === null) {
    return { summaries: [], checks: [arrivalNotDeclared()], early: null };
  }
  if (!isDate(partition)) {
    const reason = 'the partitions are no dates: labels have no age';
    return { summaries: [], checks: [checkResult('label_arrival', { status: 'not_applicable', reason })], early: null };
  }
  const earlier = await earlierCohorts(services, model, partition);
  let checks: readonly CheckResult[] = [];
  let early: EarlyWindow | null = null;
  const found = await guarded('label_arrival', async () => {
    const young = agesOfYoung(labels.horizonDays).map(age => addDays(partition, -age));
    const judged = await cohortsAt(services, { ...input, names: [...window, ...young] }, work);
    checks = judgeWindowArrival(
      judged.filter(cohort => window.includes(cohort.partition)),
      earlier,
    );
    early = await earlyWindow(services, input, earlier, work);
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
  return { summaries: [summary], checks: checks.length === 0 ? found : checks, early };
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

async function earlyWindow(
  services: Services,
  input: ArrivalInput,
  earlier: readonly CohortArrivals[],
  work: Work,
): Promise<EarlyWindow | null> {
  const { definition, partition, jobs, isJudged } = input;
  const { horizonDays = 0, matureShare: wanted = matureShare } = definition.data.labels ?? {};
  const end = usualEnd(earlier, horizonDays);
  if (end === null) return null;
  const windows = earlyAges(earlier, end, { horizonDays, wanted })
    .map(age => addDays(partition, -age))
    .filter(name => jobs.has(name) && !isJudged(name))
    .map(name => partitionsOfWindow([...jobs.keys()], name, definition.monitor.windowDays));
  const cohorts = await cohortsAt(services, { ...input, names: [...new Set(windows.flat())] }, work);
  for (const window of windows) {
    const members = cohorts.filter(cohort => window.includes(cohort.partition));
    const rows = members.reduce((sum, cohort) => sum + cohort.rows, 0);
    const found = members.reduce((sum, cohort) => sum + labelsFound(cohort), 0);
    const arrived = arrivedShare(rows === 0 ? 0 : found / rows, end, wanted);
    if (arrived.interval[0] < wanted || !members.every(isDated)) continue;
    return { window, end, wanted, checks: judgeWindowArrival(members, earlier) };
  }
  return null;
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
