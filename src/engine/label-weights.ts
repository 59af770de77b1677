/** What is wrong with the weights of sampled labels, counted by DuckDB and said in one sentence. */
import { identifier } from './sql.ts';

/** One row of counts over the labelled rows of a relation. */
export function weightCountsSql(relation: string, label: string, weight: string): string {
  const value = `TRY_CAST(${identifier(weight)} AS DOUBLE)`;
  const counted = [
    ['labelled', 'TRUE'],
    ['missing', `${identifier(weight)} IS NULL`],
    ['text', `${identifier(weight)} IS NOT NULL AND ${value} IS NULL`],
    ['nan', `isnan(${value})`],
    ['infinite', `isinf(${value})`],
    ['negative', `isfinite(${value}) AND ${value} <= 0`],
  ] as const;
  const items = counted.map(([name, condition]) => `count(*) FILTER (${condition}) AS ${name}`);
  return `SELECT ${items.join(', ')} FROM ${relation} WHERE ${identifier(label)} IS NOT NULL`;
}

/** `3 of 100 labelled rows have no usable weight: 2 are NULL, 1 is 0 or less`; null when all have one. */
export function weightProblem(counts: Readonly<Record<string, unknown>>): string | null {
  const kinds = [
    ['missing', 'NULL'],
    ['text', 'no numbers'],
    ['nan', 'NaN'],
    ['infinite', 'infinite'],
    ['negative', '0 or less'],
  ] as const;
  const found = kinds
    .map(([name, text]) => ({ count: Number(counts[name] ?? 0), text }))
    .filter(({ count }) => count > 0);
  if (found.length === 0) return null;
  const bad = found.reduce((sum, { count }) => sum + count, 0);
  const parts = found.map(({ count, text }) => `${count} ${text}`);
  return `${bad} of ${Number(counts['labelled'] ?? 0)} labelled rows have no usable weight (${parts.join(', ')})`;
}
