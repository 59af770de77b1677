/**
 * Quality before labels arrive (CBPE): what the model's own probabilities promise, and, when the labels are in, whether the
 * promise was kept.
 *
 *   held-out rows with labels ─► reference: calibration and spread of a row  (with the version's evaluation)
 *   scores of a new window    ─► estimate with its band                      (when the window is monitored)
 *   labels of that window     ─► estimate against truth                      (when they are mature)
 */
import type { CheckResult } from '../domain/evidence.ts';
import type { Baseline, Profile } from '../domain/profile.ts';
import { applyIsotonic, calibrationError, fitIsotonic, type IsotonicFit, reliability } from '../stats/calibration.ts';
import {
  componentDeviations,
  type EstimatedMetric,
  estimateBand,
  estimatedMetrics,
  estimateQuality,
} from '../stats/cbpe.ts';
import type { Numbers } from '../stats/measured.ts';
import { sum } from '../stats/measured.ts';
import { createRandom } from '../stats/random.ts';
import { judgeTable, percent, plain } from './result.ts';
import { drawnByWeight, everyRow, pick } from './row-clusters.ts';

export function isEstimatedMetric(name: string): name is EstimatedMetric {
  return (estimatedMetrics as readonly string[]).includes(name);
}

/** What an estimate needs to know of the version, from labelled rows that it has not learned from. */
export interface EstimateReference {
  /** Standard deviation of one row's contribution to each metric; a metric that is undefined there is left out. */
  readonly deviations: Readonly<Partial<Record<EstimatedMetric, number>>>;
  /** From scores to probabilities; null takes the scores at their word. */
  readonly calibration: IsotonicFit | null;
}

const folds = 10;
/** Sorting more rows ten times tells nothing new about a curve of a few dozen steps. */
const calibrationRowsMax = 100_000;
const calibrationBins = { bins: 10, binning: 'equal-mass' } as const;

/**
 * `estimate_reference`: how far later estimates may be trusted. Scores are calibrated by isotonic regression where that
 * lowers the calibration error in every one of ten folds, and taken at their word otherwise.
 */
export function judgeEstimateReference(input: {
  readonly labels: Numbers;
  readonly scores: Numbers;
  /** Inverse sampling probabilities when only a sample was labelled. */
  readonly weights?: Numbers | null;
  readonly threshold: number;
  readonly seed: number;
}): CheckResult[] {
  return judgeTable('estimate_reference', () => {
    const { weights = null, threshold } = input;
    const alike = weights === null ? null : drawnByWeight(weights, input.seed);
    const labels = alike === null ? input.labels : pick(input.labels, alike);
    const scores = alike === null ? input.scores : pick(input.scores, alike);
    const rows = labels.length;
    const found = componentDeviations(labels, callsOf(scores, threshold), scores);
    const deviations = Object.fromEntries(
      estimatedMetrics.flatMap(metric => (found[metric].value === null ? [] : [[metric, found[metric].value]])),
    );
    if (Object.keys(deviations).length === 0) {
      return {
        status: 'insufficient',
        rows,
        reason: `no metric is defined on ${rows} held-out rows: nothing to estimate from`,
      };
    }
    const drawn = drawnRows(rows, input.seed);
    const sample = { labels: pick(labels, drawn), scores: pick(scores, drawn), seed: input.seed };
    const { better, before, after } = crossValidated(sample);
    const fit = better === folds ? fitIsotonic(sample.labels, sample.scores).value : null;
    const reference: EstimateReference = { deviations, calibration: fit };
    return {
      status: 'pass',
      value: fit === null ? before : after,
      rows,
      details: { ...reference },
      reason:
        `estimates before labels take scores ${fit === null ? 'at their word' : 'through an isotonic calibration'}: calibrating lowers ` +
        `the calibration error in ${better} of ${folds} folds of ${drawn.length} rows (${plain(before)} to ${plain(after)} on average)`,
    };
  });
}

function drawnRows(rows: number, seed: number): Uint32Array {
  const all = everyRow(rows);
  if (rows <= calibrationRowsMax) return all;
  const random = createRandom(seed);
  return all.filter(() => random.next() < calibrationRowsMax / rows);
}

function crossValidated({ labels, scores, seed }: { labels: Numbers; scores: Numbers; seed: number }) {
  const random = createRandom(seed);
  const foldOf = Uint8Array.from({ length: labels.length }, () => random.below(folds));
  let [better, before, after] = [0, 0, 0];
  for (let fold = 0; fold < folds; fold++) {
    const learned = everyRow(labels.length).filter(row => foldOf[row] !== fold);
    const tested = everyRow(labels.length).filter(row => foldOf[row] === fold);
    const fit = fitIsotonic(pick(labels, learned), pick(scores, learned)).value;
    if (fit === null || tested.length === 0) continue;
    const raw = Float64Array.from(pick(scores, tested));
    const truth = pick(labels, tested);
    const errorOf = (p: Numbers) => {
      const bins = reliability(truth, p, calibrationBins).value;
      return bins === null ? Number.POSITIVE_INFINITY : (calibrationError(bins).value ?? Number.POSITIVE_INFINITY);
    };
    const [rawError, fittedError] = [errorOf(raw), errorOf(raw.map(score => applyIsotonic(fit, score)))];
    if (fittedError < rawError) better++;
    before += rawError / folds;
    after += fittedError / folds;
  }
  return { better, before, after };
}

/** The reference that an evaluation recorded; null for versions that were judged before there was one. */
export function estimateReferenceIn(checks: readonly CheckResult[]): EstimateReference | null {
  const check = checks.find(one => one.check === 'estimate_reference' && one.status === 'pass');
  const deviations = check?.details['deviations'];
  if (typeof deviations !== 'object' || deviations === null) return null;
  const { calibration } = check?.details ?? {};
  return { deviations, calibration: isIsotonic(calibration) ? calibration : null };
}

export interface EstimateInput {
  readonly metric: EstimatedMetric;
  readonly min: number | null;
  /** Calibrated probabilities of the window. */
  readonly probabilities: Numbers;
  /** Scores as served, which order the rows and make the calls; the probabilities themselves when left out. */
  readonly scores?: Numbers;
  /** Rows that each entry stands for; one each when left out. */
  readonly counts?: Numbers;
  readonly threshold: number;
  /** Standard deviation of one row's contribution on the labelled reference (`stats/cbpe.componentDeviations`). */
  readonly deviation: number;
  /** Share of rows with a value the training never saw (unseen category, beyond the reference's extremes). */
  readonly unknownShare: number;
}

/** Above this share of rows in regions the model never saw, an estimate from its own confidence is a guess. */
const unknownShareMax = 0.05;

/** CBPE: quality expected if the model's probabilities still mean what they say. Blind to a change of the concept. */
export function estimateQualityOf(input: EstimateInput): CheckResult[] {
  return judgeTable('estimated_quality', () => {
    const { probabilities, scores = probabilities, counts = null } = input;
    const rows = counts === null ? probabilities.length : sum(counts);
    const base = { rows, limit: input.min, limitSource: input.min === null ? null : 'declared' };
    if (input.unknownShare > unknownShareMax) {
      return {
        ...base,
        status: 'insufficient',
        reason: `${percent(input.unknownShare)} of the rows lie where the model never learned: no estimate`,
      };
    }
    const estimated = estimateQuality(probabilities, callsOf(scores, input.threshold), scores, counts);
    if (estimated.value === null) return { ...base, status: 'insufficient', reason: estimated.reason };
    const value = estimated.value[input.metric];
    if (value.value === null) return { ...base, status: 'insufficient', reason: value.reason };
    const band = estimateBand(value.value, { deviation: input.deviation, rows }).value;
    if (band === null) return { ...base, status: 'insufficient', reason: 'no rows' };
    const text = `estimated ${input.metric} ${plain(value.value)} (${plain(band.low)} to ${plain(band.high)})`;
    const below = input.min !== null && band.high < input.min;
    return {
      ...base,
      status: below ? 'warn' : 'pass',
      value: value.value,
      interval: [band.low, band.high],
      reason: `${text}${input.min === null ? '' : `, at least ${plain(input.min)} wanted`}; assumes that the concept has not changed`,
      details: { metric: input.metric, method: 'CBPE' },
    };
  });
}

/** A window's scores as the bins of its profile hold them: the mean score of a bin stands for its rows. Null without any. */
export function scoresOfProfile({ score }: Profile): { readonly scores: Numbers; readonly counts: Numbers } | null {
  if (score === null) return null;
  const all = score.unlabelled.map((count, bin) => count + (score.positives[bin] ?? 0) + (score.negatives[bin] ?? 0));
  const bins = all.flatMap((count, bin) => (count > 0 ? [bin] : []));
  return {
    scores: Float64Array.from(bins, bin => Math.min(1, Math.max(0, (score.sum[bin] ?? 0) / all[bin]!))),
    counts: Float64Array.from(bins, bin => all[bin]!),
  };
}

/** Share of rows beyond what the reference had, in the column where it is largest: unseen categories, guard bins. */
export function unknownShareOf(profile: Profile, baseline: Baseline): number {
  const shares = Object.entries(profile.columns).map(([name, column]) => {
    if (column.n === 0 || baseline.columns[name] === undefined) return 0;
    if (column.kind === 'category') return column.unseen / column.n;
    if (column.kind === 'time') return 0;
    return ((column.histogram[0] ?? 0) + (column.histogram.at(-1) ?? 0)) / column.n;
  });
  return Math.max(0, ...shares);
}

/**
 * `estimate_against_truth`: the recorded estimate of a window and the quality that its labels gave. Outside the band the
 * probabilities no longer mean what they say: the concept has changed, or the estimate was never worth its band.
 */
export function compareWithTruth(estimate: CheckResult, truth: CheckResult): CheckResult[] {
  return judgeTable('estimate_against_truth', () => {
    const { value, interval } = estimate;
    if (value === null || interval === null || truth.value === null || truth.interval === null) return null;
    const [low, high] = interval;
    const [least, most] = truth.interval;
    const bias = truth.value - value;
    // The truth is a measurement too: only when its whole interval lies outside the band is the estimate called wrong.
    const isOutside = most < low || least > high;
    const where = isOutside ? (bias < 0 ? 'below' : 'above') : 'inside';
    return {
      status: isOutside ? 'warn' : 'pass',
      value: bias,
      interval: [least - value, most - value] as const,
      rows: truth.rows,
      details: { metric: estimate.details['metric'], estimate: value, band: interval, realised: truth.value },
      reason:
        `estimated ${plain(value)} (${plain(low)} to ${plain(high)}), realised ${plain(truth.value)} ` +
        `(${plain(least)} to ${plain(most)}): ${where} the band${isOutside ? '; the probabilities no longer mean what they say' : ''}`,
    };
  });
}

function callsOf(scores: Numbers, threshold: number): Uint8Array {
  return Uint8Array.from(scores, score => (score >= threshold ? 1 : 0));
}

function isIsotonic(value: unknown): value is IsotonicFit {
  return typeof value === 'object' && value !== null && 'scores' in value && 'probabilities' in value;
}
