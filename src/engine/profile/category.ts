/** Counts of a category column against the vocabulary frozen by the reference. */
import type { CategoryEdges, CategoryProfile } from '../../domain/profile.ts';
import type { RowClass } from './numeric.ts';

/** Different unseen values that are told apart; beyond it they still count as unseen. */
const UNSEEN_TRACKED_MAX = 100_000;
const UNSEEN_SHOWN = 20;

export class CategoryAccumulator {
  readonly #type: string;
  readonly #personal: boolean;
  readonly #index: ReadonlyMap<string, number>;
  /** Per row class: vocabulary, then unseen, then NULL. */
  readonly #counts: readonly Float64Array[];
  readonly #unseen = new Map<string, number>();
  #rows = 0;
  #empty = 0;
  #lengthMin = Infinity;
  #lengthMax = -Infinity;
  #lengthSum = 0;

  constructor(edges: CategoryEdges, options: { readonly type: string; readonly personal: boolean }) {
    this.#type = options.type;
    this.#personal = options.personal;
    this.#index = new Map(edges.vocabulary.map((value, i) => [value, i]));
    this.#counts = [0, 1, 2].map(() => new Float64Array(edges.vocabulary.length + 2));
  }

  /** Adds `count` rows of one value; an anonymous value counts as unseen and is never shown. */
  add(
    value: string | null,
    count: number,
    { rowClass = 0, anonymous = false }: { readonly rowClass?: RowClass; readonly anonymous?: boolean } = {},
  ): void {
    if (count === 0) return;
    this.#rows += count;
    const counts = this.#counts[rowClass]!;
    if (value === null) {
      counts[counts.length - 1]! += count;
      return;
    }
    if (value === '') this.#empty += count;
    this.#lengthMin = Math.min(this.#lengthMin, value.length);
    this.#lengthMax = Math.max(this.#lengthMax, value.length);
    this.#lengthSum += value.length * count;
    const known = anonymous ? undefined : this.#index.get(value);
    if (known !== undefined) {
      counts[known]! += count;
      return;
    }
    counts[counts.length - 2]! += count;
    if (this.#personal || anonymous) return;
    const before = this.#unseen.get(value);
    if (before !== undefined || this.#unseen.size < UNSEEN_TRACKED_MAX) this.#unseen.set(value, (before ?? 0) + count);
  }

  /** Adds rows given as codes into a dictionary; a NULL row's code is arbitrary. `chosen` picks some rows of the block. */
  addCodes(block: {
    readonly codes: ArrayLike<number>;
    readonly dictionary: readonly string[];
    readonly nullRows: Int32Array;
    readonly rows: number;
    readonly chosen?: Int32Array;
    readonly rowClass?: RowClass;
  }): void {
    const { codes, dictionary, nullRows, rows, chosen, rowClass = 0 } = block;
    const tally = new Float64Array(dictionary.length + 1);
    const isNull = nullRows.length === 0 ? null : new Set(nullRows);
    for (let i = 0; i < rows; i++) {
      const row = chosen === undefined ? i : chosen[i]!;
      tally[isNull?.has(row) === true ? dictionary.length : codes[row]!]! += 1;
    }
    for (let code = 0; code < dictionary.length; code++) this.add(dictionary[code]!, tally[code]!, { rowClass });
    this.add(null, tally[dictionary.length]!, { rowClass });
  }

  finish(): CategoryProfile {
    const total = this.#counts[0]!.map((_, i) => this.#counts.reduce((sum, counts) => sum + counts[i]!, 0));
    const top = [...this.#unseen].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    return {
      kind: 'category',
      type: this.#type,
      n: this.#rows,
      nulls: total[total.length - 1]!,
      empty: this.#empty,
      counts: Array.from(total.subarray(0, -2)),
      unseen: total[total.length - 2]!,
      unseenTop: top.slice(0, UNSEEN_SHOWN),
      length:
        this.#lengthMin > this.#lengthMax ? null : { min: this.#lengthMin, max: this.#lengthMax, sum: this.#lengthSum },
    };
  }

  /** Counts of one class: vocabulary, unseen, NULL. */
  classHistogram(rowClass: RowClass): number[] {
    return Array.from(this.#counts[rowClass]!);
  }
}
