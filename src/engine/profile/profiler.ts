/**
 * A profile under construction: the caller hands over each block's column vectors, as scoring reads them anyway, and
 * takes the document at the end.
 *
 *   const profiler = createProfiler({ baseline, columns, … });
 *   for each block:  profiler.beginBlock(rows, { labels, slices });
 *                    profiler.addNumbers(0, values, nullRows); profiler.addCodes(1, codes, dictionary, nullRows); …
 *   profiler.finish()
 *
 * `nullRows` lists the rows whose value is NULL, ascending: what stands in the vector there is arbitrary and not read.
 */
import type { Baseline, CategoryEdges, ColumnProfile, NumericEdges, Profile } from '../../domain/profile.ts';
import { CategoryAccumulator } from './category.ts';
import { type NumericAccumulator, NumericAccumulators, type RowClass } from './numeric.ts';
import { rowClassOf, ScoreAccumulator } from './score.ts';
import { TimeAccumulator } from './time.ts';

export interface ProfiledColumn {
  readonly name: string;
  /** DuckDB's name of the type, for the document. FLOAT is counted in 32 bits, every other number in 64. */
  readonly type: string;
  readonly kind: 'numeric' | 'category' | 'time';
  /** Values of personal data never enter the document. */
  readonly personal?: boolean;
}

export interface ProfilerOptions {
  readonly dataset: string;
  readonly kind: Profile['kind'];
  readonly window?: Profile['window'];
  /** Name and version of what reads the rows, for example `duckdb 1.5.6`. */
  readonly engine: string;
  readonly baseline: Baseline;
  /** SHA-256 of the baseline document. */
  readonly baselineDigest: string;
  /** Columns in the order of their index in `add…`. A column the baseline lacks gets one bin or an empty vocabulary. */
  readonly columns: readonly ProfiledColumn[];
  /** Whether blocks come with labels: then histograms are kept per label, at the price of one more copy. */
  readonly byLabel?: boolean;
  /** Event and known-at columns, if any, among `columns`. */
  readonly eventTime?: string | null;
  readonly knownAt?: string | null;
  /** Rows whose event or known-at time is later than this are counted as future rows. ISO UTC. */
  readonly asOf?: string | null;
}

export interface BlockOptions {
  /** Per row 1, 0, or anything else for a row without a label. Needs `byLabel`. */
  readonly labels?: ArrayLike<number> | null;
  /** Rows of each declared slice, by its name `column=value`. Names may appear in later blocks first. */
  readonly slices?: ReadonlyMap<string, Int32Array>;
}

export interface FinishOptions {
  readonly keys?: Profile['keys'];
  readonly rules?: Profile['rules'];
}

type Accumulator =
  | { readonly kind: 'numeric'; readonly of: NumericAccumulator }
  | { readonly kind: 'category'; readonly of: CategoryAccumulator }
  | { readonly kind: 'time'; readonly of: TimeAccumulator };

const NO_EDGES: NumericEdges = { kind: 'numeric', edges: [], pivot: 0, fences: null, sentinels: [] };
const NO_VOCABULARY: CategoryEdges = { kind: 'category', vocabulary: [] };
const NONE = new Int32Array(0);

export function createProfiler(options: ProfilerOptions): Profiler {
  return new Profiler(options, null);
}

export class Profiler {
  readonly #options: ProfilerOptions;
  readonly #slice: string | null;
  readonly #columns: readonly Accumulator[];
  readonly #score: ScoreAccumulator | null;
  readonly #slices = new Map<string, Profiler>();
  #rows = 0;
  #blockRows = 0;
  #labels: ArrayLike<number> | null = null;
  /** Rows of the block per class; null when the whole block is one class. */
  #classes: readonly (readonly [RowClass, Int32Array])[] | null = null;
  #blockSlices: ReadonlyMap<string, Int32Array> = new Map();

  constructor(options: ProfilerOptions, slice: string | null) {
    this.#options = options;
    this.#slice = slice;
    this.#columns = createAccumulators(options);
    this.#score = options.baseline.score === null ? null : new ScoreAccumulator(options.baseline.score);
  }

  /** Opens the next block of rows. Every column is then added once, in any order. */
  beginBlock(rows: number, block: BlockOptions = {}): void {
    this.#rows += rows;
    this.#blockRows = rows;
    this.#labels = block.labels ?? null;
    this.#classes = this.#labels === null || this.#options.byLabel !== true ? null : rowsByClass(this.#labels, rows);
    this.#blockSlices = block.slices ?? new Map();
    for (const [name, chosen] of this.#blockSlices) {
      let slice = this.#slices.get(name);
      if (slice === undefined) {
        slice = new Profiler(this.#options, name);
        this.#slices.set(name, slice);
      }
      slice.#beginSlice(chosen, this.#labels);
    }
  }

  #beginSlice(chosen: Int32Array, labels: ArrayLike<number> | null): void {
    this.#rows += chosen.length;
    this.#classes =
      labels === null || this.#options.byLabel !== true ? [[0, chosen]] : rowsByClass(labels, chosen.length, chosen);
  }

  /** Adds a numeric column of the block: 32-bit floats for FLOAT columns, any other numbers else. */
  addNumbers(column: number, values: ArrayLike<number> | BigInt64Array, nullRows: Int32Array = NONE): void {
    const accumulator = this.#numeric(column);
    if (this.#classes === null) accumulator.add(values, this.#blockRows, nullRows);
    const needed = this.#classes !== null || this.#blockSlices.size > 0;
    const isNull = needed && nullRows.length > 0 ? flagsOf(nullRows, this.#blockRows) : null;
    for (const [rowClass, chosen] of this.#classes ?? []) accumulator.addRows(values, chosen, isNull, rowClass);
    for (const name of this.#blockSlices.keys()) {
      const slice = this.#slices.get(name)!;
      for (const [rowClass, chosen] of slice.#classes ?? []) {
        slice.#numeric(column).addRows(values, chosen, isNull, rowClass);
      }
    }
  }

  /** Adds a category column of the block as codes into a dictionary (an ENUM's values). */
  addCodes(column: number, codes: ArrayLike<number>, dictionary: readonly string[], nullRows: Int32Array = NONE): void {
    const accumulator = this.#category(column);
    if (this.#classes === null) {
      accumulator.addCodes({ codes, dictionary, nullRows, rows: this.#blockRows });
    }
    for (const [rowClass, chosen] of this.#classes ?? []) {
      accumulator.addCodes({ codes, dictionary, nullRows, rows: chosen.length, chosen, rowClass });
    }
    for (const name of this.#blockSlices.keys()) {
      const slice = this.#slices.get(name)!;
      for (const [rowClass, chosen] of slice.#classes ?? []) {
        slice.#category(column).addCodes({ codes, dictionary, nullRows, rows: chosen.length, chosen, rowClass });
      }
    }
  }

  /** Adds a category column of the block as texts. Slower than codes. */
  addTexts(column: number, texts: readonly (string | null)[]): void {
    const dictionary: string[] = [];
    const known = new Map<string, number>();
    const nullRows: number[] = [];
    const codes = Int32Array.from({ length: this.#blockRows }, (_, row) => {
      const text = texts[row] ?? null;
      if (text === null) {
        nullRows.push(row);
        return 0;
      }
      let code = known.get(text);
      if (code === undefined) {
        code = dictionary.push(text) - 1;
        known.set(text, code);
      }
      return code;
    });
    this.addCodes(column, codes, dictionary, Int32Array.from(nullRows));
  }

  /**
   * Adds `count` rows of one value, where the engine has grouped the column itself: once without a slice, and again for
   * every slice. `anonymous` values are unseen ones that are not told apart.
   */
  addCategoryCount(
    column: number,
    value: string | null,
    count: number,
    group: { readonly label?: number | undefined; readonly slice?: string | null; readonly anonymous?: boolean } = {},
  ): void {
    const target = group.slice == null ? this : this.#slices.get(group.slice);
    const rowClass = this.#options.byLabel === true ? rowClassOf(group.label) : 0;
    if (target === undefined) return;
    target.#category(column).add(value, count, { rowClass, anonymous: group.anonymous === true });
  }

  /** Adds a time column of the block: 64-bit microseconds since 1970 UTC, or 32-bit days. */
  addTimes(column: number, values: BigInt64Array | ArrayLike<number>, nullRows: Int32Array = NONE): void {
    this.#time(column).add(values, { rows: this.#blockRows, nullRows });
    for (const name of this.#blockSlices.keys()) {
      const slice = this.#slices.get(name)!;
      for (const [, chosen] of slice.#classes ?? []) {
        slice.#time(column).add(values, { rows: chosen.length, nullRows, chosen });
      }
    }
  }

  /** Adds the model's scores of the block; labels are those of `beginBlock`. */
  addScores(scores: ArrayLike<number>): void {
    this.#score?.add(scores, this.#blockRows, this.#labels);
    for (const [name, chosen] of this.#blockSlices) {
      const picked = Float64Array.from(chosen, row => scores[row]!);
      const labels = this.#labels;
      const pickedLabels = labels === null ? null : Float64Array.from(chosen, row => labels[row]!);
      this.#slices.get(name)!.#score?.add(picked, chosen.length, pickedLabels);
    }
  }

  finish({ keys = null, rules = [] }: FinishOptions = {}): Profile {
    const { options, times } = { options: this.#options, times: this.#timesByName() };
    const event = times.get(options.eventTime ?? '');
    const known = times.get(options.knownAt ?? '');
    const columns: Record<string, ColumnProfile> = {};
    for (const [i, { name }] of options.columns.entries()) columns[name] = this.#columns[i]!.of.finish();
    const names = [...this.#slices.keys()].sort();
    return {
      schema: 'profile/1',
      dataset: options.dataset,
      kind: options.kind,
      window: options.window ?? null,
      slice: this.#slice,
      engine: options.engine,
      baseline: options.baselineDigest,
      rows: this.#rows,
      columns,
      keys,
      time: {
        maxEvent: event?.finish().max ?? null,
        maxKnownAt: known?.finish().max ?? null,
        futureRows: Math.max(event?.futureRows ?? 0, known?.futureRows ?? 0),
      },
      byLabel: options.byLabel === true ? this.#byLabel() : null,
      score: this.#score?.finish() ?? null,
      rules,
      slices: names.map(name => this.#slices.get(name)!.finish()),
    };
  }

  #byLabel(): NonNullable<Profile['byLabel']> {
    const result: Record<string, { positives: number[]; negatives: number[] }> = {};
    for (const [i, { name }] of this.#options.columns.entries()) {
      const column = this.#columns[i]!;
      if (column.kind === 'time') continue;
      result[name] = { positives: column.of.classHistogram(2), negatives: column.of.classHistogram(1) };
    }
    return result;
  }

  #timesByName(): Map<string, TimeAccumulator> {
    return new Map(
      this.#options.columns.flatMap(({ name }, i) => {
        const column = this.#columns[i]!;
        return column.kind === 'time' ? [[name, column.of] as const] : [];
      }),
    );
  }

  #numeric(column: number): NumericAccumulator {
    const found = this.#columns[column];
    if (found?.kind === 'numeric') return found.of;
    throw this.#mistyped(column, 'numeric');
  }

  #category(column: number): CategoryAccumulator {
    const found = this.#columns[column];
    if (found?.kind === 'category') return found.of;
    throw this.#mistyped(column, 'category');
  }

  #time(column: number): TimeAccumulator {
    const found = this.#columns[column];
    if (found?.kind === 'time') return found.of;
    throw this.#mistyped(column, 'time');
  }

  #mistyped(column: number, wanted: string): Error {
    const { name, kind } = this.#options.columns[column] ?? { name: `number ${column}`, kind: 'missing' };
    return new Error(`profile column ${name} is ${kind}, but ${wanted} values were added to it`);
  }
}

function createAccumulators(options: ProfilerOptions): Accumulator[] {
  const numeric = options.columns.filter(column => column.kind === 'numeric');
  const numbers = new NumericAccumulators(
    numeric.map(({ name, type }) => {
      const edges = options.baseline.columns[name];
      return { type, precision: type === 'FLOAT' ? 'f32' : 'f64', edges: edges?.kind === 'numeric' ? edges : NO_EDGES };
    }),
    { byLabel: options.byLabel === true },
  );
  return options.columns.map((column): Accumulator => {
    const { name, type } = column;
    const edges = options.baseline.columns[name];
    if (column.kind === 'numeric') return { kind: 'numeric', of: numbers.column(numeric.indexOf(column)) };
    if (column.kind === 'category') {
      const vocabulary = edges?.kind === 'category' ? edges : NO_VOCABULARY;
      const personal = column.personal === true;
      return { kind: 'category', of: new CategoryAccumulator(vocabulary, { type, personal }) };
    }
    const judged = name === options.eventTime || name === options.knownAt;
    return { kind: 'time', of: new TimeAccumulator({ type, asOf: judged ? (options.asOf ?? null) : null }) };
  });
}

/** The rows of each class that has any. */
function rowsByClass(
  labels: ArrayLike<number>,
  rows: number,
  chosen?: Int32Array,
): (readonly [RowClass, Int32Array])[] {
  const classes: number[][] = [[], [], []];
  for (let i = 0; i < rows; i++) {
    const row = chosen === undefined ? i : chosen[i]!;
    classes[rowClassOf(labels[row])]!.push(row);
  }
  const order: readonly RowClass[] = [0, 1, 2];
  return order.map(rowClass => [rowClass, Int32Array.from(classes[rowClass]!)] as const);
}

function flagsOf(rows: Int32Array, length: number): Uint8Array {
  const flags = new Uint8Array(length);
  for (const row of rows) flags[row] = 1;
  return flags;
}
