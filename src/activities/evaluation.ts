/** Judging a version before anybody is asked: against the champion on the same held-out rows, and by itself as a program. */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { judgeChallenger } from '../checks/evaluation.ts';
import { checkResult } from '../checks/result.ts';
import type { Contract, ContractColumn } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import { type CheckResult, type Evidence, foldVerdict } from '../domain/evidence.ts';
import type { ModelVersion } from '../domain/model-version.ts';
import type { Signature } from '../domain/signature.ts';
import { type EvaluationRows, readEvaluation } from '../engine/evaluation.ts';
import type { ChunkReceipt, LabelledPartition, ModelToScore } from '../engine/job.ts';
import { beating, type Work } from './long.ts';
import { contractOf, fetchedBundle, inScratch, readJson, type Services } from './services.ts';
import { instantOf, labelledPartitions, reasonsOf } from './snapshot.ts';
import type { EvidenceSummary, FrozenSnapshot, TrainingActivities, TrainingPlan } from './types.ts';

const evaluateMs = 2 * 60 * 60_000;
const batchRows = 2_048;
/** Two scorers of one model may differ by this much on the largest output; more is another model. */
const parityTolerance = 1e-5;

type QualifyInput = TrainingPlan & { readonly snapshot: FrozenSnapshot; readonly version: number };

export function createEvaluation(services: Services): Pick<TrainingActivities, 'qualifyVersion'> {
  return {
    qualifyVersion: input =>
      beating(async work => {
        const version = await services.catalog.version(input.model, input.version);
        const definition = await services.catalog.definition(input.definition);
        const partitions = await labelledPartitions(services, { ...input, side: 'holdout' }, work);
        const context = { input, version, definition, partitions };
        return [await judgeAsProgram(services, context, work), await judgeAgainstChampion(services, context, work)];
      }),
  };
}

interface Context {
  readonly input: QualifyInput;
  readonly version: ModelVersion;
  readonly definition: ModelDefinition;
  readonly partitions: readonly LabelledPartition[];
}

// --- Evaluation -------------------------------------------------------------------------------------------------------

async function judgeAgainstChampion(services: Services, context: Context, work: Work): Promise<EvidenceSummary> {
  const { definition, partitions, version } = context;
  const champion = await comparableChampion(services, version);
  const models = [version, ...(champion.version === null ? [] : [champion.version])];
  const checks = await inScratch(services, async folder => {
    const evaluation = await services.engine.run(
      'evaluate',
      {
        partitions,
        transform: definition.data.transform,
        contract: definition.contract,
        models: await Promise.all(
          models.map(async model => ({ version: model.number, ...(await modelFiles(services, model.bundle)) })),
        ),
        sliceColumns: definition.evaluate.slices,
        outputFolder: folder,
        batchRows,
      },
      { deadlineMs: evaluateMs, signal: work.signal, onProgress: work.report },
    );
    return judge(definition, await readEvaluation(evaluation));
  });
  const note = champion.problem === null ? [] : [checkResult('champion', { status: 'warn', reason: champion.problem })];
  const baseline = champion.version === null ? null : String(champion.version.number);
  return await record(services, context, { kind: 'evaluation', baseline, checks: [...checks, ...note] });
}

/** The champion, when it takes the same rows; under another contract or transform there are no same rows to compare on. */
async function comparableChampion(
  services: Services,
  version: ModelVersion,
): Promise<{ version: ModelVersion | null; problem: string | null }> {
  const { catalog } = services;
  const served = (await catalog.deployment(version.model)).champion;
  if (served === null || served.version === version.number) return { version: null, problem: null };
  const champion = await catalog.version(version.model, served.version);
  const [ours, theirs] = await Promise.all([
    catalog.definition(version.definition),
    catalog.definition(champion.definition),
  ]);
  const isSame =
    JSON.stringify(await contractOf(services, version.bundle)) ===
      JSON.stringify(await contractOf(services, champion.bundle)) && ours.data.transform === theirs.data.transform;
  if (isSame) return { version: champion, problem: null };
  const problem = `champion v${champion.number} was trained under another contract or transform, so it is not compared on the same rows`;
  return { version: null, problem };
}

function judge(definition: ModelDefinition, rows: EvaluationRows): CheckResult[] {
  const [challenger, champion] = rows.scores;
  if (challenger === undefined) throw new Error('the evaluation has no scores');
  const { metric, min, champion: policy, minSliceRows } = definition.evaluate;
  const common = {
    champion: policy,
    clusters: null,
    slices: rows.slices.map(({ column, values, codes }) => ({ column, values, ids: codes })),
    minSliceRows,
    seed: definition.train.seed,
  };
  if (definition.task !== 'multiclass') {
    return judgeChallenger({
      ...common,
      metric,
      min,
      labels: rows.labels,
      challengerScores: challenger.values,
      championScores: champion?.values ?? null,
      threshold: definition.task === 'binary' ? 0.5 : null,
    });
  }
  // Several classes are judged by whether the predicted class is the right one.
  const hits = ({ values, width }: { values: Float64Array; width: number }) =>
    Float64Array.from(rows.labels, (label, row) => (argmax(values, row * width, width) === label ? 1 : 0));
  return judgeChallenger({
    ...common,
    metric: 'accuracy',
    min,
    labels: new Float64Array(rows.rows).fill(1),
    challengerScores: hits(challenger),
    championScores: champion === undefined ? null : hits(champion),
    threshold: 0.5,
  }).filter(({ check }) => check !== 'calibration');
}

function argmax(values: Float64Array, at: number, width: number): number {
  let best = 0;
  for (let index = 1; index < width; index += 1) {
    if ((values[at + index] ?? 0) > (values[at + best] ?? 0)) best = index;
  }
  return best;
}

// --- Model CI ---------------------------------------------------------------------------------------------------------

/** Size, speed, agreement of the fast scorer with ONNX Runtime, and finite answers to inputs that should not happen. */
async function judgeAsProgram(services: Services, context: Context, work: Work): Promise<EvidenceSummary> {
  const { definition, version } = context;
  const files = await modelFiles(services, version.bundle);
  const checks = [await checkSize(definition, files.onnx)];
  const sample = context.partitions.at(-1);
  if (sample !== undefined) {
    const contract = await contractOf(services, version.bundle);
    const score = (options: Omit<SampleOptions, 'model' | 'contract' | 'definition' | 'sample'>) =>
      scoreSample(
        services,
        {
          model: { version: version.number, ...files, part: { kind: 'champion' }, scorer: 'auto' },
          contract,
          definition,
          sample,
          ...options,
        },
        work,
      );
    checks.push(...(await checkScorers(services, definition, score, work)));
    for (const kind of definition.ci.robustness)
      checks.push(await checkRobustness(services, { kind, contract, definition }, score, work));
  }
  return await record(services, context, { kind: 'model_ci', baseline: null, checks });
}

async function checkSize(definition: ModelDefinition, onnx: string): Promise<CheckResult> {
  const megabytes = (await stat(onnx)).size / 2 ** 20;
  const limit = definition.ci.sizeMb;
  const isOver = limit !== null && megabytes > limit;
  const reason = `model.onnx has ${megabytes.toFixed(2)} MB${limit === null ? '' : `, ${limit} MB are allowed`}`;
  return checkResult('model_size', {
    status: isOver ? 'fail' : 'pass',
    weight: 'blocking',
    value: megabytes,
    limit,
    limitSource: 'declared',
    reason,
  });
}

interface SampleOptions {
  readonly model: ModelToScore;
  readonly contract: Contract;
  readonly definition: ModelDefinition;
  readonly sample: LabelledPartition;
  readonly folder: string;
  readonly scorer?: ModelToScore['scorer'];
  readonly transform?: string;
}
type ScoreSample = (
  options: Omit<SampleOptions, 'model' | 'contract' | 'definition' | 'sample'>,
) => Promise<ChunkReceipt>;

/** Scores the newest held-out partition, perhaps through another scorer or after a change to its columns. */
async function scoreSample(services: Services, options: SampleOptions, work: Work): Promise<ChunkReceipt> {
  const { model, contract, definition, sample, folder, scorer, transform } = options;
  return await services.engine.run(
    'score-chunk',
    {
      inputs: sample.inputs,
      rows: sample.rows,
      tables: sample.tables,
      transform: transform ?? definition.data.transform,
      contract,
      outputColumns: contract.keys,
      models: [scorer === undefined ? model : { ...model, scorer }],
      scoredAt: '1970-01-01T00:00:00Z',
      baseline: null,
      sliceColumns: [],
      outputFolder: folder,
      batchRows,
      device: 'off',
    },
    { deadlineMs: evaluateMs, signal: work.signal },
  );
}

async function checkScorers(
  services: Services,
  definition: ModelDefinition,
  score: ScoreSample,
  work: Work,
): Promise<CheckResult[]> {
  return await inScratch(services, async folder => {
    const fast = await score({ folder: await subfolder(folder, 'fast') });
    const runtime = await score({ folder: await subfolder(folder, 'runtime'), scorer: 'onnxruntime' });
    const column = definition.task === 'binary' ? 'score' : definition.task === 'regression' ? 'prediction' : null;
    const keys = definition.contract.keys.map(key => `a."${key}" = b."${key}"`).join(' AND ');
    const difference =
      column === null
        ? `CAST(a.prediction <> b.prediction AS DOUBLE)`
        : `abs(a.${column} - b.${column}) / greatest(1, abs(b.${column}))`;
    const result = await services.engine.run(
      'query',
      {
        sql: `SELECT max(${difference}) AS worst, count(*) AS n FROM fast a JOIN runtime b ON ${keys}`,
        tables: { fast: paths(fast), runtime: paths(runtime) },
      },
      { deadlineMs: evaluateMs, signal: work.signal },
    );
    const worst = Number(result.rows[0]?.[0] ?? Number.NaN);
    const isEqual = worst <= parityTolerance;
    const used = fast.scorers[0]?.scorer ?? 'onnxruntime';
    const parity = checkResult('scorer_parity', {
      status: isEqual ? 'pass' : 'fail',
      weight: 'blocking',
      value: worst,
      limit: parityTolerance,
      limitSource: 'material floor',
      rows: fast.rowsScored,
      reason: `${used} and ONNX Runtime differ by at most ${worst.toExponential(1)} on ${fast.rowsScored} rows, ${parityTolerance} is allowed`,
    });
    return [parity, checkSpeed(definition, fast)];
  });
}

/** Time for 1,000 rows in the pass that production uses, reading and writing included. */
function checkSpeed(definition: ModelDefinition, receipt: ChunkReceipt): CheckResult {
  const limit = definition.ci.p99MsPer1kRows;
  const value = receipt.rowsScored === 0 ? null : (receipt.cpuSeconds * 1e6) / receipt.rowsScored;
  if (value === null)
    return checkResult('speed', { status: 'insufficient', reason: 'no row of the sample was scored' });
  const isOver = limit !== null && value > limit;
  const reason = `${value.toFixed(2)} ms for 1,000 rows${limit === null ? '' : `, ${limit} ms are allowed`}`;
  // Advice: the machine that judges is rarely the one that serves.
  return checkResult('speed', {
    status: isOver ? 'warn' : 'pass',
    value,
    limit,
    limitSource: 'declared',
    rows: receipt.rowsScored,
    reason,
  });
}

async function checkRobustness(
  services: Services,
  {
    kind,
    contract,
    definition,
  }: { kind: 'missing' | 'outliers' | 'unseen'; contract: Contract; definition: ModelDefinition },
  score: ScoreSample,
  work: Work,
): Promise<CheckResult> {
  const name = `robust_${kind}`;
  const replaced = contract.columns
    .filter(column => column.role === 'feature')
    .flatMap(column => disturb(kind, column));
  if (replaced.length === 0)
    return checkResult(name, { status: 'not_applicable', reason: `no column can be tested for ${kind}` });
  return await inScratch(services, async folder => {
    const rows = definition.data.transform ?? 'SELECT * FROM features';
    const receipt = await score({ folder, transform: `SELECT * REPLACE (${replaced.join(', ')}) FROM (${rows})` });
    const column = definition.task === 'binary' ? 'score' : definition.task === 'regression' ? 'prediction' : null;
    const result =
      receipt.predictions === null || column === null
        ? { rows: [[0]] }
        : await services.engine.run(
            'query',
            {
              sql: `SELECT count(*) FROM p WHERE ${column} IS NULL OR NOT isfinite(${column})`,
              tables: { p: paths(receipt) },
            },
            { deadlineMs: evaluateMs, signal: work.signal },
          );
    const bad = Number(result.rows[0]?.[0] ?? 0);
    const reason = `${bad} of ${receipt.rowsScored} predictions are not numbers when every feature is ${kind === 'missing' ? 'missing' : kind === 'unseen' ? 'an unseen category' : 'a million times larger'}; ${receipt.rowsQuarantined} rows went to quarantine`;
    return checkResult(name, {
      status: bad === 0 ? 'pass' : 'fail',
      weight: 'blocking',
      value: bad,
      limit: 0,
      limitSource: 'declared',
      rows: receipt.rowsRead,
      reason,
    });
  });
}

function disturb(kind: 'missing' | 'outliers' | 'unseen', { name, type }: ContractColumn): readonly string[] {
  const column = `"${name.replaceAll('"', '""')}"`;
  const isNumber = type === 'float' || type === 'double' || type === 'int';
  if (kind === 'missing') return [`CASE WHEN false THEN ${column} END AS ${column}`];
  if (kind === 'outliers') return isNumber ? [`CAST(${column} AS DOUBLE) * 1e6 AS ${column}`] : [];
  return type === 'category' || type === 'text' ? [`'never seen before' AS ${column}`] : [];
}

// --- Small things -----------------------------------------------------------------------------------------------------

async function modelFiles(services: Services, bundle: string): Promise<{ onnx: string; signature: Signature }> {
  const folder = await fetchedBundle(services, bundle);
  return { onnx: join(folder, 'model.onnx'), signature: await readJson<Signature>(join(folder, 'signature.json')) };
}

async function subfolder(folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(path, { recursive: true });
  return path;
}

function paths(receipt: ChunkReceipt): readonly string[] {
  return receipt.predictions === null ? [] : [receipt.predictions.path];
}

async function record(
  services: Services,
  { input, version }: Context,
  said: Pick<Evidence, 'kind' | 'baseline'> & { readonly checks: readonly CheckResult[] },
): Promise<EvidenceSummary> {
  const evidence: Evidence = {
    schema: 'evidence/1',
    model: input.model,
    subject: { version: String(version.number), bundle: version.bundle, run: input.run },
    asOf: instantOf(input.asOf),
    ...said,
    verdict: foldVerdict(said.checks),
    reasons: reasonsOf(said.checks),
  };
  const digest = await services.catalog.recordEvidence(evidence);
  return { digest, kind: evidence.kind, verdict: evidence.verdict, reasons: evidence.reasons.slice(0, 5) };
}
