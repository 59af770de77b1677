/**
 * One scale for all drift metrics. For N(0, 1) against N(d, 1) every metric is a function of d, and PSI is d²; so each
 * metric can be read as "the PSI of a normal shift that would show this much". Bands of PSI: 0.1 moderate, 0.25 major.
 */
import { type Measured, measured, undefinedBecause } from './measured.ts';
import { normalCdf, normalQuantile } from './special.ts';

export interface ShiftEffects {
  readonly psi: number;
  readonly ks: number;
  readonly totalVariation: number;
  readonly wassersteinOverSd: number;
  readonly jsDistanceBase2: number;
  readonly hellinger: number;
  readonly balancedCramersV: number;
  /** AUC of the best classifier between the two samples. */
  readonly auc: number;
}

/** What a mean shift of d standard deviations does to each metric, without binning. */
export function effectsOfNormalShift(d: number): ShiftEffects {
  const ks = 2 * normalCdf(Math.abs(d) / 2) - 1;
  return {
    psi: d * d,
    ks,
    totalVariation: ks,
    wassersteinOverSd: Math.abs(d),
    jsDistanceBase2: jsOfShift(d),
    hellinger: Math.sqrt(-Math.expm1((-d * d) / 8)),
    balancedCramersV: cramersVOfShift(d),
    auc: normalCdf(Math.abs(d) / Math.SQRT2),
  };
}

/** Trapezoid rule over both densities; for analytic, fast-falling integrands its error falls below 1e-14. */
function integrate(d: number, integrand: (p: number, q: number) => number): number {
  const size = Math.abs(d);
  const step = 0.03125;
  let total = 0;
  for (let x = -10; x <= size + 10; x += step) {
    total += integrand(Math.exp((-x * x) / 2), Math.exp((-(x - size) * (x - size)) / 2));
  }
  return (total * step) / Math.sqrt(2 * Math.PI);
}

function jsOfShift(d: number): number {
  const side = (a: number, b: number): number => (a > 0 ? a * Math.log2((2 * a) / (a + b)) : 0);
  return Math.sqrt(
    Math.min(
      1,
      Math.max(
        0,
        integrate(d, (p, q) => (side(p, q) + side(q, p)) / 2),
      ),
    ),
  );
}

function cramersVOfShift(d: number): number {
  return Math.sqrt(
    Math.min(
      1,
      integrate(d, (p, q) => (p + q > 0 ? (p - q) ** 2 / (p + q) / 2 : 0)),
    ),
  );
}

export type EffectMetric = keyof ShiftEffects;

/** Shifts above this are all "completely different": PSI 64. */
const SHIFT_MAX = 8;

/** The PSI of a normal shift that would give this value of the metric; at most 64. */
export function severityOf(metric: EffectMetric, value: number): Measured {
  if (!Number.isFinite(value)) return undefinedBecause(`${metric} is ${value}`);
  if (metric === 'psi') return measured(Math.max(0, value));
  const shift = shiftFor(metric, value);
  return measured(Math.min(SHIFT_MAX, Math.max(0, shift)) ** 2);
}

function shiftFor(metric: Exclude<EffectMetric, 'psi'>, value: number): number {
  switch (metric) {
    case 'ks':
    case 'totalVariation':
      return 2 * normalQuantile((1 + value) / 2);
    case 'wassersteinOverSd':
      return value;
    case 'auc':
      return Math.SQRT2 * normalQuantile(value);
    case 'hellinger':
      return value >= 1 ? SHIFT_MAX : Math.sqrt(-8 * Math.log1p(-value * value));
    case 'jsDistanceBase2':
      return invert(jsOfShift, value);
    case 'balancedCramersV':
      return invert(cramersVOfShift, value);
  }
}

/** Bisection of an increasing function of the shift. */
function invert(effect: (d: number) => number, value: number): number {
  let low = 0;
  let high = SHIFT_MAX;
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if (effect(middle) < value) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
