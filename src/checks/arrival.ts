/** Did the data arrive: keys, row rules, freshness, and volume against the same weekday. */
import type { Contract, RowRule } from '../domain/contract.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { Profile } from '../domain/profile.ts';
import { median, medianAbsoluteDeviation } from '../stats/moments.ts';
import { wilson } from './intervals.ts';
import { type Finding, judgeTable, percent, plain } from './result.ts';

/** One earlier window of the same data set. Only accepted windows teach what is normal. */
export interface VolumeWindow {
  /** ISO date of the window's start. */
  readonly from: string;
  readonly rows: number;
  /** Age of the newest event when the window was judged, in hours; null when the data has no event time. */
  readonly ageHours: number | null;
  readonly accepted: boolean;
}

/** How many windows a learned limit needs before it is trusted; fewer are `insufficient`, never a guess. */
const learnedWindows = 4;
const volumeSpread = 4;
const volumeFloor = 0.02;
/** A learned age limit allows this factor over the oldest accepted window: arrival times have heavy tails. */
const ageSlack = 1.5;

export function checkKeys(contract: Contract, profile: Profile): CheckResult[] {
  if (contract.keys.length === 0) return [];
  return judgeTable('keys', () => {
    const names = contract.keys.join(', ');
    const keys = profile.keys;
    if (keys === null) {
      return {
        status: 'insufficient',
        weight: 'blocking',
        rows: profile.rows,
        reason: `duplicates of (${names}) were not counted`,
      };
    }
    const base = {
      value: keys.duplicates,
      limit: 0,
      limitSource: 'declared',
      rows: profile.rows,
      weight: 'blocking' as const,
    };
    if (keys.duplicates > 0) {
      const count = keys.exact ? keys.duplicates : `at least ${keys.duplicates}`;
      return {
        ...base,
        status: 'fail',
        reason: `(${names}) must be unique, found ${count} repeated rows; keep one row per key`,
      };
    }
    if (!keys.exact) {
      return {
        ...base,
        status: 'insufficient',
        reason: `(${names}) repeats in no single partition; across partitions nobody counted`,
      };
    }
    return { ...base, status: 'pass', reason: `(${names}) is unique` };
  });
}

/** Row rules of the contract: the share that satisfies each rule against its `mostly`. */
export function checkRules(contract: Contract, profile: Profile): CheckResult[] {
  return contract.rules.flatMap(rule => judgeTable(`rule:${rule.id}`, () => judgeRule(rule, contract, profile)));
}

/** Age of the newest event when judged, against a declared limit or what accepted windows were used to. */
export function checkFreshness(
  contract: Contract,
  profile: Profile,
  history: readonly VolumeWindow[],
  asOf: string,
  maxAgeHours: number | null,
): CheckResult[] {
  if (contract.eventTime === null) return [];
  return judgeTable('freshness', () => {
    const newest = profile.time.maxEvent;
    if (newest === null) {
      return { status: 'insufficient', rows: profile.rows, reason: `no event time in ${contract.eventTime}` };
    }
    const ageHours = (Date.parse(asOf) - Date.parse(newest)) / 3_600_000;
    const { limit, source } = ageLimit(history, maxAgeHours);
    const base = { value: ageHours, limit, limitSource: source, rows: profile.rows };
    if (!Number.isFinite(ageHours)) {
      throw new Error(
        `${contract.eventTime} ends at ${newest} and the check runs as of ${asOf}: one of them is not a time`,
      );
    }
    const age = `the newest ${contract.eventTime} is ${plain(ageHours)} hours old`;
    if (limit === null) {
      return {
        ...base,
        status: 'insufficient',
        reason: `${age}; ${learnedWindows} accepted windows are needed to know whether that is late`,
      };
    }
    if (ageHours <= limit) return { ...base, status: 'pass', reason: `${age}, ${plain(limit)} allowed` };
    return {
      ...base,
      status: maxAgeHours === null ? 'warn' : 'fail',
      reason: `${age}, ${plain(limit)} allowed: has the load of the source run?`,
    };
  });
}

/** Rows from the future of the run: a clock or time-zone fault in the source, or leakage in the making. */
export function checkFutureRows(contract: Contract, profile: Profile): CheckResult[] {
  if (contract.eventTime === null && contract.knownAt === null) return [];
  return judgeTable('future_rows', () => {
    const share = profile.rows === 0 ? 0 : profile.time.futureRows / profile.rows;
    const base = { value: share, limit: 0, limitSource: 'declared', rows: profile.rows };
    if (profile.time.futureRows === 0) return { ...base, status: 'pass', reason: 'no row lies after the as-of time' };
    return {
      ...base,
      status: 'fail',
      reason: `${profile.time.futureRows} rows (${percent(share)}) lie after the as-of time: check the clock and time zone of the source`,
    };
  });
}

/**
 * Rows against the median of the last eight accepted windows of the same weekday, on the log scale, in units of a robust
 * spread (1.4826 MAD + 2 %). Nothing at all fails whatever the history says.
 */
export function checkVolume(profile: Profile, history: readonly VolumeWindow[]): CheckResult[] {
  return judgeTable('volume', () => {
    const from = profile.window?.from ?? null;
    if (profile.rows === 0)
      return {
        status: 'fail',
        weight: 'blocking',
        value: 0,
        limit: 1,
        limitSource: 'declared',
        reason: 'the table has no rows',
      };
    const { windows, label } = comparableWindows(history, from);
    const peers = windows.slice(-8);
    const base = { value: profile.rows, rows: profile.rows };
    if (peers.length < learnedWindows) {
      return {
        ...base,
        status: 'insufficient',
        reason: `${profile.rows} rows; ${peers.length} of the ${learnedWindows} accepted windows needed to judge that`,
      };
    }
    const logs = peers.map(window => Math.log(window.rows));
    const middle = median(logs).value ?? 0;
    const spread = 1.4826 * (medianAbsoluteDeviation(logs).value ?? 0) + volumeFloor;
    const z = (Math.log(profile.rows) - middle) / spread;
    const usual = Math.round(Math.exp(middle));
    const ratio = profile.rows / usual;
    const bounds = [Math.exp(middle - volumeSpread * spread), Math.exp(middle + volumeSpread * spread)] as const;
    const source = `median ± ${volumeSpread} robust spreads of ${peers.length} ${label}`;
    const finding = {
      ...base,
      limit: z < 0 ? bounds[0] : bounds[1],
      limitSource: source,
      details: { z, usual, ratio },
    };
    if (Math.abs(z) < volumeSpread)
      return { ...finding, status: 'pass', weight: 'blocking', reason: `${profile.rows} rows, usually ${usual}` };
    return {
      ...finding,
      // Half of the rows missing, or twice as many, is a broken load; less is for a person to look at.
      ...(ratio < 0.5 || ratio > 2 ? { status: 'fail', weight: 'blocking' } : { status: 'warn', weight: 'advisory' }),
      reason: `${profile.rows} rows, usually ${usual} (${plain(bounds[0])} to ${plain(bounds[1])}): ${z < 0 ? 'is a part of the source missing?' : 'was a source loaded twice?'}`,
    };
  });
}

/** Same weekday when there are enough of them, else all accepted windows. */
function comparableWindows(
  history: readonly VolumeWindow[],
  from: string | null,
): { readonly windows: readonly VolumeWindow[]; readonly label: string } {
  const accepted = history
    .filter(window => window.accepted && window.rows > 0 && (from === null || window.from < from))
    .toSorted((left, right) => (left.from < right.from ? -1 : 1));
  const sameWeekday = from === null ? [] : accepted.filter(window => weekday(window.from) === weekday(from));
  return sameWeekday.length >= learnedWindows
    ? { windows: sameWeekday, label: 'accepted windows of the same weekday' }
    : { windows: accepted, label: 'accepted windows' };
}

function judgeRule(rule: RowRule, contract: Contract, profile: Profile): Finding {
  const counted = profile.rules.find(candidate => candidate.id === rule.id);
  if (counted === undefined || counted.n === 0) {
    const why = counted === undefined ? 'was not evaluated' : 'met no rows';
    return { status: 'insufficient', weight: 'blocking', rows: 0, reason: `rule ${rule.id} ${why}` };
  }
  const good = counted.n - counted.bad;
  const share = good / counted.n;
  const base: Omit<Finding, 'status' | 'reason'> = {
    value: share,
    limit: rule.mostly,
    limitSource: 'declared',
    rows: counted.n,
    interval: wilson(good, counted.n),
    weight: rule.onFail === 'warn' ? 'advisory' : 'blocking',
  };
  const met = `${percent(share)} of the rows satisfy ${rule.id}, ${percent(rule.mostly)} must`;
  if (share >= rule.mostly) return { ...base, status: 'pass', reason: met };
  const withinBudget = rule.onFail === 'quarantine' && counted.bad / counted.n <= contract.quarantineBudget;
  return {
    ...base,
    status: rule.onFail === 'warn' || withinBudget ? 'warn' : 'fail',
    reason: `${met}: ${counted.bad} rows break \`${rule.sql}\`${withinBudget ? ' and are quarantined' : ''}`,
  };
}

function ageLimit(
  history: readonly VolumeWindow[],
  declared: number | null,
): { limit: number | null; source: string | null } {
  if (declared !== null) return { limit: declared, source: 'declared' };
  const ages = history.flatMap(window => (window.accepted && window.ageHours !== null ? [window.ageHours] : []));
  if (ages.length < learnedWindows) return { limit: null, source: null };
  return {
    limit: ageSlack * Math.max(...ages, 1),
    source: `${ageSlack} × the oldest of ${ages.length} accepted windows`,
  };
}

function weekday(date: string): number {
  return new Date(date).getUTCDay();
}
