/** What `score-file` will do, worked out before anything is written: the input's files, the model's signature, the chunks. */
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Contract } from '../domain/contract.ts';
import { type Chunk, planChunks } from '../domain/scoring.ts';
import { EngineFault } from '../engine/fault.ts';
import type { InputFile } from '../engine/input-files.ts';
import type { ColumnInfo, PreparedModel } from '../engine/job.ts';
import type { EnginePool } from '../engine/pool.ts';
import { CommandFailure, exitCode } from './output.ts';
import type { ScoreFileOptions } from './score-file.ts';
import { findInput } from './score-file-input.ts';
import { baselineOf } from './score-file-profile.ts';

/** No chunk takes longer: a day. */
export const deadlineMs = 24 * 3_600_000;
/**
 * Larger than a job's, which loses a chunk when a machine dies and goes on from there. Each costs 40 ms besides its rows, a
 * seventh of a linear model's time for a million of them.
 */
const chunkRows = 4_000_000;
/** A child costs 0.1 s of CPU time to start, and is not worth it for one row group. */
const largeBytes = 2 ** 24;
const numericType = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|BOOLEAN|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\))$/;

export interface Plan {
  readonly tableVersion: number | null;
  readonly chunks: readonly Chunk[];
  readonly files: ReadonlyMap<string, InputFile>;
  readonly model: PreparedModel;
  readonly contract: Contract;
  readonly rows: number;
  /** Path of the baseline document; null where no profile is wanted. */
  readonly baseline: string | null;
}

export async function assertUsage(options: ScoreFileOptions): Promise<void> {
  const usage = (message: string) => new CommandFailure(`score-file: ${message}`, exitCode.usage);
  if (options.keys.length === 0) throw usage('name the key columns with --keys id[,…]');
  if (!existsSync(options.model)) throw usage(`${options.model}: there is no such model file`);
  if (options.baseline !== undefined && !existsSync(options.baseline)) {
    throw usage(`${options.baseline}: there is no such baseline; leave --baseline out to freeze one from the input`);
  }
  const { processes, batchRows, tableVersion } = options;
  if (tableVersion !== undefined && !(Number.isInteger(tableVersion) && tableVersion >= 0)) {
    throw usage('--table-version wants the number of a version, 0 or above');
  }
  for (const [name, value] of Object.entries({ processes, 'batch-rows': batchRows })) {
    if (value !== undefined && !(Number.isInteger(value) && value > 0)) throw usage(`--${name} wants a whole number`);
  }
  if (!existsSync(options.output)) return;
  if (!(await stat(options.output)).isDirectory()) throw usage(`${options.output} is a file; name a folder`);
  const foreign = (await readdir(options.output)).filter(
    name => !/^(part-\d+\.parquet|(profile|baseline)\.json)$/.test(name),
  );
  if (foreign.length > 0) {
    throw usage(
      `${options.output} holds ${foreign.slice(0, 3).join(', ')}, which is no output of score-file; name another folder`,
    );
  }
}

export async function planWork(
  options: ScoreFileOptions,
  pool: EnginePool,
  { scratch, processes }: { readonly scratch: string; readonly processes: number },
): Promise<Plan> {
  const { files: found, tableVersion } = await findInput(options.input, options.tableVersion, pool);
  const isLarge = await holdsManyRows(found);
  const inspecting = pool.run(
    'inspect',
    { files: found.map(({ path, format }) => ({ path, format })), allowBrotli: options.allowBrotli === true },
    { deadlineMs },
  );
  // A second child makes ready meanwhile: it prepares the model and scores first.
  if (isLarge) pool.warm(2, ['prepare-model', 'score-chunk']);
  const inspection = await inspecting;
  const constants = Object.keys(found[0]?.constants ?? {}).map((name): ColumnInfo => ({ name, type: 'VARCHAR' }));
  const columns = [
    ...inspection.columns,
    ...constants.filter(({ name }) => !inspection.columns.some(c => c.name === name)),
  ];
  assertColumns([...options.keys, ...(options.features ?? [])], columns);
  const features =
    options.features ?? columns.filter(column => isFeature(column, options.keys)).map(column => column.name);
  const chunks = planChunks(inspection.files, {
    chunkRows: options.chunkRows ?? chunkRows,
    chunksWanted: processes,
  });
  // Those that will score beside it make ready now, and no others.
  if (chunks.length > 1) pool.warm(chunks.length, ['score-chunk']);
  const model = await prepareModel(options, pool, { scratch, features, columns });
  const files = new Map(found.map(file => [file.path, file]));
  const contract = contractOf(options.keys, model);
  const baseline = await baselineOf(options, pool, { scratch, inspection, model });
  return { chunks, files, model, contract, rows: inspection.rows, baseline, tableVersion };
}

/** Whether more than one child will have something to do, as far as the sizes of the first files tell. */
async function holdsManyRows(files: readonly InputFile[]): Promise<boolean> {
  const sizes = files.slice(0, 64).map(async ({ path }) => (await stat(path)).size);
  const known = await Promise.allSettled(sizes);
  return known.reduce((sum, size) => sum + (size.status === 'fulfilled' ? size.value : 0), 0) >= largeBytes;
}

function isFeature(column: ColumnInfo, keys: readonly string[]): boolean {
  return !keys.includes(column.name) && numericType.test(column.type);
}

/** A graph with named inputs may take texts; a matrix takes the numeric columns. */
async function prepareModel(
  options: ScoreFileOptions,
  pool: EnginePool,
  given: { readonly scratch: string; readonly features: readonly string[]; readonly columns: readonly ColumnInfo[] },
): Promise<PreparedModel> {
  const prepare = (columns: readonly string[]) =>
    pool.run('prepare-model', { onnx: resolve(options.model), columns, outputFolder: given.scratch }, { deadlineMs });
  try {
    return await prepare(given.features);
  } catch (error) {
    const mayBeText = error instanceof EngineFault && error.kind === 'bad_job' && options.features === undefined;
    if (!mayBeText) throw error;
    return await prepare(given.columns.map(column => column.name)).catch(() => {
      throw error;
    });
  }
}

function assertColumns(wanted: readonly string[], columns: readonly ColumnInfo[]): void {
  const known = columns.map(column => column.name);
  const missing = wanted.filter(name => !known.includes(name));
  if (missing.length > 0) {
    throw new CommandFailure(
      `score-file: no column ${missing.join(', ')} in the input; columns found: ${known.join(', ')}`,
      exitCode.usage,
    );
  }
}

/** Without a definition nothing is known about the columns but their names: a NULL is NaN for the model. */
function contractOf(keys: readonly string[], model: PreparedModel): Contract {
  const inputs = model.signature.inputs.flatMap(tensor => tensor.columns.map(column => ({ tensor, column })));
  return {
    keys,
    eventTime: null,
    knownAt: null,
    columns: inputs.map(({ tensor, column }) => ({
      name: column.column,
      type: tensor.type === 'string' ? 'category' : 'float',
      role: 'feature',
      min: null,
      max: null,
      nulls: { maxShare: 1, as: 'nan', default: null },
      values: null,
      unseen: 'other',
      unique: false,
      onFail: 'warn',
      pii: false,
    })),
    rules: [],
    forbidden: [],
    quarantineBudget: 0,
  };
}
