/**
 * Multivariate drift in production: a classifier in an engine child tries to tell the served rows of a window from those that
 * the champion learned from. It sees what no column shows by itself; it warns and explains, and retrains only where the
 * definition names the trigger.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { judgeSeparation } from '../checks/index.ts';
import { checkResult } from '../checks/result.ts';
import { type Contract, featureColumns } from '../domain/contract.ts';
import { defaultMultivariatePolicy, type ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import { EngineFault } from '../engine/fault.ts';
import type { ServedChunk, TellApartJob } from '../engine/served-job.ts';
import { recordEvidence } from './evidence.ts';
import type { Work } from './long.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import { chunksAsServed, fetchedTrainingSet } from './served-chunks.ts';
import { contractOf, inScratch, type Services } from './services.ts';
import type { EvidenceSummary } from './types.ts';

const compareMs = 60 * 60_000;
/** Rows that are read to draw the window's sample from. */
const rowsReadMax = 2_000_000;
/** The fit takes the square of the columns; beyond these, the most important ones stand for all. */
const columnsMax = 30;

export interface MultivariateInput {
  readonly model: string;
  readonly definition: ModelDefinition;
  readonly subject: Readonly<Record<string, string>>;
  /** Plans of the window's partitions, the newest last; all of them with the champion of the newest. */
  readonly plans: readonly ScoringPlan[];
  readonly importance: Readonly<Record<string, number>> | null;
}

/** Evidence of multivariate drift; none when the definition does not want it. */
export async function judgeMultivariate(
  services: Services,
  input: MultivariateInput,
  work: Work,
): Promise<readonly EvidenceSummary[]> {
  const { model, subject, plans, definition } = input;
  const { multivariate: policy = defaultMultivariatePolicy } = definition.monitor;
  const last = plans.at(-1);
  const number = last?.versions[0]?.version;
  if (policy === null || last === undefined || number === undefined) return [];
  const checks = await inScratch(services, async folder => {
    const notApplicable = (reason: string) => [checkResult('multivariate_drift', { status: 'not_applicable', reason })];
    const version = await services.catalog.version(model, number);
    const trained = await fetchedTrainingSet(services, version, join(folder, 'training.parquet'));
    if (trained === null) return notApplicable(`the training set of v${number} is no longer kept`);
    const served = await windowChunks(services, plans, folder, work);
    if (served.length === 0) return notApplicable('the files that were scored have been replaced since');
    const contract = await contractOf(services, last.versions[0]?.bundle ?? '');
    const columns = columnsToLookAt(contract, input.importance);
    const job = { trained, served, contract, columns, rows: policy.rows, seed: 0 };
    return await separationChecks(services, job, policy, work);
  });
  const { asOf, baseline } = last;
  return [await recordEvidence(services, { kind: 'multivariate', model, subject, baseline, asOf, checks })];
}

async function windowChunks(
  services: Services,
  plans: readonly ScoringPlan[],
  folder: string,
  work: Work,
): Promise<readonly ServedChunk[]> {
  const served: ServedChunk[] = [];
  const rowsMax = Math.ceil(rowsReadMax / plans.length);
  for (const plan of plans) {
    const place = join(folder, plan.partition.replaceAll('/', '_'));
    await mkdir(place, { recursive: true });
    const definition = await services.catalog.definition(plan.definition);
    const found = await chunksAsServed(services, { plan, definition, rowsMax, folder: place }, work);
    served.push(...(found?.chunks ?? []));
  }
  return served;
}

/** Keys and times tell any two samples apart and say nothing. */
export function columnsToLookAt(contract: Contract, importance: Readonly<Record<string, number>> | null) {
  const names = featureColumns(contract)
    .filter(({ name, type }) => type !== 'date' && type !== 'timestamp' && !contract.keys.includes(name))
    .map(({ name }) => name);
  const weight = (name: string) => importance?.[name] ?? 0;
  return names.toSorted((left, right) => weight(right) - weight(left)).slice(0, columnsMax);
}

async function separationChecks(
  services: Services,
  job: TellApartJob,
  policy: { readonly limit: number },
  work: Work,
): Promise<readonly CheckResult[]> {
  try {
    const limits = { deadlineMs: compareMs, signal: work.signal, onProgress: work.report };
    return judgeSeparation(await services.engine.run('tell-apart', job, limits), policy);
  } catch (error) {
    // What the rows make impossible must not cost the window its other evidence; trouble of the machine is tried again.
    if (!(error instanceof EngineFault) || (error.kind !== 'bad_input' && error.kind !== 'bad_job')) throw error;
    const reason = `rows could not be told apart: ${error.message}`;
    return [checkResult('multivariate_drift', { status: 'error', reason })];
  }
}
