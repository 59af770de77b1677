/** `models/<name>.yaml` → ModelDefinition: parsed once, at the edge, with every default filled in. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import type { z } from 'zod';
import { alertProblems } from '../domain/alert.ts';
import type { Contract } from '../domain/contract.ts';
import type { InputTable, ModelDefinition, RolloutStep } from '../domain/definition.ts';
import { unknownName } from '../domain/nearest.ts';
import { ConfigurationError } from './configuration-error.ts';
import { type builtin, type command, definitionFile, type rolloutStep } from './definition-schema.ts';
import { readYamlFile } from './yaml-file.ts';

/** @param project absolute folder of the project. */
export function readDefinition(project: string, model: string): ModelDefinition {
  const known = listModels(project);
  if (!known.includes(model)) throw new ConfigurationError([`models/: ${unknownName('model', model, known)}`]);
  return readDefinitionFile(project, join(project, 'models', `${model}.yaml`));
}

export function listModels(project: string): readonly string[] {
  const folder = join(project, 'models');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter(name => name.endsWith('.yaml'))
    .map(name => basename(name, '.yaml'))
    .sort();
}

function readDefinitionFile(project: string, path: string): ModelDefinition {
  const name = relative(project, path);
  const file = readYamlFile(path, name, definitionFile);
  const problems: string[] = [];
  if (file.model !== basename(path, '.yaml')) {
    problems.push(`${name}: model is "${file.model}", but the file is named "${basename(path)}"; make them equal`);
  }

  const { data, contract, train, evaluate, monitor } = file;
  for (const table of [data.features, data.labels]) {
    if (table?.format !== 'delta' || /\/[^/=]+=\{date\}$/.test(table.path)) continue;
    problems.push(
      `${name}: data: ${table.path}: of a Delta table the path is its folder and the column it is partitioned by, as in data/orders/day={date}`,
    );
  }
  const metric = evaluate.metric ?? (file.task === 'binary' ? 'auc' : file.task === 'multiclass' ? 'log_loss' : 'rmse');
  const features = data.features;
  const transform = data.transform === null ? null : readTransform(project, data.transform, problems, name);
  const table = ({ format, path }: InputTable): InputTable => ({ format, path });

  const columns: Contract['columns'] = contract.columns.map(column => ({
    name: column.name,
    type: column.type,
    role: column.role,
    min: column.min,
    max: column.max,
    nulls: { maxShare: column.nulls.max, as: column.nulls.as, default: column.nulls.default },
    values: column.values,
    unseen: column.unseen,
    unique: column.unique,
    onFail: column.on_fail,
    pii: column.pii,
    ...(column.window === undefined
      ? {}
      : { window: { days: column.window.length, ends: column.window.ends ?? features.event_time ?? '' } }),
  }));
  problems.push(...columnProblems(name, columns, contract.forbidden));
  if (data.labels !== null)
    problems.push(...weightProblems(name, data.labels, [...features.keys, ...columns.map(one => one.name)]));
  if (data.labels !== null && data.labels.mature_share !== null && data.labels.known_at === null) {
    problems.push(
      `${name}: data.labels.mature_share needs data.labels.known_at: without it nobody can say which share of the labels has come`,
    );
  }
  for (const slice of evaluate.slices) {
    const names = columns.map(column => column.name);
    if (!names.includes(slice)) problems.push(`${name}: evaluate.slices: ${unknownName('column', slice, names)}`);
  }
  problems.push(...monitor.alerts.flatMap(alertProblems).map(problem => `${name}: monitor.alerts: ${problem}`));
  if (problems.length > 0) throw new ConfigurationError(problems);

  const holdoutShare = typeof train.holdout === 'object' ? train.holdout.share : null;
  return {
    schema: 'definition/1',
    model: file.model,
    task: file.task,
    data: {
      features: table(features),
      labels:
        data.labels === null
          ? null
          : {
              ...table(data.labels),
              keys: data.labels.keys ?? features.keys,
              column: data.labels.column,
              positive: String(data.labels.positive),
              horizonDays: data.labels.horizon,
              ...(data.labels.known_at === null ? {} : { knownAt: data.labels.known_at }),
              ...(data.labels.mature_share === null ? {} : { matureShare: data.labels.mature_share }),
              ...(data.labels.weight === null ? {} : { weight: data.labels.weight }),
            },
      tables: Object.fromEntries(Object.entries(data.tables).map(([key, value]) => [key, table(value)])),
      transform,
    },
    contract: {
      keys: features.keys,
      eventTime: features.event_time,
      knownAt: features.known_at,
      columns,
      rules: contract.rules.map(rule => ({ id: rule.id, sql: rule.sql, mostly: rule.mostly, onFail: rule.on_fail })),
      forbidden: contract.forbidden,
      quarantineBudget: contract.quarantine_budget,
    },
    train: {
      trainer: trainerChoice(train.trainer),
      windowDays: train.window,
      holdoutDays: typeof train.holdout === 'number' ? train.holdout : 0,
      holdoutShare,
      purgeDays: holdoutShare === null ? (train.purge ?? data.labels?.horizon ?? 0) : 0,
      seed: train.seed,
    },
    evaluate: {
      metric,
      min: evaluate.min,
      champion: { nonInferiorBy: evaluate.champion.non_inferior_by, confidence: evaluate.champion.confidence },
      slices: evaluate.slices,
      minSliceRows: evaluate.min_slice_rows,
    },
    ci: { p99MsPer1kRows: file.ci.p99_ms_per_1k_rows, sizeMb: file.ci.size_mb, robustness: file.ci.robustness },
    promote: {
      approvers: file.promote.approvers,
      approvals: file.promote.approvals,
      fourEyes: file.promote.four_eyes,
      expiresDays: file.promote.expires,
      remindDays: file.promote.remind,
      rollout: file.promote.rollout.map(rollout),
    },
    score: {
      output: file.score.output ?? `predictions/${file.model}`,
      passThrough: file.score.pass_through,
      chunkRows: file.score.chunk_rows,
      device: file.score.device,
      scorer: file.score.scorer,
    },
    monitor: {
      windowDays: monitor.windows,
      drift: {
        metric: monitor.drift.metric,
        warn: monitor.drift.warn,
        alert: monitor.drift.alert,
        persistence: monitor.drift.persistence,
        minRows: monitor.drift.min_rows,
      },
      quality: {
        metric: monitor.quality.metric ?? metric,
        min: monitor.quality.min,
        minRows: monitor.quality.min_rows,
      },
      skew: monitor.skew,
      multivariate: monitor.multivariate,
      alerts: monitor.alerts,
    },
    retrain: {
      when: file.retrain.when,
      cooldownDays: file.retrain.cooldown,
      budget: file.retrain.budget,
      minNewLabels: file.retrain.min_new_labels,
    },
    schedules: file.schedules,
    retain: { supersededDays: file.retain.superseded, minGenerations: file.retain.min_generations },
  };
}

function readTransform(project: string, path: string, problems: string[], name: string): string {
  const file = join(project, path);
  if (existsSync(file)) return readFileSync(file, 'utf8');
  problems.push(`${name}: data.transform: no file ${path} in the project`);
  return '';
}

function columnProblems(name: string, columns: Contract['columns'], forbidden: readonly string[]): string[] {
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const column of columns) {
    if (seen.has(column.name)) problems.push(`${name}: contract.columns: "${column.name}" is declared twice`);
    seen.add(column.name);
    if (column.role === 'feature' && forbidden.includes(column.name)) {
      problems.push(
        `${name}: contract.columns: "${column.name}" is forbidden and cannot be a feature; set role: ignore`,
      );
    }
    if (column.nulls.as === 'default' && column.nulls.default === null) {
      problems.push(`${name}: contract.columns: "${column.name}" has nulls.as: default but no nulls.default`);
    }
    if (column.window?.ends === '') {
      problems.push(
        `${name}: contract.columns: "${column.name}" has a window, but when does it end? declare data.features.event_time, or window: { length, ends }`,
      );
    }
    if (column.min !== null && column.max !== null && column.min > column.max) {
      problems.push(`${name}: contract.columns: "${column.name}" has min ${column.min} above max ${column.max}`);
    }
  }
  return problems;
}

/** Weights stand beside label and features in a training set, and are none of them. */
function weightProblems(
  name: string,
  { weight, column }: { readonly weight: string | null; readonly column: string },
  features: readonly string[],
): string[] {
  if (weight === null || ![...features, column].includes(weight)) return [];
  const what = weight === column ? 'the label' : 'a key or a column of the contract';
  return [
    `${name}: data.labels.weight: "${weight}" is ${what}; weights need a column of their own, of the label files`,
  ];
}

function trainerChoice(
  trainer: z.output<typeof builtin> | z.output<typeof command>,
): ModelDefinition['train']['trainer'] {
  if ('builtin' in trainer) {
    const { builtin: name, ...parameters } = trainer;
    return { kind: 'builtin', name: name === 'logistic' ? 'logistic' : 'gbdt', parameters };
  }
  const { command: argv, ...parameters } = trainer;
  return { kind: 'command', argv: Array.isArray(argv) ? argv.map(String) : [], parameters };
}

function rollout(step: z.output<typeof rolloutStep>): RolloutStep {
  if (step === 'direct') return { kind: 'direct' };
  if (step === 'blue_green') return { kind: 'blue_green' };
  if ('shadow' in step) return { kind: 'shadow', partitions: Number(step.shadow) };
  if ('canary' in step) return { kind: 'canary', share: Number(step.canary), partitions: Number(step.partitions) };
  return { kind: 'ab', share: Number(step.ab), partitions: Number(step.partitions) };
}
