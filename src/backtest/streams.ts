/**
 * Seeded streams with one known change each: what the rules of persistence and cause are proved on before anyone trusts them.
 * Two features, `amount` (skewed) and `level` (normal), and a label that depends on both.
 */
import { createRandom, type Random } from '../stats/random.ts';
import type { History } from './table.ts';

export type StreamKind = 'no_drift' | 'step' | 'gradual' | 'seasonal' | 'spike' | 'data_bug';
export const streamKinds: readonly StreamKind[] = ['no_drift', 'step', 'gradual', 'seasonal', 'spike', 'data_bug'];

export interface StreamOptions {
  readonly kind: StreamKind;
  readonly seed: number;
  readonly windows: number;
  readonly rowsPerWindow: number;
  /** First window with the change. */
  readonly changeAt: number;
}

export type DataBug = 'unit_change' | 'null_jump' | 'default_fill' | 'constant';
const dataBugs: readonly DataBug[] = ['unit_change', 'null_jump', 'default_fill', 'constant'];

/** The fault that a `data_bug` stream of this seed has. */
export function dataBugOf(seed: number): DataBug {
  return dataBugs[seed % dataBugs.length]!;
}

export function makeStream(options: StreamOptions): History {
  const random = createRandom(options.seed);
  const rows = options.windows * options.rowsPerWindow;
  const amount = new Float32Array(rows);
  const level = new Float32Array(rows);
  const labels = new Float32Array(rows);
  // Between 0.7 and 1.3 standard deviations: PSI 0.5 to 1.7, changes that people would want to hear of.
  const size = 0.7 + 0.6 * random.next();
  for (let row = 0; row < rows; row++) {
    const window = Math.floor(row / options.rowsPerWindow);
    const shift = size * shiftOf(options, window);
    const trueLevel = 10 + random.normal() + shift;
    const trueAmount = Math.exp(3 + 0.6 * random.normal());
    labels[row] = random.next() < 1 / (1 + Math.exp(-(trueLevel - 10 + (trueAmount - 20) / 20))) ? 1 : 0;
    const broken = options.kind === 'data_bug' && window >= options.changeAt;
    level[row] = trueLevel;
    amount[row] = broken ? breakValue(dataBugOf(options.seed), trueAmount, random) : trueAmount;
  }
  return {
    columns: [
      { kind: 'number', name: 'amount', values: amount },
      { kind: 'number', name: 'level', values: level },
    ],
    labels,
  };
}

/** Size of the change in this window, as a fraction of its full size. */
function shiftOf({ kind, changeAt }: StreamOptions, window: number): number {
  const since = window - changeAt;
  if (since < 0) return 0;
  switch (kind) {
    case 'no_drift':
    case 'data_bug':
      return 0;
    case 'step':
      return 1;
    case 'gradual':
      return Math.min(1.5, since / 12);
    case 'seasonal':
      return since % 7 < 2 ? 1 : 0;
    case 'spike':
      return since < 2 ? 1.3 : 0;
  }
}

function breakValue(bug: DataBug, value: number, random: Random): number {
  switch (bug) {
    case 'unit_change':
      return value * 100;
    case 'null_jump':
      return random.next() < 0.3 ? Number.NaN : value;
    case 'default_fill':
      return random.next() < 0.3 ? 0 : value;
    case 'constant':
      return 1;
  }
}
