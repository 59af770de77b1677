/** The rows of a backtest: columns in memory, in time order, with labels. A backtest is small enough to hold. */

export interface History {
  readonly columns: readonly HistoryColumn[];
  /** 0 or 1 per row. */
  readonly labels: Float32Array;
  /** How many rows each stands for, where only a sample is labelled; null or absent counts all rows alike. */
  readonly weights?: Float64Array | null;
}

export type HistoryColumn =
  | { readonly kind: 'number'; readonly name: string; readonly values: Float32Array }
  | {
      readonly kind: 'category';
      readonly name: string;
      /** Index into `categories`; -1 is NULL. */
      readonly codes: Int32Array;
      readonly categories: readonly string[];
    };

/** Rows [from, to). */
export interface RowRange {
  readonly from: number;
  readonly to: number;
}

export function sliceHistory(history: History, { from, to }: RowRange): History {
  return {
    columns: history.columns.map(column =>
      column.kind === 'number'
        ? { ...column, values: column.values.subarray(from, to) }
        : { ...column, codes: column.codes.subarray(from, to) },
    ),
    labels: history.labels.subarray(from, to),
    weights: history.weights?.subarray(from, to) ?? null,
  };
}

/** The same rows in the order given; a shuffled copy has no drift, so every alarm on it is false. */
export function reorderHistory(history: History, order: Uint32Array): History {
  const { weights = null } = history;
  const reorder = (values: Float32Array) => Float32Array.from(order, row => values[row]!);
  return {
    columns: history.columns.map(column =>
      column.kind === 'number'
        ? { ...column, values: reorder(column.values) }
        : { ...column, codes: Int32Array.from(order, row => column.codes[row]!) },
    ),
    labels: reorder(history.labels),
    weights: weights === null ? null : Float64Array.from(order, row => weights[row]!),
  };
}
