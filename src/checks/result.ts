/** How a check states its answer, and the rule that one bad column never kills a report. */
import type { CheckResult, CheckStatus } from '../domain/evidence.ts';

/** What a check has to say; everything left out is undefined for that check. */
export type Finding = Pick<CheckResult, 'status' | 'reason'> & Partial<Omit<CheckResult, 'check'>>;

/** A complete check result from a finding. Numbers that are not finite become null: documents hold no NaN. */
export function checkResult(check: string, finding: Finding): CheckResult {
  return {
    check,
    weight: 'advisory',
    column: null,
    slice: null,
    interval: null,
    rows: 0,
    limitSource: null,
    details: {},
    ...finding,
    value: finiteOrNull(finding.value),
    limit: finiteOrNull(finding.limit),
    severity: finiteOrNull(finding.severity),
  };
}

/**
 * Judges every column by itself. What `judge` throws becomes the answer `error` of that column alone; null means that the
 * check has nothing to say about the column and leaves no result.
 */
export function judgeColumns<Column extends { readonly name: string }>(
  check: string,
  columns: readonly Column[],
  judge: (column: Column) => Finding | null,
): CheckResult[] {
  const results: CheckResult[] = [];
  for (const column of columns) {
    const finding = findingOrError(() => judge(column));
    if (finding !== null) results.push(checkResult(check, { column: column.name, ...finding }));
  }
  return results;
}

/** The same guard for a check over the whole table. */
export function judgeTable(check: string, judge: () => Finding | null): CheckResult[] {
  const finding = findingOrError(judge);
  return finding === null ? [] : [checkResult(check, finding)];
}

export function findingOrError<Answer extends Finding | null>(judge: () => Answer): Answer | Finding {
  try {
    return judge();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { status: 'error', reason: `the check itself failed: ${message}; the other columns are not affected` };
  }
}

const worst: readonly CheckStatus[] = ['error', 'fail', 'warn', 'insufficient', 'pass', 'not_applicable'];

/** Most alarming first; equal statuses by severity. */
export function byUrgency(left: CheckResult, right: CheckResult): number {
  const order = worst.indexOf(left.status) - worst.indexOf(right.status);
  return order !== 0 ? order : (right.severity ?? 0) - (left.severity ?? 0);
}

/** `31.0 %`; small shares keep two significant digits so that 0.0004 does not read as nothing. */
export function percent(share: number): string {
  const value = share * 100;
  if (value === 0 || Math.abs(value) >= 1) return `${value.toFixed(1)} %`;
  return `${value.toPrecision(2)} %`;
}

/** A number for a sentence: at most four significant digits. */
export function plain(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  return String(Number(value.toPrecision(4)));
}

/** A data value inside a sentence: quoted, without control characters, at most 60 characters. Escaping is the reader's work. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 59)}…` : text);
}

function finiteOrNull(value: number | null | undefined): number | null {
  return value === undefined || value === null || !Number.isFinite(value) ? null : value;
}
