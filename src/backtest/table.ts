/** The rows of a backtest: columns in memory, in time order, with labels. A backtest is small enough to hold. */

export interface History {
  readonly columns: readonly HistoryColumn[];
  /** 0 or 1 per row. */
  readonly labels: Float32Array;
}

export interface HistoryColumn {
  readonly name: string;
  readonly values: Float32Array;
}

/** Rows [from, to). */
export interface RowRange {
  readonly from: number;
  readonly to: number;
}

export function sliceHistory(history: History, { from, to }: RowRange): History {
  return {
    columns: history.columns.map(({ name, values }) => ({ name, values: values.subarray(from, to) })),
    labels: history.labels.subarray(from, to),
  };
}

/** The same rows in the order given; a shuffled copy has no drift, so every alarm on it is false. */
export function reorderHistory(history: History, order: Uint32Array): History {
  const reorder = (values: Float32Array) => Float32Array.from(order, row => values[row]!);
  return {
    columns: history.columns.map(({ name, values }) => ({ name, values: reorder(values) })),
    labels: reorder(history.labels),
  };
}
