/**
 * Builds a training set. Each partition goes through the transform and the contract exactly as at scoring, is joined with
 * its own labels by key, and ends in one Parquet file in the order of the partitions.
 */
import { join } from 'node:path';
import { ArgumentList } from '../arguments.ts';
import { DuckDbSession } from '../duckdb.ts';
import { DuckDBScalarFunction, FLOAT } from '../duckdb-api.ts';
import { EngineFault } from '../fault.ts';
import { writeWhole } from '../files.ts';
import type { LabelSource, MaterialiseJob, RuleCount, TrainingSet } from '../job.ts';
import { weightCountsSql, weightProblem } from '../label-weights.ts';
import { RowRules } from '../row-rules.ts';
import { Source } from '../source.ts';
import { identifier, inputRelation, literal, PARQUET_OPTIONS, pathLiteral, rowShareSql } from '../sql.ts';
import { outputItems, setNull, Vectors } from '../vectors.ts';
import type { VerbContext } from '../verbs.ts';

export async function run(job: MaterialiseJob, context: VerbContext): Promise<TrainingSet> {
  const pieces: Piece[] = [];
  for (const [index, partition] of job.partitions.entries()) {
    pieces.push(await keepRows(job, partition, join(context.scratch, `piece-${index}.parquet`), context));
    context.progress({
      done: index + 1,
      total: job.partitions.length,
      unit: 'partitions',
      resume: partition.partition,
    });
  }
  const session = await DuckDbSession.open({
    files: job.partitions.flatMap(({ labels }) => (labels?.files ?? []).map(({ path }) => path)),
    folders: [job.outputFolder],
    limits: context,
  });
  try {
    const selects: string[] = [];
    for (const [index, { labels, partition }] of job.partitions.entries()) {
      const rows = `SELECT * FROM read_parquet(${pathLiteral(pieces[index]!.path)})`;
      selects.push(labels === null ? rows : await joinLabels(session, rows, labels, { partition, index }));
    }
    const file = await writeWhole(join(job.outputFolder, 'training.parquet'), temporary =>
      session.run(`COPY (${selects.join('\nUNION ALL BY NAME\n')}) TO ${literal(temporary)} ${PARQUET_OPTIONS}`),
    );
    const kept = pieces.reduce((sum, piece) => sum + piece.rows, 0);
    return {
      file,
      columns: await session.describe(`SELECT * FROM read_parquet(${pathLiteral(file.path)})`),
      rowsRead: pieces.reduce((sum, piece) => sum + piece.rowsRead, 0),
      rowsUnlabelled: kept - file.rows,
      rowsQuarantined: pieces.reduce((sum, piece) => sum + piece.rowsQuarantined, 0),
      rules: addRules(pieces.map(piece => piece.rules)),
    };
  } finally {
    session.close();
  }
}

interface Piece {
  readonly path: string;
  readonly rows: number;
  readonly rowsRead: number;
  readonly rowsQuarantined: number;
  readonly rules: readonly RuleCount[];
}

/**
 * The rows of a partition that the contract keeps, in a file of their own. Joining labels in the same statement would let
 * DuckDB push the join's key range into the scan, and rows would vanish before they are counted.
 */
async function keepRows(
  job: MaterialiseJob,
  partition: MaterialiseJob['partitions'][number],
  path: string,
  context: VerbContext,
): Promise<Piece> {
  const { contract, transform } = job;
  const { inputs, rows, tables } = partition;
  const source = await Source.open({
    job: { inputs, rows, tables, transform, contract },
    folders: [],
    context,
  });
  try {
    const { session } = source;
    const args = new ArgumentList(source.columns);
    const rules = new RowRules(contract, args, new Map());
    args.condition('TRUE');
    let rowsRead = 0;
    let rowsQuarantined = 0;
    session.register(
      DuckDBScalarFunction.create({
        name: 'almanac_keep',
        parameterTypes: args.types,
        returnType: FLOAT,
        volatile: true,
        // An argument that DuckDB knows to be NULL would fold the whole call to NULL: no row would be read.
        specialHandling: true,
        mainFunction: (_info, input, output) => {
          const vectors = new Vectors(input, args.types.length);
          const quarantined = rules.judge(vectors);
          rowsRead += vectors.rows;
          rowsQuarantined += quarantined.length;
          outputItems(output).fill(1);
          setNull(output, quarantined, vectors.rows);
          output.flush();
        },
      }),
    );
    const names = [...new Set([...contract.keys, ...contract.columns.map(column => column.name)])];
    const columns = names.map(name => (source.has(name) ? identifier(name) : `NULL AS ${identifier(name)}`));
    const kept =
      `SELECT ${literal(partition.partition)} AS partition, * EXCLUDE (almanac_keep) FROM ` +
      `(SELECT ${columns.join(', ')}, almanac_keep(${args.sql}) AS almanac_keep FROM (${source.sql})) ` +
      `WHERE almanac_keep IS NOT NULL`;
    const written = await session.run(`COPY (${kept}) TO ${literal(path)} ${PARQUET_OPTIONS}`);
    await source.assertUnchanged();
    if (transform === null && rowsRead !== rows) {
      throw new EngineFault(
        'bad_input',
        `partition ${partition.partition}: ${rowsRead} rows were read, the plan says ${rows}`,
      );
    }
    return { path, rows: written, rowsRead, rowsQuarantined, rules: rules.counts };
  } finally {
    source.close();
  }
}

/** Labels by key, those without a value left out; two labels for one key would silently double its row. */
async function joinLabels(
  session: DuckDbSession,
  rows: string,
  labels: LabelSource,
  { partition, index }: { readonly partition: string; readonly index: number },
): Promise<string> {
  const view = `almanac_labels_${index}`;
  await createLabelView(session, view, labels, partition);
  const weight = labels.weight ?? null;
  const columns = [`l.${identifier(labels.column)}`];
  // As numbers, whatever the files have: rows of several partitions come together.
  if (weight !== null) columns.push(`CAST(l.${identifier(weight)} AS DOUBLE) AS ${identifier(weight)}`);
  return `SELECT k.*, ${columns.join(', ')} FROM (${rows}) k JOIN ${view} l USING (${labels.keys.map(identifier).join(', ')})`;
}

/** Keys, label and weight, without rows that have no label. Throws when a key has two, and when a weight is none. */
export async function createLabelView(
  session: DuckDbSession,
  view: string,
  labels: LabelSource,
  partition: string,
): Promise<void> {
  const keys = labels.keys.map(identifier).join(', ');
  const label = identifier(labels.column);
  const weight = labels.weight ?? null;
  if (weight !== null) await assertWeights(session, labels, weight, partition);
  const chosen = labels.only === null ? 'TRUE' : rowShareSql(labels.only, labels.keys);
  await session.run(
    `CREATE VIEW ${view} AS SELECT ${keys}, ${label}${weight === null ? '' : `, ${identifier(weight)}`} FROM (${inputRelation(labels.files, new Map())}) ` +
      `WHERE ${label} IS NOT NULL AND ${chosen}`,
  );
  const [found] = await session.rows(
    `SELECT count(*) AS n FROM (SELECT 1 FROM ${view} GROUP BY ${keys} HAVING count(*) > 1)`,
  );
  const doubled = Number(found?.['n']);
  if (doubled > 0) {
    throw new EngineFault(
      'bad_input',
      `labels of partition ${partition}: ${doubled} key(s) of ${labels.keys.join(', ')} have more than one label; keep one per key`,
      { partition, doubled },
    );
  }
}

/** Weights of labels are positive numbers; says of the first file that has others which, and how many. */
async function assertWeights(
  session: DuckDbSession,
  labels: LabelSource,
  column: string,
  partition: string,
): Promise<void> {
  for (const file of labels.files) {
    const relation = `(${inputRelation([file], new Map())})`;
    const names = (await session.describe(`SELECT * FROM ${relation}`)).map(({ name }) => name);
    if (!names.includes(column)) {
      throw new EngineFault(
        'bad_input',
        `labels of partition ${partition}: ${file.path} has no column ${column} for weights; its columns are ${names.join(', ')}`,
        { partition, column },
      );
    }
    const [row] = await session.rows(weightCountsSql(relation, labels.column, column));
    const problem = weightProblem(row ?? {});
    if (problem === null) continue;
    throw new EngineFault(
      'bad_input',
      `labels of partition ${partition}: column ${column} of ${file.path}: ${problem}; a weight is the inverse of the probability that the row was labelled`,
      { partition, column },
    );
  }
}

function addRules(pieces: readonly (readonly RuleCount[])[]): RuleCount[] {
  const sums = new Map<string, RuleCount>();
  for (const rule of pieces.flat()) {
    const known = sums.get(rule.id);
    sums.set(rule.id, { ...rule, rows: rule.rows + (known?.rows ?? 0), bad: rule.bad + (known?.bad ?? 0) });
  }
  return [...sums.values()];
}
