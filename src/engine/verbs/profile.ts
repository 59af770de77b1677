/** Counts files on the edges of a baseline. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Baseline } from '../../domain/profile.ts';
import { DuckDbSession } from '../duckdb.ts';
import type { ProfileJob, ProfileOutput } from '../job.ts';
import { profileFiles } from '../profile/profile-files.ts';
import type { VerbContext } from '../verbs.ts';

export async function run(job: ProfileJob, context: VerbContext): Promise<ProfileOutput> {
  const bytes = await readFile(job.baseline);
  const session = await DuckDbSession.open({
    files: job.files,
    folders: [],
    limits: context,
  });
  try {
    const profile = await profileFiles(session, {
      dataset: job.dataset,
      kind: job.kind,
      files: job.files,
      columns: job.columns,
      personal: job.personal,
      ...(job.label === undefined ? {} : { label: job.label.column, positive: job.label.positive }),
      baseline: JSON.parse(bytes.toString('utf8')) as Baseline,
      baselineDigest: createHash('sha256').update(bytes).digest('hex'),
      asOf: job.asOf,
      eventTime: job.eventTime,
      knownAt: job.knownAt,
    });
    const path = join(job.outputFolder, 'profile.json');
    await writeFile(path, JSON.stringify(profile));
    return { profile: path };
  } finally {
    session.close();
  }
}
