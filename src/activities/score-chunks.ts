/** Scoring chunks of a plan: one engine job each, its files uploaded under names that are never used again, one record. */
import type { Contract } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { Profile } from '../domain/profile.ts';
import { batchRows } from '../domain/scoring.ts';
import type { ChunkReceipt, ColumnInfo, InputRange, ModelToScore } from '../engine/job.ts';
import { failpoint } from '../storage/failpoint.ts';
import type { PartFile } from '../storage/table/predictions-table.ts';
import { ChunkInputs } from './chunk-inputs.ts';
import { tablesOf } from './inputs.ts';
import type { Work } from './long.ts';
import { uploadPart } from './part-files.ts';
import { fetchedRepair, type QuarantinedPart, uploadQuarantined } from './quarantine.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import {
  contractOf,
  fetchedBaseline,
  inScratch,
  modelFiles,
  predictionsOf,
  readJson,
  type Services,
} from './services.ts';

/** What one attempt wrote for a chunk; of several attempts the one that the manifest names counts. */
export interface ChunkRecord {
  readonly chunk: number;
  readonly part: PartFile | null;
  readonly shadows: readonly { readonly version: number; readonly artifact: string; readonly rows: number }[];
  readonly quarantine: QuarantinedPart | null;
  readonly profile: string | null;
  readonly rowsRead: number;
  readonly rowsScored: number;
  readonly rowsQuarantined: number;
  readonly rules: ChunkReceipt['rules'];
  readonly columns: readonly ColumnInfo[];
  readonly scorers: ChunkReceipt['scorers'];
}

/** Kind `receipts`. */
export interface Receipts {
  readonly schema: 'receipts/1';
  readonly plan: string;
  readonly chunks: readonly ChunkRecord[];
}

const chunkDeadlineMs = 3 * 60 * 60_000;

export async function scoreChunks(services: Services, input: { plan: string; from: number; to: number }, work: Work) {
  const { catalog } = services;
  const plan = await catalog.documents.get<ScoringPlan>('plan', input.plan);
  const definition = await catalog.definition(plan.definition);
  const models = await Promise.all(plan.versions.map(version => modelToScore(services, definition, version)));
  const contract = await contractOf(services, plan.versions[0]?.bundle ?? '');
  const baseline = plan.baseline === null ? null : await fetchedBaseline(services, plan.baseline);
  // A former attempt reported what it had finished; its files are in the store already.
  const isResumable = input.to - input.from <= resumableMax;
  const done: ChunkRecord[] = isResumable ? [...formerRecords(work)] : [];
  const resume = isResumable ? { records: done } : null;
  await inScratch(services, async fetched => {
    const at = { folder: fetched, signal: work.signal };
    const tables = await tablesOf(services, plan.tables, plan.partition, at);
    const inputs = new ChunkInputs({
      tables: services.inputs,
      fetchRepair: path => fetchedRepair(services, path),
      plan,
      definition,
      to: input.to,
      ...at,
    });
    for (let index = input.from + done.length; index < input.to; index += 1) {
      const ranges = await inputs.take(index);
      const record = await inScratch(services, folder =>
        scoreChunk(
          services,
          { plan, definition, models, contract, baseline, tables, ranges, index, folder, resume },
          work,
        ),
      );
      await inputs.drop(index);
      done.push(record);
      failpoint('chunk.done');
      work.report({
        rows: sumOf(done, 'rowsRead'),
        done: done.length,
        total: input.to - input.from,
        unit: 'chunks',
        resume,
      });
    }
  });
  const receipts: Receipts = { schema: 'receipts/1', plan: input.plan, chunks: done };
  const digest = await catalog.documents.put('receipts', receipts);
  failpoint('receipt.stored');
  return { receipts: digest, rows: sumOf(done, 'rowsScored') };
}

/** Long batches would outgrow a heartbeat's payload; then the next attempt starts over, which is only slower. */
const resumableMax = 200;

function formerRecords(work: Work): readonly ChunkRecord[] {
  const resume = work.former?.resume;
  if (typeof resume !== 'object' || resume === null || !('records' in resume) || !Array.isArray(resume.records))
    return [];
  return resume.records as readonly ChunkRecord[];
}

interface ChunkWork {
  readonly plan: ScoringPlan;
  readonly definition: ModelDefinition;
  readonly models: readonly ModelToScore[];
  readonly contract: Contract;
  readonly baseline: string | null;
  /** Further tables, and the chunk's inputs, on this machine. */
  readonly tables: Readonly<Record<string, readonly string[]>>;
  readonly ranges: readonly InputRange[];
  readonly index: number;
  readonly folder: string;
  /** The finished chunks of this batch, after which a next attempt goes on; grows. */
  readonly resume: { readonly records: readonly ChunkRecord[] } | null;
}

async function scoreChunk(services: Services, chunkWork: ChunkWork, work: Work): Promise<ChunkRecord> {
  const { plan, definition, models, contract, baseline, tables, ranges, index, folder, resume } = chunkWork;
  const { catalog, engine } = services;
  const chunk = plan.chunks[index];
  if (chunk === undefined) throw new Error(`the plan has ${plan.chunks.length} chunks, there is no chunk ${index}`);
  const scoring = engine.run(
    'score-chunk',
    {
      inputs: ranges,
      rows: chunk.rows,
      tables,
      transform: definition.data.transform,
      contract,
      outputColumns: [...new Set([...contract.keys, ...definition.score.passThrough])],
      models,
      scoredAt: plan.asOf,
      baseline,
      sliceColumns: definition.evaluate.slices,
      dataset: `${plan.model}/${plan.partition}`,
      outputFolder: folder,
      batchRows,
      device: definition.score.device,
    },
    {
      deadlineMs: chunkDeadlineMs,
      signal: work.signal,
      onProgress: ({ done: rows, perSecond }) => work.report({ rows, rate: perSecond, resume }),
    },
  );
  failpoint('score.running');
  const receipt = await scoring;
  failpoint('score.done');
  const { partition, generation } = plan;
  const part =
    receipt.predictions === null
      ? null
      : await uploadPart(
          services,
          predictionsOf(services, definition),
          { partition, generation, chunk: index },
          receipt.predictions,
          work,
        );
  if (part !== null) failpoint('upload.done');
  const shadows = await Promise.all(
    receipt.shadows.map(async ({ version, path, rows }) => ({
      version,
      artifact: await catalog.putArtifact(path),
      rows,
    })),
  );
  const quarantine =
    receipt.quarantine === null
      ? null
      : await uploadQuarantined(
          services,
          { plan, contract, chunk: index, file: receipt.quarantine.path, folder },
          work,
        );
  return {
    chunk: index,
    part,
    shadows,
    quarantine,
    profile: receipt.profile === null ? null : await catalog.putProfile(await readJson<Profile>(receipt.profile)),
    rowsRead: receipt.rowsRead,
    rowsScored: receipt.rowsScored,
    rowsQuarantined: receipt.rowsQuarantined,
    rules: receipt.rules,
    columns: receipt.columns,
    scorers: receipt.scorers,
  };
}

async function modelToScore(
  services: Services,
  definition: ModelDefinition,
  { version, bundle, part }: ScoringPlan['versions'][number],
): Promise<ModelToScore> {
  const { scorer: recorded } = await services.catalog.version(definition.model, version);
  return { version, ...(await modelFiles(services, bundle)), scorer: definition.score.scorer, recorded, part };
}

export function sumOf(chunks: readonly ChunkRecord[], field: 'rowsRead' | 'rowsScored' | 'rowsQuarantined'): number {
  return chunks.reduce((sum, chunk) => sum + chunk[field], 0);
}
