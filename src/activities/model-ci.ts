/**
 * Model CI: a version as a program. Its size, its golden rows reproduced, the fast scorer against ONNX Runtime, its speed,
 * and finite answers to inputs that should not happen.
 */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkResult } from '../checks/result.ts';
import { type Contract, type ContractColumn, featureColumns } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import type { ModelVersion } from '../domain/model-version.ts';
import { batchRows } from '../domain/scoring.ts';
import { scoreColumns } from '../domain/signature.ts';
import { EngineFault, isPermanent } from '../engine/fault.ts';
import type { ChunkReceipt, InputRange, LabelledPartition, ModelToScore, ScoreChunkJob } from '../engine/job.ts';
import { identifier } from '../engine/sql.ts';
import type { Work } from './long.ts';
import { contractOf, fetchedBundle, inScratch, modelFiles, type Services } from './services.ts';

const deadlineMs = 2 * 60 * 60_000;
/** Two scorers of one model may differ by this much, times the largest output if that is above 1; more is another model. */
const scorerTolerance = 1e-6;
/** A trainer of another library may have computed its golden rows in another precision. */
const goldenTolerance = 1e-5;
/** Passes and rows a pass of the speed check: enough rows that opening files does not count. */
const speedPasses = 8;
const speedRows = 20_000;

interface Program {
  readonly definition: ModelDefinition;
  readonly contract: Contract;
  readonly model: ModelToScore;
  /** Folder of the bundle. */
  readonly bundle: string;
  /** The newest held-out partition. */
  readonly sample: LabelledPartition | null;
}

export async function judgeAsProgram(
  services: Services,
  of: {
    readonly version: ModelVersion;
    readonly definition: ModelDefinition;
    readonly partitions: readonly LabelledPartition[];
  },
  work: Work,
): Promise<readonly CheckResult[]> {
  const { version, definition, partitions } = of;
  const program: Program = {
    definition,
    contract: await contractOf(services, version.bundle),
    model: {
      version: version.number,
      ...(await modelFiles(services, version.bundle)),
      part: { kind: 'champion' },
      scorer: 'auto',
    },
    bundle: await fetchedBundle(services, version.bundle),
    sample: partitions.at(-1) ?? null,
  };
  const checks = [await checkSize(program), await judged('golden_rows', () => checkGolden(services, program, work))];
  if (program.sample === null) return checks;
  checks.push(await judged('scorer_parity', () => checkScorers(services, program, work)));
  checks.push(await judged('speed', () => checkSpeed(services, program, work)));
  for (const kind of definition.ci.robustness) {
    checks.push(await judged(`robust_${kind}`, () => checkRobustness(services, { program, kind }, work)));
  }
  return checks;
}

/** A model that cannot answer at all fails the check; it does not stop the judging. */
async function judged(name: string, check: () => Promise<CheckResult>): Promise<CheckResult> {
  try {
    return await check();
  } catch (error) {
    if (!(error instanceof EngineFault && isPermanent(error))) throw error;
    return checkResult(name, { status: 'fail', weight: 'blocking', reason: error.message });
  }
}

async function checkSize({ definition, model }: Program): Promise<CheckResult> {
  const megabytes = (await stat(model.onnx)).size / 2 ** 20;
  const limit = definition.ci.sizeMb;
  const isOver = limit !== null && megabytes > limit;
  const reason = `model.onnx has ${megabytes.toFixed(2)} MB${limit === null ? '' : `, ${limit} MB are allowed`}`;
  return checkResult('model_size', {
    status: isOver ? 'fail' : 'pass',
    weight: 'blocking',
    value: megabytes,
    limit,
    limitSource: 'declared',
    reason,
  });
}

/** Key columns that a model does not learn from. */
function keysBesideFeatures(contract: Contract): readonly string[] {
  return contract.keys.filter(key => !featureColumns(contract).some(({ name }) => name === key));
}

/** The rows that the trainer predicted itself, through the graph and the inputs that production will use. */
async function checkGolden(services: Services, program: Program, work: Work): Promise<CheckResult> {
  const golden = join(program.bundle, 'golden.parquet');
  const found = await services.engine.run(
    'inspect',
    { files: [{ path: golden }] },
    { deadlineMs, signal: work.signal },
  );
  const predictions = scoreColumns(program.model.signature);
  const missing = predictions.filter(name => !found.columns.some(column => column.name === name));
  if (missing.length > 0 || found.rows === 0) {
    const reason =
      found.rows === 0
        ? 'golden.parquet has no rows: the trainer leaves some of its own predictions there'
        : `golden.parquet has no column ${missing.join(', ')}: the trainer leaves its own predictions there`;
    return checkResult('golden_rows', { status: 'fail', weight: 'blocking', rows: found.rows, reason });
  }
  const naming = keysBesideFeatures(program.contract).filter(key => found.columns.some(({ name }) => name === key));
  if (naming.length > 0) {
    const reason =
      `golden.parquet has the key column ${naming.join(', ')}: a version keeps these rows as long as it serves, and nobody ` +
      'in them could be erased; the trainer leaves feature columns and its predictions there';
    return checkResult('golden_rows', { status: 'fail', weight: 'blocking', rows: found.rows, reason });
  }
  return await inScratch(services, async folder => {
    // Rules are about data that arrives; here every row has to be answered.
    const columns = program.contract.columns.filter(({ role }) => role === 'feature');
    const contract = {
      ...program.contract,
      keys: [],
      rules: [],
      columns: columns.map(column => ({ ...column, min: null, max: null })),
    };
    const receipt = await scoreRows(
      services,
      { program, folder, contract, inputs: [{ path: golden }], rows: found.rows, tables: {}, transform: null },
      work,
    );
    const difference = await largestDifference(
      services,
      { columns: predictions, left: paths(receipt), right: [golden], match: null },
      work,
    );
    const isEqual = difference.rows === found.rows && difference.relative <= goldenTolerance;
    return checkResult('golden_rows', {
      status: isEqual ? 'pass' : 'fail',
      weight: 'blocking',
      value: difference.relative,
      limit: goldenTolerance,
      limitSource: 'material floor',
      rows: difference.rows,
      reason:
        `${difference.rows} of ${found.rows} golden rows were answered, differing from the trainer's predictions by at most ` +
        `${difference.relative.toExponential(1)}; ${goldenTolerance} is allowed`,
    });
  });
}

async function checkScorers(services: Services, program: Program, work: Work): Promise<CheckResult> {
  return await inScratch(services, async folder => {
    const fast = await scoreSample(services, { program, folder: await subfolder(folder, 'fast') }, work);
    const runtime = await scoreSample(
      services,
      { program, folder: await subfolder(folder, 'runtime'), scorer: 'onnxruntime' },
      work,
    );
    const columns = scoreColumns(program.model.signature);
    const match = program.contract.keys;
    const { relative, rows } = await largestDifference(
      services,
      { columns, left: paths(fast), right: paths(runtime), match },
      work,
    );
    const isEqual = rows === fast.rowsScored && relative <= scorerTolerance;
    const used = fast.scorers[0]?.scorer ?? 'onnxruntime';
    return checkResult('scorer_parity', {
      status: isEqual ? 'pass' : 'fail',
      weight: 'blocking',
      value: relative,
      limit: scorerTolerance,
      limitSource: 'material floor',
      rows,
      reason: `${used} and ONNX Runtime differ by at most ${relative.toExponential(1)} on ${rows} rows, ${scorerTolerance} is allowed`,
    });
  });
}

/** Largest absolute difference over all columns, in units of the largest output if that is above 1. */
async function largestDifference(
  services: Services,
  of: {
    readonly columns: readonly string[];
    readonly left: readonly string[];
    readonly right: readonly string[];
    /** Keys to match rows by; null matches them by their order. */
    readonly match: readonly string[] | null;
  },
  work: Work,
): Promise<{ readonly relative: number; readonly rows: number }> {
  const { columns, left, right, match } = of;
  if (left.length === 0 || right.length === 0) return { relative: 0, rows: 0 };
  const names = columns.map(identifier);
  const differences = names.map(name => `abs(a.${name} - b.${name})`).join(', ');
  const sizes = names.map(name => `abs(b.${name})`).join(', ');
  const joined =
    match === null
      ? 'a POSITIONAL JOIN b'
      : `a JOIN b ON ${match.map(key => `a.${identifier(key)} = b.${identifier(key)}`).join(' AND ')}`;
  const sql = `SELECT max(greatest(${differences})) / greatest(1, max(greatest(${sizes}))), count(*) FROM ${joined}`;
  const result = await services.engine.run(
    'query',
    { sql, tables: { a: left, b: right } },
    { deadlineMs, signal: work.signal },
  );
  const [relative, rows] = result.rows[0] ?? [];
  return { relative: Number(relative ?? 0), rows: Number(rows ?? 0) };
}

/** Time for 1,000 rows in the pass that production uses, reading and writing included: the 99th percentile of its passes. */
async function checkSpeed(services: Services, program: Program, work: Work): Promise<CheckResult> {
  const limit = program.definition.ci.p99MsPer1kRows;
  const times: number[] = [];
  let rows = 0;
  const repeats = Math.ceil(speedRows / Math.max(1, program.sample?.rows ?? 1));
  for (let pass = 0; pass < speedPasses; pass += 1) {
    const receipt = await inScratch(services, folder => scoreSample(services, { program, folder, repeats }, work));
    if (receipt.rowsScored > 0) times.push((receipt.seconds * 1e6) / receipt.rowsScored);
    rows += receipt.rowsScored;
  }
  const value = times.toSorted((a, b) => a - b)[Math.ceil(times.length * 0.99) - 1];
  if (value === undefined) {
    return checkResult('speed', { status: 'insufficient', reason: 'no row of the sample was scored' });
  }
  const isOver = limit !== null && value > limit;
  const allowed = limit === null ? '' : `, ${limit} ms are allowed`;
  // Advice: the machine that judges is rarely the one that serves.
  return checkResult('speed', {
    status: isOver ? 'warn' : 'pass',
    value,
    limit,
    limitSource: 'declared',
    rows,
    reason: `99 % of ${times.length} passes took at most ${value.toFixed(2)} ms for 1,000 rows${allowed}`,
  });
}

type Disturbance = ModelDefinition['ci']['robustness'][number];

const disturbed: Record<Disturbance, string> = {
  missing: 'missing',
  unseen: 'an unseen category',
  outliers: 'a million times larger',
};

async function checkRobustness(
  services: Services,
  { program, kind }: { readonly program: Program; readonly kind: Disturbance },
  work: Work,
): Promise<CheckResult> {
  const name = `robust_${kind}`;
  const { contract, definition, model } = program;
  const replaced = contract.columns.filter(({ role }) => role === 'feature').flatMap(column => disturb(kind, column));
  if (replaced.length === 0) {
    return checkResult(name, { status: 'not_applicable', reason: `no column can be tested for ${kind}` });
  }
  return await inScratch(services, async folder => {
    const rows = definition.data.transform ?? 'SELECT * FROM features';
    const transform = `SELECT * REPLACE (${replaced.join(', ')}) FROM (${rows})`;
    const receipt = await scoreSample(services, { program, folder, transform }, work);
    const columns = scoreColumns(model.signature).map(identifier);
    const unusable = columns.map(column => `${column} IS NULL OR NOT isfinite(${column})`).join(' OR ');
    const sql = `SELECT count(*) FROM p WHERE ${unusable}`;
    const result =
      receipt.predictions === null
        ? { rows: [[0]] }
        : await services.engine.run(
            'query',
            { sql, tables: { p: paths(receipt) } },
            { deadlineMs, signal: work.signal },
          );
    const bad = Number(result.rows[0]?.[0] ?? 0);
    return checkResult(name, {
      status: bad === 0 ? 'pass' : 'fail',
      weight: 'blocking',
      value: bad,
      limit: 0,
      limitSource: 'declared',
      rows: receipt.rowsRead,
      reason:
        `${bad} of ${receipt.rowsScored} predictions are not numbers when every feature is ${disturbed[kind]}; ` +
        `${receipt.rowsQuarantined} rows went to quarantine`,
    });
  });
}

function disturb(kind: Disturbance, { name, type }: ContractColumn): readonly string[] {
  const column = identifier(name);
  const isNumber = type === 'float' || type === 'double' || type === 'int';
  if (kind === 'missing') return [`CASE WHEN false THEN ${column} END AS ${column}`];
  if (kind === 'outliers') return isNumber ? [`CAST(${column} AS DOUBLE) * 1e6 AS ${column}`] : [];
  return type === 'category' || type === 'text' ? [`'never seen before' AS ${column}`] : [];
}

interface SampleOptions {
  readonly program: Program;
  readonly folder: string;
  readonly scorer?: ModelToScore['scorer'];
  readonly transform?: string;
  /** Read the sample so many times over. */
  readonly repeats?: number;
}

/** Scores the newest held-out partition, perhaps through another scorer or after a change to its columns. */
async function scoreSample(services: Services, options: SampleOptions, work: Work): Promise<ChunkReceipt> {
  const { program, folder, scorer, transform, repeats = 1 } = options;
  const { sample, definition, contract } = program;
  if (sample === null) throw new Error('a version without held-out partitions has no sample');
  return await scoreRows(
    services,
    {
      program,
      folder,
      contract,
      inputs: Array.from({ length: repeats }, () => sample.inputs).flat(),
      rows: sample.rows * repeats,
      tables: sample.tables,
      transform: transform ?? definition.data.transform,
      ...(scorer === undefined ? {} : { scorer }),
    },
    work,
  );
}

interface RowsOptions extends Pick<ScoreChunkJob, 'inputs' | 'rows' | 'tables' | 'transform'> {
  readonly program: Program;
  readonly folder: string;
  readonly contract: Contract;
  readonly scorer?: ModelToScore['scorer'];
  readonly inputs: readonly InputRange[];
}

async function scoreRows(services: Services, options: RowsOptions, work: Work): Promise<ChunkReceipt> {
  const { program, folder, contract, scorer, inputs, rows, tables, transform } = options;
  return await services.engine.run(
    'score-chunk',
    {
      inputs,
      rows,
      tables,
      transform,
      contract,
      outputColumns: contract.keys,
      models: [scorer === undefined ? program.model : { ...program.model, scorer }],
      scoredAt: '1970-01-01T00:00:00Z',
      baseline: null,
      sliceColumns: [],
      outputFolder: folder,
      batchRows,
      device: 'off',
    },
    { deadlineMs, signal: work.signal },
  );
}

async function subfolder(folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(path, { recursive: true });
  return path;
}

function paths(receipt: ChunkReceipt): readonly string[] {
  return receipt.predictions === null ? [] : [receipt.predictions.path];
}
