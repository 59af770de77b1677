/** The contract: what the rows of a model's input must look like, and what happens to rows that do not. */

export type ColumnType = 'float' | 'double' | 'int' | 'bool' | 'category' | 'text' | 'timestamp' | 'date';
export type OnFail = 'warn' | 'quarantine' | 'block';
/** What a NULL becomes before the model sees it: NaN, a declared default, or the whole row goes to quarantine. */
export type NullPolicy = 'nan' | 'default' | 'quarantine';

export interface ContractColumn {
  readonly name: string;
  readonly type: ColumnType;
  /** `feature`: given to the model. `ignore`: checked and profiled, not given to the model. */
  readonly role: 'feature' | 'ignore';
  readonly min: number | null;
  readonly max: number | null;
  /** `maxShare` null: no limit is declared. A column may be missing altogether when it is 1 or has a default. */
  readonly nulls: {
    readonly maxShare: number | null;
    readonly as: NullPolicy;
    readonly default: number | string | null;
  };
  /** Allowed values of a category, when declared; otherwise the vocabulary is learned from the training snapshot. */
  readonly values: readonly string[] | null;
  /** A category outside the vocabulary: scored as `other`, or the rule of `onFail` applies. */
  readonly unseen: 'other' | 'fail';
  readonly unique: boolean;
  readonly onFail: OnFail;
  /** Values of personal data never enter a document. */
  readonly pii: boolean;
  /** What an aggregate is made of; absent where the value is of one moment, or nobody says. */
  readonly window?: AggregationWindow;
}

/** The days that a value sums over, and the column with the moment at which they end; a date includes its whole day. */
export interface AggregationWindow {
  readonly days: number;
  readonly ends: string;
}

/** A rule over whole rows, as a DuckDB boolean expression; `mostly` is the least share of rows that must satisfy it. */
export interface RowRule {
  readonly id: string;
  readonly sql: string;
  readonly mostly: number;
  readonly onFail: OnFail;
}

export interface Contract {
  readonly keys: readonly string[];
  /** When the row's facts were true; NULL-free timestamp or date column, or null if the data has none. */
  readonly eventTime: string | null;
  /** When the row's facts became known; the guard against leakage from the future. */
  readonly knownAt: string | null;
  readonly columns: readonly ContractColumn[];
  readonly rules: readonly RowRule[];
  /** Columns known only after the prediction; they may exist in the files but never reach a model. */
  readonly forbidden: readonly string[];
  /** Largest share of rows that may be quarantined before the whole partition is blocked. */
  readonly quarantineBudget: number;
}

export function featureColumns(contract: Contract): readonly ContractColumn[] {
  return contract.columns.filter(column => column.role === 'feature');
}
