/**
 * The quarantine: a table beside the predictions with the rows that broke a rule, and the repairs that people made to them.
 * A generation of a partition replaces the quarantined rows of the one before, also with none.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { Context } from '@temporalio/activity';
import type { Contract } from '../domain/contract.ts';
import type { InputTable } from '../domain/definition.ts';
import { type Repair, repairsFor } from '../domain/quarantine.ts';
import { keys as names } from '../storage/keys.ts';
import { type PartFile, PredictionsTable } from '../storage/table/predictions-table.ts';
import type { TableColumn } from '../storage/table/schema.ts';
import { checkpointIfDue } from './checkpoint.ts';
import { localInputs, type PinnedFile } from './inputs.ts';
import type { Work } from './long.ts';
import { tableColumns, uploadPart } from './part-files.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import { inScratch, type Services } from './services.ts';

const repairMs = 60 * 60_000;
const artifactPrefix = 'artifact:';

export function quarantineOf(services: Services, model: string): PredictionsTable {
  return new PredictionsTable(services.ports, names.quarantine(model));
}

/** Rows of one chunk in the quarantine table's form; visible once the job ends. */
export interface QuarantinedPart extends PartFile {
  readonly columns: readonly TableColumn[];
}

export async function uploadQuarantined(
  services: Services,
  input: {
    readonly plan: ScoringPlan;
    readonly contract: Contract;
    readonly chunk: number;
    readonly file: string;
    readonly folder: string;
  },
  work: Work,
): Promise<QuarantinedPart> {
  const { plan, contract, chunk, file, folder } = input;
  const { model, partition, generation } = plan;
  const { keys, columns } = contract;
  const personal = columns.filter(column => column.pii).map(column => column.name);
  const formed = await services.engine.run(
    'quarantine',
    { file, keys, personal, outputFolder: folder },
    { deadlineMs: repairMs, signal: work.signal },
  );
  const part = await uploadPart(
    services,
    quarantineOf(services, model),
    { partition, generation, chunk },
    formed.file,
    work,
  );
  return { ...part, columns: tableColumns(formed.columns) };
}

/** Makes the quarantined rows of a job visible, once; a job without any takes those of the generation before away. */
export async function publishQuarantine(
  services: Services,
  input: {
    readonly plan: ScoringPlan;
    readonly planDigest: string;
    readonly parts: readonly QuarantinedPart[];
  },
): Promise<void> {
  const { plan, planDigest, parts } = input;
  const { model, partition, generation, asOf } = plan;
  const { workflowExecution, attempt } = Context.current().info;
  const table = quarantineOf(services, model);
  if (parts.length === 0 && (await table.highestGeneration(partition)) === 0) return;
  const outcome = await table.commit({
    partition,
    generation,
    planDigest,
    columns: parts[0]?.columns ?? [],
    files: parts.map(({ path, bytes, rows, sha256 }) => ({ path, bytes, rows, sha256 })),
    asOf,
    workflowId: workflowExecution?.workflowId ?? '',
    runId: workflowExecution?.runId ?? '',
    attempt,
  });
  if (outcome.kind !== 'fenced') await checkpointIfDue(services, table, outcome.version);
}

// --- Repairs ----------------------------------------------------------------------------------------------------------

/**
 * The partition's files as this generation reads them: where people repaired rows, a copy with the repairs takes the place of
 * the file. The copy is an artifact: the source stays as it was delivered.
 */
export async function repairedInputs(
  services: Services,
  input: {
    readonly model: string;
    readonly partition: string;
    readonly generation: number;
    readonly keys: readonly string[];
    readonly table: InputTable;
    readonly files: readonly PinnedFile[];
  },
  work: Work,
): Promise<readonly PinnedFile[]> {
  const { catalog, engine } = services;
  const { model, partition, generation, keys, table, files } = input;
  const digests = repairsFor(await catalog.jobs(model), { partition, generation });
  if (digests.length === 0) return files;
  return await inScratch(services, async folder => {
    const repairs: { path: string; format: Repair['format'] }[] = [];
    for (const [index, digest] of digests.entries()) {
      const repair = await catalog.documents.get<Repair>('repair', digest);
      const path = join(folder, `repair-${index}.${repair.format}`);
      await catalog.fetchArtifact(repair.artifact, path);
      repairs.push({ path, format: repair.format });
    }
    const output = await engine.run(
      'repair',
      {
        inputs: await localInputs(services, table, files, { folder: join(folder, 'inputs'), signal: work.signal }),
        repairs,
        keys,
        outputFolder: folder,
      },
      { deadlineMs: repairMs, signal: work.signal },
    );
    const replaced = [...files];
    for (const { index, file, rowGroups } of output.files) {
      const before = files[index];
      if (before === undefined) throw new Error(`the repair names input ${index} of ${files.length}`);
      const { bytes, rows, sha256 } = file;
      const path = `${artifactPrefix}${await catalog.putArtifact(file.path)}`;
      replaced[index] = { path, partition, bytes, sha256, rows, rowGroups, columns: before.columns };
    }
    return replaced;
  });
}

export function isArtifact(path: string): boolean {
  return path.startsWith(artifactPrefix);
}

/** A repaired file on this machine, fetched once from the store. */
export async function fetchedRepair(services: Services, path: string): Promise<string> {
  const digest = path.slice(artifactPrefix.length);
  const local = join(services.scratch, 'repaired', `${digest}.parquet`);
  // It appears under this name whole and verified, or not at all.
  const isThere = await access(local).then(
    () => true,
    () => false,
  );
  if (!isThere) await services.catalog.fetchArtifact(digest, local);
  return local;
}
