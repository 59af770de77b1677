/** How labels come, for people: the maturity curve as bars and, at a few ages, as numbers. */
import { recordedCurve } from '../checks/label-arrival.ts';
import { percent } from '../checks/result.ts';
import type { CheckResult } from '../domain/evidence.ts';
import { tableLines } from './output.ts';
import { sparkline } from './plot.ts';

export type MaturityCurve = readonly (readonly [ageDays: number, share: number])[];

const agesShown = 10;

/** The curve that these checks recorded; empty when there is none. */
export function curveOf(checks: readonly CheckResult[]): MaturityCurve {
  return checks.flatMap(check => (check.check === 'maturity_curve' ? recordedCurve(check) : []));
}

/** `▁▂▅███ 97.0 % after 7 days`, scaled to the share at the end: a sample of labels has a shape too. */
export function curveText(curve: MaturityCurve): string {
  const last = curve.at(-1);
  if (last === undefined) return 'no curve yet';
  const shares = curve.map(([, share]) => share);
  return `${sparkline(shares, [0, last[1]], 15)} ${percent(last[1])} after ${last[0]} days`;
}

export function lateText(late: readonly string[]): string {
  return late.length === 0 ? '' : `, late: ${late.join(' ')}`;
}

export function maturityLines(curve: MaturityCurve): string[] {
  if (curve.length === 0) return [];
  const step = Math.ceil(curve.length / agesShown);
  const shown = curve.filter((_, index) => (curve.length - 1 - index) % step === 0);
  return [
    `labels by age: ${curveText(curve)}`,
    ...tableLines(
      ['days after the prediction', ...shown.map(([ageDays]) => String(ageDays))],
      [['share of rows with a label', ...shown.map(([, share]) => percent(share))]],
    ),
  ];
}
