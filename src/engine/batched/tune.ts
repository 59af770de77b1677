/** How many rows one call of a model should take on this device: measured, not guessed. */

export interface TriedBatch {
  readonly rows: number;
  readonly rowsPerSecond: number;
}

export interface TunedBatch {
  readonly rows: number;
  readonly tried: readonly TriedBatch[];
}

const GROWTH = 4;
/** Below this gain a larger batch is only more memory. */
const GAIN_MIN = 1.05;
/** A call longer than this delays progress, cancellation and the end of the sweep. */
const CALL_MS_MAX = 500;

/** 2,048, 8,192, … up to `rowsMax`, which is tried itself. */
export function batchCandidates(rowsMin: number, rowsMax: number): readonly number[] {
  const candidates: number[] = [];
  for (let rows = Math.min(rowsMin, rowsMax); rows < rowsMax; rows *= GROWTH) candidates.push(rows);
  return [...candidates, rowsMax];
}

/**
 * Tries ever larger batches until one is no faster. Each is run twice and the second run counts: the first allocates, and
 * on a GPU compiles for its shape.
 */
export function tuneBatch(
  candidates: readonly number[],
  run: (rows: number) => void,
  now: () => number = () => performance.now(),
): TunedBatch {
  const tried: TriedBatch[] = [];
  let best: TriedBatch | null = null;
  let fastestMs = 0;
  for (const rows of candidates) {
    // The first is always measured: something has to be.
    if (best !== null && (fastestMs * rows) / best.rows > CALL_MS_MAX) break;
    run(rows);
    const started = now();
    run(rows);
    const ms = Math.max(now() - started, 1e-3);
    const found: TriedBatch = { rows, rowsPerSecond: Math.round((rows * 1_000) / ms) };
    tried.push(found);
    if (best !== null && found.rowsPerSecond < best.rowsPerSecond * GAIN_MIN) break;
    best = found;
    fastestMs = ms;
  }
  return { rows: best?.rows ?? candidates[0] ?? 1, tried };
}
