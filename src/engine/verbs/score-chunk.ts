/** Scores one chunk; without models it validates and profiles it. */
import { keepSpare } from '../duckdb.ts';
import type { ChunkReceipt, ScoreChunkJob } from '../job.ts';
import { loadRuntime } from '../onnx-session.ts';
import { scoreChunk } from '../score.ts';
import type { VerbContext } from '../verbs.ts';

export function run(job: ScoreChunkJob, context: VerbContext): Promise<ChunkReceipt> {
  return scoreChunk(job, context);
}

export function warm(): void {
  // In a thread of its own, while ONNX Runtime is loaded in this one.
  keepSpare();
  loadRuntime();
}
