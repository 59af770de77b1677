/** Small plots of block characters, for terminals. */

const bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;

/** One character for a value between two limits; a blank where there is none. */
export function bar(value: number | null, [low, high]: readonly [low: number, high: number]): string {
  if (value === null) return ' ';
  const step = Math.floor(((value - low) / Math.max(high - low, 1e-9)) * bars.length);
  return bars[Math.min(bars.length - 1, Math.max(0, step))] ?? ' ';
}

/** A row of at most `width` bars; of more values every so-many-th is drawn, the last one always. */
export function sparkline(values: readonly number[], limits: readonly [low: number, high: number], width = 40): string {
  const step = Math.max(1, Math.ceil(values.length / width));
  return values
    .filter((_, index) => (values.length - 1 - index) % step === 0)
    .map(value => bar(value, limits))
    .join('');
}
