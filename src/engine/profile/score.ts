/** The score histogram by label, and the sums that make log-loss and Brier score exact. */
import type { ScoreProfile } from '../../domain/profile.ts';
import { BinSearch } from './bin-search.ts';
import type { RowClass } from './numeric.ts';

const PROBABILITY_MIN = 1e-15;

export class ScoreAccumulator {
  readonly #search: BinSearch;
  readonly #counts: readonly Float64Array[];
  readonly #sums: Float64Array;
  #rows = 0;
  #logLoss = 0;
  #brier = 0;

  constructor(edges: readonly number[]) {
    this.#search = new BinSearch(edges);
    this.#counts = [0, 1, 2].map(() => new Float64Array(edges.length + 1));
    this.#sums = new Float64Array(edges.length + 1);
  }

  /** Adds scores; a score that is not finite is left out. Labels: 1, 0, or anything else for unlabelled. */
  add(scores: ArrayLike<number>, rows: number, labels: ArrayLike<number> | null): void {
    if (labels === null) this.#addUnlabelled(scores, rows);
    else this.#addLabelled(scores, rows, labels);
  }

  #addUnlabelled(scores: ArrayLike<number>, rows: number): void {
    const search = this.#search;
    const counts = this.#counts[0]!;
    const sums = this.#sums;
    let finite = 0;
    for (let row = 0; row < rows; row++) {
      const score = scores[row]!;
      if (!Number.isFinite(score)) continue;
      const bin = search.binOf(score);
      counts[bin]! += 1;
      sums[bin]! += score;
      finite++;
    }
    this.#rows += finite;
  }

  #addLabelled(scores: ArrayLike<number>, rows: number, labels: ArrayLike<number>): void {
    for (let row = 0; row < rows; row++) {
      const score = scores[row]!;
      if (!Number.isFinite(score)) continue;
      const bin = this.#search.binOf(score);
      const label = labels[row];
      this.#counts[rowClassOf(label)]![bin]! += 1;
      this.#sums[bin]! += score;
      this.#rows++;
      if (label !== 0 && label !== 1) continue;
      const p = Math.min(1 - PROBABILITY_MIN, Math.max(PROBABILITY_MIN, score));
      this.#logLoss -= label === 1 ? Math.log(p) : Math.log1p(-p);
      this.#brier += (score - label) ** 2;
    }
  }

  finish(): ScoreProfile | null {
    if (this.#rows === 0) return null;
    return {
      n: this.#rows,
      unlabelled: Array.from(this.#counts[0]!),
      negatives: Array.from(this.#counts[1]!),
      positives: Array.from(this.#counts[2]!),
      sum: Array.from(this.#sums),
      logLossSum: this.#logLoss,
      brierSum: this.#brier,
    };
  }
}

/** 1 is a positive, 0 a negative row; everything else has no label yet. */
export function rowClassOf(label: number | undefined): RowClass {
  return label === 1 ? 2 : label === 0 ? 1 : 0;
}
