/** The shape of `models/<name>.yaml`: every key, what it may hold, and its default. */
import * as z from 'zod';
import type { AlertSpecification } from '../domain/alert.ts';
import { defaultMultivariatePolicy, defaultSkewPolicy, type RetrainTrigger } from '../domain/definition.ts';
import { section } from './yaml-file.ts';

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
  /** `30d`, ending at the event time, or with the column that says when it ends. */
  window: z
    .union([days.transform(length => ({ length, ends: null })), section({ length: days, ends: z.string() })])
    .optional(),
});

export const rolloutStep = z.union([
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

const off = z.literal('off').transform(() => null);

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
  z
    .enum(['quality_below', 'drift_with_loss', 'drift', 'multivariate_drift'])
    .transform((kind): RetrainTrigger => ({ kind })),
  z.literal('behind_probe').transform((): RetrainTrigger => ({ kind: 'behind_probe', margin: probeMargin })),
  section({ behind_probe: z.number().min(0) }).transform(
    ({ behind_probe: margin }): RetrainTrigger => ({ kind: 'behind_probe', margin }),
  ),
  section({ age: days }).transform(({ age }): RetrainTrigger => ({ kind: 'age', days: age })),
]);

export const builtin = z.looseObject({ builtin: z.enum(['logistic', 'gbdt']) });
export const command = z.looseObject({ command: z.array(z.string()).min(1) });

export const definitionFile = section({
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
      known_at: z.string().nullable().default(null),
      mature_share: z.number().min(0.5).max(1).nullable().default(null),
      weight: z.string().nullable().default(null),
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
    skew: z
      .union([
        off,
        section({
          rows: z.number().int().positive().default(defaultSkewPolicy.rows),
          mismatch: z.number().min(0).max(1).default(defaultSkewPolicy.mismatch),
          tolerance: z.number().min(0).default(defaultSkewPolicy.tolerance),
        }),
      ])
      .prefault({}),
    multivariate: z
      .union([
        off,
        section({
          rows: z.number().int().min(200).max(100_000).default(defaultMultivariatePolicy.rows),
          limit: z.number().min(0.5).max(1).default(defaultMultivariatePolicy.limit),
        }),
      ])
      .prefault({}),
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
