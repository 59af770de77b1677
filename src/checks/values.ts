/** Values of one column against its contract and its reference: ranges, missing values, uniqueness, vocabulary, outliers. */
import type { Contract, ContractColumn } from '../domain/contract.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Baseline, NumericProfile, Profile } from '../domain/profile.ts';
import { wilson } from './intervals.ts';
import { type Finding, judgeColumns, percent, plain, quoted } from './result.ts';

/** Values below `min` or above `max`. Shares come from the histogram and are exact up to the bin that holds the limit. */
export function checkRanges(contract: Contract, profile: Profile, baseline: Baseline | null): CheckResult[] {
  return judgeColumns('range', contract.columns, column => {
    const found = profile.columns[column.name];
    if (found === undefined || found.kind !== 'numeric' || (column.min === null && column.max === null)) return null;
    const finite = sum(found.histogram);
    if (found.min === null || found.max === null) {
      return {
        status: 'insufficient',
        rows: 0,
        reason: `${column.name} has no finite value to compare with its range`,
      };
    }
    const low = column.min !== null && found.min < column.min;
    const high = column.max !== null && found.max > column.max;
    const range = `[${column.min ?? '-∞'}, ${column.max ?? '∞'}]`;
    if (!low && !high) {
      return {
        status: 'pass',
        weight: weightOf(column),
        value: 0,
        limit: 0,
        limitSource: 'declared',
        rows: finite,
        reason: `all values of ${column.name} lie in ${range}`,
      };
    }
    const outside = shareOutside(found, column, baseline);
    const extremes = column.pii ? 'values' : `values from ${plain(found.min)} to ${plain(found.max)}`;
    return {
      ...statusOfShare(column, outside, contract.quarantineBudget),
      value: outside,
      limit: column.onFail === 'quarantine' ? contract.quarantineBudget : 0,
      limitSource: 'declared',
      rows: finite,
      reason: `${column.name} must lie in ${range}, found ${extremes}; at least ${percent(outside)} of the rows lie outside`,
      details: column.pii ? {} : { min: found.min, max: found.max },
    };
  });
}

/** Infinite values: no model reads them sensibly, and one of them turns every mean into infinity. */
export function checkFinite(contract: Contract, profile: Profile): CheckResult[] {
  return judgeColumns('finite', contract.columns, column => {
    const found = profile.columns[column.name];
    if (found === undefined || found.kind !== 'numeric') return null;
    const infinite = found.positiveInfinity + found.negativeInfinity;
    const base = { value: infinite, limit: 0, limitSource: 'declared', rows: profile.rows };
    if (infinite === 0) return { ...base, status: 'pass', weight: weightOf(column), reason: 'no infinite values' };
    return {
      ...base,
      ...statusOfShare(column, infinite / profile.rows, contract.quarantineBudget),
      reason: `${column.name} has ${infinite} infinite values (${found.positiveInfinity} positive, ${found.negativeInfinity} negative)`,
    };
  });
}

/** NULL and NaN against the declared largest share. */
export function checkMissing(contract: Contract, profile: Profile): CheckResult[] {
  return judgeColumns('missing', contract.columns, column => {
    const missing = missingCount(profile, column.name);
    if (missing === null) return null;
    if (profile.rows === 0) return { status: 'insufficient', reason: `${column.name}: the table has no rows` };
    const share = missing / profile.rows;
    const limit = column.nulls.maxShare ?? 1;
    const base = {
      value: share,
      limit,
      limitSource: 'declared',
      rows: profile.rows,
      interval: wilson(missing, profile.rows),
    };
    if (share <= limit) {
      return {
        ...base,
        status: 'pass',
        weight: weightOf(column),
        reason: `${percent(share)} missing, ${percent(limit)} allowed`,
      };
    }
    const all = share === 1 ? `${column.name} is missing in every row` : `${column.name}: ${percent(share)} missing`;
    return {
      ...base,
      ...statusOfShare(column, share, Math.max(limit, contract.quarantineBudget)),
      reason: `${all}, ${percent(limit)} allowed`,
    };
  });
}

/** Columns declared unique: from the exact key pass, a unique rule, or the vocabulary; never from a sketch. */
export function checkUnique(contract: Contract, profile: Profile): CheckResult[] {
  const columns = contract.columns.filter(column => column.unique);
  return judgeColumns('unique', columns, column => {
    const duplicates = duplicatesOf(profile, column.name);
    if (duplicates === null) {
      return {
        status: 'insufficient',
        rows: profile.rows,
        reason: `the profile has no exact count of distinct values of ${column.name}; make it a key to have it counted`,
      };
    }
    const base = { value: duplicates.count, limit: 0, limitSource: 'declared', rows: profile.rows };
    if (duplicates.count > 0) {
      return {
        ...base,
        status: 'fail',
        weight: weightOf(column),
        reason: `${column.name} must be unique, found ${duplicates.exact ? '' : 'at least '}${duplicates.count} repeated rows`,
      };
    }
    return {
      ...base,
      status: duplicates.exact ? 'pass' : 'insufficient',
      weight: weightOf(column),
      reason: duplicates.exact
        ? `${column.name} is unique`
        : `${column.name} is unique within each partition; across them nobody counted`,
    };
  });
}

/** Declared allowed values. What happens to values that are merely new is `checkUnseen`. */
export function checkAllowedValues(contract: Contract, profile: Profile, baseline: Baseline | null): CheckResult[] {
  const columns = contract.columns.filter(column => column.values !== null);
  return judgeColumns('allowed_values', columns, column => {
    const found = profile.columns[column.name];
    const edges = baseline?.columns[column.name];
    if (found === undefined || found.kind !== 'category' || edges === undefined || edges.kind !== 'category')
      return null;
    const allowed = new Set(column.values);
    const forbidden = edges.vocabulary
      .map((value, index): [string, number] => [value, found.counts[index] ?? 0])
      .filter(([value, count]) => count > 0 && !allowed.has(value));
    const bad = [...forbidden, ...found.unseenTop.filter(([value]) => !allowed.has(value))];
    // `unseenTop` holds at most 20 values; what it does not name is unseen as well and not among the declared ones.
    const unnamed = found.unseen - sum(found.unseenTop.map(([, count]) => count));
    const count = sum(bad.map(([, rows]) => rows)) + Math.max(0, unnamed);
    const nonNull = profile.rows - found.nulls;
    const base = { value: nonNull === 0 ? 0 : count / nonNull, limit: 0, limitSource: 'declared', rows: nonNull };
    if (count === 0) return { ...base, status: 'pass', weight: weightOf(column), reason: 'only declared values' };
    const examples = column.pii
      ? ''
      : `, such as ${bad
          .slice(0, 3)
          .map(([value]) => quoted(value))
          .join(', ')}`;
    return {
      ...base,
      ...statusOfShare(column, count / profile.rows, contract.quarantineBudget),
      reason: `${column.name}: ${count} rows hold a value that is not declared${examples}`,
      details: column.pii ? {} : { values: bad.slice(0, 20) },
    };
  });
}

export function missingCount(profile: Profile, name: string): number | null {
  const found = profile.columns[name];
  if (found === undefined) return null;
  return found.kind === 'numeric' ? found.nulls + found.nan : found.nulls;
}

export function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function weightOf(column: ContractColumn): CheckResult['weight'] {
  return column.onFail === 'warn' ? 'advisory' : 'blocking';
}

/** Rows that break a quarantine rule are set aside one by one; only above the budget is the partition itself bad. */
function statusOfShare(column: ContractColumn, share: number, budget: number): Pick<Finding, 'status' | 'weight'> {
  switch (column.onFail) {
    case 'warn':
      return { status: 'warn', weight: 'advisory' };
    case 'block':
      return { status: 'fail', weight: 'blocking' };
    case 'quarantine':
      return { status: share > budget ? 'fail' : 'warn', weight: 'blocking' };
  }
}

/** Share of rows certainly outside the range: bins that lie wholly beyond a limit, at least the one extreme value seen. */
function shareOutside(found: NumericProfile, column: ContractColumn, baseline: Baseline | null): number {
  const finite = sum(found.histogram);
  const edges = baseline?.columns[column.name];
  let outside = 0;
  if (edges !== undefined && edges.kind === 'numeric' && edges.edges.length + 1 === found.histogram.length) {
    found.histogram.forEach((count, bin) => {
      const low = edges.edges[bin - 1] ?? Number.NEGATIVE_INFINITY;
      const high = edges.edges[bin] ?? Number.POSITIVE_INFINITY;
      const below = column.min !== null && high < column.min;
      const above = column.max !== null && low >= column.max;
      if (below || above) outside += count;
    });
  }
  return finite === 0 ? 0 : Math.max(outside, 1) / finite;
}

function duplicatesOf(profile: Profile, name: string): { readonly count: number; readonly exact: boolean } | null {
  const keys = profile.keys;
  if (keys !== null && keys.columns.length === 1 && keys.columns[0] === name) {
    return { count: keys.duplicates, exact: keys.exact };
  }
  const rule = profile.rules.find(candidate => candidate.id === `${name}.unique`);
  if (rule !== undefined) return { count: rule.bad, exact: true };
  const found = profile.columns[name];
  if (found?.kind === 'category') {
    const repeated = sum(found.counts.map(count => Math.max(0, count - 1)));
    const unseen = sum(found.unseenTop.map(([, count]) => Math.max(0, count - 1)));
    return { count: repeated + unseen, exact: found.unseen <= found.unseenTop.length };
  }
  return null;
}
