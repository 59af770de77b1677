/** Scores one chunk; without models it validates and profiles it. */
import type { ChunkReceipt, ScoreChunkJob } from '../job.ts';
import { scoreChunk } from '../score.ts';
import type { VerbContext } from '../verbs.ts';

export function run(job: ScoreChunkJob, context: VerbContext): Promise<ChunkReceipt> {
  return scoreChunk(job, context);
}
