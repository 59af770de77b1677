/** First and last instant and rows per UTC day of a time column. Instants are microseconds since 1970 in UTC. */
import type { TimeProfile } from '../../domain/profile.ts';

const MICROSECONDS_PER_DAY = 86_400_000_000;
const MILLISECONDS_PER_DAY = 86_400_000;
/** DuckDB's infinite timestamps and dates, and instants no JavaScript date can hold. */
const MILLISECONDS_MAX = 8_640_000_000_000_000;

export class TimeAccumulator {
  readonly #type: string;
  readonly #asOfMs: number;
  readonly #days = new Map<number, number>();
  #rows = 0;
  #nulls = 0;
  #infinite = 0;
  #future = 0;
  #min = Infinity;
  #max = -Infinity;

  constructor(options: { readonly type: string; readonly asOf: string | null }) {
    this.#type = options.type;
    this.#asOfMs = options.asOf === null ? Infinity : Date.parse(options.asOf);
  }

  /** Adds a block: 64-bit microseconds (TIMESTAMP, TIMESTAMPTZ) or 32-bit days (DATE). */
  add(
    values: BigInt64Array | ArrayLike<number>,
    block: { readonly rows: number; readonly nullRows: Int32Array; readonly chosen?: Int32Array },
  ): void {
    const { rows, nullRows, chosen } = block;
    const isNull = nullRows.length === 0 ? null : new Set(nullRows);
    const halves =
      values instanceof BigInt64Array ? new Int32Array(values.buffer, values.byteOffset, values.length * 2) : null;
    let lastDay = Number.NaN;
    let pending = 0;
    for (let i = 0; i < rows; i++) {
      const row = chosen === undefined ? i : chosen[i]!;
      if (isNull?.has(row) === true) {
        this.#nulls++;
        continue;
      }
      const ms =
        halves === null
          ? Number(values[row]!) * MILLISECONDS_PER_DAY
          : (halves[2 * row + 1]! * 4_294_967_296 + (halves[2 * row]! >>> 0)) / 1000;
      if (!(Math.abs(ms) <= MILLISECONDS_MAX)) {
        this.#infinite++;
        continue;
      }
      if (ms < this.#min) this.#min = ms;
      if (ms > this.#max) this.#max = ms;
      if (ms > this.#asOfMs) this.#future++;
      const day = Math.floor(ms / (MICROSECONDS_PER_DAY / 1000));
      // Neighbouring rows mostly share the day.
      if (day !== lastDay) {
        this.#addDay(lastDay, pending);
        lastDay = day;
        pending = 0;
      }
      pending++;
    }
    this.#addDay(lastDay, pending);
    this.#rows += rows;
  }

  #addDay(day: number, rows: number): void {
    if (rows > 0) this.#days.set(day, (this.#days.get(day) ?? 0) + rows);
  }

  /** Rows later than the as-of time. */
  get futureRows(): number {
    return this.#future;
  }

  finish(): TimeProfile {
    const days = [...this.#days].sort((a, b) => a[0] - b[0]);
    return {
      kind: 'time',
      type: this.#type,
      n: this.#rows,
      nulls: this.#nulls,
      infinite: this.#infinite,
      min: this.#min > this.#max ? null : new Date(this.#min).toISOString(),
      max: this.#min > this.#max ? null : new Date(this.#max).toISOString(),
      days: Object.fromEntries(days.map(([day, rows]) => [dayText(day), rows])),
    };
  }
}

function dayText(day: number): string {
  return new Date(day * MILLISECONDS_PER_DAY).toISOString().split('T')[0]!;
}
