/**
 * Scoring one chunk in one pass (strategy A): the models run inside `COPY (SELECT keys, row_function(columns…) …)`, as a
 * JavaScript function over DuckDB's vectors. Rules, models and profile look at the same vectors. Models that answer in
 * their own time need two passes (strategy B, `stream-score.ts`).
 *
 *   read_parquet ─► transform ─► row_function ─► predictions.parquet
 *                                   ├─ rules: NULL for rows that go to quarantine
 *                                   ├─ champion, or the arm a row's key falls into
 *                                   ├─ shadows: kept as arrays, written in a second pass over the keys alone
 *                                   └─ profile
 */
import { join } from 'node:path';
import type { DuckDBDataChunk, DuckDBVector } from '@duckdb/node-api';
import { locateDamage } from './damage.ts';
import type { DuckDbSession } from './duckdb.ts';
import { BIGINT, FLOAT, VARCHAR } from './duckdb-api.ts';
import { EngineFault } from './fault.ts';
import { writeWhole } from './files.ts';
import type { ChunkReceipt, ScoreChunkJob, WrittenFile } from './job.ts';
import { assertOutputNames, OutputColumns } from './output-columns.ts';
import type { Numbers } from './predictions.ts';
import { RowScorer } from './row-scorer.ts';
import { Source } from './source.ts';
import { identifier, literal, PARQUET_OPTIONS, pathLiteral } from './sql.ts';
import { SqlFunctions } from './sql-functions.ts';
import { keepTransformed, StreamedRows } from './stream-score.ts';
import { outputItems, setNull, Vectors } from './vectors.ts';
import type { VerbContext } from './verbs.ts';

/** DuckDB's vectors have at most this many rows. */
const VECTOR_ROWS = 2_048;

export async function scoreChunk(job: ScoreChunkJob, context: VerbContext): Promise<ChunkReceipt> {
  const started = performance.now();
  const cpu = process.cpuUsage();
  const source = await Source.open({ job, folders: [job.outputFolder], context });
  try {
    const scan = new ChunkScan(
      job,
      source,
      await RowScorer.load(job, source, { vectorRows: VECTOR_ROWS, ...context }),
      context,
    );
    const predictions = await scan.writePredictions();
    const shadows = await scan.writeShadows(predictions);
    const quarantine = await scan.writeQuarantine();
    await source.assertUnchanged();
    for (const scorer of scan.scorers) await scorer.settle?.();
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
  readonly #rows: RowScorer;
  readonly #functions: SqlFunctions;
  #rowsRead = 0;
  #rowsQuarantined = 0;

  constructor(job: ScoreChunkJob, source: Source, rows: RowScorer, context: VerbContext) {
    this.#job = job;
    this.#source = source;
    this.#context = context;
    this.#rows = rows;
    this.#functions = new SqlFunctions(source.session);
  }

  get scorers() {
    return this.#rows.scorers;
  }

  counts() {
    return {
      rowsRead: this.#rowsRead,
      rowsScored: this.#job.models.length === 0 ? 0 : this.#rowsRead - this.#rowsQuarantined,
      rowsQuarantined: this.#rowsQuarantined,
      rules: this.#rows.rules.counts,
    };
  }

  /** The pass over the rows. Null when there are no models: then rules and profile are all that is wanted. */
  async writePredictions(): Promise<WrittenFile | null> {
    const { outputColumns: passed, outputFolder, scoredAt } = this.#job;
    const { output, queues } = this.#rows;
    if (output === null) {
      await this.#functions.run(`SELECT count(almanac_p) FROM (${this.#inOnePass([])})`);
      this.#assertAllRows(null);
      return null;
    }
    assertOutputNames(passed, output);
    const keys = passed.map(identifier);
    const scored = queues.length === 0 ? this.#inOnePass(keys) : await this.#inTwoPasses(keys, output);
    const select =
      `SELECT ${[...keys, output.sql('almanac_p', scoredAt)].join(', ')} FROM (${scored}) ` +
      `WHERE almanac_p IS NOT NULL`;
    return writeWhole(join(outputFolder, 'predictions.parquet'), async temporary => {
      await this.#functions.run(`COPY (${select}) TO ${literal(temporary)} ${PARQUET_OPTIONS}`);
      const [footer] = await this.#source.session.rows(
        `SELECT num_rows FROM parquet_file_metadata(${pathLiteral(temporary)})`,
      );
      const written = Number(footer?.['num_rows']);
      this.#assertAllRows(written);
      return written;
    });
  }

  /** Strategy A: a SELECT of the keys and `almanac_p`, which scores the rows as it reads them. */
  #inOnePass(keys: readonly string[]): string {
    const { output, argumentSql, argumentTypes } = this.#rows;
    this.#functions.register({
      name: 'almanac_row',
      parameterTypes: argumentTypes,
      returnType: output?.type ?? FLOAT,
      call: (input, vector) => this.#scoreVector(input, vector),
    });
    return `SELECT ${[...keys, `almanac_row(${argumentSql}) AS almanac_p`].join(', ')} FROM (${this.#source.sql})`;
  }

  /** Strategy B: all rows are scored now; the SELECT looks them up. */
  async #inTwoPasses(keys: readonly string[], output: OutputColumns): Promise<string> {
    const { sql } = this.#source;
    const { relation, rows: rowCount } =
      this.#job.transform === null ? { relation: sql, rows: this.#job.rows } : await keepTransformed(this.#source);
    const { queues } = this.#rows;
    const scored = (rows: number, quarantined: number) => this.#count(rows, quarantined);
    const kept = await StreamedRows.score({
      source: this.#source,
      rows: this.#rows,
      queues,
      output,
      rowCount,
      relation,
      scored,
    });
    this.#functions.register({
      name: 'almanac_answer',
      parameterTypes: [BIGINT],
      returnType: output.type,
      call: (input, vector) => kept.lookUp(input, vector),
    });
    const columns = [...keys, 'almanac_answer(almanac_number - 1) AS almanac_p'].join(', ');
    return `SELECT ${columns} FROM (SELECT *, row_number() OVER () AS almanac_number FROM (${relation}))`;
  }

  /** Shadow predictions with the same keys, in the same order, beside the predictions. */
  async writeShadows(predictions: WrittenFile | null): Promise<ChunkReceipt['shadows']> {
    if (predictions === null) return [];
    const written: ChunkReceipt['shadows'][number][] = [];
    for (const { scorer, kept } of this.#rows.shadows) {
      const output = new OutputColumns(scorer.signature, [{ name: 'champion', version: scorer.version }]);
      const name = `almanac_shadow_${scorer.version}`;
      this.#functions.register({
        name,
        parameterTypes: [BIGINT],
        returnType: output.type,
        call: (input, vector) => kept.lookUp(input, vector, output),
      });
      const keys = this.#job.outputColumns.map(identifier);
      const file = await writeWhole(join(this.#job.outputFolder, `shadow-v${scorer.version}.parquet`), temporary =>
        this.#functions.run(
          `COPY (SELECT ${[...keys, output.sql('almanac_p', this.#job.scoredAt)].join(', ')} FROM ` +
            `(SELECT *, ${name}(file_row_number) AS almanac_p FROM read_parquet(${pathLiteral(predictions.path)}, file_row_number = true))` +
            `) TO ${literal(temporary)} ${PARQUET_OPTIONS}`,
        ),
      );
      written.push({ ...file, version: scorer.version });
    }
    return written;
  }

  /** The rows that broke a quarantine rule, whole, with rule and reason; a second read, which good data never pays. */
  async writeQuarantine(): Promise<WrittenFile | null> {
    if (this.#rowsQuarantined === 0) return null;
    const { argumentSql, argumentTypes } = this.#rows;
    this.#functions.register({
      name: 'almanac_why',
      parameterTypes: argumentTypes,
      returnType: VARCHAR,
      call: (input, vector) => this.#explainVector(input, vector),
    });
    const file = await writeWhole(join(this.#job.outputFolder, 'quarantine.parquet'), temporary =>
      this.#functions.run(
        `COPY (SELECT * EXCLUDE (almanac_why), split_part(almanac_why, chr(10), 1) AS almanac_rule, ` +
          `split_part(almanac_why, chr(10), 2) AS almanac_reason FROM ` +
          `(SELECT *, almanac_why(${argumentSql}) AS almanac_why FROM (${this.#source.sql})) ` +
          `WHERE almanac_why IS NOT NULL) TO ${literal(temporary)} ${PARQUET_OPTIONS}`,
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
    const { profile, rules } = this.#rows;
    if (profile === null) return null;
    const { contract, outputColumns: passed, outputFolder } = this.#job;
    // The keys in the small file just written are cheaper to read than the source, which may have a transform.
    const rows =
      predictions !== null && contract.keys.every(key => passed.includes(key))
        ? `SELECT * FROM read_parquet(${pathLiteral(predictions.path)})`
        : this.#source.sql;
    const keys = contract.keys.length === 0 ? null : await duplicateKeys(this.#source.session, rows, contract.keys);
    return profile.write(outputFolder, keys, rules.counts);
  }

  #scoreVector(input: DuckDBDataChunk, vector: DuckDBVector): void {
    const vectors = new Vectors(input, this.#rows.argumentTypes);
    const quarantined = this.#rows.score(vectors, outputItems(vector) as Numbers);
    setNull(vector, quarantined, vectors.rows);
    vector.flush();
    this.#count(vectors.rows, quarantined.length);
  }

  #count(rows: number, quarantined: number): void {
    this.#rowsRead += rows;
    this.#rowsQuarantined += quarantined;
    this.#context.progress({ done: this.#rowsRead, total: this.#job.rows, unit: 'rows', resume: null });
  }

  #explainVector(input: DuckDBDataChunk, vector: DuckDBVector): void {
    const vectors = new Vectors(input, this.#rows.argumentTypes);
    for (const [row, found] of this.#rows.rules.explain(vectors).entries()) {
      vector.setItem(row, found === null ? null : `${found.rule}\n${found.reason}`);
    }
    vector.flush();
  }

  /** A transform may filter and join; without one every row of the plan must have been seen, and each must be written. */
  #assertAllRows(written: number | null): void {
    const job = this.#job;
    const rowsRead = this.#rowsRead;
    const rowsQuarantined = this.#rowsQuarantined;
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

async function duplicateKeys(session: DuckDbSession, rows: string, keys: readonly string[]) {
  const columns = keys.map(identifier).join(', ');
  const distinct = keys.length === 1 ? columns : `(${columns})`;
  const [counted] = await session.rows(`SELECT count(*) - count(DISTINCT ${distinct}) AS n FROM (${rows})`);
  return { columns: keys, duplicates: Number(counted?.['n']), exact: true };
}
