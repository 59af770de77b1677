/** Profiles: of training data on edges frozen from it, and of whole partitions from those of their chunks. */
import type { ModelDefinition } from '../domain/definition.ts';
import type { Profile } from '../domain/profile.ts';
import { mergeProfiles } from '../domain/profile-merge.ts';
import type { Work } from './long.ts';
import type { Services } from './services.ts';

/** The sum of these profiles, in this order; null when there are none. */
export async function mergedProfile(services: Services, digests: readonly string[]): Promise<Profile | null> {
  const profiles = await Promise.all(digests.map(digest => services.catalog.profile(digest)));
  return profiles.length === 0 ? null : mergeProfiles(profiles);
}

/** Freezes edges from the training set and counts it on them. */
export async function profileOf(
  services: Services,
  input: { definition: ModelDefinition; file: string; rows: number; folder: string },
  work: Work,
): Promise<{ readonly baseline: string; readonly profile: string }> {
  void services;
  void input;
  void work;
  throw new Error('not yet');
}
