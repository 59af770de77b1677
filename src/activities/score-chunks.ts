/** Scoring chunks of a plan: one engine job each, its files uploaded under names that are never used again, one record. */
import { join } from 'node:path';
import type { Contract } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { Profile } from '../domain/profile.ts';
import type { ChunkRange } from '../domain/scoring.ts';
import type { Signature } from '../domain/signature.ts';
import type { ChunkReceipt, ColumnInfo, InputRange, ModelToScore } from '../engine/job.ts';
import type { PartFile } from '../storage/table/predictions-table.ts';
import { absolute, formatOf } from './inputs.ts';
import type { Work } from './long.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import {
  contractOf,
  fetchedBaseline,
  fetchedBundle,
  inScratch,
  predictionsOf,
  readJson,
  type Services,
} from './services.ts';

/** What one attempt wrote for a chunk; of several attempts the one that the manifest names counts. */
export interface ChunkRecord {
  readonly chunk: number;
  readonly part: PartFile | null;
  readonly shadows: readonly { readonly version: number; readonly artifact: string; readonly rows: number }[];
  readonly quarantine: string | null;
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
const batchRows = 2_048;

export async function scoreChunks(services: Services, input: { plan: string; from: number; to: number }, work: Work) {
  const { catalog } = services;
  const plan = await catalog.documents.get<ScoringPlan>('plan', input.plan);
  const definition = await catalog.definition(plan.definition);
  const models = await Promise.all(plan.versions.map(version => modelToScore(services, definition, version)));
  const contract = await contractOf(services, plan.versions[0]?.bundle ?? '');
  const baseline = plan.baseline === null ? null : await fetchedBaseline(services, plan.baseline);
  // A former attempt reported what it had finished; its files are in the store already.
  const done: ChunkRecord[] = [...formerRecords(work, input)];
  for (let index = input.from + done.length; index < input.to; index += 1) {
    const record = await inScratch(services, folder =>
      scoreChunk(services, { plan, definition, models, contract, baseline, index, folder }, work),
    );
    done.push(record);
    work.report({
      rows: sumOf(done, 'rowsRead'),
      done: done.length,
      total: input.to - input.from,
      unit: 'chunks',
      resume: { records: done },
    });
  }
  const receipts: Receipts = { schema: 'receipts/1', plan: input.plan, chunks: done };
  return { receipts: await catalog.documents.put('receipts', receipts), rows: sumOf(done, 'rowsScored') };
}

/** Long batches would outgrow a heartbeat's payload; then the next attempt starts over, which is only slower. */
const resumableMax = 200;

function formerRecords(work: Work, input: { from: number; to: number }): readonly ChunkRecord[] {
  const resume = work.former?.resume;
  if (typeof resume !== 'object' || resume === null || !('records' in resume) || !Array.isArray(resume.records))
    return [];
  if (input.to - input.from > resumableMax) return [];
  return resume.records as readonly ChunkRecord[];
}

interface ChunkWork {
  readonly plan: ScoringPlan;
  readonly definition: ModelDefinition;
  readonly models: readonly ModelToScore[];
  readonly contract: Contract;
  readonly baseline: string | null;
  readonly index: number;
  readonly folder: string;
}

async function scoreChunk(services: Services, chunkWork: ChunkWork, work: Work): Promise<ChunkRecord> {
  const { plan, definition, models, contract, baseline, index, folder } = chunkWork;
  const { catalog, engine } = services;
  const chunk = plan.chunks[index];
  if (chunk === undefined) throw new Error(`the plan has ${plan.chunks.length} chunks, there is no chunk ${index}`);
  const receipt = await engine.run(
    'score-chunk',
    {
      inputs: chunk.inputs.map(range => inputRange(services, definition, range)),
      rows: chunk.rows,
      tables: Object.fromEntries(
        Object.entries(plan.tables).map(([name, files]) => [name, files.map(file => absolute(services, file.path))]),
      ),
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
      onProgress: ({ done, perSecond }) => work.report({ ...work.former, rows: done, rate: perSecond }),
    },
  );
  const part = receipt.predictions === null ? null : await uploadPart(services, chunkWork, receipt.predictions, work);
  const shadows = await Promise.all(
    receipt.shadows.map(async ({ version, path, rows }) => ({
      version,
      artifact: await catalog.putArtifact(path),
      rows,
    })),
  );
  return {
    chunk: index,
    part,
    shadows,
    quarantine: receipt.quarantine === null ? null : await catalog.putArtifact(receipt.quarantine.path),
    profile: receipt.profile === null ? null : await catalog.putProfile(await readJson<Profile>(receipt.profile)),
    rowsRead: receipt.rowsRead,
    rowsScored: receipt.rowsScored,
    rowsQuarantined: receipt.rowsQuarantined,
    rules: receipt.rules,
    columns: receipt.columns,
    scorers: receipt.scorers,
  };
}

function inputRange(services: Services, definition: ModelDefinition, range: ChunkRange): InputRange {
  return { ...range, path: absolute(services, range.path), format: formatOf(definition.data.features) };
}

async function modelToScore(
  services: Services,
  definition: ModelDefinition,
  { version, bundle, part }: ScoringPlan['versions'][number],
): Promise<ModelToScore> {
  const folder = await fetchedBundle(services, bundle);
  const signature = await readJson<Signature>(join(folder, 'signature.json'));
  return { version, onnx: join(folder, 'model.onnx'), signature, scorer: definition.score.scorer, part };
}

async function uploadPart(
  services: Services,
  { plan, definition, index }: ChunkWork,
  file: { path: string; rows: number; bytes: number; sha256: string },
  work: Work,
): Promise<PartFile> {
  const { partition, generation } = plan;
  const name = predictionsOf(services, definition).newPartFile({
    partition,
    generation,
    chunk: index,
    attempt: work.attempt,
  });
  const answer = await services.ports.store.upload(name.key, file.path, { signal: work.signal });
  // Unknown is not applied: the name is never used again, and the collector finds the file if it is there.
  if (answer.kind !== 'applied') {
    throw new Error(`${name.key}: ${answer.kind === 'unknown' ? answer.cause : `${answer.reason}: ${answer.detail}`}`);
  }
  return { path: name.path, bytes: file.bytes, rows: file.rows, sha256: file.sha256 };
}

export function sumOf(chunks: readonly ChunkRecord[], field: 'rowsRead' | 'rowsScored' | 'rowsQuarantined'): number {
  return chunks.reduce((sum, chunk) => sum + chunk[field], 0);
}
