/** The statistics a reference case may name, each from its input fields to its named results. */
import { conditionalEntropy, correlationRatio, theilU } from '../../src/stats/association.ts';
import { calibrationError, calibrationInTheLarge, calibrationSlope, reliability } from '../../src/stats/calibration.ts';
import { estimateQuality } from '../../src/stats/cbpe.ts';
import {
  balancedCramersV,
  type ChiSquared,
  chiSquaredContingency,
  chiSquaredGoodnessOfFit,
  chiSquaredRegrouped,
  cramersV,
  gGoodnessOfFit,
} from '../../src/stats/chi-squared.ts';
import { averagePrecision, brierScore, logLoss, rocAuc } from '../../src/stats/classification.ts';
import { delongPaired } from '../../src/stats/delong.ts';
import {
  hellinger,
  jsDistanceBase2,
  jsDivergenceBits,
  klDivergence,
  klDivergenceWithHoldout,
  lInfinity,
  lInfinityRobust,
  normalizedAbsoluteDifference,
  type PsiSmoothing,
  psi,
  psiSignificance,
  totalVariation,
} from '../../src/stats/divergence.ts';
import { effectsOfNormalShift } from '../../src/stats/equivalence.ts';
import { alignBuckets, type Bucket, histogram } from '../../src/stats/histogram.ts';
import { type KsMethod, kolmogorovSmirnov, ksSignificance } from '../../src/stats/kolmogorov-smirnov.ts';
import { mcnemarChiSquared, mcnemarExact } from '../../src/stats/mcnemar.ts';
import { type Measured, sum } from '../../src/stats/measured.ts';
import { benjaminiHochberg } from '../../src/stats/multiplicity.ts';
import { newcombeInterval, twoProportionZ, wilsonInterval } from '../../src/stats/proportions.ts';
import { regressionQuality } from '../../src/stats/regression.ts';
import { historyAnomalies, pageHinkley, relativeRates, sigmaLimits } from '../../src/stats/sequential.ts';
import { wasserstein, wassersteinByJointRange } from '../../src/stats/wasserstein.ts';
import type { CaseInput } from './inputs.ts';

/** Named results; a statistic that is undefined answers null for every field, with the reason. */
export interface CaseResult {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly reason?: string;
}

type Statistic = (input: CaseInput) => CaseResult;

/** Turns a measured value into fields; `names` are the fields that become null when it is undefined. */
function fields<T>(
  result: Measured<T>,
  names: readonly string[],
  name: (value: T) => Record<string, unknown>,
): CaseResult {
  if ('reason' in result) {
    return { fields: Object.fromEntries(names.map(field => [field, null])), reason: result.reason };
  }
  return { fields: name(result.value) };
}

const single = (name: string, result: Measured): CaseResult => fields(result, [name], value => ({ [name]: value }));

const test = (result: Measured<ChiSquared>): CaseResult =>
  fields(result, ['statistic', 'p', 'df', 'log10_p'], value => ({ ...value, log10_p: value.log10P }));

export const STATISTICS: Readonly<Record<string, Statistic>> = {
  ks_2samp: input => {
    const result = kolmogorovSmirnov(input.numbers('x'), input.numbers('y'), ksMethod(input));
    return fields(result, ['D', 'p', 'log10_p'], ({ d, p, log10P }) => ({ D: d, p, log10_p: log10P }));
  },
  ks_2samp_pvalue_from_D: input => {
    // The samples a D came from may be given beside it.
    input.allow('x', 'y');
    const result = ksSignificance(input.number('D'), input.number('n'), input.number('m'), ksMethod(input));
    return fields(result, ['p', 'log10_p'], ({ p, log10P }) => ({ p, log10_p: log10P }));
  },
  chi2_gof: input => test(chiSquaredGoodnessOfFit(input.numbers('observed'), input.numbers('expected'))),
  g_test_gof: input => test(gGoodnessOfFit(input.numbers('observed'), input.numbers('expected'))),
  chi2_contingency: input => test(chiSquaredContingency(input.table('table'), { yates: input.flag('yates', false) })),
  g_test_contingency: input => test(chiSquaredContingency(input.table('table'), { statistic: 'g' })),
  cramers_v: input => {
    const table = input.table('table');
    const options = { biasCorrected: input.flag('bias_corrected', false), yates: input.flag('yates', false) };
    return single('v', cramersV(table, options));
  },
  balanced_cramers_v: input => single('v', balancedCramersV(input.numbers('p'), input.numbers('q'))),
  chi2_gof_regroup: input => {
    const rule = {
      expectedMin: input.number('min_expected', 5),
      smallShareMax: input.number('max_share_below', 0.2),
      expectedMinOfTwo: input.number('min_expected_2cat', 10),
    };
    return test(chiSquaredRegrouped(input.counts('sample'), input.counts('expected'), rule));
  },
  psi: input => {
    const result = psi(input.numbers('expected'), input.numbers('actual'), psiSmoothing(input));
    return fields(result, ['psi'], value => ({ psi: value.psi, empty_bins: value.emptyBins }));
  },
  psi_chi2_pvalue: input => {
    const expected = input.numbers('expected');
    const actual = input.numbers('actual');
    const value = psi(expected, actual, psiSmoothing(input));
    if (value.value === null) return { fields: { z: null, p: null, psi: null }, reason: value.reason };
    const size = { n: sum(expected), m: sum(actual), bins: expected.length };
    const index = value.value.psi;
    const result = psiSignificance(index, size);
    return fields(result, ['z', 'p', 'psi'], ({ statistic, p, log10P }) => ({
      z: statistic,
      p,
      log10_p: log10P,
      psi: index,
    }));
  },
  kl_nats: input => {
    if (input.has('p')) return single('kl', klDivergence(input.numbers('p'), input.numbers('q')));
    const holdout = input.number('tail_weight_holdout', 0);
    return single('kl', klDivergenceWithHoldout(input.counts('observed'), input.counts('expected'), holdout));
  },
  js_divergence_bits: jsDivergence,
  js_distance: input => {
    const base = input.text('base', '2');
    const distance = jsDistanceBase2(input.numbers('p'), input.numbers('q'));
    // The divergence in nats is ln 2 times that in bits.
    const scale = base === '2' ? 1 : base === 'e' ? Math.sqrt(Math.LN2) : Math.sqrt(Math.LN2 / Math.log(Number(base)));
    return fields(distance, ['d'], d => ({ d: d * scale }));
  },
  l_infinity: input => {
    const result = lInfinity(input.numbers('p'), input.numbers('q'));
    return fields(result, ['d'], ({ distance, bin }) => ({ d: distance, bin }));
  },
  l_infinity_robust: input =>
    single('d', lInfinityRobust(input.numbers('p'), input.numbers('q'), input.number('alpha', 0.05))),
  normalized_abs_difference: input => single('d', normalizedAbsoluteDifference(input.numbers('p'), input.numbers('q'))),
  hellinger: input => single('h', hellinger(input.numbers('p'), input.numbers('q'))),
  total_variation: input => single('d', totalVariation(input.numbers('p'), input.numbers('q'))),
  wasserstein_1: input => {
    const weights = { x: input.optionalNumbers('wx'), y: input.optionalNumbers('wy') };
    return single('w', wasserstein(input.numbers('x'), input.numbers('y'), weights));
  },
  wasserstein_1_scaled_by_joint_range: input =>
    single('w', wassersteinByJointRange(input.numbers('x'), input.numbers('y'))),
  two_proportion_z: input => {
    const [first, second] = proportions(input);
    const result = twoProportionZ(first, second, input.flag('pooled', true) ? 'pooled' : 'unpooled');
    return fields(result, ['z', 'p'], ({ z, p, log10P }) => ({ z, p, log10_p: log10P }));
  },
  wilson_interval: input => {
    const result = wilsonInterval(
      { count: input.number('count'), n: input.number('nobs') },
      input.number('alpha', 0.05),
    );
    return fields(result, ['low', 'high'], interval => ({ ...interval }));
  },
  newcombe_interval: input => {
    const [first, second] = proportions(input);
    return fields(newcombeInterval(first, second, input.number('alpha', 0.05)), ['low', 'high'], interval => ({
      ...interval,
    }));
  },
  mcnemar_exact: input =>
    fields(mcnemarExact(input.number('b'), input.number('c')), ['statistic', 'p'], v => ({ ...v })),
  mcnemar_chi2: input => {
    const correction = input.flag('continuity', true) ? 'continuity' : 'none';
    const result = mcnemarChiSquared(input.number('b'), input.number('c'), correction);
    return fields(result, ['statistic', 'p'], value => ({ ...value }));
  },
  benjamini_hochberg: input => ({
    fields: { q: benjaminiHochberg(input.numbers('p').map(p => (Number.isNaN(p) ? null : p))) },
  }),
  roc_auc: input => single('auc', rocAuc(input.numbers('y'), input.numbers('score'))),
  average_precision: input => single('ap', averagePrecision(input.numbers('y'), input.numbers('score'))),
  log_loss: input => single('loss', logLoss(input.numbers('y'), input.numbers('p'))),
  brier: input => single('brier', brierScore(input.numbers('y'), input.numbers('p'))),
  calibration_error: input => {
    const options = { bins: input.number('bins', 10), binning: binning(input) };
    const bins = reliability(input.numbers('y'), input.numbers('p'), options);
    const norm = calibrationNorm(input);
    return bins.value === null
      ? { fields: { ece: null }, reason: bins.reason }
      : single('ece', calibrationError(bins.value, norm));
  },
  calibration_in_the_large: input => single('d', calibrationInTheLarge(input.numbers('y'), input.numbers('p'))),
  calibration_slope: input =>
    fields(calibrationSlope(input.numbers('y'), input.numbers('p')), ['slope', 'intercept'], line => ({ ...line })),
  delong_paired: input => {
    const scores = { first: input.numbers('score1'), second: input.numbers('score2') };
    const names = ['auc1', 'auc2', 'var1', 'var2', 'cov', 'z', 'p'];
    return fields(delongPaired(input.numbers('y'), scores), names, value => ({
      ...value,
      var1: value.variance1,
      var2: value.variance2,
      cov: value.covariance,
    }));
  },
  cbpe_binary: input => {
    const result = estimateQuality(input.numbers('p'), input.numbers('pred'), input.optionalNumbers('score'));
    const names = ['tp', 'fp', 'fn', 'tn', 'accuracy', 'precision', 'recall', 'f1', 'auc'];
    return fields(result, names, value => ({
      tp: value.truePositives,
      fp: value.falsePositives,
      fn: value.falseNegatives,
      tn: value.trueNegatives,
      accuracy: value.accuracy.value,
      precision: value.precision.value,
      recall: value.recall.value,
      f1: value.f1.value,
      auc: value.auc.value,
    }));
  },
  conditional_entropy_nats: input => single('h', conditionalEntropy(input.texts('x'), input.texts('given'))),
  theil_u: input => single('u', theilU(input.texts('x'), input.texts('given'))),
  correlation_ratio: input => single('eta', correlationRatio(input.texts('cat'), input.numbers('num'))),
  regression: input => {
    const result = regressionQuality(input.numbers('y'), input.numbers('prediction'));
    return fields(result, ['mae', 'rmse', 'r2'], value => ({ ...value, r2: value.r2.value }));
  },
  mean_k_std_threshold: input => {
    const options = { k: input.number('k', 3), ddof: input.number('ddof', 0) === 1 ? (1 as const) : (0 as const) };
    return fields(sigmaLimits(input.numbers('values'), options), ['low', 'high'], limits => ({ ...limits }));
  },
  history_anomaly: input => {
    const series = input.numbers('series');
    const [from = 0, to = series.length] = input.optionalNumbers('exclude') ?? [];
    const result = historyAnomalies(series, { from, to, k: input.number('k', 3), floor: input.number('floor', 0) });
    return fields(result, ['anomalies'], anomalies => ({ anomalies }));
  },
  relative_rate_of_change: input => ({
    fields: { ratios: relativeRates(input.numbers('series'), input.number('order', 1)) },
  }),
  page_hinkley: input => {
    const stream = input.has('stream') ? input.numbers('stream') : Array.from(input.text('stream_digits', ''), Number);
    const index = pageHinkley(stream, {
      instancesMin: input.number('min_instances', 30),
      delta: input.number('delta', 0.005),
      threshold: input.number('threshold', 50),
      alpha: input.number('alpha', 0.9999),
    });
    return { fields: { index }, ...(index === null ? { reason: 'no alarm in the stream' } : {}) };
  },
  continuous_effect_equivalence: input => {
    const effects = effectsOfNormalShift(input.number('mean_shift_in_sd'));
    return {
      fields: {
        psi: effects.psi,
        ks: effects.ks,
        tvd: effects.totalVariation,
        w1_over_sd: effects.wassersteinOverSd,
        js_distance: effects.jsDistanceBase2,
        js_distance_b2: effects.jsDistanceBase2,
        hellinger: effects.hellinger,
        balanced_v: effects.balancedCramersV,
        auc: effects.auc,
      },
    };
  },
  engine_histogram: input => ({
    fields: { counts: histogram(input.numbers('values'), input.numbers('upper_edges')) },
  }),
};

function ksMethod(input: CaseInput): KsMethod | 'auto' {
  const method = input.text('method', 'auto');
  // scipy's older name.
  if (method === 'asymp') return 'asymptotic';
  if (method === 'exact' || method === 'asymptotic' || method === 'auto') return method;
  throw new Error(`method ${method}: expected exact, asymptotic or auto`);
}

function psiSmoothing(input: CaseInput): PsiSmoothing {
  const kind = input.text('smoothing', input.has('floor') ? 'floor' : 'none');
  const add = input.has('add') ? input.number('add') : undefined;
  switch (kind) {
    case 'floor':
      return { kind, floor: input.number('floor', 1e-4) };
    case 'jeffreys':
    case 'half':
    case 'add_half':
    case 'add-half':
      return { kind: 'jeffreys' };
    case 'add':
    case 'additive':
      return { kind: 'add', add: add ?? 0.5 };
    case 'none':
      return { kind };
    default:
      throw new Error(`smoothing ${kind}: expected floor, jeffreys, add or none`);
  }
}

function calibrationNorm(input: CaseInput): 'l1' | 'l2' | 'max' {
  const norm = input.text('norm', 'l1');
  if (norm === 'l1' || norm === 'l2' || norm === 'max') return norm;
  throw new Error(`norm ${norm}: expected l1, l2 or max`);
}

function binning(input: CaseInput): 'equal-width' | 'equal-mass' {
  const kind = input.text('binning', 'equal-width');
  if (kind === 'equal-width' || kind === 'equal-mass') return kind;
  throw new Error(`binning ${kind}: expected equal-width or equal-mass`);
}

function proportions(input: CaseInput): [{ count: number; n: number }, { count: number; n: number }] {
  const [count1 = Number.NaN, count2 = Number.NaN] = input.numbers('count');
  const [n1 = Number.NaN, n2 = Number.NaN] = input.numbers('nobs');
  return [
    { count: count1, n: n1 },
    { count: count2, n: n2 },
  ];
}

/** Counts by category, point masses, buckets and NaN, in any mixture: every kind adds bins of its own. */
function jsDivergence(input: CaseInput): CaseResult {
  input.allow('rebucket');
  const p: number[] = [];
  const q: number[] = [];
  for (const kind of ['counts', 'points']) {
    const first = input.optionalCounts(`${kind}1`);
    const second = input.optionalCounts(`${kind}2`);
    for (const name of new Set([...Object.keys(first), ...Object.keys(second)])) {
      p.push(first[name] ?? 0);
      q.push(second[name] ?? 0);
    }
  }
  const aligned = alignBuckets(buckets(input, 'hist1'), buckets(input, 'hist2'));
  p.push(...aligned.p, input.number('nan1', 0));
  q.push(...aligned.q, input.number('nan2', 0));
  return single('jsd', jsDivergenceBits(p, q));
}

function buckets(input: CaseInput, name: string): Bucket[] {
  if (!input.has(name)) return [];
  return input.table(name).map(([low = Number.NaN, high = Number.NaN, count = Number.NaN]) => ({ low, high, count }));
}
