/**
 * Train–serve skew in production: partitions that the champion learned from and that were scored as well. What scoring was
 * given is read as it was read then, chunk by chunk, through the transform; where the files have been replaced since, what
 * the predictions table passed through is all that is left. The rows are paired and counted in an engine child.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { checkDistributionSkew, checkRowSkew } from '../checks/index.ts';
import { checkResult } from '../checks/result.ts';
import { featureColumns } from '../domain/contract.ts';
import { defaultSkewPolicy, type ModelDefinition, type SkewPolicy } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Job } from '../domain/job.ts';
import type { ModelVersion } from '../domain/model-version.ts';
import { addDays, isDate } from '../domain/time.ts';
import { EngineFault } from '../engine/fault.ts';
import type { ServedChunk } from '../engine/served-job.ts';
import { recordEvidence } from './evidence.ts';
import type { Work } from './long.ts';
import { planOf } from './scored-windows.ts';
import type { ScoringPlan } from './scoring-plan.ts';
import { chunksAsServed, fetchedTrainingSet } from './served-chunks.ts';
import { fetchPredictions } from './served-labels.ts';
import { inScratch, predictionsOf, type Services } from './services.ts';
import type { EvidenceSummary } from './types.ts';

const compareMs = 60 * 60_000;
/** Rows that are read to find the sampled ones, and partitions that are looked at, the newest first. */
const rowsReadMax = 2_000_000;
const partitionsMax = 10;

export interface SkewInput {
  readonly model: string;
  readonly definition: ModelDefinition;
  /** The partition that is being monitored, and the newest committed job of every partition. */
  readonly partition: string;
  readonly asOf: string;
  readonly jobs: ReadonlyMap<string, Job>;
  /** Number of the champion. */
  readonly version: number;
  /** Checks of drift, where this is the first window the champion is judged in; empty otherwise. */
  readonly firstWindow: readonly CheckResult[];
}

/** Evidence of skew; none when the definition does not want it, or when the same jobs were compared before. */
export async function judgeSkew(services: Services, input: SkewInput, work: Work): Promise<readonly EvidenceSummary[]> {
  const { model, partition, asOf, definition } = input;
  const { skew = defaultSkewPolicy } = definition.monitor;
  if (skew === null || input.version === 0) return [];
  const version = await services.catalog.version(model, input.version);
  const jobs = await comparableJobs(services, input, version);
  const compared = jobs.map(({ job }) => `${job.partition}/g${job.generation}`).join(' ') || 'none';
  const subject = { partition, version: String(input.version), compared };
  const known = await services.catalog.evidenceList(model, { kind: 'skew' });
  const isSame = (other: Readonly<Record<string, string>>) =>
    other['version'] === subject.version && other['compared'] === compared;
  // The training set and committed jobs never change: their comparison holds until a new job joins them.
  const isKnown = known.some(entry => isSame(entry.subject) && entry.subject['partition'] !== partition);
  const distribution = checkDistributionSkew(input.firstWindow);
  if (isKnown && distribution.length === 0) return [];
  const rows = isKnown ? [] : await skewChecks(services, { version, jobs, skew }, work);
  const checks = [...rows, ...distribution];
  return [await recordEvidence(services, { kind: 'skew', model, subject, baseline: null, asOf, checks })];
}

interface ScoredJob {
  readonly job: Job;
  readonly plan: ScoringPlan;
  readonly definition: ModelDefinition;
}

/** Jobs of partitions that the version has seen, made with its own transform: another one is a change, not a skew. */
async function comparableJobs(
  services: Services,
  { jobs }: SkewInput,
  version: ModelVersion,
): Promise<readonly ScoredJob[]> {
  const { catalog } = services;
  const learnedUnder = await catalog.definition(version.definition);
  const own = featureText(learnedUnder);
  const { partitions } = await catalog.snapshot(version.snapshots['features'] ?? '');
  const found: ScoredJob[] = [];
  let rows = 0;
  for (const partition of learnedFrom(partitions, learnedUnder.train).toReversed()) {
    const job = jobs.get(partition);
    if (job === undefined) continue;
    const plan = await planOf(services, job);
    const definition = await catalog.definition(plan.definition);
    if (featureText(definition) !== own) continue;
    if (found.length === partitionsMax || (found.length > 0 && rows + plan.rows > rowsReadMax)) break;
    rows += plan.rows;
    found.push({ job, plan, definition });
  }
  return found;
}

/** Of the partitions of a snapshot, those on the side of the split that was learned from; in order. */
function learnedFrom(partitions: readonly string[], { holdoutShare, holdoutDays }: ModelDefinition['train']) {
  const all = partitions.toSorted();
  const last = all.at(-1);
  if (last === undefined || holdoutShare !== null) return all;
  if (!all.every(isDate)) return all.slice(0, Math.max(1, all.length - holdoutDays));
  return all.filter(partition => partition <= addDays(last, -holdoutDays));
}

/** What decides the values of the features. */
function featureText({ contract, data }: ModelDefinition): string {
  const columns = featureColumns(contract).map(({ name, type }) => `${name} ${type}`);
  return JSON.stringify([data.transform, contract.keys, columns]);
}

interface Comparison {
  readonly version: ModelVersion;
  readonly jobs: readonly ScoredJob[];
  readonly skew: SkewPolicy;
}

async function skewChecks(services: Services, of: Comparison, work: Work): Promise<readonly CheckResult[]> {
  const { version, jobs, skew } = of;
  const notApplicable = (reason: string) => [checkResult('row_skew', { status: 'not_applicable', reason })];
  if (jobs.length === 0) {
    return notApplicable(`no partition that v${version.number} learned from was scored with its transform`);
  }
  const { contract } = await services.catalog.definition(version.definition);
  if (contract.keys.length === 0) return notApplicable('the contract names no keys to pair rows by');
  return await inScratch(services, async folder => {
    const trained = await fetchedTrainingSet(services, version, join(folder, 'training.parquet'));
    if (trained === null) return notApplicable(`the training set of v${version.number} is no longer kept`);
    const served: ServedChunk[] = [];
    const whole: string[] = [];
    for (const [index, one] of jobs.entries()) {
      const place = join(folder, String(index));
      await mkdir(place, { recursive: true });
      const { chunks, isWhole } = await servedChunks(services, one, place, work);
      served.push(...chunks);
      if (isWhole) whole.push(one.job.partition);
    }
    if (served.length === 0) {
      return notApplicable('the files that were scored have been replaced, and score.pass_through logs no feature');
    }
    try {
      const compared = await services.engine.run(
        'compare-served',
        { trained, served, whole, contract, sampleRows: skew.rows, seed: 0, tolerance: skew.tolerance },
        { deadlineMs: compareMs, signal: work.signal, onProgress: work.report },
      );
      return checkRowSkew(compared, skew);
    } catch (error) {
      // What the rows make impossible must not cost the window its other evidence; trouble of the machine is tried again.
      if (!(error instanceof EngineFault) || (error.kind !== 'bad_input' && error.kind !== 'bad_job')) throw error;
      return [checkResult('row_skew', { status: 'error', reason: `rows could not be compared: ${error.message}` })];
    }
  });
}

/** The chunks of a job as they were scored; where the files are gone, what was logged of them. */
async function servedChunks(services: Services, { job, plan, definition }: ScoredJob, folder: string, work: Work) {
  const found = await chunksAsServed(services, { plan, definition, rowsMax: rowsReadMax, folder }, work);
  if (found !== null) return found;
  return { chunks: await loggedFeatures(services, definition, job.partition, folder, work), isWhole: false };
}

/** Features that the predictions table kept, word for word as they were served. */
async function loggedFeatures(
  services: Services,
  definition: ModelDefinition,
  partition: string,
  folder: string,
  work: Work,
): Promise<readonly ServedChunk[]> {
  const { passThrough } = definition.score;
  const features = featureColumns(definition.contract).flatMap(({ name }) =>
    passThrough.includes(name) ? [name] : [],
  );
  if (features.length === 0) return [];
  const paths = await fetchPredictions(services, definition, partition, folder, work);
  const files = (await predictionsOf(services, definition).state()).current(partition)?.files ?? [];
  const rows = files.reduce((sum, file) => sum + file.rows, 0);
  return [{ partition, inputs: paths.map(path => ({ path })), rows, tables: {}, transform: null, features }];
}
