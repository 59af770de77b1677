/** What a process took. */
export interface Cost {
  /** CPU seconds, user and system, of all its threads and children. */
  readonly cpu: number;
  /** Seconds. */
  readonly wall: number;
  readonly rssMb: number;
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
