/** The commit of a job: one entry of the table's log makes the whole generation visible, and the job's log says how it ended. */
import { Context } from '@temporalio/activity';
import { failpoint } from '../storage/failpoint.ts';
import type { JobManifest } from './audit-job.ts';
import { checkpointIfDue } from './checkpoint.ts';
import { publishQuarantine } from './quarantine.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import { predictionsOf, type Services } from './services.ts';

export async function commitJob(services: Services, input: { plan: string; manifest: string }) {
  const { catalog } = services;
  const plan = await catalog.documents.get<ScoringPlan>('plan', input.plan);
  const manifest = await catalog.documents.get<JobManifest>('job', input.manifest);
  const definition = await catalog.definition(plan.definition);
  const { model, partition, generation } = plan;
  const { workflowExecution, attempt } = Context.current().info;
  failpoint('commit.before');
  const table = predictionsOf(services, definition);
  const outcome = await table.commit({
    partition,
    generation,
    planDigest: input.plan,
    columns: manifest.columns,
    files: manifest.parts,
    asOf: plan.asOf,
    workflowId: workflowExecution?.workflowId ?? '',
    runId: workflowExecution?.runId ?? '',
    attempt,
  });
  failpoint('commit.written');
  const end = { kind: 'ended', partition, generation, plan: input.plan, profiles: manifest.profiles } as const;
  const versions = plan.versions.map(({ version }) => version);
  if (outcome.kind === 'fenced') {
    await catalog.recordJobEnd(model, {
      ...end,
      outcome: 'fenced',
      tableVersion: null,
      rows: 0,
      modelVersions: [],
      reason: outcome.reason,
    });
    return outcome;
  }
  // After the predictions: only a generation that counts may say which rows are held.
  await publishQuarantine(services, { plan, planDigest: input.plan, parts: manifest.quarantine });
  const { rows } = manifest;
  const reason = `${rows} rows, ${manifest.rowsQuarantined} in quarantine`;
  await catalog.recordJobEnd(model, {
    ...end,
    outcome: 'committed',
    manifest: input.manifest,
    tableVersion: outcome.version,
    rows,
    modelVersions: versions,
    reason,
  });
  failpoint('commit.recorded');
  await checkpointIfDue(services, table, outcome.version);
  return { kind: 'committed', tableVersion: outcome.version, rows, versions } as const;
}
