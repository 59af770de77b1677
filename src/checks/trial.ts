/** A version on trial against the champion on live rows: how far its answers are from the champion's, labels or not. */
import type { CheckResult } from '../domain/evidence.ts';
import { psi, psiNoiseFloor } from '../stats/divergence.ts';
import { sum } from '../stats/measured.ts';
import { judgeTable, percent, plain } from './result.ts';

export interface TrialInput {
  readonly version: number;
  /** Rows of the champion and of the version by the same bins: deciles of the champion's scores, or the classes. */
  readonly champion: readonly number[];
  readonly challenger: readonly number[];
  /** Rows that only one of the two answered; null when they serve rows of their own (canary, A/B). */
  readonly unmatched: number | null;
  /** Of the rows that both answered, those with another decision; null when they serve rows of their own. */
  readonly changed: number | null;
  /** PSI between the two on the held-out rows of the evaluation, where labels said which is better; null without one. */
  readonly heldOut: number | null;
  readonly limits: { readonly warn: number; readonly alert: number; readonly minRows: number };
}

/**
 * `trial_rows`: both answered the same rows. `trial_distribution`: the distributions may be as far apart as they were on the
 * held-out rows, where the evaluation approved of it, and a material floor more.
 */
export function judgeTrial(input: TrialInput): CheckResult[] {
  return [
    ...judgeTable('trial_rows', () => {
      if (input.unmatched === null) return null;
      const rows = sum(input.champion);
      return {
        status: input.unmatched === 0 ? 'pass' : 'fail',
        weight: 'blocking',
        value: input.unmatched,
        limit: 0,
        limitSource: 'declared',
        rows,
        reason: `${input.unmatched} rows were answered by only one of champion and v${input.version}`,
      };
    }),
    ...judgeTable('trial_distribution', () => {
      const [n, m] = [sum(input.champion), sum(input.challenger)];
      const base = { rows: Math.min(n, m), weight: 'blocking' as const };
      const found = psi(input.champion, input.challenger);
      const bins = input.champion.filter((count, bin) => count + (input.challenger[bin] ?? 0) > 0).length;
      const noise = bins < 2 ? 0 : psiNoiseFloor({ n, m, bins }).value;
      if (found.value === null || noise === null || base.rows < input.limits.minRows) {
        const reason = `${base.rows} rows to compare the answers of v${input.version} on; ${input.limits.minRows} are needed`;
        return { ...base, weight: 'advisory', status: 'insufficient', reason };
      }
      const value = found.value.psi;
      const [warn, alert] = [input.limits.warn, input.limits.alert].map(floor =>
        Math.max((input.heldOut ?? 0) + floor, noise),
      ) as [number, number];
      const status = value < warn ? 'pass' : value < alert ? 'warn' : 'fail';
      const limit = status === 'fail' ? alert : warn;
      const expected = input.heldOut === null ? '' : `, ${plain(input.heldOut)} on the held-out rows`;
      const decisions =
        input.changed === null ? '' : `; ${percent(n === 0 ? 0 : input.changed / n)} of the decisions are others`;
      return {
        ...base,
        status,
        value,
        severity: value,
        limit,
        limitSource:
          limit === noise
            ? 'noise floor'
            : input.heldOut === null
              ? 'material floor'
              : 'held-out rows + material floor',
        details: { heldOut: input.heldOut, changed: input.changed },
        reason: `PSI ${plain(value)} between the answers of champion and v${input.version} (limit ${plain(limit)}${expected})${decisions}`,
      };
    }),
  ];
}
