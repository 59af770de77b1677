/** A project: a folder with `almanac.yaml`, `models/<name>.yaml` and its state in `.almanac/`. */
import { existsSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import * as z from 'zod';
import { ConfigurationError } from './configuration-error.ts';
import { days } from './definition-schema.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { readYamlFile, section } from './yaml-file.ts';

export interface Project {
  /** Absolute. */
  readonly folder: string;
  /** Absolute folder for state: scratch, logs, the dev server's database. */
  readonly stateFolder: string;
  /** Absolute folder or `s3://bucket/prefix`. */
  readonly store: string;
  /** Of an S3 store that is not AWS's default. */
  readonly s3: { readonly endpoint?: string; readonly region?: string };
  readonly temporal: { readonly profile: string | null; readonly namespace: string };
  /** Person → groups. Empty: the operating-system user is the only approver. */
  readonly people: Readonly<Record<string, readonly string[]>>;
  readonly retain: {
    /** Of every model's quarantined rows. Default: as the model's predictions. */
    readonly quarantine?: { readonly supersededDays: number; readonly minGenerations: number };
    /** Kind of document (plan, receipts, job, profile) → days; a kind that is not named is kept for ever. */
    readonly documents: Readonly<Record<string, number>>;
  };
  readonly environment: Environment;
}

const projectFile = section({
  store: z.string().default('.almanac/store'),
  endpoint: z.string().optional(),
  region: z.string().optional(),
  temporal: section({
    profile: z.string().nullable().default(null),
    namespace: z.string().default('default'),
  }).prefault({}),
  people: z.record(z.string(), z.array(z.string())).default({}),
  retain: section({
    quarantine: section({ superseded: days, min_generations: z.number().int().min(1).default(1) }).optional(),
    documents: section({
      plan: days.optional(),
      receipts: days.optional(),
      job: days.optional(),
      profile: days.optional(),
    }).prefault({}),
  }).prefault({}),
});

function retainOf({ quarantine, documents }: z.output<typeof projectFile>['retain']): Project['retain'] {
  const kinds = Object.entries(documents).flatMap(([kind, of]) => (of === undefined ? [] : [[kind, of] as const]));
  return {
    ...(quarantine === undefined
      ? {}
      : { quarantine: { supersededDays: quarantine.superseded, minGenerations: quarantine.min_generations } }),
    documents: Object.fromEntries(kinds),
  };
}

/** @throws ConfigurationError when the folder is not a project or its file is wrong. */
export function openProject(folder: string, environment: Environment = readEnvironment()): Project {
  const root = resolve(folder);
  const path = join(root, 'almanac.yaml');
  if (!existsSync(path)) {
    throw new ConfigurationError([
      `no almanac.yaml in ${root}: run \`almanac init --from FILE.csv\` there, or name the project with --project FOLDER`,
    ]);
  }
  const file = readYamlFile(path, 'almanac.yaml', projectFile);
  const store = environment.store ?? file.store;
  return {
    folder: root,
    stateFolder: join(root, '.almanac'),
    store: store.startsWith('s3://') || isAbsolute(store) ? store : join(root, store),
    s3: {
      ...(file.endpoint === undefined ? {} : { endpoint: file.endpoint }),
      ...(file.region === undefined ? {} : { region: file.region }),
    },
    temporal: file.temporal,
    people: file.people,
    retain: retainOf(file.retain),
    environment,
  };
}
