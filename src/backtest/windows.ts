/** The windows of a history: consecutive rows that are scored, judged and decided on together. */
import type { RowRange } from './table.ts';

export interface HistoryWindow extends RowRange {
  /** ISO date of its first day; its name in evidence and decisions. */
  readonly partition: string;
}

const dayMs = 86_400_000;

/** Windows of equal numbers of rows, for histories whose rows come at a fixed pace. */
export function evenWindows(shape: {
  readonly rows: number;
  readonly windowRows: number;
  readonly windowDays: number;
  readonly start: string;
}): readonly HistoryWindow[] {
  const { rows, windowRows, windowDays, start } = shape;
  return Array.from({ length: Math.floor(rows / windowRows) }, (_, window) => ({
    from: window * windowRows,
    to: (window + 1) * windowRows,
    partition: dateAfter(start, window * windowDays),
  }));
}

/** Windows of so many days over rows in the order of their dates; days without rows make no window of their own. */
export function windowsOfDays(
  days: readonly { readonly partition: string; readonly rows: number }[],
  windowDays: number,
): readonly HistoryWindow[] {
  const windows: HistoryWindow[] = [];
  let row = 0;
  for (const { partition, rows } of days) {
    const last = windows.at(-1);
    if (last !== undefined && partition < dateAfter(last.partition, windowDays)) {
      windows[windows.length - 1] = { ...last, to: row + rows };
    } else {
      // The grid is counted from the last window, so that a gap in the data shifts nothing.
      const behind = last === undefined ? 0 : Math.floor(daysBetween(last.partition, partition) / windowDays);
      const start = last === undefined ? partition : dateAfter(last.partition, behind * windowDays);
      windows.push({ from: row, to: row + rows, partition: start });
    }
    row += rows;
  }
  return windows;
}

export function dateAfter(date: string, days: number): string {
  return new Date(Date.parse(date) + days * dayMs).toISOString().slice(0, 10);
}

function daysBetween(from: string, to: string): number {
  return Math.round((Date.parse(to) - Date.parse(from)) / dayMs);
}
