/** Judging a version before anybody is asked: by itself as a program, then against the champion on the same held-out rows. */
import { judgeEstimateReference } from '../checks/estimate.ts';
import { judgeChallenger } from '../checks/evaluation.ts';
import { checkResult } from '../checks/result.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult, EvidenceKind } from '../domain/evidence.ts';
import type { ModelVersion } from '../domain/model-version.ts';
import { batchRows } from '../domain/scoring.ts';
import { type EvaluationRows, readEvaluation } from '../engine/evaluation.ts';
import type { LabelledPartition } from '../engine/job.ts';
import { recordEvidence } from './evidence.ts';
import { beating, type Work } from './long.ts';
import { judgeAsProgram } from './model-ci.ts';
import { contractOf, inScratch, modelFiles, type Services } from './services.ts';
import { instantOf, labelledPartitions } from './snapshot.ts';
import type { EvidenceSummary, FrozenSnapshot, TrainingActivities, TrainingPlan } from './types.ts';

const evaluateMs = 2 * 60 * 60_000;

type QualifyInput = TrainingPlan & { readonly snapshot: FrozenSnapshot; readonly version: number };

export function createEvaluation(services: Services): Pick<TrainingActivities, 'qualifyVersion'> {
  return {
    qualifyVersion: input =>
      beating(work =>
        inScratch(services, async folder => {
          const version = await services.catalog.version(input.model, input.version);
          const definition = await services.catalog.definition(input.definition);
          const partitions = await labelledPartitions(services, { ...input, side: 'holdout', folder }, work);
          const context = { input, version, definition, partitions };
          return [
            await record(services, context, {
              kind: 'model_ci',
              baseline: null,
              checks: await judgeAsProgram(services, context, work),
            }),
            await judgeAgainstChampion(services, context, work),
          ];
        }),
      ),
  };
}

interface Context {
  readonly input: QualifyInput;
  readonly version: ModelVersion;
  readonly definition: ModelDefinition;
  readonly partitions: readonly LabelledPartition[];
}

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
    weights: rows.weights,
    clusters: null,
    slices: rows.slices.map(({ column, values, codes }) => ({ column, values, ids: codes })),
    minSliceRows,
    seed: definition.train.seed,
  };
  if (definition.task !== 'multiclass') {
    const judged = judgeChallenger({
      ...common,
      metric,
      min,
      labels: rows.labels,
      challengerScores: challenger.values,
      championScores: champion?.values ?? null,
      threshold: definition.task === 'binary' ? 0.5 : null,
    });
    if (definition.task === 'regression') return judged;
    const { labels, weights } = rows;
    const seen = { labels, weights, scores: challenger.values, threshold: 0.5, seed: definition.train.seed };
    return [...judged, ...judgeEstimateReference(seen)];
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

function record(
  services: Services,
  { input, version }: Context,
  found: { readonly kind: EvidenceKind; readonly baseline: string | null; readonly checks: readonly CheckResult[] },
): Promise<EvidenceSummary> {
  const subject = { version: String(version.number), bundle: version.bundle, run: input.run };
  return recordEvidence(services, { model: input.model, subject, asOf: instantOf(input.asOf), ...found });
}
