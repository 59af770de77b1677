/** Realised quality from late labels, judged on interval bounds. The estimate that stands in until they come: `estimate.ts`. */

import type { CheckResult, Evidence } from '../domain/evidence.ts';
import { type LabelCohort, maturityOf, type UsualEnd } from '../domain/labels.ts';
import { clusterBootstrap } from '../stats/bootstrap.ts';
import { delongAuc } from '../stats/delong.ts';
import { psi, psiNoiseFloor } from '../stats/divergence.ts';
import { histogram } from '../stats/histogram.ts';
import type { Numbers } from '../stats/measured.ts';
import { sum } from '../stats/measured.ts';
import { effectiveRows } from '../stats/weighted.ts';
import { wilson } from './intervals.ts';
import { type Finding, judgeTable, percent, plain } from './result.ts';
import { everyRow, pick, resampled, rowsByCluster } from './row-clusters.ts';
import { directionOf, measureQuality, type QualityMetric, qualityMetric } from './score-quality.ts';
import { isLinearMetric, sampleText, weightedInterval } from './weighted-quality.ts';

export interface QualityInput {
  readonly metric: string;
  /** Least quality (most, where less is better); null only measures. */
  readonly min: number | null;
  readonly minRows: number;
  readonly cohort: LabelCohort;
  readonly asOf: string;
  readonly horizonDays: number;
  /** How many labels earlier cohorts ended with, for a cohort that is judged before its horizon; else null. */
  readonly end: UsualEnd | null;
  /** Share of those labels that is enough to be judged. */
  readonly wanted: number;
  /** The labelled rows. */
  readonly labels: Numbers;
  readonly scores: Numbers;
  /** Scores of the rows without a label, to see whether labels are missing at random; null when nobody kept them. */
  readonly unlabelledScores: Numbers | null;
  /** Inverse sampling probabilities when only a sample was labelled; null weighs all rows alike. */
  readonly weights: Numbers | null;
  readonly clusters: Int32Array | null;
  readonly threshold: number | null;
  readonly seed: number;
}

const selectionLimit = 0.1;

/**
 * `quality` fails when even the better end of its 95 % interval lies below the minimum, warns when only the value does, and
 * is `insufficient` while the cohort is immature or too small. `label_coverage` and `label_selection` say what it rests on.
 */
export function judgeQuality(input: QualityInput): CheckResult[] {
  return [
    ...judgeTable('label_coverage', () => judgeCoverage(input)),
    ...judgeTable('label_selection', () => judgeSelection(input)),
    ...judgeTable('quality', () => judgeRealised(qualityMetric(input.metric), input)),
  ];
}

function judgeCoverage(input: QualityInput): Finding {
  const maturity = maturityOf(input);
  const { scored, labelled } = input.cohort;
  return {
    status: maturity.kind === 'mature' ? 'pass' : 'insufficient',
    value: maturity.coverage,
    interval: wilson(Math.min(labelled, scored), scored),
    rows: scored,
    reason: `${percent(maturity.coverage)} of ${scored} rows have a label; ${maturity.reason}`,
    details: maturity.arrived === null ? {} : { arrived: maturity.arrived },
  };
}

/**
 * Do labelled and unlabelled rows score alike? If not, the metric describes the labelled ones only. A sample may be chosen
 * by score: its weights have to give the scores of all rows back.
 */
function judgeSelection(input: QualityInput): Finding | null {
  const { unlabelledScores: rest, weights } = input;
  const rows = input.labels.length;
  if (rest === null || rest.length === 0) return null;
  const ascending = Float64Array.from(rest).sort();
  const edges = Array.from({ length: 9 }, (_, index) => ascending[Math.floor(((index + 1) / 10) * (rest.length - 1))]!);
  const distinct = [...new Set(edges)];
  const size = weights === null ? rows : effectiveRows(weights);
  const labelled = histogram(input.scores, distinct);
  const others = histogram(rest, distinct);
  const found =
    weights === null
      ? psi(others, labelled)
      : psi(
          others.map((count, bin) => count + labelled[bin]!),
          // As many rows as the sample is worth: PSI smooths by half a row.
          histogram(input.scores, distinct, weights).map(weight => (weight * size) / sum(weights)),
        );
  const noise = psiNoiseFloor({ n: rest.length, m: size, bins: distinct.length + 1 }).value;
  if (found.value === null || noise === null)
    return { status: 'insufficient', rows, reason: 'too few scores to compare' };
  const limit = Math.max(selectionLimit, noise);
  const biased = found.value.psi >= limit;
  return {
    status: biased ? 'warn' : 'pass',
    value: found.value.psi,
    severity: found.value.psi,
    limit,
    limitSource: noise > selectionLimit ? 'noise floor' : 'material floor',
    rows,
    reason: `PSI ${plain(found.value.psi)} between ${weights === null ? selectionText(biased) : weightedText(biased)}`,
  };
}

function selectionText(isBiased: boolean): string {
  const advice = ': labels are not missing at random, weigh them by inverse propensity (data.labels.weight)';
  return `scores with and without a label${isBiased ? advice : ''}`;
}

function weightedText(isBiased: boolean): string {
  return `the scores of all rows and of the weighted sample${isBiased ? ': the weights do not make up for how rows were chosen' : ''}`;
}

function judgeRealised(metric: QualityMetric, input: QualityInput): Finding {
  const rows = input.labels.length;
  const { weights } = input;
  // What the rows tell is what decides whether they are enough.
  const worth = weights === null ? rows : effectiveRows(weights);
  const maturity = maturityOf(input);
  const base = {
    rows,
    limit: input.min,
    limitSource: input.min === null ? null : 'declared',
    weight: 'required' as const,
  };
  const measured = measureWithInterval(metric, input);
  if (measured === null)
    return {
      ...base,
      status: 'insufficient',
      reason: `${metric} is undefined on ${rows} labelled rows (one class, or none)`,
    };
  const { value, low, high } = measured;
  const details = {
    metric,
    coverage: maturity.coverage,
    mature: maturity.kind === 'mature',
    // Judged before the horizon: it will be judged once more.
    ...(maturity.arrived === null ? {} : { arrived: maturity.arrived }),
    baseRate:
      weights === null
        ? sum(input.labels) / rows
        : sum(Float64Array.from(weights, (weight, row) => weight * input.labels[row]!)) / sum(weights),
    ...(weights === null ? {} : { sample: 'weighted', effectiveRows: worth, population: sum(weights) }),
  };
  const found = { ...base, value, interval: [low, high] as const, details };
  const measuredText = `${metric} ${plain(value)} (${plain(low)} to ${plain(high)} with 95 % confidence) on ${rows} labelled rows${sampleText(weights)}`;
  const text = maturity.arrived === null ? measuredText : `${measuredText}; ${maturity.reason}`;
  if (maturity.kind === 'immature') {
    return { ...found, status: 'insufficient', reason: `${measuredText}; ${maturity.reason}` };
  }
  if (worth < input.minRows)
    return { ...found, status: 'insufficient', reason: `${text}; ${input.minRows} are needed` };
  if (input.min === null) return { ...found, status: 'pass', reason: text };
  const direction = directionOf(metric);
  const better = direction === 1 ? high : low;
  const wanted = `${direction === 1 ? 'at least' : 'at most'} ${plain(input.min)} wanted`;
  if (direction * (better - input.min) < 0) return { ...found, status: 'fail', reason: `${text}, ${wanted}` };
  return { ...found, status: direction * (value - input.min) < 0 ? 'warn' : 'pass', reason: `${text}, ${wanted}` };
}

const confidence = 0.95;

function measureWithInterval(
  metric: QualityMetric,
  input: QualityInput,
): { value: number; low: number; high: number } | null {
  const { labels, scores, weights, clusters } = input;
  const threshold = input.threshold ?? 0.5;
  if (weights !== null && clusters === null && isLinearMetric(metric)) {
    return weightedInterval(metric, { labels, scores, weights, threshold }, confidence).value;
  }
  if (metric === 'auc' && weights === null && clusters === null) {
    const auc = delongAuc(labels, scores).value;
    return auc === null ? null : { value: auc.auc, low: auc.interval.low, high: auc.interval.high };
  }
  const groups = rowsByCluster(clusters, everyRow(labels.length));
  const quality = (rows: Uint32Array) => {
    const options = { threshold, weights: weights === null ? null : pick(weights, rows) };
    return measureQuality(metric, pick(labels, rows), pick(scores, rows), options).value;
  };
  const interval = clusterBootstrap({
    clusters: groups.length,
    seed: input.seed,
    resamples: labels.length > 20_000 ? 300 : 1000,
    statistic: multiplicities => quality(resampled(groups, multiplicities)),
  }).value;
  return interval === null ? null : { value: interval.estimate, low: interval.low, high: interval.high };
}

/** `label_revision`: what labels that came or changed after a cohort was judged did to its quality. */
export function judgeRevision(before: Pick<Evidence, 'asOf' | 'checks'>, now: readonly CheckResult[]): CheckResult[] {
  return judgeTable('label_revision', () => {
    const [old, fresh] = [before.checks, now].map(checks => checks.find(({ check }) => check === 'quality'));
    if (old === undefined || fresh === undefined) return null;
    const moved = old.value === null || fresh.value === null ? null : fresh.value - old.value;
    const isSurprise =
      fresh.value !== null && old.interval !== null && (fresh.value < old.interval[0] || fresh.value > old.interval[1]);
    return {
      status: isSurprise ? 'warn' : 'pass',
      value: moved,
      rows: fresh.rows,
      details: { before: old.value, rowsBefore: old.rows, judged: before.asOf },
      reason:
        `labels changed since this was judged as of ${before.asOf}: ${old.rows} labelled rows are ${fresh.rows} now, the ` +
        `quality ${textOf(old.value)} is ${textOf(fresh.value)}${isSurprise ? ', outside the interval stated then' : ''}`,
    };
  });
}

function textOf(value: number | null): string {
  return value === null ? 'undefined' : plain(value);
}

/** AUC with DeLong's variance from a score histogram by label; ties inside a bin count half. Null with one class. */
export function aucOfHistogram(
  positives: Numbers,
  negatives: Numbers,
): { readonly value: number; readonly interval: readonly [number, number]; readonly rows: number } | null {
  const p = sum(positives);
  const n = sum(negatives);
  if (p < 2 || n < 2) return null;
  let auc = 0;
  let below = 0;
  const placements: { ofPositive: number; ofNegative: number }[] = [];
  let positivesBelow = 0;
  for (let bin = 0; bin < positives.length; bin++) {
    const ofPositive = (below + negatives[bin]! / 2) / n;
    placements.push({ ofPositive, ofNegative: 1 - (positivesBelow + positives[bin]! / 2) / p });
    auc += (positives[bin]! * ofPositive) / p;
    below += negatives[bin]!;
    positivesBelow += positives[bin]!;
  }
  let variancePositive = 0;
  let varianceNegative = 0;
  placements.forEach(({ ofPositive, ofNegative }, bin) => {
    variancePositive += positives[bin]! * (ofPositive - auc) ** 2;
    varianceNegative += negatives[bin]! * (ofNegative - auc) ** 2;
  });
  const half = 1.96 * Math.sqrt(variancePositive / (p - 1) / p + varianceNegative / (n - 1) / n);
  return { value: auc, interval: [Math.max(0, auc - half), Math.min(1, auc + half)], rows: p + n };
}
