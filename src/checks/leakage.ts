/**
 * Leakage: facts from after the prediction in the training set. Temporal leakage is proved by times (T1–T5 of statistics
 * A12; T6–T8: `leakage-suspicion.ts`), label leakage is suspected from a feature that knows the label too well.
 */
import type { Contract } from '../domain/contract.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Baseline, Profile } from '../domain/profile.ts';
import { mutualInformation } from '../stats/association.ts';
import { rocAucOfGroups } from '../stats/classification.ts';
import { psi } from '../stats/divergence.ts';
import { sum } from '../stats/measured.ts';
import { checkResult, type Finding, judgeColumns, judgeTable, percent, plain, quoted } from './result.ts';

/** Counts over the training rows; null where the columns for it do not exist. */
export interface TemporalFacts {
  readonly rows: number;
  /** T1: rows whose event time lies after their prediction time, and the longest lead in hours. */
  readonly eventAfterPrediction: { readonly rows: number; readonly leadHours: number } | null;
  /** T2: rows that became known only after their prediction time. */
  readonly knownAfterPrediction: { readonly rows: number; readonly leadHours: number } | null;
  /** T3: rows whose label window starts at or before the prediction time; rows with an immature label. */
  readonly labelBeforePrediction: { readonly rows: number; readonly immature: number } | null;
  /** T5: a hash sample recomputed with sources cut at prediction time: rows compared, and values that differ by column. */
  readonly asOfRecomputation: { readonly rows: number; readonly mismatches: Readonly<Record<string, number>> } | null;
}

/** T4: what the split between training and test rows looks like. */
export interface SplitFacts {
  readonly trainMaxPrediction: string;
  readonly testMinPrediction: string;
  readonly horizonDays: number;
  /** Least gap that the definition declares; default the horizon. Fewer days are a risk that somebody took. */
  readonly purgeDays?: number;
  readonly testRows: number;
  /** Test rows predicted before the last training row, rows with a key that training has, entities on both sides. */
  readonly overlappingRows: number;
  readonly sharedKeys: number;
  readonly sharedEntities: number;
  /** Whether rows were held out by time or drawn by a hash of their keys. */
  readonly heldOut: 'by time' | 'by hash';
  /** Exact feature duplicates: within training, test rows that training has, and of those the ones with another label. */
  readonly duplicatesInTrain: number;
  readonly testRowsInTrain: number;
  readonly conflictingLabels: number;
  readonly trainRows: number;
}

export function checkTemporalLeakage(contract: Contract, facts: TemporalFacts): CheckResult[] {
  const { rows } = facts;
  const share = (bad: number) => (rows === 0 ? null : bad / rows);
  const proof = (
    test: string,
    found: { readonly rows: number; readonly leadHours: number } | null,
    what: string,
  ): Finding => {
    if (found === null) return { status: 'insufficient', rows, reason: `${test}: the columns for it are not declared` };
    const base = { value: share(found.rows), limit: 0, limitSource: 'declared', rows, weight: 'blocking' as const };
    if (found.rows === 0) return { ...base, status: 'pass', reason: `${test}: no row ${what}` };
    return {
      ...base,
      status: 'fail',
      reason: `${test}: ${found.rows} rows (${percent(found.rows / rows)}) ${what}, by up to ${plain(found.leadHours)} hours`,
      details: { leadHours: found.leadHours },
    };
  };
  return [
    ...judgeTable('leakage_event_time', () =>
      proof('T1', facts.eventAfterPrediction, 'has an event time after its prediction time'),
    ),
    ...judgeTable('leakage_known_at', () =>
      contract.knownAt === null
        ? {
            status: 'warn',
            rows,
            reason: 'T2: the contract declares no known_at, so late backfills cannot be told from facts known in time',
          }
        : proof('T2', facts.knownAfterPrediction, 'became known only after its prediction time'),
    ),
    ...judgeTable('leakage_label_window', () => judgeLabelWindow(facts)),
    ...judgeAsOf(facts),
  ];
}

/** `leakage_label_known_at` (T3): labels that the training of that time could not have had; it is told, and blocks nothing. */
export function checkLabelsKnown(facts: { readonly rows: number; readonly late: number; readonly asOf: string }) {
  const { rows, late, asOf } = facts;
  return checkResult('leakage_label_known_at', {
    status: rows === 0 ? 'insufficient' : late === 0 ? 'pass' : 'warn',
    value: rows === 0 ? null : late / rows,
    limit: 0,
    limitSource: 'declared',
    rows,
    reason:
      late === 0
        ? `T3: all ${rows} labels were known as of ${asOf}`
        : `T3: ${late} of ${rows} labels became known only after ${asOf}: a training of that day would have had other ones`,
  });
}

/** T4 and A14: the split itself, duplicates over it, and entities on both sides. */
export function checkSplit(facts: SplitFacts): CheckResult[] {
  const rows = facts.testRows;
  const gapDays = (Date.parse(facts.testMinPrediction) - Date.parse(facts.trainMaxPrediction)) / 86_400_000;
  const isAccepted = facts.purgeDays !== undefined && facts.purgeDays < facts.horizonDays && gapDays >= facts.purgeDays;
  const counted = (check: string, bad: number, of: number, what: string, weight: CheckResult['weight']) =>
    judgeTable(check, () => ({
      status: bad === 0 ? 'pass' : weight === 'advisory' ? 'warn' : 'fail',
      weight,
      value: of === 0 ? null : bad / of,
      limit: 0,
      limitSource: 'declared',
      rows: of,
      reason: `${bad} of ${of} ${what}`,
    }));
  return [
    ...judgeTable('split_gap', () => ({
      status: gapDays >= facts.horizonDays ? 'pass' : isAccepted ? 'warn' : 'fail',
      weight: isAccepted ? 'advisory' : 'blocking',
      value: gapDays,
      limit: facts.horizonDays,
      limitSource: 'declared',
      rows,
      reason: `T4: the test starts ${plain(gapDays)} days after the last training row, labels take ${facts.horizonDays} days: ${gapDays >= facts.horizonDays ? 'none' : 'some'} of the training labels lie in the test period${isAccepted ? `; train.purge of ${facts.purgeDays} days accepts that` : ''}`,
    })),
    ...counted(
      'split_overlap',
      facts.overlappingRows,
      rows,
      'test rows were predicted before the last training row',
      'blocking',
    ),
    ...counted('shared_keys', facts.sharedKeys, rows, 'test rows have a key that is in training', 'blocking'),
    ...judgeTable('shared_entities', () => judgeSharedEntities(facts)),
    ...counted(
      'train_duplicates',
      facts.duplicatesInTrain,
      facts.trainRows,
      'training rows repeat the features of another',
      'advisory',
    ),
    ...counted(
      'test_in_train',
      facts.testRowsInTrain,
      rows,
      'test rows repeat the features of a training row',
      'advisory',
    ),
    ...counted(
      'conflicting_labels',
      facts.conflictingLabels,
      facts.testRowsInTrain,
      'repeated rows carry another label: no model can get both right',
      'advisory',
    ),
  ];
}

/**
 * What a model remembers of an entity helps it on other rows of that entity. Held out by time that is no leak: entities that
 * return are predicted again in production. Rows drawn at random promise of unknown entities what holds for known ones.
 */
function judgeSharedEntities({ sharedEntities: shared, testRows: rows, heldOut }: SplitFacts): Finding {
  const value = rows === 0 ? null : shared / rows;
  const found = `${shared} of ${rows} test rows belong to an entity that is in training`;
  if (shared > 0 && heldOut === 'by time') {
    const reason = `${found}: days are held out, and who returns is predicted again in production, so that is no leak`;
    return { status: 'not_applicable', value, rows, reason };
  }
  const advice =
    'held out by row, they promise of new entities what holds for known ones; hold out days (train.holdout)';
  return {
    status: shared === 0 ? 'pass' : 'warn',
    value,
    limit: 0,
    limitSource: 'declared',
    rows,
    reason: shared === 0 ? found : `${found}: ${advice}`,
  };
}

const suspiciousAuc = 0.95;
const suspiciousInformation = 0.5;
const suspiciousMissingness = 0.8;
const pureBinShare = 0.05;
const telling = /(_outcome|_result|_status_after|_label|_target)$/i;

/**
 * Each feature alone against the label, from label-conditional counts: AUC (bins as ties, so a lower bound), information
 * value, mutual information, pure bins, missingness. Suspicion, not proof: it warns, and fails only at an AUC of 0.95.
 */
export function checkLabelLeakage(
  contract: Contract,
  profile: Profile,
  baseline: Baseline,
  modelAuc: number | null,
): CheckResult[] {
  const features = contract.columns.filter(column => column.role === 'feature');
  const named = contract.forbidden.filter(name => features.some(column => column.name === name));
  const results = named.map(column =>
    checkResult('forbidden_feature', {
      status: 'fail',
      weight: 'blocking',
      column,
      rows: profile.rows,
      reason: `${column} is known only after the prediction and may not be a feature`,
    }),
  );
  const judged = judgeColumns('label_leakage', features, column => {
    const counts = profile.byLabel?.[column.name];
    if (counts === undefined)
      return { status: 'insufficient', rows: profile.rows, reason: `${column.name} has no counts by label` };
    const p = sum(counts.positives);
    const n = sum(counts.negatives);
    if (p === 0 || n === 0) return { status: 'insufficient', rows: p + n, reason: 'only one class of labels' };
    const ordered = orderOf(counts, baseline.columns[column.name]?.kind === 'category');
    const auc = rocAucOfGroups(ordered).value ?? 0.5;
    const power = Math.max(auc, 1 - auc);
    const information = psi(counts.negatives, counts.positives).value?.psi ?? null;
    const missingness = missingnessAuc(p, n, profile, column.name);
    const suspicions = suspicionsOf({ name: column.name, power, information, missingness, counts, modelAuc });
    const limit = Math.min(suspiciousAuc, modelAuc === null ? 1 : 0.98 * modelAuc);
    const base = {
      value: power,
      limit,
      limitSource: 'material floor',
      rows: p + n,
      details: {
        informationValue: information,
        mutualInformation: mutualInformation(counts.positives, counts.negatives).value,
      },
    };
    if (suspicions.length === 0)
      return { ...base, status: 'pass', reason: `${column.name} alone has an AUC of ${plain(power)}` };
    return {
      ...base,
      status: power >= suspiciousAuc ? 'fail' : 'warn',
      weight: 'blocking',
      reason: `${suspicions.join('; ')}: is ${quoted(column.name)} known at prediction time?`,
    };
  });
  return [...results, ...judged];
}

interface Suspect {
  readonly name: string;
  readonly power: number;
  readonly information: number | null;
  readonly missingness: number | null;
  readonly counts: { readonly positives: readonly number[]; readonly negatives: readonly number[] };
  readonly modelAuc: number | null;
}

function suspicionsOf({ name, power, information, missingness, counts, modelAuc }: Suspect): string[] {
  const total = sum(counts.positives) + sum(counts.negatives);
  const pure = counts.positives.findIndex((positive, bin) => {
    const negative = counts.negatives[bin] ?? 0;
    return positive > 0 && negative === 0 && positive > pureBinShare * total;
  });
  return [
    ...(power >= suspiciousAuc ? [`${name} alone has an AUC of ${plain(power)}`] : []),
    ...(power < suspiciousAuc && modelAuc !== null && power >= 0.98 * modelAuc && power > 0.6
      ? [`${name} alone (AUC ${plain(power)}) is as good as the model (${plain(modelAuc)})`]
      : []),
    ...(information !== null && information > suspiciousInformation && power > 0.8
      ? [`information value ${plain(information)}`]
      : []),
    ...(pure >= 0 && power > 0.7 ? [`one value of ${name} occurs with positives only`] : []),
    ...(missingness !== null && missingness >= suspiciousMissingness
      ? [`whether ${name} is missing tells the label (AUC ${plain(missingness)})`]
      : []),
    ...(telling.test(name) ? [`the name of ${name} sounds like an outcome`] : []),
  ];
}

/** Categories have no order: by their own positive rate they are as telling as they can be. */
function orderOf(counts: Suspect['counts'], isCategory: boolean): { positives: number[]; negatives: number[] } {
  const bins = counts.positives.map((positives, bin) => ({ positives, negatives: counts.negatives[bin] ?? 0 }));
  const rate = (bin: { positives: number; negatives: number }) =>
    bin.positives / Math.max(1, bin.positives + bin.negatives);
  const ordered = isCategory ? bins.toSorted((left, right) => rate(left) - rate(right)) : bins;
  return { positives: ordered.map(bin => bin.positives), negatives: ordered.map(bin => bin.negatives) };
}

/** AUC of "is present" for the label, from how many labelled rows of each class have a value. */
function missingnessAuc(present1: number, present0: number, profile: Profile, name: string): number | null {
  const score = profile.score;
  if (score === null || profile.columns[name] === undefined) return null;
  const positives = sum(score.positives);
  const negatives = sum(score.negatives);
  if (positives === 0 || negatives === 0) return null;
  const difference = Math.abs(present1 / positives - present0 / negatives);
  return Math.min(1, 0.5 + difference / 2);
}

function judgeLabelWindow({ labelBeforePrediction: found, rows }: TemporalFacts): Finding {
  if (found === null) return { status: 'insufficient', rows, reason: 'T3: no label times are declared' };
  const base = {
    value: rows === 0 ? null : found.rows / rows,
    limit: 0,
    limitSource: 'declared',
    rows,
    weight: 'blocking' as const,
    details: { immature: found.immature },
  };
  if (found.rows > 0)
    return {
      ...base,
      status: 'fail',
      reason: `T3: the label window of ${found.rows} rows starts before their prediction`,
    };
  return {
    ...base,
    status: found.immature === 0 ? 'pass' : 'warn',
    reason: `T3: ${found.immature} rows carry a label that is not mature yet`,
  };
}

function judgeAsOf({ asOfRecomputation: found, rows }: TemporalFacts): CheckResult[] {
  if (found === null)
    return [
      checkResult('leakage_as_of', {
        status: 'insufficient',
        rows,
        reason: 'T5: nothing was recomputed as of prediction time',
      }),
    ];
  const bad = Object.entries(found.mismatches).filter(([, count]) => count > 0);
  if (bad.length === 0)
    return [
      checkResult('leakage_as_of', {
        status: 'pass',
        weight: 'blocking',
        value: 0,
        limit: 0,
        rows: found.rows,
        reason: `T5: ${found.rows} sampled rows give the same values with sources cut at prediction time`,
      }),
    ];
  return bad.map(([column, count]) =>
    checkResult('leakage_as_of', {
      status: 'fail',
      weight: 'blocking',
      column,
      value: count / found.rows,
      limit: 0,
      rows: found.rows,
      reason: `T5: ${count} of ${found.rows} sampled rows had another ${column} at prediction time: the training set has seen the future`,
    }),
  );
}
