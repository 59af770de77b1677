/** What a version was trained on and what scoring was given, as files for an engine child that compares the two. */
import { featureColumns } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { ModelVersion } from '../domain/model-version.ts';
import type { ServedChunk } from '../engine/served-job.ts';
import { StorageFault } from '../storage/fault.ts';
import { ChunkInputs } from './chunk-inputs.ts';
import { PermanentFault } from './fault.ts';
import { assertPinned, tablesOf } from './inputs.ts';
import type { Work } from './long.ts';
import { fetchedRepair, isArtifact } from './quarantine.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import type { Services } from './services.ts';

/** The training set of a version under this path; null when it is no longer kept. */
export async function fetchedTrainingSet(
  { catalog }: Services,
  { model, run }: ModelVersion,
  path: string,
): Promise<string | null> {
  const artifact = (await catalog.runs(model)).find(({ id }) => id === run)?.artifacts['training'];
  if (artifact === undefined) return null;
  try {
    await catalog.fetchArtifact(artifact, path);
    return path;
  } catch (error) {
    if (error instanceof StorageFault && (error.kind === 'missing' || error.kind === 'gone')) return null;
    throw error;
  }
}

/**
 * The chunks of a job as they were scored; of a job with more than `rowsMax` rows, chunks spread over it. Null when a file has
 * been replaced since.
 */
export async function chunksAsServed(
  services: Services,
  of: {
    readonly plan: ScoringPlan;
    /** The one it was scored under. */
    readonly definition: ModelDefinition;
    readonly rowsMax: number;
    readonly folder: string;
  },
  work: Work,
): Promise<{ readonly chunks: readonly ServedChunk[]; readonly isWhole: boolean } | null> {
  const { plan, definition, rowsMax, folder } = of;
  const pinned = [...plan.inputs.filter(({ path }) => !isArtifact(path)), ...Object.values(plan.tables).flat()];
  try {
    await assertPinned(services, pinned, work);
  } catch (error) {
    if (error instanceof PermanentFault && error.type === 'InputChanged') return null;
    throw error;
  }
  const at = { folder, signal: work.signal };
  const tables = await tablesOf(services, plan.tables, plan.partition, at);
  const wanted = Math.max(1, Math.floor((plan.chunks.length * rowsMax) / Math.max(rowsMax, plan.rows)));
  const features = featureColumns(definition.contract).map(({ name }) => name);
  const { partition } = plan;
  const { transform } = definition.data;
  const chunks: ServedChunk[] = [];
  for (let taken = 0; taken < wanted; taken += 1) {
    const index = Math.floor((taken * plan.chunks.length) / wanted);
    const chunk = new ChunkInputs({
      tables: services.inputs,
      fetchRepair: path => fetchedRepair(services, path),
      plan,
      definition,
      to: index + 1,
      ...at,
    });
    const { rows } = plan.chunks[index] ?? { rows: 0 };
    chunks.push({ partition, inputs: await chunk.take(index), rows, tables, transform, features });
  }
  return { chunks, isWhole: wanted === plan.chunks.length };
}
