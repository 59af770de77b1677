/** The audit of a job: every chunk once, every planned row accounted for, the input judged; then what a commit publishes. */
import { validateData } from '../checks/validation.ts';
import type { Contract } from '../domain/contract.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Profile } from '../domain/profile.ts';
import { failpoint } from '../storage/failpoint.ts';
import type { PartFile } from '../storage/table/predictions-table.ts';
import type { TableColumn } from '../storage/table/schema.ts';
import { recordEvidence } from './evidence.ts';
import { PermanentFault } from './fault.ts';
import { assertPinned } from './inputs.ts';
import type { Work } from './long.ts';
import { tableColumns } from './part-files.ts';
import { mergedProfile } from './profiles.ts';
import { isArtifact, publishQuarantine, type QuarantinedPart } from './quarantine.ts';
import { type ChunkRecord, type Receipts, sumOf } from './score-chunks.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import { contractOf, type Services } from './services.ts';
import type { EvidenceSummary } from './types.ts';

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
  readonly quarantine: readonly QuarantinedPart[];
  readonly profiles: readonly string[];
  readonly evidence: string;
}

export async function auditJob(services: Services, input: { plan: string; receipts: readonly string[] }, work: Work) {
  const { catalog } = services;
  const plan = await catalog.documents.get<ScoringPlan>('plan', input.plan);
  const chunks: ChunkRecord[] = [];
  for (const digest of input.receipts)
    chunks.push(...(await catalog.documents.get<Receipts>('receipts', digest)).chunks);
  assertComplete(plan, chunks);
  // A repaired file is named by its digest and cannot change.
  await assertPinned(
    services,
    plan.inputs.filter(({ path }) => !isArtifact(path)),
    work,
  );

  const contract = await contractOf(services, plan.versions[0]?.bundle ?? '');
  const profile = await mergedProfile(
    services,
    chunks.flatMap(chunk => (chunk.profile === null ? [] : [chunk.profile])),
  );
  const evidence = await judgeInput(services, { plan, contract, chunks, profile });
  failpoint('audit.judged');
  const quarantine = chunks.flatMap(chunk => (chunk.quarantine === null ? [] : [chunk.quarantine]));
  if (evidence.verdict === 'fail') {
    // What blocks a partition is what somebody has to look at: its rows are kept although nothing else is published.
    await publishQuarantine(services, { plan, planDigest: input.plan, parts: quarantine });
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
    return { kind: 'blocked', evidence } as const;
  }
  const manifest: JobManifest = {
    schema: 'job/1',
    plan: input.plan,
    parts: chunks.flatMap(chunk => (chunk.part === null ? [] : [chunk.part])),
    columns: tableColumns(chunks.find(chunk => chunk.part !== null)?.columns ?? []),
    rows: sumOf(chunks, 'rowsScored'),
    rowsQuarantined: sumOf(chunks, 'rowsQuarantined'),
    shadows: shadowsOf(chunks),
    quarantine,
    profiles: profile === null ? [] : [await catalog.putProfile(profile)],
    evidence: evidence.digest,
  };
  const digest = await catalog.documents.put('job', manifest);
  failpoint('audit.stored');
  return {
    kind: 'complete',
    manifest: digest,
    rows: manifest.rows,
    evidence,
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
): Promise<EvidenceSummary> {
  const { catalog } = services;
  const reference = plan.profile === null ? null : await catalog.profile(plan.profile);
  const baseline = plan.baseline === null ? null : await catalog.baseline(plan.baseline);
  const { model, partition, generation, asOf } = plan;
  const checks: CheckResult[] = [
    quarantineCheck(contract, chunks),
    ...(profile === null ? [] : validateData({ contract, profile, reference, baseline, history: [], asOf })),
  ];
  return await recordEvidence(services, {
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
  });
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
