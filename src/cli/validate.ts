/** `almanac validate [model]`: a definition and the newest data it names, checked without a server; nothing is recorded. */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { listModels, readDefinition } from '../config/model-definition.ts';
import type { Project } from '../config/project.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import { nearest } from '../domain/nearest.ts';
import { batchRows } from '../domain/scoring.ts';
import type { InputRange, RuleCount } from '../engine/job.ts';
import type { EnginePool } from '../engine/pool.ts';
import { checkTrainer } from '../trainers/index.ts';
import { ParameterError } from '../trainers/parameters.ts';
import { withEngine } from './engine.ts';
import { CommandFailure, exitCode, show, tableLines, verdictText } from './output.ts';
import { ProjectTables } from './partitions.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';

const deadlineMs = 600_000;

interface Validated {
  readonly model: string;
  readonly partition: string;
  readonly rows: number;
  readonly quarantined: number;
  readonly rules: readonly RuleCount[];
  /** What keeps the model from being trained or scored. */
  readonly problems: readonly string[];
}

export async function validate(model: string | undefined, options: ProjectOptions): Promise<void> {
  const project = projectOf(options);
  const models = model === undefined ? listModels(project.folder) : [model];
  if (models.length === 0) throw new CommandFailure('no models/<name>.yaml; start with almanac init --from FILE');
  await withEngine('validate', async ({ engine, scratch }) => {
    const validated: Validated[] = [];
    for (const name of models) validated.push(await validateModel({ engine, project, scratch, model: name }));
    show(options.json, { models: validated }, document => document.models.flatMap(linesOf));
    const problems = validated.flatMap(one => one.problems.map(problem => `${one.model}: ${problem}`));
    if (problems.length > 0) throw new CommandFailure(problems.join('\n'), exitCode.gate);
  });
}

async function validateModel(of: {
  readonly engine: EnginePool;
  readonly project: Project;
  readonly scratch: string;
  readonly model: string;
}): Promise<Validated> {
  const { engine, project, scratch, model } = of;
  const definition = readDefinition(project.folder, model);
  const features = definition.data.features;
  const input = new ProjectTables({ project, engine, scratch });
  const partition = await input.newest(features);
  const files = await input.inputs(features, partition);
  const inspection = await engine.run('inspect', { files }, { deadlineMs });
  const problems = [
    ...trainerProblems(definition),
    ...missingColumns(definition, [...inspection.columns.map(({ name }) => name), ...constantColumns(files)]),
    ...(await labelProblems(engine, input, definition)),
  ];
  if (problems.length > 0) return { model, partition, rows: inspection.rows, quarantined: 0, rules: [], problems };

  const tables: Record<string, readonly string[]> = {};
  for (const [name, table] of Object.entries(definition.data.tables)) {
    tables[name] = await input.paths(table, partition);
  }
  const receipt = await engine.run(
    'score-chunk',
    {
      inputs: files,
      rows: inspection.rows,
      tables,
      transform: definition.data.transform,
      contract: definition.contract,
      outputColumns: [],
      models: [],
      scoredAt: `${partition}T00:00:00Z`,
      baseline: null,
      sliceColumns: [],
      outputFolder: await mkdtemp(join(scratch, `${model}-`)),
      batchRows,
      device: 'off',
    },
    { deadlineMs },
  );
  const { rules, rowsQuarantined } = receipt;
  const broken = rules.filter(rule => rule.bad > 0 && rule.onFail === 'block');
  const budget = Math.floor(definition.contract.quarantineBudget * inspection.rows);
  return {
    model,
    partition,
    rows: inspection.rows,
    quarantined: rowsQuarantined,
    rules,
    problems: [
      ...broken.map(rule => `${rule.id}: ${rule.bad} of ${rule.rows} rows break a blocking rule in ${partition}`),
      ...(rowsQuarantined > budget
        ? [`${rowsQuarantined} rows of ${partition} would be quarantined; the budget is ${budget}`]
        : []),
    ],
  };
}

function trainerProblems(definition: ModelDefinition): string[] {
  try {
    checkTrainer(definition.train.trainer);
    return [];
  } catch (error) {
    if (error instanceof ParameterError) return [`train.trainer: ${error.message}`];
    throw error;
  }
}

/** A transform makes its own columns; without one the contract's columns must be in the files. */
function missingColumns(definition: ModelDefinition, names: readonly string[]): string[] {
  if (definition.data.transform !== null) return [];
  const { contract } = definition;
  const wanted = [...contract.keys, ...contract.columns.map(column => column.name)];
  return wanted
    .filter(name => !names.includes(name))
    .map(name => {
      const near = nearest(name, names);
      const hint = near === null ? '' : ` (renamed to "${near}"?)`;
      return `column "${name}" is not in the files${hint}; expected by the contract, found ${names.join(', ')}`;
    });
}

async function labelProblems(engine: EnginePool, input: ProjectTables, { data }: ModelDefinition): Promise<string[]> {
  const { labels } = data;
  if (labels === null) return ['no data.labels: the model can be scored but not trained'];
  const files = await input.inputs(labels, await input.newest(labels));
  const { columns } = await engine.run('inspect', { files }, { deadlineMs });
  const names = [...columns.map(column => column.name), ...constantColumns(files)];
  return [...labels.keys, labels.column]
    .filter(name => !names.includes(name))
    .map(name => `labels have no column "${name}"; found ${names.join(', ')}`);
}

/** Columns that the files lack and their partition gives. */
function constantColumns(files: readonly InputRange[]): readonly string[] {
  return [...new Set(files.flatMap(({ constants }) => Object.keys(constants ?? {})))];
}

function linesOf(one: Validated): string[] {
  const state = verdictText(one.problems.length === 0 ? 'pass' : 'fail');
  return [
    `${one.model}: ${state}; ${one.rows.toLocaleString('en')} rows of ${one.partition}, ${one.quarantined} quarantined`,
    ...(one.rules.length === 0
      ? []
      : tableLines(
          ['rule', 'on fail', 'rows', 'bad'],
          one.rules.map(rule => [rule.id, rule.onFail, rule.rows, rule.bad]),
        )),
  ];
}
