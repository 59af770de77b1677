/** Scoring of one partition: pin what it is about, score chunk after chunk, audit the whole, publish it with one commit. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Context } from '@temporalio/activity';
import { validateData } from '../checks/validation.ts';
import type { Contract } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { DeploymentState } from '../domain/deployment.ts';
import { type CheckResult, type Evidence, foldVerdict } from '../domain/evidence.ts';
import type { Profile } from '../domain/profile.ts';
import { type Chunk, type ChunkRange, planChunks } from '../domain/scoring.ts';
import type { Signature } from '../domain/signature.ts';
import type { SnapshotFile } from '../domain/snapshot.ts';
import type { ChunkReceipt, ColumnInfo, InputRange, ModelToScore } from '../engine/job.ts';
import type { PartFile } from '../storage/table/predictions-table.ts';
import { deltaTypeOf, type TableColumn } from '../storage/table/schema.ts';
import { PermanentFault } from './fault.ts';
import { absolute, assertPinned, formatOf, pinFiles } from './inputs.ts';
import { beating, type Work } from './long.ts';
import { mergedProfile } from './profiles.ts';
import { fetchedBaseline, fetchedBundle, inScratch, predictionsOf, type Services } from './services.ts';
import type { ControlActivities, DataActivities, ScoringActivities } from './types.ts';

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
/** What one attempt wrote for a chunk; of several attempts the one that the manifest names counts. */
interface ChunkRecord {
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
interface Receipts {
  readonly schema: 'receipts/1';
  readonly plan: string;
  readonly chunks: readonly ChunkRecord[];
}
/** Kind `job`: everything a commit publishes. */
export interface JobManifest {
  readonly schema: 'job/1';
  readonly plan: string;
  readonly parts: readonly PartFile[];
  readonly columns: readonly TableColumn[];
  readonly rows: number;
  readonly rowsQuarantined: number;
  readonly shadows: readonly {
    readonly version: number;
    readonly artifacts: readonly string[];
    readonly rows: number;
  }[];
  readonly quarantine: readonly string[];
  readonly profiles: readonly string[];
  readonly evidence: string;
}

const chunkDeadlineMs = 3 * 60 * 60_000;
const batchRows = 2_048;

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

// --- Plan -----------------------------------------------------------------------------------------------------------

async function planScoring(
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
  const inputs = await pinFiles(services, definition.data.features, [partition], work);
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
    inputs: inputs.map(({ path, partition: of, bytes, sha256, rows: count }) => ({
      path,
      partition: of,
      bytes,
      sha256,
      rows: count,
    })),
    tables: await pinTables(services, definition, partition, work),
    chunks: planChunks(inputs, { chunkRows: present.body.score.chunkRows }),
    rows,
  };
  return {
    plan: await catalog.documents.put('plan', plan),
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

async function pinTables(services: Services, definition: ModelDefinition, partition: string, work: Work) {
  const pinned: Record<string, readonly SnapshotFile[]> = {};
  for (const [name, table] of Object.entries(definition.data.tables))
    pinned[name] = await pinFiles(services, table, [partition], work);
  return pinned;
}

// --- Chunks ---------------------------------------------------------------------------------------------------------

async function scoreChunks(services: Services, input: { plan: string; from: number; to: number }, work: Work) {
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
    profile: receipt.profile === null ? null : await catalog.putProfile(await readProfile(receipt.profile)),
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

export async function contractOf(services: Services, bundle: string): Promise<Contract> {
  return await readJson<Contract>(join(await fetchedBundle(services, bundle), 'contract.json'));
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

// --- Audit and commit -------------------------------------------------------------------------------------------------

async function auditJob(services: Services, input: { plan: string; receipts: readonly string[] }, work: Work) {
  const { catalog } = services;
  const plan = await catalog.documents.get<ScoringPlan>('plan', input.plan);
  const chunks: ChunkRecord[] = [];
  for (const digest of input.receipts)
    chunks.push(...(await catalog.documents.get<Receipts>('receipts', digest)).chunks);
  assertComplete(plan, chunks);
  await assertPinned(services, plan.inputs, work);

  const contract = await contractOf(services, plan.versions[0]?.bundle ?? '');
  const profile = await mergedProfile(
    services,
    chunks.flatMap(chunk => (chunk.profile === null ? [] : [chunk.profile])),
  );
  const evidence = await judgeInput(services, { plan, contract, chunks, profile });
  const summary = {
    digest: await catalog.recordEvidence(evidence),
    kind: evidence.kind,
    verdict: evidence.verdict,
    reasons: evidence.reasons.slice(0, 5),
  };
  if (evidence.verdict === 'fail') {
    const { partition, generation } = plan;
    const end = { kind: 'ended', partition, generation, outcome: 'blocked', plan: input.plan } as const;
    const reason = evidence.reasons.join('; ');
    await catalog.recordJobEnd(plan.model, {
      ...end,
      tableVersion: null,
      rows: 0,
      modelVersions: [],
      profiles: [],
      reason,
    });
    return { kind: 'blocked', evidence: summary } as const;
  }
  const manifest: JobManifest = {
    schema: 'job/1',
    plan: input.plan,
    parts: chunks.flatMap(chunk => (chunk.part === null ? [] : [chunk.part])),
    columns: tableColumns(chunks),
    rows: sumOf(chunks, 'rowsScored'),
    rowsQuarantined: sumOf(chunks, 'rowsQuarantined'),
    shadows: shadowsOf(chunks),
    quarantine: chunks.flatMap(chunk => (chunk.quarantine === null ? [] : [chunk.quarantine])),
    profiles: profile === null ? [] : [await catalog.putProfile(profile)],
    evidence: summary.digest,
  };
  return {
    kind: 'complete',
    manifest: await catalog.documents.put('job', manifest),
    rows: manifest.rows,
    evidence: summary,
  } as const;
}

/** Every chunk once, every planned row either scored or in quarantine. Anything else is a bug or a lost file, never published. */
function assertComplete(plan: ScoringPlan, chunks: readonly ChunkRecord[]): void {
  const seen = new Set(chunks.map(({ chunk }) => chunk));
  const missing = plan.chunks.map((_, index) => index).filter(index => !seen.has(index));
  if (missing.length > 0 || chunks.length !== plan.chunks.length) {
    const found = `found ${chunks.length}, missing ${missing.slice(0, 10).join(', ') || 'none'}`;
    throw new PermanentFault(
      'IncompleteJob',
      `partition ${plan.partition}: the plan has ${plan.chunks.length} chunks, ${found}`,
    );
  }
  for (const { chunk, rowsRead, rowsScored, rowsQuarantined } of chunks) {
    const planned = plan.chunks[chunk]?.rows;
    if (rowsRead === planned && rowsScored + rowsQuarantined === rowsRead) continue;
    throw new PermanentFault(
      'IncompleteJob',
      `partition ${plan.partition}, chunk ${chunk}: planned ${planned} rows, read ${rowsRead}, scored ${rowsScored}, in quarantine ${rowsQuarantined}`,
    );
  }
}

async function judgeInput(
  services: Services,
  {
    plan,
    contract,
    chunks,
    profile,
  }: { plan: ScoringPlan; contract: Contract; chunks: readonly ChunkRecord[]; profile: Profile | null },
): Promise<Evidence> {
  const { catalog } = services;
  const reference = plan.profile === null ? null : await catalog.profile(plan.profile);
  const baseline = plan.baseline === null ? null : await catalog.baseline(plan.baseline);
  const { model, partition, generation, asOf } = plan;
  const checks: CheckResult[] = [
    quarantineCheck(contract, chunks),
    ...(profile === null ? [] : validateData({ contract, profile, reference, baseline, history: [], asOf })),
  ];
  const reasons = checks
    .filter(check => check.status !== 'pass' && check.status !== 'not_applicable')
    .map(check => check.reason);
  return {
    schema: 'evidence/1',
    kind: 'data_validation',
    model,
    subject: {
      partition,
      generation: String(generation),
      inputs: plan.inputs
        .map(({ sha256 }) => sha256)
        .join(' ')
        .slice(0, 64),
    },
    baseline: plan.baseline,
    asOf,
    checks,
    verdict: foldVerdict(checks),
    reasons,
  };
}

function quarantineCheck(contract: Contract, chunks: readonly ChunkRecord[]): CheckResult {
  const rows = sumOf(chunks, 'rowsRead');
  const quarantined = sumOf(chunks, 'rowsQuarantined');
  const share = rows === 0 ? 0 : quarantined / rows;
  const isOver = share > contract.quarantineBudget;
  const rules = new Map<string, number>();
  for (const { id, bad } of chunks.flatMap(chunk => chunk.rules)) rules.set(id, (rules.get(id) ?? 0) + bad);
  const worst = [...rules]
    .filter(([, bad]) => bad > 0)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 5);
  const why = worst.map(([id, bad]) => `${id}: ${bad}`).join(', ');
  return {
    check: 'quarantine_budget',
    status: isOver ? 'fail' : quarantined > 0 ? 'warn' : 'pass',
    weight: 'blocking',
    column: null,
    slice: null,
    value: share,
    limit: contract.quarantineBudget,
    interval: null,
    rows,
    reason: `${quarantined} of ${rows} rows went to quarantine, ${contract.quarantineBudget * 100} % are allowed${why === '' ? '' : ` (${why})`}`,
    limitSource: 'declared',
    severity: null,
    details: Object.fromEntries(rules),
  };
}

function tableColumns(chunks: readonly ChunkRecord[]): readonly TableColumn[] {
  const columns = chunks.find(chunk => chunk.part !== null)?.columns ?? [];
  return columns.map(({ name, type }) => {
    const delta = deltaTypeOf(type);
    if (delta !== null) return { name, type: delta };
    throw new PermanentFault(
      'ColumnType',
      `output column ${name} is ${type}, which a Delta table cannot hold: cast it in the transform`,
      { name, type },
    );
  });
}

function shadowsOf(chunks: readonly ChunkRecord[]): JobManifest['shadows'] {
  const versions = [...new Set(chunks.flatMap(chunk => chunk.shadows.map(({ version }) => version)))];
  return versions.map(version => {
    const files = chunks.flatMap(chunk => chunk.shadows.filter(shadow => shadow.version === version));
    return {
      version,
      artifacts: files.map(({ artifact }) => artifact),
      rows: files.reduce((sum, { rows }) => sum + rows, 0),
    };
  });
}

async function commitJob(services: Services, input: { plan: string; manifest: string }) {
  const { catalog } = services;
  const plan = await catalog.documents.get<ScoringPlan>('plan', input.plan);
  const manifest = await catalog.documents.get<JobManifest>('job', input.manifest);
  const definition = await catalog.definition(plan.definition);
  const { model, partition, generation } = plan;
  const { workflowExecution, attempt } = Context.current().info;
  const outcome = await predictionsOf(services, definition).commit({
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
  const { rows } = manifest;
  const reason = `${rows} rows, ${manifest.rowsQuarantined} in quarantine`;
  await catalog.recordJobEnd(model, {
    ...end,
    outcome: 'committed',
    tableVersion: outcome.version,
    rows,
    modelVersions: versions,
    reason,
  });
  return { kind: 'committed', tableVersion: outcome.version, rows, versions } as const;
}

// --- Small things -----------------------------------------------------------------------------------------------------

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

export async function readJson<Document>(path: string): Promise<Document> {
  return JSON.parse(await readFile(path, 'utf8')) as Document;
}

async function readProfile(path: string): Promise<Profile> {
  return await readJson<Profile>(path);
}

function sumOf(chunks: readonly ChunkRecord[], field: 'rowsRead' | 'rowsScored' | 'rowsQuarantined'): number {
  return chunks.reduce((sum, chunk) => sum + chunk[field], 0);
}
