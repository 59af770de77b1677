/**
 * Leakage that no time column proves: a model that does better on shuffled rows than on later ones (T6), a feature that
 * knows the label better after the fact (T7), and an aggregation window that ends after the prediction (T8).
 */
import { type Contract, featureColumns } from '../domain/contract.ts';
import type { CheckResult } from '../domain/evidence.ts';
import { correctedAssociation } from '../stats/association.ts';
import { checkResult, type Finding, judgeColumns, judgeTable, percent, plain } from './result.ts';

/** T6: a small model on a random split and on a time split of the same rows, with as many rows on either side of both. */
export interface SplitQualities {
  readonly random: SplitQuality;
  readonly time: SplitQuality;
}

export interface SplitQuality {
  readonly auc: number;
  readonly standardError: number;
  readonly testRows: number;
}

/** T7: how well one feature alone tells the label, over rows of keys that occur again on a later date. */
export type LeadLag = LeadLagAuc | LeadLagAssociation;

/** Numbers against two classes: AUCs. */
export interface LeadLagAuc {
  /** Of the value of the previous date; null where no key has one. */
  readonly past: number | null;
  /** Of the value of the date itself and of the next one, on the same rows; null with one class. */
  readonly present: number | null;
  readonly future: number | null;
  readonly positives: number;
  readonly negatives: number;
}

/** Anything else: what is compared, and its squared association with the label; null where no key has such a value. */
export interface LeadLagAssociation {
  readonly measure: 'rank correlation' | 'correlation ratio' | "Cramér's V";
  readonly past: SquaredAssociation | null;
  readonly present: SquaredAssociation | null;
  readonly future: SquaredAssociation | null;
}

export interface SquaredAssociation {
  /** ρ², η² or φ² of the rows; null for a constant. */
  readonly squared: number | null;
  readonly rows: number;
  /** Groups of the values and of the labels; 1 where they are ranked. */
  readonly values: number;
  readonly labels: number;
  /** Rows outside the largest class. */
  readonly outside: number;
}

/** T8: rows whose declared window ends after their prediction time; `unknown` have no end. */
export interface LateAggregation {
  readonly column: string;
  /** The column that says when the window ends. */
  readonly ends: string;
  readonly rows: number;
  readonly late: number;
  readonly unknown: number;
  readonly leadHours: number;
}

/** A fact that cannot be had, with the reason. */
export interface NotLookedAt {
  readonly reason: string;
}

/** An AUC that a random split may promise and a later period not keep. */
const splitGapMax = 0.05;
/** By how much the later value may tell more than the present one. */
const leadLagMax = 0.05;
const classRowsMin = 50;
const deviations = 3;

/** `leakage_random_split`: a suspicion, so it warns at most. */
export function checkRandomSplit(splits: SplitQualities | NotLookedAt): CheckResult[] {
  return judgeTable('leakage_random_split', () => judgeSplits(splits));
}

function judgeSplits(splits: SplitQualities | NotLookedAt): Finding {
  if ('reason' in splits) return { status: 'not_applicable', reason: `T6: ${splits.reason}` };
  const { random, time } = splits;
  const gap = random.auc - time.auc;
  const error = Math.hypot(random.standardError, time.standardError);
  const rows = Math.min(random.testRows, time.testRows);
  const isCertain = gap > 1.96 * error;
  const found = `T6: a small model has an AUC of ${plain(random.auc)} on a random split and of ${plain(time.auc)} on a later period`;
  return {
    status: gap > splitGapMax && isCertain ? 'warn' : 'pass',
    value: gap,
    limit: splitGapMax,
    limitSource: 'material floor',
    interval: [gap - 1.96 * error, gap + 1.96 * error],
    rows,
    reason:
      gap > splitGapMax
        ? `${found}: ${isCertain ? 'rows know of each other within a period, or the world moves on' : 'with so few rows that may be chance'}`
        : found,
  };
}

/** `leakage_lead_lag` of each number and category: a suspicion, so it warns at most. */
export function checkLeadLag(
  contract: Contract,
  leadLag: Readonly<Record<string, LeadLag>> | NotLookedAt,
): CheckResult[] {
  if (isNotLookedAt(leadLag)) {
    return [checkResult('leakage_lead_lag', { status: 'not_applicable', reason: `T7: ${leadLag.reason}` })];
  }
  return judgeColumns('leakage_lead_lag', featureColumns(contract), ({ name }) => {
    const found = leadLag[name];
    if (found === undefined) return { status: 'not_applicable', reason: `T7: ${name} is neither number nor category` };
    return 'measure' in found ? judgeAssociation(name, found) : judgeAuc(name, found);
  });
}

function judgeAuc(name: string, { past, present, future, positives, negatives }: LeadLagAuc): Finding {
  const rows = positives + negatives;
  if (present === null || future === null || Math.min(positives, negatives) < classRowsMin) {
    const reason = `T7: ${name}: ${positives} positives and ${negatives} negatives have a later value; ${classRowsMin} of each are needed`;
    return { status: 'insufficient', rows, reason };
  }
  // A feature may point either way; what counts is how well it tells the classes apart.
  const power = (auc: number) => Math.max(auc, 1 - auc);
  return judgeStrengths(name, {
    measure: 'an AUC',
    past: past === null ? null : power(past),
    present: power(present),
    future: power(future),
    rows,
    material: leadLagMax,
    // Of two independent AUCs without any signal; values of one key are alike, so it is more than enough.
    noise: deviations * Math.sqrt((rows + 1) / (6 * positives * negatives)),
    details: { past, present, future },
  });
}

function judgeAssociation(name: string, { measure, past, present, future }: LeadLagAssociation): Finding {
  const rows = present?.rows ?? 0;
  const [before, now, later] = [strengthOf(past), strengthOf(present), strengthOf(future)];
  const enough = present !== null && rows >= 2 * classRowsMin && present.outside >= classRowsMin;
  if (!enough || now === null || later === null || future === null) {
    const reason = `T7: ${name}: ${rows} rows have a later value, ${present?.outside ?? 0} of them outside the largest class; ${2 * classRowsMin} and ${classRowsMin} are needed, and values and labels that vary`;
    return { status: 'insufficient', rows, reason };
  }
  return judgeStrengths(name, {
    measure: `a ${measure}`,
    past: before,
    present: now,
    future: later,
    rows,
    // An AUC runs from a half to one, a strength from nought to one.
    material: 2 * leadLagMax,
    noise: Math.max(noiseOf(present), noiseOf(future)),
    details: { measure, past: before, present: now, future: later },
  });
}

function strengthOf(found: SquaredAssociation | null): number | null {
  if (found === null || found.squared === null) return null;
  return correctedAssociation({ ...found, squared: found.squared, ...shapeOf(found) }).value;
}

/** Degrees of freedom, and the largest square, of ranks and groups on either side. */
function shapeOf({ values, labels }: SquaredAssociation): { readonly degrees: number; readonly most: number } {
  if (values === 1 && labels === 1) return { degrees: 1, most: 1 };
  if (values === 1 || labels === 1) return { degrees: Math.max(values, labels) - 1, most: 1 };
  return { degrees: (values - 1) * (labels - 1), most: Math.min(values, labels) - 1 };
}

/**
 * What chance may do to the difference of two strengths. Without any signal n times the square is χ² with a variance of
 * 2 df; with some the strengths themselves vary by at most 1/√n.
 */
function noiseOf(found: SquaredAssociation): number {
  const { degrees, most } = shapeOf(found);
  const { rows } = found;
  const left = most - degrees / (rows - 1);
  const withoutSignal = Math.sqrt((deviations * Math.sqrt(2) * Math.sqrt(2 * degrees)) / (rows * left));
  return Math.max(withoutSignal, deviations * Math.sqrt(2 / rows));
}

function judgeStrengths(
  name: string,
  found: {
    readonly measure: string;
    readonly past: number | null;
    readonly present: number;
    readonly future: number;
    readonly rows: number;
    readonly material: number;
    readonly noise: number;
    readonly details: Record<string, unknown>;
  },
): Finding {
  const { measure, past, present, future, rows, material, noise, details } = found;
  const limit = Math.max(material, noise);
  const isLate = future - present > limit;
  const earlier = past === null ? '' : `, the previous one ${plain(past)}`;
  return {
    status: isLate ? 'warn' : 'pass',
    value: future - present,
    limit,
    limitSource: noise > material ? 'noise floor' : 'material floor',
    rows,
    details,
    reason:
      `T7: alone, the value of ${name} has ${measure} of ${plain(present)}, that of the key's next date ${plain(future)}${earlier}` +
      `${isLate ? `: ${name} follows the outcome, so a value read a little late would give it away` : ''}`,
  };
}

/** `leakage_aggregation` of each column that declares a window: a proof, and it blocks. */
export function checkAggregations(
  contract: Contract,
  aggregations: readonly (LateAggregation | (NotLookedAt & { readonly column: string }))[],
): CheckResult[] {
  if (aggregations.length === 0) {
    const reason = 'T8: no column declares an aggregation window (contract.columns: window)';
    return [checkResult('leakage_aggregation', { status: 'not_applicable', reason })];
  }
  const byName = new Map(aggregations.map(one => [one.column, one]));
  const declared = contract.columns.filter(({ name }) => byName.has(name));
  return judgeColumns('leakage_aggregation', declared, ({ name, window }) => {
    const found = byName.get(name);
    if (found === undefined) return null;
    if ('reason' in found) return { status: 'error', weight: 'blocking', reason: `T8: ${name}: ${found.reason}` };
    const { rows, late, unknown, leadHours, ends } = found;
    const known = rows - unknown;
    const what = `the ${window?.days ?? 0} days that ${name} is made of end at ${ends}`;
    const base = { rows: known, limit: 0, limitSource: 'declared', weight: 'blocking' as const, details: { unknown } };
    if (known === 0) return { ...base, status: 'insufficient', reason: `T8: ${what}, and no row has one` };
    if (late === 0) {
      return { ...base, value: 0, status: 'pass', reason: `T8: ${what}, in no row after the prediction` };
    }
    return {
      ...base,
      value: late / known,
      status: 'fail',
      details: { unknown, leadHours },
      reason: `T8: ${what}, in ${late} rows (${percent(late / known)}) after the prediction, by up to ${plain(leadHours)} hours`,
    };
  });
}

function isNotLookedAt(facts: object): facts is NotLookedAt {
  return 'reason' in facts && typeof facts.reason === 'string';
}

/**
 * Where the rows of a training window are cut for T6: the newest partitions with at least a fifth of the rows are tested on,
 * those a label horizon before them are learned from. Null when either side would be empty.
 */
export function planTimeSplit(
  partitions: readonly { readonly partition: string; readonly rows: number }[],
  learnedUntil: (testFrom: string) => string,
): { readonly learnUntil: string; readonly testFrom: string } | null {
  const ordered = partitions.filter(({ rows }) => rows > 0).toSorted((a, b) => (a.partition < b.partition ? -1 : 1));
  const total = ordered.reduce((sum, { rows }) => sum + rows, 0);
  let tested = 0;
  for (const { partition, rows } of ordered.toReversed()) {
    tested += rows;
    if (tested < testShare * total) continue;
    const learnUntil = learnedUntil(partition);
    const learned = ordered.filter(one => one.partition <= learnUntil);
    return learned.length === 0 ? null : { learnUntil, testFrom: partition };
  }
  return null;
}

const testShare = 0.2;
