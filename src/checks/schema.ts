/** Schema and types: does the table have the columns of the contract, in types the model can take without loss? */
import type { ColumnType, Contract } from '../domain/contract.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Profile } from '../domain/profile.ts';
import { checkResult, judgeColumns, judgeTable } from './result.ts';

/** Columns of the contract that are absent fail; columns nobody declared are named once, as advice. */
export function checkSchema(contract: Contract, profile: Profile): CheckResult[] {
  const missing = requiredColumns(contract).filter(name => profile.columns[name] === undefined);
  const results = missing.map(name =>
    checkResult('schema', {
      status: 'fail',
      weight: weightOfMissing(contract, name),
      column: name,
      rows: profile.rows,
      reason: `column ${name} is in the contract but not in the data, which has ${listed(Object.keys(profile.columns))}`,
    }),
  );
  if (missing.length === 0) {
    results.push(
      checkResult('schema', {
        status: 'pass',
        weight: 'blocking',
        rows: profile.rows,
        reason: `all ${contract.columns.length} columns of the contract are present`,
      }),
    );
  }
  return [...results, ...judgeTable('extra_columns', () => judgeExtraColumns(contract, profile))];
}

/** Each column's stored type against the contract: equal or wider passes, lossy warns, anything else fails. */
export function checkTypes(contract: Contract, profile: Profile): CheckResult[] {
  return judgeColumns('type', contract.columns, column => {
    const found = profile.columns[column.name];
    if (found === undefined) return null;
    const fit = fitOfType(column.type, found.type);
    const base = { rows: profile.rows, details: { expected: column.type, found: found.type } };
    switch (fit) {
      case 'same':
        return { ...base, status: 'pass', weight: 'blocking', reason: `${found.type} is read as ${column.type}` };
      case 'lossy':
        return {
          ...base,
          status: 'warn',
          weight: 'advisory',
          reason: `${column.name} is stored as ${found.type} and read as ${column.type}: some values may change; store it as ${column.type}`,
        };
      case 'wrong':
        return {
          ...base,
          status: 'fail',
          weight: column.role === 'feature' ? 'blocking' : 'advisory',
          reason: `${column.name} must be ${column.type}, found ${found.type}`,
        };
    }
  });
}

/**
 * Times with and without a zone in one table compare wrongly by the offset of whoever wrote them, which reads as leakage or
 * as staleness; so the mixture itself is the finding.
 */
export function checkTimeZones(contract: Contract, profile: Profile): CheckResult[] {
  return judgeTable('time_zones', () => {
    const times = Object.entries(profile.columns).filter(([, column]) => column.kind === 'time');
    const stamps = times.filter(([, column]) => /^TIMESTAMP/i.test(column.type));
    if (stamps.length === 0) return null;
    const zoned = stamps.filter(([, column]) => isZoned(column.type)).map(([name]) => name);
    const naive = stamps.filter(([, column]) => !isZoned(column.type)).map(([name]) => name);
    const details = { zoned, naive };
    if (zoned.length > 0 && naive.length > 0) {
      const used = [contract.eventTime, contract.knownAt].filter(name => name !== null);
      const affects = used.some(name => zoned.includes(name)) && used.some(name => naive.includes(name));
      return {
        status: affects ? 'fail' : 'warn',
        rows: profile.rows,
        details,
        reason: `${listed(zoned)} carry a time zone, ${listed(naive)} do not and are taken as UTC: store all of them with a zone`,
      };
    }
    return {
      status: 'pass',
      rows: profile.rows,
      details,
      reason: 'all time columns agree on whether they carry a zone',
    };
  });
}

function judgeExtraColumns(contract: Contract, profile: Profile) {
  const declared = new Set([...requiredColumns(contract), ...contract.forbidden]);
  const extra = Object.keys(profile.columns).filter(name => !declared.has(name));
  if (extra.length === 0) return null;
  return {
    status: 'warn' as const,
    value: extra.length,
    rows: profile.rows,
    details: { columns: extra.slice(0, 100) },
    reason: `${extra.length} columns are not in the contract: ${listed(extra)}; declare them or drop them in the transform`,
  };
}

function requiredColumns(contract: Contract): string[] {
  const times = [contract.eventTime, contract.knownAt].filter(name => name !== null);
  return [...new Set([...contract.columns.map(column => column.name), ...times])];
}

function weightOfMissing(contract: Contract, name: string): CheckResult['weight'] {
  const column = contract.columns.find(candidate => candidate.name === name);
  return column === undefined || column.role === 'feature' || column.onFail !== 'warn' ? 'blocking' : 'advisory';
}

function isZoned(type: string): boolean {
  return /TIME ZONE|TIMESTAMPTZ|_TZ\b/i.test(type);
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return 'no columns';
  const shown = names.slice(0, 8).join(', ');
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}

type Fit = 'same' | 'lossy' | 'wrong';
const integers = /^U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|INT\d*)$/i;
const wideIntegers = /^U?(BIGINT|HUGEINT|INT64|INT128)$/i;
const fractions = /^(FLOAT|REAL|DOUBLE|DECIMAL|NUMERIC)/i;
const texts = /^(VARCHAR|TEXT|STRING|ENUM|UUID)/i;

/** Whether DuckDB's type `found` can be read as the contract's type. Exported for its table of cases. */
export function fitOfType(expected: ColumnType, found: string): Fit {
  switch (expected) {
    case 'float':
      // Models take 32-bit floats, so DOUBLE loses what the contract already gave up; wide integers are usually ids.
      if (wideIntegers.test(found)) return 'lossy';
      return fractions.test(found) || integers.test(found) || /^BOOL/i.test(found) ? 'same' : 'wrong';
    case 'double':
      return fractions.test(found) || integers.test(found) || /^BOOL/i.test(found) ? 'same' : 'wrong';
    case 'int':
      if (integers.test(found) || /^DECIMAL\(\d+,\s*0\)$/i.test(found)) return 'same';
      return fractions.test(found) ? 'lossy' : 'wrong';
    case 'bool':
      if (/^BOOL/i.test(found)) return 'same';
      return integers.test(found) ? 'lossy' : 'wrong';
    case 'category':
      return texts.test(found) || integers.test(found) || /^BOOL/i.test(found) ? 'same' : 'wrong';
    case 'text':
      return texts.test(found) ? 'same' : 'wrong';
    case 'timestamp':
      return /^(TIMESTAMP|DATETIME)/i.test(found) || /^DATE$/i.test(found) ? 'same' : 'wrong';
    case 'date':
      if (/^DATE$/i.test(found)) return 'same';
      return /^(TIMESTAMP|DATETIME)/i.test(found) ? 'lossy' : 'wrong';
  }
}
