/**
 * Champion against challenger, paired on the same rows: is the challenger good enough by itself, not worse than the champion
 * by more than the margin, not worse in any guarded slice, calibrated, and does it predict a similar distribution?
 *
 * Looks are not sequential: a challenger is judged once on a fixed holdout, so no alpha is spent over time.
 */
import type { CheckResult } from '../domain/evidence.ts';
import { calibrationError, calibrationInTheLarge, reliability } from '../stats/calibration.ts';
import { delongAuc } from '../stats/delong.ts';
import { psi, psiNoiseFloor } from '../stats/divergence.ts';
import { histogram } from '../stats/histogram.ts';
import { mcnemar } from '../stats/mcnemar.ts';
import { measured, type Numbers } from '../stats/measured.ts';
import { quantileOfSorted } from '../stats/moments.ts';
import { effectiveRows, weightedMean } from '../stats/weighted.ts';
import { type Bounds, boundsOf } from './intervals.ts';
import { compare, weightedMethod } from './paired-difference.ts';
import { checkResult, type Finding, judgeTable, percent, plain } from './result.ts';
import { everyRow, pick } from './row-clusters.ts';
import { directionOf, measureQuality, type QualityMetric, qualityMetric } from './score-quality.ts';
import { isLinearMetric, sampleText, weightedInterval } from './weighted-quality.ts';

export interface EvaluationInput {
  /** Name of a metric of `checks/score-quality`. */
  readonly metric: string;
  /** Absolute gate on the challenger (a maximum for metrics where less is better); null has none. */
  readonly min: number | null;
  readonly champion: { readonly nonInferiorBy: number; readonly confidence: number };
  /** Per row: 0/1 labels or regression targets, and both scores in the same order. */
  readonly labels: Numbers;
  readonly challengerScores: Numbers;
  /** Null when there is no champion yet. */
  readonly championScores: Numbers | null;
  /** Inverse sampling probabilities when only a sample was labelled; null or absent counts all rows alike. */
  readonly weights?: Numbers | null;
  /** Rows of one cluster (a day, an entity) are resampled together; null treats rows as independent. */
  readonly clusters: Int32Array | null;
  /** Guarded slices: per row the index into `values`. */
  readonly slices: readonly { readonly column: string; readonly ids: Int32Array; readonly values: readonly string[] }[];
  readonly minSliceRows: number;
  /** Decision threshold of binary tasks; null for regression. */
  readonly threshold: number | null;
  readonly seed: number;
}

/** A slice may lose this many margins before it blocks (statistics A19). */
const sliceMargins = 2;
/** Calibration may worsen by this much; below it nobody acts on the difference. */
const calibrationSlack = 0.01;
const rowsMin = 30;

/**
 * Evaluation checks. Without a champion the comparisons are `insufficient` and advisory: the policy is that the absolute gate
 * decides, then people approve; without an absolute gate either, the evidence has nothing to pass and stays `insufficient`.
 */
export function judgeChallenger(input: EvaluationInput): CheckResult[] {
  const metric = qualityMetric(input.metric);
  assertPaired(input);
  return [
    ...judgeTable(metric, () => judgeAbsolute(metric, input)),
    ...(input.championScores === null
      ? [withoutChampion(metric, input)]
      : judgePair(metric, input, input.championScores)),
    ...judgeTable('calibration', () => judgeCalibration(input)),
  ];
}

function judgePair(metric: QualityMetric, input: EvaluationInput, champion: Numbers): CheckResult[] {
  return [
    ...judgeTable('non_inferiority', () => judgeNonInferiority(metric, input, champion)),
    ...judgeTable('mcnemar', () => judgeDecisions(input, champion)),
    ...judgeSlices(metric, input, champion),
    ...judgeTable('prediction_distribution', () => judgeDistribution(input, champion)),
  ];
}

function judgeAbsolute(metric: QualityMetric, input: EvaluationInput): Finding | null {
  const { labels, challengerScores: scores, min } = input;
  const found = measureQuality(metric, labels, scores, input);
  const rows = labels.length;
  if (found.value === null)
    return { status: 'insufficient', weight: 'required', rows, reason: `${metric} is undefined: ${found.reason}` };
  const interval = intervalOf(metric, input);
  const base = { value: found.value, interval, rows, weight: 'required' as const, details: detailsOf(input) };
  const text = `${metric} ${plain(found.value)} on ${rows} rows${sampleText(input.weights ?? null)}`;
  if (min === null)
    return {
      ...base,
      weight: 'advisory',
      status: 'pass',
      reason: `${text}; no gate is declared`,
    };
  const gate = { ...base, limit: min, limitSource: 'declared' };
  const good = (found.value - min) * directionOf(metric) >= 0;
  const relation = directionOf(metric) === 1 ? 'at least' : 'at most';
  return {
    ...gate,
    status: good ? 'pass' : 'fail',
    reason: `${text}, ${relation} ${plain(min)} wanted`,
  };
}

function detailsOf({ weights = null }: EvaluationInput): Record<string, unknown> {
  return weights === null ? {} : { sample: 'weighted', effectiveRows: effectiveRows(weights) };
}

function withoutChampion(metric: QualityMetric, input: EvaluationInput): CheckResult {
  const gated = input.min !== null;
  return checkResult('non_inferiority', {
    status: 'insufficient',
    weight: gated ? 'advisory' : 'required',
    rows: input.labels.length,
    reason: gated
      ? `there is no champion to compare with: the gate on ${metric} decides, then people approve`
      : `there is no champion to compare with and no least ${metric} is declared: set evaluate.min`,
  });
}

function judgeNonInferiority(metric: QualityMetric, input: EvaluationInput, champion: Numbers): Finding {
  const margin = input.champion.nonInferiorBy;
  // One-sided question, so the two-sided interval leaves twice the tail: 95 % confidence is a 90 % interval's lower end.
  const confidence = 2 * input.champion.confidence - 1;
  const difference = compare(metric, input, champion, everyRow(input.labels.length), confidence);
  const rows = input.labels.length;
  if (difference.value === null) {
    return {
      status: 'insufficient',
      weight: 'required',
      rows,
      reason: `the difference of ${metric} is undefined: ${difference.reason}`,
    };
  }
  const { value, low, high, method, ...sides } = difference.value;
  const found = `${metric} ${plain(sides.challenger)} against the champion's ${plain(sides.champion)} on the same ${rows} rows${sampleText(input.weights ?? null)}: better by ${plain(value)}, at least ${plain(low)}`;
  const base = {
    value,
    limit: -margin,
    limitSource: 'declared',
    interval: [low, high] as const,
    rows,
    weight: 'required' as const,
    details: { ...sides, method, ...detailsOf(input) },
  };
  if (low > -margin) return { ...base, status: 'pass', reason: found };
  if (high < -margin) return { ...base, status: 'fail', reason: `${found}; it is worse by more than ${plain(margin)}` };
  if (value < -margin)
    return {
      ...base,
      status: 'fail',
      reason: `${found}; more than ${plain(margin)} worse, and better cannot be shown`,
    };
  return {
    ...base,
    status: 'insufficient',
    reason: `${found}; that it is not worse by ${plain(margin)} cannot be shown with these rows`,
  };
}

/** McNemar at the threshold: do the two decide differently, and in whose favour? Advice, because a flip is not a loss. */
function judgeDecisions(input: EvaluationInput, champion: Numbers): Finding | null {
  const { labels, threshold, weights = null } = input;
  if (threshold === null) return null;
  if (weights !== null) return judgeWeightedDecisions(input, champion);
  let onlyChallenger = 0;
  let onlyChampion = 0;
  for (let row = 0; row < labels.length; row++) {
    const label = labels[row] === 1;
    const left = input.challengerScores[row]! >= threshold === label;
    const right = champion[row]! >= threshold === label;
    if (left && !right) onlyChallenger++;
    if (right && !left) onlyChampion++;
  }
  const test = mcnemar(onlyChallenger, onlyChampion);
  const rows = labels.length;
  if (test.value === null) return { status: 'insufficient', rows, reason: test.reason };
  const worse = onlyChampion > onlyChallenger && test.value.p < 1 - input.champion.confidence;
  return {
    status: worse ? 'warn' : 'pass',
    value: test.value.p,
    limit: 1 - input.champion.confidence,
    limitSource: 'declared',
    rows,
    reason: `at threshold ${plain(threshold)} only the challenger is right on ${onlyChallenger} rows, only the champion on ${onlyChampion} (p ${plain(test.value.p)})`,
    details: { onlyChallenger, onlyChampion, method: test.value.method },
  };
}

/** McNemar counts rows alike; of a sample the share of right decisions is compared, paired by row. */
function judgeWeightedDecisions(input: EvaluationInput, champion: Numbers): Finding {
  const rows = input.labels.length;
  const found = compare('accuracy', input, champion, everyRow(rows), input.champion.confidence);
  if (found.value === null) return { status: 'insufficient', rows, reason: found.reason };
  const { value, low, high, challenger } = found.value;
  return {
    status: high < 0 ? 'warn' : 'pass',
    value,
    limit: 0,
    limitSource: 'declared',
    interval: [low, high],
    rows,
    reason: `at threshold ${plain(input.threshold ?? 0.5)} the challenger is right on ${percent(challenger)} of the weighted rows, the champion on ${percent(found.value.champion)}`,
    details: { method: weightedMethod('McNemar'), ...detailsOf(input) },
  };
}

/**
 * Guarded slices: none may be worse than twice the margin, shown at a confidence corrected for their number (Bonferroni;
 * slices overlap, so nothing finer holds). Slices without support say so and block nothing.
 */
function judgeSlices(metric: QualityMetric, input: EvaluationInput, champion: Numbers): CheckResult[] {
  const slices = input.slices.flatMap(({ column, ids, values }) =>
    values
      .map((value, index) => ({ name: `${column}=${value}`, rows: rowsWhere(ids, index) }))
      .filter(({ rows }) => rows.length > 0),
  );
  const worthOf = (rows: Uint32Array) =>
    input.weights === undefined || input.weights === null ? rows.length : effectiveRows(pick(input.weights, rows));
  const supported = slices.filter(({ rows }) => worthOf(rows) >= input.minSliceRows).length;
  const confidence = 1 - (1 - input.champion.confidence) / Math.max(1, supported);
  const limit = -sliceMargins * input.champion.nonInferiorBy;
  return slices.flatMap(({ name, rows }) =>
    judgeTable('slice_non_inferiority', () => {
      const base = { slice: name, rows: rows.length, limit, limitSource: 'declared', weight: 'blocking' as const };
      const worth = worthOf(rows);
      if (worth < input.minSliceRows)
        return {
          ...base,
          status: 'insufficient',
          reason: `${name}: ${rows.length} rows${worth < rows.length ? `, worth ${Math.round(worth)} of equal weight` : ''}, ${input.minSliceRows} needed`,
        };
      const difference = compare(metric, input, champion, rows, confidence);
      if (difference.value === null)
        return { ...base, status: 'insufficient', reason: `${name}: ${difference.reason}` };
      const { value, low, high, challenger, champion: right } = difference.value;
      const found = `${name}: ${metric} ${plain(challenger)} against ${plain(right)} on ${rows.length} rows`;
      const finding = {
        ...base,
        value,
        interval: [low, high] as const,
        details: { challenger, champion: right, slices: supported },
      };
      if (value >= limit) return { ...finding, status: 'pass', reason: found };
      // Worse by the point estimate: certain when the interval says so, a warning otherwise.
      return {
        ...finding,
        status: high < 0 ? 'fail' : 'warn',
        reason: `${found}: worse by more than ${plain(-limit)}`,
      };
    }),
  );
}

/** Probabilities must mean what they say, at least as well as the champion's do. */
function judgeCalibration(input: EvaluationInput): Finding | null {
  if (input.threshold === null) return null;
  const rows = input.labels.length;
  const weights = input.weights ?? null;
  const challenger = errorOf(input.labels, input.challengerScores, weights);
  if (challenger === null)
    return {
      status: 'insufficient',
      rows,
      reason: 'calibration needs labels of both classes and scores between 0 and 1',
    };
  const champion = input.championScores === null ? null : errorOf(input.labels, input.championScores, weights);
  // Without drift the error of ten equal bins is about √(bins/(2π n)) × the spread of a label: that much is noise.
  const noise = Math.sqrt(10 / (2 * Math.PI * (weights === null ? rows : effectiveRows(weights))));
  const limit = Math.max(champion ?? 0, noise) + calibrationSlack;
  const large = inTheLarge(input);
  const base = { value: challenger, rows, details: { champion, inTheLarge: large } };
  const found = `expected calibration error ${plain(challenger)}${champion === null ? '' : `, the champion's ${plain(champion)}`}`;
  if (champion === null)
    return {
      ...base,
      status: challenger <= 0.1 ? 'pass' : 'warn',
      limit: 0.1,
      limitSource: 'material floor',
      reason: found,
    };
  return {
    ...base,
    weight: 'blocking',
    limit,
    limitSource: champion > noise ? "the champion's + 0.01" : 'noise floor + 0.01',
    status: challenger <= limit ? 'pass' : 'fail',
    reason: found,
  };
}

/** A new score distribution surprises everyone downstream: advice above a PSI of 0.1, blocking never. */
function judgeDistribution(input: EvaluationInput, champion: Numbers): Finding {
  const rows = input.labels.length;
  const ascending = Float64Array.from(champion).sort();
  const edges = [
    ...new Set(Array.from({ length: 9 }, (_, index) => quantileOfSorted(ascending, (index + 1) / 10).value ?? 0)),
  ];
  const before = histogram(champion, edges);
  const found = psi(before, histogram(input.challengerScores, edges));
  if (found.value === null || rows < rowsMin) {
    return { status: 'insufficient', rows, reason: `${rows} rows are too few to compare the distributions of scores` };
  }
  const noise = psiNoiseFloor({ n: rows, m: rows, bins: before.length }).value ?? 0;
  const limit = Math.max(0.1, noise);
  const means = { champion: meanOf(champion), challenger: meanOf(input.challengerScores) };
  return {
    status: found.value.psi < limit ? 'pass' : 'warn',
    value: found.value.psi,
    severity: found.value.psi,
    limit,
    limitSource: noise > 0.1 ? 'noise floor' : 'material floor',
    rows,
    reason: `PSI ${plain(found.value.psi)} between the two score distributions; mean score ${plain(means.champion)} and ${plain(means.challenger)}`,
    details: means,
  };
}

function inTheLarge({ labels, challengerScores: scores, weights = null }: EvaluationInput): number | null {
  if (weights === null) return calibrationInTheLarge(labels, scores).value;
  const gaps = Float64Array.from(labels, (label, row) => scores[row]! - label);
  return weightedMean(gaps, weights).value?.value ?? null;
}

function errorOf(labels: Numbers, scores: Numbers, weights: Numbers | null): number | null {
  const bins = reliability(labels, scores, { bins: 10, binning: 'equal-mass', weights });
  return bins.value === null || labels.length < rowsMin ? null : calibrationError(bins.value).value;
}

function intervalOf(metric: QualityMetric, input: EvaluationInput): Bounds {
  const { labels, challengerScores: scores, weights = null, threshold } = input;
  const { confidence } = input.champion;
  if (weights !== null && isLinearMetric(metric)) {
    return boundsOf(weightedInterval(metric, { labels, scores, weights, threshold: threshold ?? 0.5 }, confidence));
  }
  const auc = metric === 'auc' ? delongAuc(labels, scores, confidence).value : null;
  return auc === null ? null : boundsOf(measured(auc.interval));
}

function rowsWhere(ids: Int32Array, value: number): Uint32Array {
  const rows: number[] = [];
  ids.forEach((id, row) => {
    if (id === value) rows.push(row);
  });
  return Uint32Array.from(rows);
}

function meanOf(values: Numbers): number {
  let total = 0;
  for (let row = 0; row < values.length; row++) total += values[row]!;
  return total / values.length;
}

/** Pairing is the caller's promise; a broken one is a fault of the program, not of the data. */
function assertPaired(input: EvaluationInput): void {
  const rows = input.labels.length;
  const lengths = [
    input.challengerScores.length,
    input.championScores?.length ?? rows,
    input.weights?.length ?? rows,
    input.clusters?.length ?? rows,
    ...input.slices.map(({ ids }) => ids.length),
  ];
  if (lengths.some(length => length !== rows)) {
    throw new Error(
      `evaluation is paired: ${rows} labels, but scores, weights, clusters or slices have ${lengths.join(', ')} rows`,
    );
  }
}
