/** Reads the input of a reference case: every field is asked for by name, and fields nobody asked for are an error. */

export class CaseInput {
  readonly #fields: ReadonlyMap<string, unknown>;
  readonly #read = new Set<string>();

  constructor(input: Readonly<Record<string, unknown>>) {
    this.#fields = new Map(Object.entries(expandGenerators(input)));
  }

  has(name: string): boolean {
    this.#read.add(name);
    return this.#fields.get(name) !== undefined && this.#fields.get(name) !== null;
  }

  /** Marks fields as known although their value does not matter. */
  allow(...names: string[]): void {
    for (const name of names) this.#read.add(name);
  }

  number(name: string, fallback?: number): number {
    const value = this.#take(name, fallback);
    if (typeof value !== 'number') throw new Error(`input ${name}: expected a number, found ${JSON.stringify(value)}`);
    return value;
  }

  text(name: string, fallback?: string): string {
    const value = this.#take(name, fallback);
    return typeof value === 'string' ? value : JSON.stringify(value);
  }

  flag(name: string, fallback: boolean): boolean {
    const value = this.#take(name, fallback);
    if (typeof value !== 'boolean') throw new Error(`input ${name}: expected true or false, found ${String(value)}`);
    return value;
  }

  /** Missing numbers (null) become NaN. */
  numbers(name: string): number[] {
    return this.#list(name, this.#take(name)).map(item => toNumber(name, item));
  }

  optionalNumbers(name: string): number[] | undefined {
    return this.has(name) ? this.numbers(name) : undefined;
  }

  texts(name: string): string[] {
    return this.#list(name, this.#take(name)).map(String);
  }

  table(name: string): number[][] {
    return this.#list(name, this.#take(name)).map(row => this.#list(name, row).map(item => toNumber(name, item)));
  }

  /** Category → count. */
  counts(name: string): Record<string, number> {
    const value = this.#take(name);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new Error(`input ${name}: expected category → count`);
    }
    return Object.fromEntries(Object.entries(value).map(([key, count]) => [key, toNumber(name, count)]));
  }

  optionalCounts(name: string): Record<string, number> {
    return this.has(name) ? this.counts(name) : {};
  }

  /** Fields the statistic did not ask for. */
  unknown(): string[] {
    return [...this.#fields.keys()].filter(name => !this.#read.has(name));
  }

  #take(name: string, fallback?: unknown): unknown {
    this.#read.add(name);
    const value = this.#fields.get(name) ?? fallback;
    if (value === undefined) throw new Error(`input ${name} is missing; given: ${[...this.#fields.keys()].join(', ')}`);
    return value;
  }

  #list(name: string, value: unknown): unknown[] {
    if (!Array.isArray(value)) throw new Error(`input ${name}: expected a list, found ${JSON.stringify(value)}`);
    return value;
  }
}

function toNumber(name: string, value: unknown): number {
  if (value === null) return Number.NaN;
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  const named = new Map([
    ['nan', Number.NaN],
    ['inf', Infinity],
    ['infinity', Infinity],
    ['-inf', -Infinity],
    ['-infinity', -Infinity],
  ]).get(String(value).toLowerCase());
  if (named === undefined) throw new Error(`input ${name}: ${JSON.stringify(value)} is no number`);
  return named;
}

/** `x_linspace`, `x_range`, `x_repeat` and `x_shift` become `x`; the same for `y`. */
function expandGenerators(input: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const rest: Record<string, unknown> = { ...input };
  for (const side of ['x', 'y']) {
    const generated = Object.keys(input).some(
      name => /^(x|y)_(linspace|range|repeat|shift)$/.test(name) && name[0] === side,
    );
    // Text columns are also called x: they are left alone.
    if (!generated) continue;
    let values = Array.isArray(rest[side]) ? rest[side].map(item => toNumber(side, item)) : undefined;
    const generators: Record<string, (parameter: number[]) => number[]> = {
      linspace: ([start = 0, stop = 0, n = 0]) =>
        Array.from({ length: n }, (_, i) => (n === 1 ? start : start + (i * (stop - start)) / (n - 1))),
      range: ([start = 0, stop = 0, step = 1]) =>
        Array.from({ length: Math.max(0, Math.ceil((stop - start) / step)) }, (_, i) => start + i * step),
      repeat: pairs => pairs,
    };
    for (const [kind, generate] of Object.entries(generators)) {
      const parameter = rest[`${side}_${kind}`];
      if (parameter === undefined) continue;
      if (!Array.isArray(parameter)) throw new Error(`input ${side}_${kind}: expected a list`);
      const flat = kind === 'repeat' ? repeated(parameter) : parameter.map(item => toNumber(side, item));
      values = [...(values ?? []), ...generate(flat)];
      delete rest[`${side}_${kind}`];
    }
    const shift = rest[`${side}_shift`];
    if (shift !== undefined) {
      values = (values ?? []).map(value => value + toNumber(`${side}_shift`, shift));
      delete rest[`${side}_shift`];
    }
    if (values !== undefined) rest[side] = values;
  }
  return rest;
}

function repeated(pairs: readonly unknown[]): number[] {
  return pairs.flatMap(pair => {
    if (!Array.isArray(pair)) throw new Error('a repeat generator lists [value, times] pairs');
    const [value, times] = pair.map(item => toNumber('repeat', item));
    return new Array<number>(times ?? 0).fill(value ?? Number.NaN);
  });
}
