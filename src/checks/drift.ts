/**
 * Drift of columns and of predictions. A column drifts when the change is material (PSI above a limit), significant
 * (Benjamini–Hochberg over the columns) and measured on enough rows; one of the three alone cries wolf or sleeps.
 */
import type { Contract } from '../domain/contract.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Baseline, NumericProfile, Profile } from '../domain/profile.ts';
import { balancedCramersV, chiSquaredContingency } from '../stats/chi-squared.ts';
import { jsDistanceBase2, psi, psiNoiseFloor, psiSignificance, totalVariation } from '../stats/divergence.ts';
import { histogramQuantile } from '../stats/histogram.ts';
import { ksBinned } from '../stats/kolmogorov-smirnov.ts';
import { sum } from '../stats/measured.ts';
import { mean, standardDeviation } from '../stats/moments.ts';
import { benjaminiHochberg } from '../stats/multiplicity.ts';
import { causeOf } from './cause.ts';
import { type ColumnGroups, groupColumn, groupHistogram } from './column-groups.ts';
import { checkResult, type Finding, findingOrError, percent, plain, quoted } from './result.ts';

export interface DriftLimits {
  /** PSI from which a change is worth a warning, and from which it is worth an alert. */
  readonly warn: number;
  readonly alert: number;
  /** Rows below which the answer is `insufficient`, whatever the noise formula allows. */
  readonly minRows: number;
}

/** PSI values of one earlier window, by column; `score` for the predictions. Only accepted windows teach. */
export interface DriftWindow {
  readonly window: string;
  readonly accepted: boolean;
  readonly values: Readonly<Record<string, number>>;
}

export interface DriftInput {
  readonly contract: Contract;
  readonly profile: Profile;
  readonly reference: Profile;
  readonly baseline: Baseline;
  readonly limits: DriftLimits;
  /** Importance of each feature from the model, any scale; null weighs all alike. */
  readonly importance: Readonly<Record<string, number>> | null;
  readonly history: readonly DriftWindow[];
}

const falseDiscoveryRate = 0.01;
/** The noise floor is where 99 of 100 windows without drift stay below. */
const noiseQuantile = 0.99;
const learnedWindows = 6;

interface Measurement {
  readonly name: string;
  /** Whether the values are personal data: then no label of theirs leaves this file. */
  readonly pii: boolean;
  readonly groups: ColumnGroups | null;
  readonly value: number | null;
  readonly p: number | null;
  readonly contributions: readonly number[];
  /** Reference rows, current rows, and groups that either side fills. */
  readonly size: { readonly n: number; readonly m: number; readonly bins: number };
  /** Why there is no value, or what threw. */
  readonly problem: Pick<Finding, 'status' | 'reason'> | null;
}

/** Drift of every feature, the importance-weighted sum over them, and drift of the predictions. */
export function checkDrift(input: DriftInput): CheckResult[] {
  const features = input.contract.columns.filter(column => column.role === 'feature');
  if (input.profile.baseline !== input.reference.baseline) {
    return features.map(({ name }) =>
      checkResult('drift', {
        status: 'error',
        column: name,
        weight: 'blocking',
        reason: `profile and reference are counted on different baselines: profile the window on baseline ${input.reference.baseline}`,
      }),
    );
  }
  const measurements = features.map(column => measureColumn(column, input));
  const q = benjaminiHochberg(measurements.map(({ p }) => p));
  const columns = measurements.map((measurement, index) => judgeDrift('drift', measurement, q[index] ?? null, input));
  return [...columns, weighDrift(columns, input), ...checkPredictionDrift(input)];
}

/** Drift of the score distribution; it needs no labels and sums up what the model made of all features. */
export function checkPredictionDrift(input: DriftInput): CheckResult[] {
  const now = input.profile.score;
  const before = input.reference.score;
  const edges = input.baseline.score;
  if (now === null || before === null || edges === null) return [];
  const all = (score: typeof now) =>
    score.unlabelled.map((count, bin) => count + (score.positives[bin] ?? 0) + (score.negatives[bin] ?? 0));
  const measurement = measure({ name: 'score', pii: false }, () => groupHistogram(all(before), all(now), edges));
  const result = judgeDrift('prediction_drift', measurement, measurement.p, input);
  const level = { meanBefore: sum(before.sum) / before.n, meanNow: sum(now.sum) / now.n };
  return [{ ...result, column: null, details: { ...result.details, ...level } }];
}

/** PSI per column and window of earlier drift evidence, for `DriftInput.history`. */
export function driftValues(checks: readonly CheckResult[]): Readonly<Record<string, number>> {
  const values: Record<string, number> = {};
  for (const check of checks) {
    if (check.value === null) continue;
    if (check.check === 'drift' && check.column !== null) values[check.column] = check.value;
    if (check.check === 'prediction_drift') values['score'] = check.value;
  }
  return values;
}

type Subject = Pick<Measurement, 'name' | 'pii'>;

function measureColumn(column: Subject, input: DriftInput): Measurement {
  return measure(column, () => groupColumn(column.name, input.profile, input.reference, input.baseline));
}

function measure({ name, pii }: Subject, group: () => ColumnGroups | null): Measurement {
  const none = { name, pii, groups: null, value: null, p: null, contributions: [], size: { n: 0, m: 0, bins: 0 } };
  try {
    const groups = group();
    if (groups === null)
      return { ...none, problem: { status: 'not_applicable', reason: `${name} has no distribution to compare` } };
    const result = psi(groups.before, groups.now);
    if (result.value === null)
      return { ...none, groups, problem: { status: 'insufficient', reason: `${name}: ${result.reason}` } };
    const size = { n: sum(groups.before), m: sum(groups.now), bins: usedGroups(groups) };
    const p = psiSignificance(result.value.psi, size).value?.p ?? 1;
    const { psi: value, contributions } = result.value;
    return { name, pii, groups, value, p, contributions, size, problem: null };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { ...none, problem: { status: 'error', reason: `${name}: ${message}` } };
  }
}

function judgeDrift(check: string, measurement: Measurement, q: number | null, input: DriftInput): CheckResult {
  const { name, groups, value, size, problem } = measurement;
  const base = { column: name, weight: 'blocking' as const, rows: input.profile.rows };
  if (problem !== null || groups === null || value === null) {
    return checkResult(check, { ...base, status: 'insufficient', reason: `${name} was not measured`, ...problem });
  }
  const finding = findingOrError((): Finding => {
    const learned = learnedLimit(name, input.history);
    const noise = psiNoiseFloor({ ...size, quantile: noiseQuantile }).value ?? 0;
    const measured = { value, severity: value, details: detailsOf(measurement, groups, q, input) };
    // A reference of a few rows groups everything into one bin and would pass whatever comes.
    const fewest = Math.min(size.n, size.m);
    if (fewest < input.limits.minRows || noise > Math.max(input.limits.warn, learned ?? 0)) {
      const why =
        fewest < input.limits.minRows
          ? `${input.limits.minRows} are needed${size.n < size.m ? `, the reference has ${size.n}` : ''}`
          : `chance alone reaches a PSI of ${plain(noise)}`;
      return {
        ...measured,
        severity: null,
        status: 'insufficient',
        limit: input.limits.warn,
        limitSource: 'material floor',
        reason: `${name}: ${size.m} rows, ${why}`,
      };
    }
    const warn = limitOf(input.limits.warn, noise, learned, input.history);
    const alert = limitOf(input.limits.alert, noise, learned, input.history);
    const significant = (q ?? 1) < falseDiscoveryRate;
    const level = !significant || value < warn.limit ? 'pass' : value < alert.limit ? 'warn' : 'fail';
    const limit = level === 'fail' ? alert : warn;
    const found = `PSI of ${name} ${plain(value)}, limit ${plain(limit.limit)} (${limit.source})`;
    const reason = level === 'pass' ? found : `${found}: ${largestChange(measurement, groups)}`;
    return { ...measured, status: level, limit: limit.limit, limitSource: limit.source, reason };
  });
  if (finding.status !== 'warn' && finding.status !== 'fail') return checkResult(check, { ...base, ...finding });
  const cause = causeIn(name, groups, input);
  const details = { ...finding.details, cause };
  return checkResult(check, {
    ...base,
    ...finding,
    details,
    reason: cause === null ? finding.reason : `${finding.reason}; ${cause.text}`,
  });
}

/** Σ weight × min(2, severity / limit): 1 means that the features that matter stand at their limits (statistics A20). */
function weighDrift(columns: readonly CheckResult[], input: DriftInput): CheckResult {
  const judged = columns.filter(column => column.severity !== null && column.limit !== null && column.column !== null);
  const weightOf = (column: CheckResult) =>
    input.importance === null ? 1 : Math.max(0, input.importance[column.column ?? ''] ?? 0);
  const total = sum(judged.map(weightOf));
  if (total === 0) {
    const reason = judged.length === 0 ? 'no feature could be judged' : 'no judged feature has any importance';
    return checkResult('weighted_drift', { status: 'insufficient', rows: input.profile.rows, reason });
  }
  // Only what is judged a change counts: severities below their limits are noise, and many of them would add up.
  const excess = (column: CheckResult) =>
    column.status === 'pass' ? 0 : Math.min(2, (column.severity ?? 0) / (column.limit ?? 1));
  const parts = judged.map(column => ({
    column: column.column ?? '',
    part: (weightOf(column) / total) * excess(column),
  }));
  const value = sum(parts.map(({ part }) => part));
  const top = parts
    .filter(({ part }) => part > 0)
    .toSorted((left, right) => right.part - left.part)
    .slice(0, 5);
  const leaders = top.map(({ column, part }) => `${column} ${plain(part)}`).join(', ');
  return checkResult('weighted_drift', {
    status: value >= 1 ? 'warn' : 'pass',
    value,
    limit: 1,
    limitSource: 'declared',
    rows: input.profile.rows,
    reason: `importance-weighted drift ${plain(value)} of 1${leaders === '' ? '' : `: ${leaders}`}`,
    details: { top },
  });
}

function limitOf(
  floor: number,
  noise: number,
  learned: number | null,
  history: readonly DriftWindow[],
): { limit: number; source: string } {
  if (learned !== null && learned > floor && learned > noise) {
    return { limit: learned, source: `mean + 3 sd of ${history.filter(window => window.accepted).length} windows` };
  }
  if (noise > floor) return { limit: noise, source: 'noise floor' };
  return { limit: floor, source: learned === null ? 'material floor (provisional)' : 'material floor' };
}

/** mean + 3 sd over accepted windows; null below six of them. */
function learnedLimit(name: string, history: readonly DriftWindow[]): number | null {
  const values = history.flatMap(window =>
    window.accepted && window.values[name] !== undefined ? [window.values[name]] : [],
  );
  if (values.length < learnedWindows) return null;
  return (mean(values).value ?? 0) + 3 * (standardDeviation(values).value ?? 0);
}

function causeIn(name: string, groups: ColumnGroups, input: DriftInput) {
  const edges = input.baseline.columns[name];
  // A cause is a hint: that it cannot be named must not cost the verdict.
  try {
    return edges === undefined ? null : causeOf(name, input.profile, input.reference, edges, groups);
  } catch {
    return null;
  }
}

function usedGroups(groups: ColumnGroups): number {
  return groups.before.filter((count, index) => count > 0 || (groups.now[index] ?? 0) > 0).length;
}

/** The figures beside the headline; what incidents are followed by: `shares`, `concentration`, `cause`. */
function detailsOf(
  { name, pii, value, contributions, size: { n: referenceRows, m: rows } }: Measurement,
  groups: ColumnGroups,
  q: number | null,
  input: DriftInput,
) {
  const total = sum(contributions);
  const present = (counts: readonly number[]) => counts.filter((_, index) => index !== groups.nullGroup);
  const top = [...contributions.keys()]
    .sort((left, right) => contributions[right]! - contributions[left]!)
    .slice(0, 3)
    .map(index => ({
      bin: pii ? `group ${index + 1}` : groups.labelOf(index),
      before: (groups.before[index] ?? 0) / referenceRows,
      now: (groups.now[index] ?? 0) / rows,
      contribution: contributions[index],
    }));
  return {
    q,
    shares: groups.now.map(count => count / rows),
    top,
    concentration: total > 0 ? Math.max(...contributions) / total : 0,
    psiWithoutMissing:
      groups.nullGroup === null ? value : (psi(present(groups.before), present(groups.now)).value?.psi ?? null),
    jsDistanceBase2: jsDistanceBase2(groups.before, groups.now).value,
    totalVariation: totalVariation(groups.before, groups.now).value,
    ...shapeOf(name, groups, input),
    slices: slicesOf(name, input),
  };
}

function shapeOf(name: string, groups: ColumnGroups, input: DriftInput) {
  const now = input.profile.columns[name];
  const before = input.reference.columns[name];
  const edges = input.baseline.columns[name];
  if (now?.kind === 'numeric' && before?.kind === 'numeric' && edges?.kind === 'numeric') {
    const medianOf = (side: NumericProfile) =>
      side.min === null || side.max === null
        ? null
        : histogramQuantile(0.5, { counts: side.histogram, edges: edges.edges, min: side.min, max: side.max }).value;
    return {
      ks: ksBinned(before.histogram, now.histogram).value?.d ?? null,
      medianBefore: medianOf(before),
      medianNow: medianOf(now),
    };
  }
  return {
    cramersV: balancedCramersV(groups.before, groups.now).value,
    log10P: chiSquaredContingency([groups.before, groups.now]).value?.log10P ?? null,
  };
}

/** The slices that moved most, so that "everything drifted" and "one channel drifted" do not look alike. */
function slicesOf(name: string, input: DriftInput) {
  if (input.profile.slices.length === 0) return [];
  const references = new Map(input.reference.slices.map(slice => [slice.slice, slice]));
  return input.profile.slices
    .flatMap(slice => {
      const before = references.get(slice.slice);
      if (before === undefined || slice.rows < 100 || before.rows < 100) return [];
      const groups = groupColumn(name, slice, before, input.baseline);
      const value = groups === null ? null : (psi(groups.before, groups.now).value?.psi ?? null);
      return value === null ? [] : [{ slice: slice.slice, psi: value, rows: slice.rows }];
    })
    .toSorted((left, right) => right.psi - left.psi)
    .slice(0, 3);
}

function largestChange({ pii, contributions }: Measurement, groups: ColumnGroups): string {
  const index = contributions.indexOf(Math.max(...contributions));
  const before = (groups.before[index] ?? 0) / sum(groups.before);
  const now = (groups.now[index] ?? 0) / sum(groups.now);
  const label = pii ? 'one group' : quoted(groups.labelOf(index));
  return `the share of ${label} went from ${percent(before)} to ${percent(now)}`;
}
