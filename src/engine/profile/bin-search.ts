/** Finds bins of many values in JavaScript: a few nanoseconds each, where a binary search over 1,001 edges takes 80. */

/** Cells per edge: most cells then hold one edge or none. */
const CELLS_PER_EDGE = 4;

export class BinSearch {
  /** Ascending, and infinity behind the last one, so that the walk ends. */
  readonly #edges: Float64Array;
  /** The number of edges that lie in lower cells, by cell: where the walk begins. */
  readonly #first: Int32Array;
  readonly #low: number;
  readonly #scale: number;

  constructor(edges: readonly number[]) {
    const cells = edges.length * CELLS_PER_EDGE + 1;
    const low = edges[0] ?? 0;
    const scale = (cells - 1) / ((edges.at(-1) ?? 0) - low);
    this.#edges = Float64Array.of(...edges, Infinity);
    this.#first = new Int32Array(cells);
    this.#low = low;
    // A range too narrow or too wide for doubles gets one cell: slower, still right.
    this.#scale = Number.isFinite(scale) ? scale : 0;
    for (const edge of edges) this.#first[this.#cellOf(edge)]! += 1;
    let below = 0;
    for (const [cell, count] of this.#first.entries()) {
      this.#first[cell] = below;
      below += count;
    }
  }

  /** The number of edges below a finite value, as `binOf` of the statistics counts them. */
  binOf(value: number): number {
    const edges = this.#edges;
    let bin = this.#first[this.#cellOf(value)]!;
    while (value > edges[bin]!) bin++;
    return bin;
  }

  /** Monotone in the value, so edges in lower cells lie below it and edges in higher cells do not. */
  #cellOf(value: number): number {
    const cell = (value - this.#low) * this.#scale;
    // Written so that NaN (0 · infinity) falls into the first cell.
    if (!(cell > 0)) return 0;
    const last = this.#first.length - 1;
    return cell < last ? Math.trunc(cell) : last;
  }
}
