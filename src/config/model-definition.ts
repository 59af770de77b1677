/** `models/<name>.yaml` → ModelDefinition: parsed once, at the edge, with every default filled in. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { z } from 'zod';
import { type AlertSpecification, alertProblems } from '../domain/alert.ts';
import type { Contract } from '../domain/contract.ts';
import type { InputTable, ModelDefinition, RetrainTrigger, RolloutStep } from '../domain/definition.ts';
import { unknownName } from '../domain/nearest.ts';
import { ConfigurationError, readYamlFile, section } from './yaml-file.ts';

export const days = z
  .string()
  .regex(/^\d+d$/, 'expected a number of days such as 30d')
  .transform(text => Number.parseInt(text, 10));
const onFail = z.enum(['warn', 'quarantine', 'block']);
const share = z.number().min(0).max(1);

const format = z.enum(['parquet', 'csv', 'json', 'delta']).default('parquet');
/** Relative to the project, and inside it. */
const projectPath = z
  .string()
  .min(1)
  .refine(
    path => !path.startsWith('/') && !path.split('/').includes('..'),
    'the path is relative to the project and stays inside it',
  );
const tablePath = projectPath.refine(
  path => !path.includes('://') || /^s3:\/\/[a-z0-9][a-z0-9.-]+\/./.test(path),
  'expected a path in the project, or s3://bucket/path',
);
/** A table that a transform joins. */
const joinedTable = section({ format: z.literal('parquet').default('parquet'), path: tablePath });

const column = section({
  name: z.string(),
  type: z.enum(['float', 'double', 'int', 'bool', 'category', 'text', 'timestamp', 'date']),
  role: z.enum(['feature', 'ignore']).default('feature'),
  min: z.number().nullable().default(null),
  max: z.number().nullable().default(null),
  nulls: section({
    max: share.nullable().default(null),
    as: z.enum(['nan', 'default', 'quarantine']).default('nan'),
    default: z.union([z.number(), z.string()]).nullable().default(null),
  }).prefault({}),
  values: z.array(z.string()).nullable().default(null),
  unseen: z.enum(['other', 'fail']).default('other'),
  unique: z.boolean().default(false),
  on_fail: onFail.default('warn'),
  pii: z.boolean().default(false),
});

const rolloutStep = z.union([
  z.literal('direct'),
  z.literal('blue_green'),
  section({ shadow: z.number().int().positive() }),
  section({ canary: share, partitions: z.number().int().positive().default(1) }),
  section({ ab: share, partitions: z.number().int().positive().default(1) }),
]);

const clock = z
  .string()
  .regex(/^daily \d\d:\d\d$/, 'expected "daily HH:MM" (UTC)')
  .transform(text => ({ hour: Number(text.slice(6, 8)), minute: Number(text.slice(9, 11)) }));
const weekdays = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'];
const weekly = z
  .string()
  .regex(new RegExp(`^weekly (${weekdays.join('|')}) \\d\\d:\\d\\d$`), 'expected "weekly sunday HH:MM" (UTC)')
  .transform(text => {
    const [, weekday = 'sunday', time = '00:00'] = text.split(' ');
    return { weekday: weekdays.indexOf(weekday), hour: Number(time.slice(0, 2)), minute: Number(time.slice(3, 5)) };
  });

const persistence = z
  .string()
  .regex(/^\d+ of \d+$/, 'expected "K of N", for example "3 of 5"')
  .transform(text => {
    const [k = 1, n = 1] = text.split(' of ').map(Number);
    return { k, n };
  })
  .refine(({ k, n }) => k >= 1 && k <= n, 'K must be between 1 and N');

/** Every field is required: an alert without an owner or an action is noise with a schedule. */
const alert = section({
  id: z.string().min(1),
  scope: z.enum(['dataset', 'model', 'feature', 'slice']),
  metric: z.string().min(1),
  min_rows: z.number().int().min(0),
  normal: section({ low: z.number(), high: z.number(), source: z.string().min(1) }),
  warn: z.number(),
  critical: z.number(),
  direction: z.enum(['above', 'below']),
  persistence,
  exit: z.number(),
  cooldown: z.number().int().min(0),
  owner: z.string().min(1),
  action: section({
    runbook: z.string().min(1),
    automation: z.enum(['none', 'hold_promotion', 'block_training', 'open_retraining', 'rollback']),
  }),
}).transform(
  ({ min_rows: minRows, cooldown: cooldownWindows, ...rest }): AlertSpecification => ({
    ...rest,
    minRows,
    cooldownWindows,
  }),
);

/** Two points of AUC, chosen on weeks 1–40 of Elec2: what a retraining has to promise before it is worth its trouble. */
const probeMargin = 0.02;

const trigger = z.union([
  z.enum(['quality_below', 'drift_with_loss', 'drift']).transform((kind): RetrainTrigger => ({ kind })),
  z.literal('behind_probe').transform((): RetrainTrigger => ({ kind: 'behind_probe', margin: probeMargin })),
  section({ behind_probe: z.number().min(0) }).transform(
    ({ behind_probe: margin }): RetrainTrigger => ({ kind: 'behind_probe', margin }),
  ),
  section({ age: days }).transform(({ age }): RetrainTrigger => ({ kind: 'age', days: age })),
]);

const builtin = z.looseObject({ builtin: z.enum(['logistic', 'gbdt']) });
const command = z.looseObject({ command: z.array(z.string()).min(1) });

const definitionFile = section({
  model: z.string().regex(/^[a-z][a-z0-9-]*$/, 'expected lower-case letters, digits and dashes'),
  task: z.enum(['binary', 'multiclass', 'regression']),
  data: section({
    features: section({
      format,
      path: tablePath,
      keys: z.array(z.string()).min(1),
      event_time: z.string().nullable().default(null),
      known_at: z.string().nullable().default(null),
    }),
    labels: section({
      format,
      path: tablePath,
      keys: z.array(z.string()).min(1).optional(),
      column: z.string(),
      positive: z.union([z.string(), z.number(), z.boolean()]).default('1'),
      horizon: days.default(0),
    })
      .nullable()
      .default(null),
    tables: z.record(z.string(), joinedTable).default({}),
    transform: projectPath.nullable().default(null),
  }),
  contract: section({
    columns: z.array(column).min(1),
    rules: z
      .array(section({ id: z.string(), sql: z.string(), mostly: share.default(1), on_fail: onFail.default('warn') }))
      .default([]),
    forbidden: z.array(z.string()).default([]),
    quarantine_budget: share.default(0.01),
  }),
  train: section({
    trainer: z.union([builtin, command]).default({ builtin: 'gbdt' }),
    window: days.default(90),
    holdout: z
      .union([
        days,
        z
          .string()
          .regex(/^\d+%$/)
          .transform(text => ({ share: Number.parseInt(text, 10) / 100 })),
      ])
      .default(14),
    purge: days.optional(),
    seed: z.number().int().default(7),
  }).prefault({}),
  evaluate: section({
    metric: z.string().optional(),
    min: z.number().nullable().default(null),
    champion: section({
      non_inferior_by: z.number().min(0).default(0.002),
      confidence: z.number().min(0.5).max(0.999).default(0.95),
    }).prefault({}),
    slices: z.array(z.string()).default([]),
    min_slice_rows: z.number().int().positive().default(500),
  }).prefault({}),
  ci: section({
    p99_ms_per_1k_rows: z.number().positive().nullable().default(null),
    size_mb: z.number().positive().nullable().default(null),
    robustness: z.array(z.enum(['missing', 'outliers', 'unseen'])).default(['missing', 'outliers', 'unseen']),
  }).prefault({}),
  promote: section({
    approvers: z.array(z.string()).default([]),
    approvals: z.number().int().min(0).default(1),
    four_eyes: z.boolean().default(false),
    expires: days.default(7),
    remind: days.default(1),
    rollout: z.array(rolloutStep).min(1).default(['direct']),
  }).prefault({}),
  score: section({
    output: z.string().optional(),
    pass_through: z.array(z.string()).default([]),
    chunk_rows: z.number().int().min(1).default(1_000_000),
    device: z.enum(['require', 'prefer', 'off']).default('off'),
    scorer: z.enum(['auto', 'onnxruntime']).default('auto'),
  }).prefault({}),
  monitor: section({
    windows: days.default(1),
    drift: section({
      metric: z.literal('psi').default('psi'),
      warn: z.number().positive().default(0.1),
      alert: z.number().positive().default(0.25),
      persistence: persistence.prefault('3 of 5'),
      min_rows: z.number().int().positive().default(500),
    }).prefault({}),
    quality: section({
      metric: z.string().optional(),
      min: z.number().nullable().default(null),
      min_rows: z.number().int().positive().default(500),
    }).prefault({}),
    alerts: z.array(alert).default([]),
  }).prefault({}),
  retrain: section({
    when: z.array(trigger).default([{ kind: 'quality_below' }, { kind: 'drift_with_loss' }]),
    cooldown: days.default(7),
    budget: z
      .string()
      .regex(/^\d+ per \d+d$/, 'expected "N per Dd", for example "4 per 30d"')
      .transform(text => {
        const [runs = 0, period = 30] = text.split(' per ').map(part => Number.parseInt(part, 10));
        return { runs, days: period };
      })
      .prefault('4 per 30d'),
    min_new_labels: z.number().int().min(0).default(500),
  }).prefault({}),
  schedules: section({
    score: clock.nullable().default(null),
    monitor: z
      .union([z.literal('after score').transform((): 'after_score' => 'after_score'), clock])
      .nullable()
      .default(null),
    retrain: weekly.nullable().default(null),
    retain: clock.nullable().default(null),
  }).prefault({}),
  retain: section({
    superseded: days.default(30),
    min_generations: z.number().int().min(1).default(2),
  }).prefault({}),
});

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
  }));
  problems.push(...columnProblems(name, columns, contract.forbidden));
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
    if (column.min !== null && column.max !== null && column.min > column.max) {
      problems.push(`${name}: contract.columns: "${column.name}" has min ${column.min} above max ${column.max}`);
    }
  }
  return problems;
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
