/**
 * Multivariate drift: can a classifier tell today's rows from the reference's? It sees joint changes that no column shows. It
 * runs where the rows are (`engine/domain-classifier.ts`); here its answer is judged.
 */
import type { CheckResult } from '../domain/evidence.ts';
import { severityOf } from '../stats/equivalence.ts';
import { judgeTable, plain } from './result.ts';

/** How well two samples can be told apart; nothing of a row is left in it. */
export interface Separation {
  /** Rows drawn of each side, of so many. */
  readonly rows: number;
  readonly of: { readonly reference: number; readonly current: number };
  /** Out of fold. Null when the samples were too small or could not be compared. */
  readonly auc: number | null;
  /** DeLong's, 95 %. */
  readonly interval: readonly [low: number, high: number] | null;
  /** The columns it gained most by, the first most: what the classifier looks at. Gains of all columns sum to 1. */
  readonly top: readonly { readonly name: string; readonly gain: number }[];
  readonly columns: number;
}

/** Rows of each side below which nothing is said. */
export const separableRows = 200;
/** Standard deviations of 510 seeded samples of 600 and 2,000 rows and of 2 and 10 columns: 1.25 to 1.32 times the formula's. */
const outOfFold = 1.3;

/**
 * `multivariate_drift` warns from an AUC of `limit` on, or from what chance alone reaches where that is more. The standard
 * error of an AUC of equal samples without any difference is √((2n + 1) / 12n²), and out of fold 1.3 times that, for each row
 * is judged by a model of the others; 3.09 of them leave one false alarm in a thousand.
 */
export function judgeSeparation(
  separation: Separation,
  { limit: declared }: { readonly limit: number },
): CheckResult[] {
  return judgeTable('multivariate_drift', () => {
    const { rows, of, auc, interval, top, columns } = separation;
    if (columns === 0) return { status: 'not_applicable', reason: 'no feature to tell rows apart by' };
    if (auc === null)
      return {
        status: 'insufficient',
        rows,
        reason: `${rows} rows of each side (${of.current} now, ${of.reference} learned from), ${separableRows} are needed to tell them apart`,
      };
    const noise = 0.5 + 3.09 * outOfFold * Math.sqrt((2 * rows + 1) / (12 * rows * rows));
    const limit = Math.max(declared, noise);
    const text = `a classifier tells the window from the reference with an AUC of ${plain(auc)}, ${plain(limit)} is the limit`;
    const names = top.slice(0, 3).map(({ name }) => name);
    return {
      value: auc,
      interval,
      limit,
      limitSource: noise > declared ? 'noise floor' : 'declared',
      rows: 2 * rows,
      status: auc >= limit ? 'warn' : 'pass',
      severity: severityOf('auc', Math.max(0.5, auc)).value,
      reason: auc >= limit ? `${text}; it looks at ${names.join(', ')}` : text,
      details: { top, columns, drawn: { rows, ...of, method: 'uniform without replacement' } },
    };
  });
}
