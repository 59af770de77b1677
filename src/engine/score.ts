/**
 * Scoring one chunk in one pass (strategy A): the models run inside `COPY (SELECT keys, row_function(columns…) …)`, as a
 * JavaScript function over DuckDB's vectors. Rules, models and profile look at the same vectors.
 *
 *   read_parquet ─► transform ─► row_function ─► predictions.parquet
 *                                   ├─ rules: NULL for rows that go to quarantine
 *                                   ├─ champion, or the arm a row's key falls into
 *                                   ├─ shadows: kept as arrays, written in a second pass over the keys alone
 *                                   └─ profile
 */
import { join } from 'node:path';
import {
  BIGINT,
  type DuckDBDataChunk,
  DuckDBScalarFunction,
  type DuckDBVector,
  FLOAT,
  VARCHAR,
} from '@duckdb/node-api';
import { ArgumentList } from './arguments.ts';
import { ChunkProfile } from './chunk-profile.ts';
import { locateDamage } from './damage.ts';
import type { DuckDbSession } from './duckdb.ts';
import { EngineFault } from './fault.ts';
import { writeWhole } from './files.ts';
import type { ChunkReceipt, ModelToScore, ScoreChunkJob, WrittenFile } from './job.ts';
import { type Arm, assertOutputNames, classOf, OutputColumns } from './output-columns.ts';
import { RowRules } from './row-rules.ts';
import { loadScorer, type Numbers, type Scorer } from './scorer.ts';
import { Source } from './source.ts';
import { identifier, literal, pathLiteral } from './sql.ts';
import { outputItems, setNull, Vectors } from './vectors.ts';
import type { VerbContext } from './verbs.ts';

/** DuckDB's vectors have at most this many rows. */
const VECTOR_ROWS = 2_048;
const PARQUET = '(FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, ROW_GROUP_SIZE 122880)';

export async function scoreChunk(job: ScoreChunkJob, context: VerbContext): Promise<ChunkReceipt> {
  const started = performance.now();
  const cpu = process.cpuUsage();
  const source = await Source.open({ job, folders: [job.outputFolder], context });
  const scan = new ChunkScan(job, source, context);
  try {
    await scan.load();
    const predictions = await scan.writePredictions();
    const shadows = await scan.writeShadows(predictions);
    const quarantine = await scan.writeQuarantine();
    await source.assertUnchanged();
    const { user, system } = process.cpuUsage(cpu);
    return {
      ...scan.counts(),
      columns:
        predictions === null
          ? []
          : await source.session.describe(`SELECT * FROM read_parquet(${pathLiteral(predictions.path)})`),
      predictions,
      shadows,
      quarantine,
      profile: await scan.writeProfile(predictions),
      scorers: scan.scorers.map(scorer => scorer.used()),
      seconds: (performance.now() - started) / 1_000,
      cpuSeconds: (user + system) / 1e6,
    };
  } catch (error) {
    if (!(error instanceof EngineFault) || (error.kind !== 'bad_input' && error.kind !== 'failed')) throw error;
    // A file that changed explains the failure better than whatever the mixture of its two states led to.
    await source.assertUnchanged();
    throw await locateDamage(source.session, job.inputs, error);
  } finally {
    source.close();
  }
}

class ChunkScan {
  readonly #job: ScoreChunkJob;
  readonly #source: Source;
  readonly #context: VerbContext;
  readonly #args: ArgumentList;
  readonly #rules: RowRules;
  #served: Scorer[] = [];
  #shadows: { readonly scorer: Scorer; readonly kept: KeptRows }[] = [];
  #output: OutputColumns | null = null;
  #profile: ChunkProfile | null = null;
  /** One number per row of the vector for the profile: the score, the target, or the largest class probability. */
  readonly #scores = new Float32Array(VECTOR_ROWS);
  #armArgument = -1;
  #rowsRead = 0;
  #rowsQuarantined = 0;
  /** A JavaScript error passes through DuckDB as text; the original is kept here. */
  #fault: unknown = null;

  constructor(job: ScoreChunkJob, source: Source, context: VerbContext) {
    this.#job = job;
    this.#source = source;
    this.#context = context;
    this.#args = new ArgumentList(source.columns);
    this.#rules = new RowRules(job.contract, this.#args, vocabularies(job.models));
  }

  get scorers(): readonly Scorer[] {
    return [...this.#served, ...this.#shadows.map(shadow => shadow.scorer)];
  }

  counts() {
    return {
      rowsRead: this.#rowsRead,
      rowsScored: this.#job.models.length === 0 ? 0 : this.#rowsRead - this.#rowsQuarantined,
      rowsQuarantined: this.#rowsQuarantined,
      rules: this.#rules.counts,
    };
  }

  async load(): Promise<void> {
    const { models, contract, batchRows, device } = this.#job;
    const rowsMax = Math.min(batchRows, VECTOR_ROWS);
    const order = [...models].sort((a, b) => Number(b.part.kind === 'champion') - Number(a.part.kind === 'champion'));
    for (const { version, onnx, signature, scorer, part } of order) {
      const options = { version, onnx, signature, scorer, contract, rowsMax, args: this.#args, device };
      const loaded = await loadScorer(options);
      if (part.kind === 'shadow') this.#shadows.push({ scorer: loaded, kept: new KeptRows(loaded) });
      else this.#served.push(loaded);
    }
    const served = order.filter(model => model.part.kind !== 'shadow');
    if (models.length > 0) this.#output = outputColumns(served, this.#job.outputForm);
    if (served.length > 1) this.#armArgument = this.#args.double(armSql(served, contract.keys));
    this.#profile = await ChunkProfile.create(this.#job, this.#source.columns, this.#args);
    // A function without arguments would be called once, not once per vector.
    if (this.#args.types.length === 0) this.#args.condition('TRUE');
  }

  /** The pass over the rows. Null when there are no models: then rules and profile are all that is wanted. */
  async writePredictions(): Promise<WrittenFile | null> {
    const { outputColumns: passed, outputFolder, scoredAt } = this.#job;
    const output = this.#output;
    this.#source.session.register(
      DuckDBScalarFunction.create({
        name: 'almanac_row',
        parameterTypes: this.#args.types,
        returnType: output?.type ?? FLOAT,
        // Otherwise DuckDB may call it once and reuse the result, or push filters through it.
        volatile: true,
        // An argument that DuckDB knows to be NULL would fold the whole call to NULL: no row would be scored.
        specialHandling: true,
        mainFunction: (_info, input, vector) => this.#guarded(() => this.#scoreVector(input, vector)),
      }),
    );
    if (output === null) {
      await this.#run(
        `SELECT count(almanac_p) FROM (SELECT almanac_row(${this.#args.sql}) AS almanac_p FROM (${this.#source.sql}))`,
      );
      this.#assertAllRows(null);
      return null;
    }
    assertOutputNames(passed, output);
    const keys = passed.map(identifier);
    const select =
      `SELECT ${[...keys, output.sql('almanac_p', scoredAt)].join(', ')} FROM ` +
      `(SELECT ${[...keys, `almanac_row(${this.#args.sql}) AS almanac_p`].join(', ')} FROM (${this.#source.sql})) ` +
      `WHERE almanac_p IS NOT NULL`;
    return writeWhole(join(outputFolder, 'predictions.parquet'), async temporary => {
      await this.#run(`COPY (${select}) TO ${literal(temporary)} ${PARQUET}`);
      const [footer] = await this.#source.session.rows(
        `SELECT num_rows FROM parquet_file_metadata(${pathLiteral(temporary)})`,
      );
      const written = Number(footer?.['num_rows']);
      this.#assertAllRows(written);
      return written;
    });
  }

  /** Shadow predictions with the same keys, in the same order, beside the predictions. */
  async writeShadows(predictions: WrittenFile | null): Promise<ChunkReceipt['shadows']> {
    if (predictions === null) return [];
    const written: ChunkReceipt['shadows'][number][] = [];
    for (const { scorer, kept } of this.#shadows) {
      const output = new OutputColumns(scorer.signature, [{ name: 'champion', version: scorer.version }]);
      const name = `almanac_shadow_${scorer.version}`;
      this.#source.session.register(
        DuckDBScalarFunction.create({
          name,
          parameterTypes: [BIGINT],
          returnType: output.type,
          volatile: true,
          // An argument that DuckDB knows to be NULL would fold the whole call to NULL: no row would be scored.
          specialHandling: true,
          mainFunction: (_info, input, vector) => this.#guarded(() => kept.lookUp(input, vector, output)),
        }),
      );
      const keys = this.#job.outputColumns.map(identifier);
      const file = await writeWhole(join(this.#job.outputFolder, `shadow-v${scorer.version}.parquet`), temporary =>
        this.#run(
          `COPY (SELECT ${[...keys, output.sql('almanac_p', this.#job.scoredAt)].join(', ')} FROM ` +
            `(SELECT *, ${name}(file_row_number) AS almanac_p FROM read_parquet(${pathLiteral(predictions.path)}, file_row_number = true))` +
            `) TO ${literal(temporary)} ${PARQUET}`,
        ),
      );
      written.push({ ...file, version: scorer.version });
    }
    return written;
  }

  /** The rows that broke a quarantine rule, whole, with rule and reason; a second read, which good data never pays. */
  async writeQuarantine(): Promise<WrittenFile | null> {
    if (this.#rowsQuarantined === 0) return null;
    this.#source.session.register(
      DuckDBScalarFunction.create({
        name: 'almanac_why',
        parameterTypes: this.#args.types,
        returnType: VARCHAR,
        volatile: true,
        // An argument that DuckDB knows to be NULL would fold the whole call to NULL: no row would be scored.
        specialHandling: true,
        mainFunction: (_info, input, vector) => this.#guarded(() => this.#explainVector(input, vector)),
      }),
    );
    const file = await writeWhole(join(this.#job.outputFolder, 'quarantine.parquet'), temporary =>
      this.#run(
        `COPY (SELECT * EXCLUDE (almanac_why), split_part(almanac_why, chr(10), 1) AS almanac_rule, ` +
          `split_part(almanac_why, chr(10), 2) AS almanac_reason FROM ` +
          `(SELECT *, almanac_why(${this.#args.sql}) AS almanac_why FROM (${this.#source.sql})) ` +
          `WHERE almanac_why IS NOT NULL) TO ${literal(temporary)} ${PARQUET}`,
      ),
    );
    if (file.rows !== this.#rowsQuarantined) {
      throw new EngineFault(
        'failed',
        `quarantine: ${this.#rowsQuarantined} rows broke a rule, ${file.rows} were written; is the transform deterministic?`,
        { counted: this.#rowsQuarantined, written: file.rows },
      );
    }
    return file;
  }

  async writeProfile(predictions: WrittenFile | null): Promise<string | null> {
    if (this.#profile === null) return null;
    const { contract, outputColumns: passed, outputFolder } = this.#job;
    // The keys in the small file just written are cheaper to read than the source, which may have a transform.
    const rows =
      predictions !== null && contract.keys.every(key => passed.includes(key))
        ? `SELECT * FROM read_parquet(${pathLiteral(predictions.path)})`
        : this.#source.sql;
    const keys = contract.keys.length === 0 ? null : await duplicateKeys(this.#source.session, rows, contract.keys);
    return this.#profile.write(outputFolder, keys, this.#rules.counts);
  }

  #scoreVector(input: DuckDBDataChunk, vector: DuckDBVector): void {
    const vectors = new Vectors(input, this.#args.types.length);
    const quarantined = this.#rules.judge(vectors);
    this.#rowsRead += vectors.rows;
    this.#rowsQuarantined += quarantined.length;
    const items = outputItems(vector) as Numbers;
    if (this.#output === null) items.fill(0);
    else {
      const { batchRows } = this.#job;
      for (let from = 0; from < vectors.rows; from += batchRows) {
        const to = Math.min(from + batchRows, vectors.rows);
        this.#serve(vectors, from, to, quarantined, items);
        for (const { scorer, kept } of this.#shadows) {
          const values = scorer.score(vectors, from, to);
          assertNumbers(values, scorer, vectors, from, quarantined, this.#args);
          kept.keep(values, from, to, quarantined);
        }
      }
    }
    this.#profile?.add(vectors, this.#output === null ? null : this.#scores.subarray(0, vectors.rows));
    setNull(vector, quarantined, vectors.rows);
    vector.flush();
    this.#context.progress({ done: this.#rowsRead, total: this.#job.rows, unit: 'rows', resume: null });
  }

  #serve(vectors: Vectors, from: number, to: number, quarantined: Int32Array, items: Numbers): void {
    const output = this.#output!;
    const champion = this.#served[0]!;
    const values = champion.score(vectors, from, to);
    assertNumbers(values, champion, vectors, from, quarantined, this.#args);
    if (this.#profile !== null) summarize(values, output.values, this.#scores.subarray(from, to));
    if (output.width === output.values) {
      items.set(values, from * output.width);
      return;
    }
    writeRows(values, champion, output, { arm: 0, from, to, items });
    if (!output.hasArm) return;
    const arms = vectors.numbers(this.#armArgument);
    for (let arm = 1; arm < this.#served.length; arm++) {
      const scorer = this.#served[arm]!;
      const others = scorer.score(vectors, from, to);
      assertNumbers(others, scorer, vectors, from, quarantined, this.#args);
      writeRows(others, scorer, output, { arm, from, to, items, only: row => arms[row] === arm });
    }
  }

  #explainVector(input: DuckDBDataChunk, vector: DuckDBVector): void {
    const vectors = new Vectors(input, this.#args.types.length);
    for (const [row, found] of this.#rules.explain(vectors).entries()) {
      vector.setItem(row, found === null ? null : `${found.rule}\n${found.reason}`);
    }
    vector.flush();
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fault ??= error;
      throw error;
    }
  }

  async #run(sql: string): Promise<number> {
    try {
      return await this.#source.session.run(sql);
    } catch (error) {
      throw this.#fault ?? error;
    }
  }

  /** A transform may filter and join; without one every row of the plan must have been seen, and each must be written. */
  #assertAllRows(written: number | null): void {
    const { job, rowsRead, rowsQuarantined } = {
      job: this.#job,
      rowsRead: this.#rowsRead,
      rowsQuarantined: this.#rowsQuarantined,
    };
    if (job.transform === null && rowsRead !== job.rows) {
      throw new EngineFault('bad_input', `${rowsRead} rows were read, the plan says ${job.rows}; nothing was written`, {
        rowsRead,
        plannedRows: job.rows,
      });
    }
    if (written !== null && written !== rowsRead - rowsQuarantined) {
      throw new EngineFault(
        'failed',
        `${rowsRead} rows were read, ${rowsQuarantined} quarantined, but ${written} written`,
        {
          rowsRead,
          rowsQuarantined,
          written,
        },
      );
    }
  }
}

/** Predictions of a shadow version for the rows that were not quarantined, in order. */
class KeptRows {
  readonly #scorer: Scorer;
  readonly #pieces: Numbers[] = [];
  #all: Numbers | null = null;

  constructor(scorer: Scorer) {
    this.#scorer = scorer;
  }

  keep(values: Numbers, from: number, to: number, quarantined: Int32Array): void {
    const { width } = this.#scorer;
    const dropped = quarantined.filter(row => row >= from && row < to);
    if (dropped.length === 0) {
      this.#pieces.push(values.slice(0, (to - from) * width));
      return;
    }
    const gone = new Set(dropped);
    const kept: number[] = [];
    for (let row = from; row < to; row++) {
      if (gone.has(row)) continue;
      for (let column = 0; column < width; column++) kept.push(values[(row - from) * width + column]!);
    }
    this.#pieces.push(Float64Array.from(kept));
  }

  lookUp(input: DuckDBDataChunk, vector: DuckDBVector, output: OutputColumns): void {
    this.#all ??= joined(this.#pieces, output.isDouble);
    const vectors = new Vectors(input, 1);
    const numbers = vectors.bigints(0);
    const first = Number(numbers[0] ?? 0n);
    const { width } = this.#scorer;
    const values = this.#all.subarray(first * width, (first + vectors.rows) * width);
    const items = outputItems(vector) as Numbers;
    if (Number(numbers.at(-1) ?? 0n) - first !== vectors.rows - 1 || values.length !== vectors.rows * width) {
      throw new EngineFault(
        'failed',
        `shadow v${this.#scorer.version}: rows ${first} and following are not the ones that were scored`,
      );
    }
    if (output.width === output.values) items.set(values);
    else writeRows(values, this.#scorer, output, { arm: 0, from: 0, to: vectors.rows, items });
    vector.flush();
  }
}

function joined(pieces: readonly Numbers[], isDouble: boolean): Numbers {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const all = isDouble ? new Float64Array(length) : new Float32Array(length);
  let offset = 0;
  for (const piece of pieces) {
    all.set(piece, offset);
    offset += piece.length;
  }
  return all;
}

function summarize(values: Numbers, width: number, into: Float32Array): void {
  if (width === 1) {
    into.set(values);
    return;
  }
  for (let row = 0; row < into.length; row++) {
    let largest = values[row * width]!;
    for (let column = 1; column < width; column++) largest = Math.max(largest, values[row * width + column]!);
    into[row] = largest;
  }
}

async function duplicateKeys(session: DuckDbSession, rows: string, keys: readonly string[]) {
  const columns = keys.map(identifier).join(', ');
  const distinct = keys.length === 1 ? columns : `(${columns})`;
  const [counted] = await session.rows(`SELECT count(*) - count(DISTINCT ${distinct}) AS n FROM (${rows})`);
  return { columns: keys, duplicates: Number(counted?.['n']), exact: true };
}

interface RowTarget {
  readonly arm: number;
  readonly from: number;
  readonly to: number;
  readonly items: Numbers;
  readonly only?: (row: number) => boolean;
}

/** Rows with class index and arm behind the model's numbers. */
function writeRows(values: Numbers, scorer: Scorer, output: OutputColumns, target: RowTarget): void {
  const { width } = scorer;
  for (let row = target.from; row < target.to; row++) {
    if (target.only?.(row) === false) continue;
    const source = (row - target.from) * width;
    let out = row * output.width;
    for (let column = 0; column < width; column++) target.items[out++] = values[source + column]!;
    if (output.hasClass) target.items[out++] = classOf(scorer.signature, values, source);
    if (output.hasArm) target.items[out] = target.arm;
  }
}

/** A NaN is no prediction. The message names the row's missing features, the usual reason. */
function assertNumbers(
  values: Numbers,
  scorer: Scorer,
  vectors: Vectors,
  from: number,
  quarantined: Int32Array,
  args: ArgumentList,
): void {
  let sum = 0;
  const length = values.length;
  for (let index = 0; index < length; index++) sum += values[index]! * 0;
  if (sum === 0) return;
  for (let index = 0; index < length; index++) {
    const row = from + Math.floor(index / scorer.width);
    if (!Number.isNaN(values[index]!) || quarantined.includes(row)) continue;
    const missing = scorer.signature.inputs
      .flatMap(input => input.columns)
      .filter(column => column.kind === 'number' && isMissing(vectors, args.number(column.column).values, row))
      .map(column => column.column);
    throw new EngineFault(
      'bad_model',
      `model version ${scorer.version} returned NaN` +
        (missing.length === 0
          ? '; none of its features is missing in that row, so the model itself is at fault'
          : ` where ${missing.slice(0, 5).join(', ')} is missing; declare nulls: { as: default } or { as: quarantine } for it`),
      { version: scorer.version, missing },
    );
  }
}

function isMissing(vectors: Vectors, argument: number, row: number): boolean {
  return vectors.nullRows(argument).includes(row) || Number.isNaN(vectors.numbers(argument)[row]);
}

function outputColumns(served: readonly ModelToScore[], form: ScoreChunkJob['outputForm']): OutputColumns {
  const [champion, ...others] = served;
  if (champion?.part.kind !== 'champion') {
    throw new EngineFault(
      'bad_job',
      `a scoring job needs one champion, it has ${served.length} served models and none is`,
    );
  }
  for (const other of others) {
    const same =
      other.signature.task === champion.signature.task &&
      String(other.signature.classes) === String(champion.signature.classes) &&
      String(other.signature.targets) === String(champion.signature.targets);
    if (!same || other.part.kind !== 'share') {
      throw new EngineFault(
        'bad_job',
        `version ${other.version} cannot share a table with version ${champion.version}: task, classes and targets must be equal`,
      );
    }
  }
  const arms = served.map(
    ({ version, part }): Arm => ({ name: part.kind === 'share' ? part.arm : 'champion', version }),
  );
  return new OutputColumns(champion.signature, arms, form);
}

/**
 * The arm of a row from its key alone, so a subject stays in its arm. MD5 because DuckDB's own `hash` may change between
 * versions; the first 52 bits make a number in [0, 1).
 */
function armSql(served: readonly ModelToScore[], keys: readonly string[]): string {
  let from = 0;
  const cases: string[] = [];
  for (const [index, { part }] of served.entries()) {
    if (part.kind !== 'share') continue;
    const text = [literal(part.salt), ...keys.map(key => `CAST(${identifier(key)} AS VARCHAR)`)].join(', ');
    const unit = `(CAST(concat('0x', substr(md5(concat_ws(chr(31), ${text})), 1, 13)) AS BIGINT) / 4503599627370496.0)`;
    cases.push(`WHEN ${unit} >= ${from} AND ${unit} < ${from + part.share} THEN ${index}`);
    from += part.share;
  }
  if (from > 1)
    throw new EngineFault('bad_job', `the shares of canary and A/B versions add up to ${from}, more than 1`);
  return `CASE ${cases.join(' ')} ELSE 0 END`;
}

function vocabularies(models: readonly ModelToScore[]): ReadonlyMap<string, readonly string[]> {
  const champion = models.find(model => model.part.kind === 'champion');
  const found = new Map<string, readonly string[]>();
  for (const column of champion?.signature.inputs.flatMap(input => input.columns) ?? []) {
    if (column.kind === 'code') found.set(column.column, column.vocabulary);
  }
  return found;
}
