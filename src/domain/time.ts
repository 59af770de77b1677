/** Times and partitions as text. Times are ISO 8601 in UTC; a daily partition is its date. */

const msPerDay = 86_400_000;
const datePattern = /^\d{4}-\d{2}-\d{2}$/;

export function isDate(text: string): boolean {
  return datePattern.test(text) && !Number.isNaN(Date.parse(`${text}T00:00:00Z`));
}

/** The UTC date of a date or time. */
export function dateOf(time: string): string {
  return new Date(Date.parse(isDate(time) ? `${time}T00:00:00Z` : time)).toISOString().slice(0, 10);
}

export function addDays(date: string, days: number): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * msPerDay).toISOString().slice(0, 10);
}

/** Days from one date to another; negative when `to` is earlier. */
export function daysBetween(from: string, to: string): number {
  return Math.round((Date.parse(`${to}T00:00:00Z`) - Date.parse(`${from}T00:00:00Z`)) / msPerDay);
}

/** The moment a daily partition is complete; null for partitions that are not dates. */
export function endOfPartition(partition: string): string | null {
  return isDate(partition) ? `${addDays(partition, 1)}T00:00:00Z` : null;
}

/** `2026-01-31T03:00:00Z`: whole seconds, the form used in ids. */
export function toSeconds(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
