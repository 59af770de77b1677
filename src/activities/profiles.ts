/** Profiles: of training data on edges frozen from it, and of whole partitions from those of their chunks. */
import { readFile } from 'node:fs/promises';
import type { ModelDefinition } from '../domain/definition.ts';
import type { Baseline, Profile } from '../domain/profile.ts';
import { mergeProfiles } from '../domain/profile-merge.ts';
import type { Work } from './long.ts';
import { fetchedBaseline, type Services } from './services.ts';

const profileMs = 2 * 60 * 60_000;

/** The sum of these profiles, in this order; null when there are none. */
export async function mergedProfile(services: Services, digests: readonly string[]): Promise<Profile | null> {
  const profiles = await Promise.all(digests.map(digest => services.catalog.profile(digest)));
  return profiles.length === 0 ? null : mergeProfiles(profiles);
}

/** Freezes edges from the training set and counts it on them; digests of both documents. */
export async function profileTrainingSet(
  services: Services,
  input: { definition: ModelDefinition; file: string; folder: string; asOf: string },
  work: Work,
): Promise<{ readonly baseline: string; readonly profile: string }> {
  const { catalog, engine } = services;
  const { definition, folder } = input;
  const { contract, model } = definition;
  // A serving version keeps this profile. The values of a key say who the rows are about and have no distribution to drift
  // from, so they stay out, unless the model itself learns from them.
  const columns = contract.columns
    .filter(({ name, role }) => role === 'feature' || !contract.keys.includes(name))
    .map(column => column.name);
  const limits = { deadlineMs: profileMs, signal: work.signal };
  const frozen = await engine.run(
    'baseline',
    {
      files: [input.file],
      columns,
      // Each training has edges of its own; drift is measured from what the champion has learned from.
      number: (await catalog.versions(model)).length + 1,
      reason: 'frozen from the training set',
      score: definition.task === 'binary' ? { kind: 'probability' } : null,
      outputFolder: folder,
    },
    limits,
  );
  const baseline = await catalog.putBaseline(JSON.parse(await readFile(frozen.baseline, 'utf8')) as Baseline);
  const counted = await engine.run(
    'profile',
    {
      files: [input.file],
      columns,
      personal: contract.columns.filter(column => column.pii).map(column => column.name),
      baseline: await fetchedBaseline(services, baseline),
      ...(definition.task === 'binary' && definition.data.labels !== null
        ? { label: { column: definition.data.labels.column, positive: definition.data.labels.positive } }
        : {}),
      dataset: `${model}/training`,
      kind: 'reference',
      asOf: input.asOf,
      eventTime: null,
      knownAt: null,
      outputFolder: folder,
    },
    limits,
  );
  const profile = JSON.parse(await readFile(counted.profile, 'utf8')) as Profile;
  return { baseline, profile: await catalog.putProfile(profile) };
}
