/** Scoring of one partition: pin what it is about, score chunk after chunk, audit the whole, publish it with one commit. */
import { auditJob } from './audit-job.ts';
import { commitJob } from './commit-job.ts';
import { beating } from './long.ts';
import { scoreChunks } from './score-chunks.ts';
import { planScoring, presentDefinition } from './scoring-plan.ts';
import { predictionsOf, type Services } from './services.ts';
import type { ControlActivities, DataActivities, ScoringActivities } from './types.ts';

type ScoringVerbs = Pick<DataActivities, 'planScoring' | 'auditJob' | 'commitJob'> &
  ScoringActivities &
  Pick<ControlActivities, 'requestGeneration' | 'jobOutcome' | 'announceJob' | 'recordJobFailure'>;

export function createScoring(services: Services): ScoringVerbs {
  const { catalog } = services;
  return {
    async requestGeneration({ model, partition, request }) {
      const definition = await presentDefinition(services, model);
      const decided = await predictionsOf(services, definition.body).highestGeneration(partition);
      return await catalog.requestGeneration(model, { partition, request, decided });
    },

    planScoring: input => beating(work => planScoring(services, input, work)),
    scoreChunks: input => beating(work => scoreChunks(services, input, work)),
    auditJob: input => beating(work => auditJob(services, input, work)),
    commitJob: input => beating(() => commitJob(services, input)),

    async jobOutcome({ model, partition, generation }) {
      const job = (await catalog.jobs(model)).find(one => one.partition === partition && one.generation === generation);
      if (job?.ended?.outcome === 'committed') return 'committed';
      return job === undefined || job.ended === null ? 'open' : 'ended';
    },

    /** Rings at promotions whose trial this job may have brought forward. */
    async announceJob({ model, versions }) {
      const open = (await catalog.promotions(model)).filter(one => one.status === 'rolling_out');
      for (const { promotion, version } of open) {
        if (!versions.includes(version)) continue;
        // A doorbell: if nobody is there any more, nothing is lost.
        await services.client.workflow
          .getHandle(promotion)
          .signal('scored')
          .catch(() => undefined);
      }
    },

    async recordJobFailure({ model, partition, generation, plan, outcome, reason }) {
      const job = { kind: 'ended', partition, generation, outcome, plan, reason } as const;
      await catalog.recordJobEnd(model, { ...job, tableVersion: null, rows: 0, modelVersions: [], profiles: [] });
    },
  };
}
