/**
 * T7 in SQL: how well the value of a column tells the label on its own date, on the key's next date and on the previous one.
 * Present and next are compared on the same rows, those of keys that return.
 */
import { identifier, literal } from '../engine/sql.ts';

export interface LeadLagQuery {
  readonly columns: readonly string[];
  readonly keys: readonly string[];
  readonly label: { readonly column: string; readonly positive: string | null };
  /** Predicate over the keys, so that all rows of a key are looked at or none. */
  readonly sample: string;
}

/** Numbers have an order, categories do not; `classes` and `values` are what the label is. */
export type LeadLagKind = `${'number' | 'category'} of ${'classes' | 'values'}`;

/**
 * Numbers and a label of two classes. For each column its index, which of `past`, `present` and `future`, rows of either
 * class, and the AUC of that value alone for the label.
 */
export function leadLagAucSql(query: LeadLagQuery): string {
  const { columns, label } = query;
  const text = `CAST(${identifier(label.column)} AS VARCHAR)`;
  const positive = literal(label.positive ?? '1');
  const isPositive = `(${text} = ${positive} OR coalesce(TRY_CAST(${text} AS DOUBLE) = TRY_CAST(${positive} AS DOUBLE), FALSE))`;
  return (
    `WITH ${pairedSql(query, isPositive, numberSql)}, long AS (${longSql(columns, 'isfinite')}), ` +
    `grouped AS (SELECT i, which, v, count(*) FILTER (y) AS p, count(*) FILTER (NOT y) AS n FROM long GROUP BY i, which, v), ` +
    `ranked AS (SELECT *, sum(n) OVER (PARTITION BY i, which ORDER BY v) - n AS below FROM grouped) ` +
    `SELECT i, which, CAST(sum(p) AS BIGINT), CAST(sum(n) AS BIGINT), ` +
    `CAST(sum(p * (below + n / 2.0)) AS DOUBLE) / nullif(CAST(sum(p) AS DOUBLE) * CAST(sum(n) AS DOUBLE), 0) ` +
    `FROM ranked GROUP BY i, which ORDER BY i, which`
  );
}

/**
 * Everything else. For each column its index, which date, the rows, the squared association, the groups of values and of
 * labels (1 where they are ranked), and the rows outside the largest class (all rows, where the label is a number).
 *
 *   number of values       Spearman's ρ²
 *   number of classes      η² of the value's ranks over the classes (Kruskal and Wallis' H / (n − 1))
 *   category of values     η² of the label's ranks over the categories
 *   category of classes    φ² of the contingency table, up to min(categories, classes) − 1
 */
export function leadLagAssociationSql(query: LeadLagQuery, kind: LeadLagKind): string {
  const label = identifier(query.label.column);
  const isNumber = kind.startsWith('number');
  const y = kind.endsWith('values') ? `TRY_CAST(${label} AS DOUBLE)` : `CAST(${label} AS VARCHAR)`;
  const paired = pairedSql(query, y, isNumber ? numberSql : categorySql);
  const known = kind.endsWith('values') ? 'isfinite(y)' : 'y IS NOT NULL';
  const long = `long AS (SELECT * FROM (${longSql(query.columns, isNumber ? 'isfinite' : '')}) WHERE ${known})`;
  return `WITH ${paired}, ${long}, ${associationSql[kind]} ORDER BY i, which`;
}

/** Midranks around their middle, by column and date: their mean is 0. */
function rankSql(value: string): string {
  const rows = 'count(*) OVER (PARTITION BY i, which)';
  const ties = `count(*) OVER (PARTITION BY i, which, ${value})`;
  return `((rank() OVER (PARTITION BY i, which ORDER BY ${value}) + (${ties} - 1) / 2.0) - (${rows} + 1) / 2.0) / ${rows}`;
}

/** η² of ranks over the groups; the last two columns are the groups of values and labels and the rows outside the largest class. */
function correlationRatioSql(group: 'v' | 'y', ranked: 'v' | 'y'): string {
  const outside = group === 'y' ? 'sum(n) - max(n)' : 'sum(n)';
  const [values, labels] = group === 'v' ? ['count(*)', '1'] : ['1', 'count(*)'];
  return (
    `ranked AS (SELECT i, which, ${group} AS g, ${rankSql(ranked)} AS r FROM long), ` +
    `grouped AS (SELECT i, which, g, count(*) AS n, sum(r) AS s, sum(r * r) AS q FROM ranked GROUP BY i, which, g) ` +
    `SELECT i, which, CAST(sum(n) AS BIGINT), sum(s * s / n) / nullif(sum(q), 0), ${values}, ${labels}, CAST(${outside} AS BIGINT) ` +
    `FROM grouped GROUP BY i, which`
  );
}

const associationSql: Readonly<Record<LeadLagKind, string>> = {
  'number of values':
    `ranked AS (SELECT i, which, ${rankSql('v')} AS a, ${rankSql('y')} AS b FROM long) ` +
    `SELECT i, which, count(*), sum(a * b) ** 2 / nullif(sum(a * a) * sum(b * b), 0), 1, 1, count(*) FROM ranked GROUP BY i, which`,
  'number of classes': correlationRatioSql('y', 'v'),
  'category of values': correlationRatioSql('v', 'y'),
  'category of classes':
    `cells AS (SELECT i, which, v, y, count(*) AS n FROM long GROUP BY i, which, v, y), ` +
    `margins AS (SELECT *, sum(n) OVER (PARTITION BY i, which, v) AS of_v, sum(n) OVER (PARTITION BY i, which, y) AS of_y FROM cells) ` +
    `SELECT i, which, CAST(sum(n) AS BIGINT), sum(CAST(n AS DOUBLE) * n / (CAST(of_v AS DOUBLE) * of_y)) - 1, ` +
    `count(DISTINCT v), count(DISTINCT y), CAST(sum(n) - max(of_y) AS BIGINT) FROM margins GROUP BY i, which`,
};

function numberSql(name: string): string {
  return `TRY_CAST(${identifier(name)} AS DOUBLE)`;
}

/** NULL is a category: it may be filled in once the outcome is known. */
function categorySql(name: string): string {
  return `coalesce('v' || CAST(${identifier(name)} AS VARCHAR), 'null')`;
}

/** Every labelled row with its own values, those of the key's previous date and those of its next. */
function pairedSql({ columns, keys, label, sample }: LeadLagQuery, y: string, value: (name: string) => string): string {
  const values = columns.flatMap((name, index) => [
    `${value(name)} AS present_${index}`,
    `lag(${value(name)}) OVER w AS past_${index}`,
    `lead(${value(name)}) OVER w AS future_${index}`,
  ]);
  return (
    `paired AS (SELECT ${y} AS y, ${values.join(', ')} FROM training ` +
    `WHERE ${identifier(label.column)} IS NOT NULL AND ${sample} ` +
    `WINDOW w AS (PARTITION BY ${keys.map(identifier).join(', ')} ORDER BY partition))`
  );
}

function longSql(columns: readonly string[], isValue: 'isfinite' | ''): string {
  const known = (name: string) => (isValue === '' ? `${name} IS NOT NULL` : `${isValue}(${name})`);
  const rows = columns.flatMap((_, index) => {
    const of = (which: string, where: string) =>
      `SELECT ${index} AS i, '${which}' AS which, y, ${which}_${index} AS v FROM paired WHERE ${where}`;
    const both = `${known(`present_${index}`)} AND ${known(`future_${index}`)}`;
    return [of('present', both), of('future', both), of('past', known(`past_${index}`))];
  });
  return rows.join(' UNION ALL ');
}
