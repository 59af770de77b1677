/** Planning a job: the deployment, the input files and the chunks it is pinned to. Made once, then only read. */
import type { DeploymentState } from '../domain/deployment.ts';
import { type Chunk, planChunks } from '../domain/scoring.ts';
import type { SnapshotFile } from '../domain/snapshot.ts';
import type { ModelToScore } from '../engine/job.ts';
import { failpoint } from '../storage/failpoint.ts';
import { PermanentFault } from './fault.ts';
import { pinFiles, pinTables, withoutDetails } from './inputs.ts';
import type { Work } from './long.ts';
import { repairedInputs } from './quarantine.ts';
import type { Services } from './services.ts';

/** What a job is pinned to: made once, then only read. Kind `plan`. */
export interface ScoringPlan {
  readonly schema: 'plan/1';
  readonly model: string;
  readonly partition: string;
  readonly generation: number;
  readonly asOf: string;
  readonly definition: string;
  /** Entry of the deployment log that says who serves. */
  readonly deploymentEntry: number;
  readonly versions: readonly {
    readonly version: number;
    readonly bundle: string;
    readonly part: ModelToScore['part'];
  }[];
  readonly baseline: string | null;
  readonly profile: string | null;
  readonly inputs: readonly SnapshotFile[];
  readonly tables: Readonly<Record<string, readonly SnapshotFile[]>>;
  readonly chunks: readonly Chunk[];
  readonly rows: number;
}

export async function planScoring(
  services: Services,
  input: { model: string; partition: string; generation: number; asOf: string },
  work: Work,
) {
  const { model, partition } = input;
  const { catalog } = services;
  const history = await catalog.deploymentHistory(model);
  const entry = history.at(-1);
  const state = entry?.body.state;
  if (entry === undefined || state === undefined || state.champion === null) {
    const message = `${model} has no champion yet: train a version and approve its promotion (\`almanac train ${model}\`)`;
    throw new PermanentFault('NoChampion', message, { model });
  }
  const champion = await catalog.version(model, state.champion.version);
  const definition = await catalog.definition(champion.definition);
  const present = await presentDefinition(services, model);
  const pinned = await pinFiles(services, definition.data.features, [partition], work);
  const { keys } = definition.contract;
  const table = definition.data.features;
  const inputs = await repairedInputs(services, { ...input, keys, table, files: pinned }, work);
  const rows = inputs.reduce((sum, file) => sum + file.rows, 0);
  if (rows === 0) {
    const message = `partition ${partition}: ${inputs.length} input file(s) with 0 rows; check the job that writes ${definition.data.features.path}`;
    throw new PermanentFault('EmptyPartition', message, { partition, path: inputs[0]?.path ?? null });
  }
  const plan: ScoringPlan = {
    schema: 'plan/1',
    ...input,
    definition: champion.definition,
    deploymentEntry: entry.number,
    versions: versionsToScore(state, `${model}/${partition}`),
    baseline: champion.baseline,
    profile: champion.profile,
    inputs: inputs.map(withoutDetails),
    tables: await pinTables(services, definition, [partition], work),
    // Whoever scores has as many cores as this worker, as a rule.
    chunks: planChunks(inputs, { chunkRows: present.body.score.chunkRows, chunksWanted: services.engine.size }),
    rows,
  };
  failpoint('plan.pinned');
  const digest = await catalog.documents.put('plan', plan);
  failpoint('plan.stored');
  return {
    plan: digest,
    chunks: plan.chunks.length,
    rows,
    versions: plan.versions.map(({ version }) => version),
    monitorAfterScore: present.body.schedules.monitor === 'after_score',
  };
}

/** Who scores the rows, the champion first. */
function versionsToScore(state: DeploymentState, salt: string): ScoringPlan['versions'] {
  const { champion, shadow, share } = state;
  return [
    ...(champion === null ? [] : [{ ...champion, part: { kind: 'champion' } as const }]),
    ...(shadow === null ? [] : [{ version: shadow.version, bundle: shadow.bundle, part: { kind: 'shadow' } as const }]),
    ...(share === null
      ? []
      : [
          {
            version: share.version,
            bundle: share.bundle,
            // The salt leaves the partition out on purpose: a key keeps its arm from day to day.
            part: { kind: 'share', arm: share.arm, share: share.share, salt: salt.split('/')[0] ?? salt } as const,
          },
        ]),
  ];
}

/** The definition pinned last; before any pin there is nothing to score with. */
export async function presentDefinition(services: Services, model: string) {
  const entry = (await services.catalog.models()).find(one => one.model === model);
  if (entry === undefined) {
    throw new PermanentFault(
      'UnknownModel',
      `model ${model} has never been trained here: run \`almanac train ${model}\``,
      { model },
    );
  }
  return { digest: entry.digest, body: await services.catalog.definition(entry.digest) };
}
