/**
 * The verbs an engine child knows: each is one lazily imported module of `verbs/` that exports `run(job, context)`. A
 * child loads only what its jobs need, so a child that inspects files never loads ONNX Runtime.
 */
import type { Separation } from '../checks/domain-classifier.ts';
import type { ServedComparison } from '../checks/skew.ts';
import type { EraseJob, EraseOutput } from './erase-job.ts';
import type { HistoryFiles, HistoryJob } from './history-job.ts';
import type {
  BaselineJob,
  BaselineOutput,
  ChunkReceipt,
  EvaluateJob,
  Evaluation,
  ImportReceipt,
  ImportTableJob,
  Inspection,
  InspectJob,
  MaterialiseJob,
  PreparedModel,
  PrepareModelJob,
  ProfileJob,
  ProfileOutput,
  QueriesJob,
  QueryJob,
  QueryResult,
  ScoreChunkJob,
  TrainedFiles,
  TrainingSet,
  TrainJob,
  WrittenFile,
} from './job.ts';
import type { QuarantineJob, QuarantineOutput, RepairJob, RepairOutput } from './quarantine-job.ts';
import type { CompareServedJob, TellApartJob } from './served-job.ts';
import type { ComparedSplits, CompareSplitsJob } from './split-job.ts';
import type { DeltaCheckpointJob } from './verbs/delta-checkpoint.ts';
import type { ProbeDeviceJob, ProbedDevice } from './verbs/probe-device.ts';

/** Verb → its job document and its output. Add a verb here and in `MODULES`. */
export interface Verbs {
  readonly inspect: { readonly job: InspectJob; readonly output: Inspection };
  readonly 'score-chunk': { readonly job: ScoreChunkJob; readonly output: ChunkReceipt };
  readonly evaluate: { readonly job: EvaluateJob; readonly output: Evaluation };
  readonly 'import-table': { readonly job: ImportTableJob; readonly output: ImportReceipt };
  readonly materialise: { readonly job: MaterialiseJob; readonly output: TrainingSet };
  readonly 'prepare-model': { readonly job: PrepareModelJob; readonly output: PreparedModel };
  readonly baseline: { readonly job: BaselineJob; readonly output: BaselineOutput };
  readonly profile: { readonly job: ProfileJob; readonly output: ProfileOutput };
  readonly train: { readonly job: TrainJob; readonly output: TrainedFiles };
  readonly query: { readonly job: QueryJob; readonly output: QueryResult };
  readonly queries: { readonly job: QueriesJob; readonly output: readonly QueryResult[] };
  readonly history: { readonly job: HistoryJob; readonly output: HistoryFiles };
  readonly quarantine: { readonly job: QuarantineJob; readonly output: QuarantineOutput };
  readonly repair: { readonly job: RepairJob; readonly output: RepairOutput };
  readonly 'delta-checkpoint': { readonly job: DeltaCheckpointJob; readonly output: WrittenFile };
  readonly erase: { readonly job: EraseJob; readonly output: EraseOutput };
  readonly 'compare-served': { readonly job: CompareServedJob; readonly output: ServedComparison };
  readonly 'tell-apart': { readonly job: TellApartJob; readonly output: Separation };
  readonly 'compare-splits': { readonly job: CompareSplitsJob; readonly output: ComparedSplits };
  readonly 'probe-device': { readonly job: ProbeDeviceJob; readonly output: ProbedDevice };
}
export type Verb = keyof Verbs;

/** How far a job is. `resume` is whatever the verb could start from again (a partition, a round), or null. */
export interface Progress {
  readonly done: number;
  /** Null when unknown. */
  readonly total: number | null;
  readonly unit: string;
  readonly resume: string | number | null;
}

export interface VerbContext {
  progress(progress: Progress): void;
  /** Folder of this job alone; removed after it. */
  readonly scratch: string;
  /** Folder of compiled trees, shared by the children of a pool; without it nothing is kept. */
  readonly kernels?: string;
  /** Memory the child may use, in MB; DuckDB gets about half of it. */
  readonly memoryMb: number;
  /** Aborts on SIGTERM, half a second before the process ends: the moment to stop one's own subprocesses. */
  readonly signal: AbortSignal;
}

export interface VerbModule<V extends Verb> {
  run(job: Verbs[V]['job'], context: VerbContext): Promise<Verbs[V]['output']>;
  /** Loads what every job of the verb needs besides its code. */
  warm?(): void;
}

const MODULES: { readonly [V in Verb]: () => Promise<VerbModule<V>> } = {
  inspect: () => import('./verbs/inspect.ts'),
  'score-chunk': () => import('./verbs/score-chunk.ts'),
  evaluate: () => import('./verbs/evaluate.ts'),
  'import-table': () => import('./verbs/import-table.ts'),
  materialise: () => import('./verbs/materialise.ts'),
  'prepare-model': () => import('./verbs/prepare-model.ts'),
  baseline: () => import('./verbs/baseline.ts'),
  profile: () => import('./verbs/profile.ts'),
  train: () => import('./verbs/train.ts'),
  query: () => import('./verbs/query.ts'),
  queries: () => import('./verbs/queries.ts'),
  history: () => import('./verbs/history.ts'),
  quarantine: () => import('./verbs/quarantine.ts'),
  repair: () => import('./verbs/repair.ts'),
  'delta-checkpoint': () => import('./verbs/delta-checkpoint.ts'),
  erase: () => import('./verbs/erase.ts'),
  'compare-served': () => import('./verbs/compare-served.ts'),
  'tell-apart': () => import('./verbs/tell-apart.ts'),
  'compare-splits': () => import('./verbs/compare-splits.ts'),
  'probe-device': () => import('./verbs/probe-device.ts'),
};

export async function loadVerb<V extends Verb>(verb: V): Promise<VerbModule<V>> {
  const load = MODULES[verb];
  if (load === undefined) throw new Error(`unknown verb ${verb}; known: ${Object.keys(MODULES).join(', ')}`);
  return load();
}
