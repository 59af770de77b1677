/** The facts behind T6–T8: two splits of the training rows, features of later dates, and where aggregation windows end. */
import {
  checkAggregations,
  checkLeadLag,
  checkRandomSplit,
  type LateAggregation,
  type LeadLag,
  planTimeSplit,
  type SquaredAssociation,
} from '../checks/leakage-suspicion.ts';
import { checkResult } from '../checks/result.ts';
import { type Contract, featureColumns } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult } from '../domain/evidence.ts';
import { predictionTimeOf } from '../domain/prediction-time.ts';
import { addDays, isDate } from '../domain/time.ts';
import type { LabelledPartition, QueryJob } from '../engine/job.ts';
import { rowShareSql } from '../engine/sql.ts';
import { comparisonTrainer } from '../trainers/index.ts';
import { quickParameters } from '../trainers/learner.ts';
import { type LeadLagKind, leadLagAssociationSql, leadLagAucSql } from './lead-lag-sql.ts';
import { type Queries, windowEndsSql } from './leakage-sql.ts';
import type { Work } from './long.ts';
import type { Services } from './services.ts';

const probeMs = 30 * 60_000;
/** A small model learns nothing more from more rows, and an AUC of a fifth of them is known to a hundredth. */
const splitRowsMax = 30_000;
const leadLagRowsMax = 200_000;
/** Columns of one statement: each takes three windows and three sorts. */
const columnsAtOnce = 25;

interface TrainingRows {
  readonly definition: ModelDefinition;
  /** Path of `training.parquet`. */
  readonly training: string;
  readonly ask: Queries;
}

/** T6 */
export async function randomSplitChecks(
  { engine }: Pick<Services, 'engine'>,
  { definition, training, ask }: TrainingRows,
  { signal }: Pick<Work, 'signal'>,
): Promise<readonly CheckResult[]> {
  const { contract, data, task, train } = definition;
  if (task !== 'binary') return checkRandomSplit({ reason: `an AUC is of binary tasks, this one is ${task}` });
  const counted = await ask.one('SELECT partition, count(*) FROM training GROUP BY partition', {
    training: [training],
  });
  const partitions = counted.rows.map(([partition, rows]) => ({ partition: String(partition), rows: Number(rows) }));
  if (!partitions.every(({ partition }) => isDate(partition))) {
    return checkRandomSplit({ reason: 'the partitions are no dates, so none is later' });
  }
  const gapDays = Math.max(1, data.labels?.horizonDays ?? 0);
  const split = planTimeSplit(partitions, testFrom => addDays(testFrom, -gapDays));
  if (split === null) {
    const reason = `${partitions.length} days of training rows leave none to learn from ${gapDays} days before the newest fifth`;
    return checkRandomSplit({ reason });
  }
  const { name, parameters } = comparisonTrainer(train.trainer);
  const { random, time, reason } = await engine.run(
    'compare-splits',
    {
      file: training,
      label: {
        column: data.labels?.column ?? '',
        positive: data.labels?.positive ?? null,
        weight: data.labels?.weight ?? null,
      },
      features: featureColumns(contract),
      keys: contract.keys,
      split,
      rowsMax: splitRowsMax,
      trainer: name,
      parameters: quickParameters(name, parameters),
      seed: train.seed,
    },
    { deadlineMs: probeMs, signal },
  );
  if (random !== null && time !== null) return checkRandomSplit({ random, time });
  const problem = `T6: the splits cannot be compared: ${reason}`;
  return [checkResult('leakage_random_split', { status: 'insufficient', reason: problem })];
}

/** T7 */
export async function leadLagChecks({ definition, training, ask }: TrainingRows): Promise<readonly CheckResult[]> {
  const { contract, data, task, train } = definition;
  if (contract.keys.length === 0) return checkLeadLag(contract, { reason: 'rows have no keys to follow' });
  const tables = { training: [training] };
  const [[rows] = []] = (await ask.one('SELECT count(*) FROM training', tables)).rows;
  const share = Math.min(1, leadLagRowsMax / Math.max(1, Number(rows)));
  const sample = share === 1 ? 'TRUE' : rowShareSql({ side: 'holdout', share, seed: train.seed }, contract.keys);
  const label = { column: data.labels?.column ?? '', positive: data.labels?.positive ?? null };
  const found: Record<string, LeadLag> = {};
  for (const kind of ['number', 'category'] as const) {
    const columns = namesOf(contract, kind);
    for (let from = 0; from < columns.length; from += columnsAtOnce) {
      const query = { columns: columns.slice(from, from + columnsAtOnce), keys: contract.keys, label, sample };
      const isAuc = kind === 'number' && task === 'binary';
      const of: LeadLagKind = `${kind} of ${task === 'regression' ? 'values' : 'classes'}`;
      const { rows: answers } = await ask.one(isAuc ? leadLagAucSql(query) : leadLagAssociationSql(query, of), tables);
      Object.assign(found, isAuc ? aucsOf(query.columns, answers) : associationsOf(query.columns, answers, of));
    }
  }
  if (
    Object.values(found).every(one =>
      'measure' in one ? one.present === null : one.present === null && one.positives + one.negatives === 0,
    )
  ) {
    return checkLeadLag(contract, { reason: 'no key occurs on more than one date' });
  }
  return checkLeadLag(contract, found);
}

const typesOf: Readonly<Record<'number' | 'category', readonly string[]>> = {
  number: ['float', 'double', 'int', 'bool'],
  category: ['category', 'text'],
};

function namesOf(contract: Contract, kind: 'number' | 'category'): readonly string[] {
  return featureColumns(contract)
    .filter(({ type }) => typesOf[kind].includes(type))
    .map(({ name }) => name);
}

type Answers = readonly (readonly unknown[])[];

function answerOf(answers: Answers, index: number, which: string): readonly unknown[] | undefined {
  return answers.find(([i, name]) => Number(i) === index && name === which);
}

function aucsOf(columns: readonly string[], answers: Answers): Record<string, LeadLag> {
  const aucOf = (row: readonly unknown[] | undefined) => (row === undefined || row[4] === null ? null : Number(row[4]));
  return Object.fromEntries(
    columns.map((name, index) => {
      const present = answerOf(answers, index, 'present');
      return [
        name,
        {
          past: aucOf(answerOf(answers, index, 'past')),
          present: aucOf(present),
          future: aucOf(answerOf(answers, index, 'future')),
          positives: Number(present?.[2] ?? 0),
          negatives: Number(present?.[3] ?? 0),
        },
      ];
    }),
  );
}

const measures = {
  'number of values': 'rank correlation',
  'number of classes': 'correlation ratio',
  'category of values': 'correlation ratio',
  'category of classes': "Cramér's V",
} as const;

function associationsOf(columns: readonly string[], answers: Answers, kind: LeadLagKind): Record<string, LeadLag> {
  const association = (row: readonly unknown[] | undefined): SquaredAssociation | null => {
    if (row === undefined) return null;
    const [, , rows, squared, values, labels, outside] = row;
    return {
      squared: squared === null ? null : Number(squared),
      rows: Number(rows),
      values: Number(values),
      labels: Number(labels),
      outside: Number(outside),
    };
  };
  return Object.fromEntries(
    columns.map((name, index) => {
      const at = (which: string) => association(answerOf(answers, index, which));
      return [name, { measure: measures[kind], past: at('past'), present: at('present'), future: at('future') }];
    }),
  );
}

/** T8: windows end by a column of what the transform gives, or of the features themselves. */
export async function aggregationChecks(
  definition: ModelDefinition,
  partitions: readonly LabelledPartition[],
  ask: Queries,
): Promise<readonly CheckResult[]> {
  const { contract, data } = definition;
  const declared = contract.columns.flatMap(({ name, window }) =>
    window === undefined ? [] : [{ column: name, ends: window.ends }],
  );
  const [first] = partitions;
  if (declared.length === 0 || first === undefined) return checkAggregations(contract, []);
  if (!partitions.every(({ partition }) => isDate(partition))) {
    const reason = 'T8: the partitions are no dates: prediction times are not known';
    return [checkResult('leakage_aggregation', { status: 'not_applicable', reason })];
  }
  const relations = await relationsOf(data.transform, first, ask);
  const facts: Parameters<typeof checkAggregations>[1][number][] = [];
  for (const [relation, columns] of relations) {
    const here = declared.filter(
      one => columns.includes(one.ends) && !facts.some(({ column }) => column === one.column),
    );
    if (here.length > 0) facts.push(...(await lateIn(definition, partitions, { relation, declared: here, ask })));
  }
  const columns = relations.at(-1)?.[1].join(', ');
  const missing = declared.filter(one => !facts.some(({ column }) => column === one.column));
  const unknown = missing.map(({ column, ends }) => ({
    column,
    reason: `its window ends at ${ends}, which is no column of the features; they have ${columns}`,
  }));
  return checkAggregations(contract, [...facts, ...unknown]);
}

/** What the transform gives, then the features as they are, each with its columns. */
async function relationsOf(
  transform: string | null,
  partition: LabelledPartition,
  ask: Queries,
): Promise<readonly (readonly [relation: string, columns: readonly string[]])[]> {
  const relations = transform === null ? ['features'] : [`(${transform.trim().replace(/;\s*$/, '')})`, 'features'];
  const described = relations.map(async relation => {
    const { columns } = await ask.one(`SELECT * FROM ${relation} LIMIT 0`, sourcesOf(partition));
    return [relation, columns.map(({ name }) => name)] as const;
  });
  return await Promise.all(described);
}

interface DeclaredWindow {
  readonly column: string;
  readonly ends: string;
}

async function lateIn(
  definition: ModelDefinition,
  partitions: readonly LabelledPartition[],
  {
    relation,
    declared,
    ask,
  }: { readonly relation: string; readonly declared: readonly DeclaredWindow[]; readonly ask: Queries },
): Promise<readonly LateAggregation[]> {
  const ends = [...new Set(declared.map(one => one.ends))];
  const found = await ask.each(
    partitions.map(partition => ({
      sql: windowEndsSql(relation, ends, predictionTimeOf(definition, partition.partition) ?? ''),
      tables: sourcesOf(partition),
    })),
  );
  const rows = found.flatMap(one => one.rows);
  const total = (at: number) => rows.reduce((sum, row) => sum + Number(row[at]), 0);
  return declared.map(one => {
    const at = 1 + 3 * ends.indexOf(one.ends);
    const leadHours = Math.max(0, ...rows.map(row => Number(row[at + 1])));
    return { ...one, rows: total(0), late: total(at), leadHours, unknown: total(at + 2) };
  });
}

function sourcesOf({ inputs, tables }: LabelledPartition): QueryJob['tables'] {
  return { features: inputs, ...tables };
}
