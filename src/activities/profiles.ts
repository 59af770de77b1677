/** Profiles of whole partitions from those of their chunks. */
import type { Profile } from '../domain/profile.ts';
import type { Services } from './services.ts';

/** The sum of these profiles; null when there are none. */
export async function mergedProfile(services: Services, digests: readonly string[]): Promise<Profile | null> {
  const profiles = await Promise.all(digests.map(digest => services.catalog.profile(digest)));
  return profiles.length <= 1 ? (profiles[0] ?? null) : null;
}
