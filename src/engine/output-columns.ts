/** Prediction columns as SQL over the value `p` that the row function returns, one per model or one array of them. */
import type { DuckDBType } from '@duckdb/node-api';
import { predictionColumns, type Signature } from '../domain/signature.ts';
import { ARRAY, DOUBLE, FLOAT } from './duckdb-api.ts';
import { EngineFault } from './fault.ts';
import { predictionWidth } from './predictions.ts';
import { identifier, literal } from './sql.ts';

/** A served version; with more than one, each row says which arm scored it. */
export interface Arm {
  readonly name: 'champion' | 'canary' | 'ab';
  readonly version: number;
}

/**
 * What the row function returns per row: the numbers of the model; the class index where it cannot be derived in SQL; the
 * index of the arm when there are several. One number alone is a plain FLOAT, which is the fast path.
 */
export class OutputColumns {
  readonly #signature: Signature;
  readonly #arms: readonly Arm[];
  readonly #stamped: boolean;
  readonly values: number;
  readonly hasClass: boolean;
  readonly hasArm: boolean;

  constructor(signature: Signature, arms: readonly Arm[], form: 'all' | 'predictions' = 'all') {
    this.#stamped = form === 'all';
    this.#signature = signature;
    this.#arms = arms;
    this.values = predictionWidth(signature);
    this.hasArm = arms.length > 1;
    this.hasClass = signature.task === 'multiclass' || (signature.task === 'binary' && this.hasArm);
  }

  /** Numbers per row. */
  get width(): number {
    return this.values + Number(this.hasClass) + Number(this.hasArm);
  }

  get isDouble(): boolean {
    return this.#signature.outputs.some(output => output.meaning === 'value' && output.type === 'float64');
  }

  get type(): DuckDBType {
    const item = this.isDouble ? DOUBLE : FLOAT;
    return this.width === 1 ? item : ARRAY(item, this.width);
  }

  get names(): readonly string[] {
    const stamps = this.#stamped ? ['model_version', 'scored_at'] : [];
    return [...predictionColumns(this.#signature), ...stamps, ...(this.hasArm ? ['arm'] : [])];
  }

  /** The SELECT list after keys and pass-through columns; `value` is the SQL name of the function's result. */
  sql(value: string, scoredAt: string): string {
    const at = (index: number) => (this.width === 1 ? value : `${value}[${index + 1}]`);
    const armIndex = at(this.width - 1);
    const byArm = (values: readonly string[]) =>
      this.hasArm
        ? `CASE CAST(${armIndex} AS INTEGER) ${values.map((sql, index) => `WHEN ${index} THEN ${sql}`).join(' ')} END`
        : values[0]!;
    const columns = predictionColumns(this.#signature);
    const predictions = columns.map((name, index) => `${this.#prediction(index, at)} AS ${identifier(name)}`);
    const stamps = [
      `CAST(${byArm(this.#arms.map(arm => String(arm.version)))} AS INTEGER) AS model_version`,
      `CAST(${literal(scoredAt)} AS TIMESTAMPTZ) AS scored_at`,
    ];
    return [
      ...predictions,
      ...(this.#stamped ? stamps : []),
      ...(this.hasArm ? [`${byArm(enumLiterals(this.#arms.map(arm => arm.name)))} AS arm`] : []),
    ].join(', ');
  }

  #prediction(index: number, at: (index: number) => string): string {
    const { task, classes, threshold } = this.#signature;
    if (task === 'regression') return at(index);
    if (index < this.values) return at(index);
    const labels = classLiterals(classes);
    if (this.hasClass) {
      const cases = labels.map((label, position) => `WHEN ${position} THEN ${label}`).join(' ');
      return `CASE CAST(${at(this.values)} AS INTEGER) ${cases} END`;
    }
    return `CASE WHEN ${at(0)} >= CAST(${threshold} AS FLOAT) THEN ${labels[1]} ELSE ${labels[0]} END`;
  }
}

/** Classes that are all whole numbers stay numbers (BIGINT); others are texts. */
function classLiterals(classes: readonly string[]): readonly string[] {
  const whole = classes.every(name => /^-?\d{1,18}$/.test(name));
  return whole ? classes.map(name => `CAST(${name} AS BIGINT)`) : enumLiterals(classes);
}

/**
 * Few texts in many rows, as values of an ENUM: Parquet has them as plain strings either way, but its dictionary is the
 * type's own, where texts are looked up row by row (0.1 µs each, a quarter of a whole no-op pass).
 */
function enumLiterals(texts: readonly string[]): readonly string[] {
  const type = `ENUM(${[...new Set(texts)].map(literal).join(', ')})`;
  return texts.map(text => `CAST(${literal(text)} AS ${type})`);
}

/** Names must be unique in the output, or a reader would see one column and lose the other. */
export function assertOutputNames(passed: readonly string[], output: OutputColumns): void {
  const clash = passed.filter(name => output.names.includes(name));
  if (clash.length > 0) {
    throw new EngineFault(
      'bad_job',
      `the passed-through column ${clash.join(', ')} has the name of a prediction column; rename it in the transform`,
      {
        columns: clash,
      },
    );
  }
}

/** Index of the predicted class: the threshold decides for two classes, the largest probability for more. */
export function classOf(signature: Signature, values: Float32Array | Float64Array, offset: number): number {
  if (signature.task === 'binary') return values[offset]! >= Math.fround(signature.threshold) ? 1 : 0;
  let best = 0;
  for (let index = 1; index < signature.classes.length; index++) {
    if (values[offset + index]! > values[offset + best]!) best = index;
  }
  return best;
}
