/**
 * What workflows see of activities: references in, references and small summaries out. A digest names a document in the
 * catalog; rows and model bytes never pass through here. Grouped by the queue that does the work.
 */
import type { ApprovalGate, ApprovalOutcome, JudgedClaim } from '../domain/approval.ts';
import type { RolloutStep } from '../domain/definition.ts';
import type { DeploymentState, Served } from '../domain/deployment.ts';
import type { Verdict } from '../domain/evidence.ts';
import type { PromotionOutcome } from '../domain/promotion.ts';
import type { PlannedStep } from '../domain/rollout.ts';

export type Digest = string;

export type WorkflowType =
  | 'trainModel'
  | 'promoteModel'
  | 'scoreModel'
  | 'monitorModel'
  | 'backfill'
  | 'rollbackModel'
  | 'retainData';

/** The verdict of one evidence document, with what a person wants to read first. */
export interface EvidenceSummary {
  readonly digest: Digest;
  readonly kind: string;
  readonly verdict: Verdict;
  readonly reasons: readonly string[];
}

export interface PinnedDefinition {
  readonly definition: Digest;
  readonly monitorAfterScore: boolean;
}

export interface StartedWorkflow {
  readonly workflowId: string;
  readonly found: boolean;
}

// --- Training -------------------------------------------------------------------------------------------------------

/** Everything a training is pinned to; made once, then only read. */
export interface TrainingPlan {
  readonly model: string;
  readonly definition: Digest;
  readonly asOf: string;
  /** Workflow id of the training; the id of its run. */
  readonly run: string;
  readonly trigger: string;
}
export interface FrozenSnapshot {
  readonly features: Digest;
  readonly labels: Digest | null;
  /** Partitions the model learns from, and the later ones it is judged on. */
  readonly train: { readonly from: string; readonly to: string; readonly partitions: number };
  readonly holdout: { readonly from: string; readonly to: string; readonly partitions: number };
  readonly rows: number;
}
export interface TrainingData {
  /** Artifact with the training set (Parquet). */
  readonly file: Digest;
  readonly rows: number;
  readonly baseline: Digest;
  readonly profile: Digest;
}
export interface TrainedVersion {
  readonly version: number;
  readonly bundle: Digest;
  readonly run: string;
  readonly metrics: Readonly<Record<string, number | null>>;
}

// --- Promotion ------------------------------------------------------------------------------------------------------

export interface OpenedPromotion {
  readonly gate: ApprovalGate;
  /** Reasons why the version may not even be asked for; empty opens the wait for approvals. */
  readonly held: readonly string[];
  readonly evidence: readonly EvidenceSummary[];
  /** The table an approver reads. */
  readonly rows: readonly CardRow[];
  readonly champion: number | null;
  readonly served: Served;
  readonly rollout: readonly PlannedStep[];
  readonly expiresAt: string;
  readonly remindDays: number;
  /** How the `temporal` program is called here: `temporal --address …`. */
  readonly command: string;
}
export interface CardRow {
  readonly what: string;
  readonly challenger: string;
  readonly champion: string;
  readonly limit: string;
  readonly verdict: string;
}
export type AppliedStep =
  | { readonly kind: 'applied'; readonly entry: number; readonly state: DeploymentState }
  | { readonly kind: 'refused'; readonly outcome: 'superseded' | 'failed'; readonly reason: string };
export type TrialWatch =
  | { readonly kind: 'waiting'; readonly seen: number; readonly wanted: number }
  | { readonly kind: 'passed' | 'failed'; readonly evidence: readonly EvidenceSummary[]; readonly reason: string };

// --- Scoring --------------------------------------------------------------------------------------------------------

export interface ScoringPlanReference {
  readonly plan: Digest;
  readonly chunks: number;
  readonly rows: number;
  readonly versions: readonly number[];
  readonly monitorAfterScore: boolean;
}
export interface ScoredBatch {
  /** Digest of the list of chunk receipts. */
  readonly receipts: Digest;
  readonly rows: number;
}
export type AuditedJob =
  | { readonly kind: 'complete'; readonly manifest: Digest; readonly rows: number; readonly evidence: EvidenceSummary }
  | { readonly kind: 'blocked'; readonly evidence: EvidenceSummary };
export type CommittedJob =
  | {
      readonly kind: 'committed';
      readonly tableVersion: number;
      readonly rows: number;
      readonly versions: readonly number[];
    }
  | { readonly kind: 'fenced'; readonly reason: string };

// --- The verbs, by queue --------------------------------------------------------------------------------------------

export interface ControlActivities {
  pinDefinition(input: { model: string }): Promise<PinnedDefinition>;
  startWorkflow(input: { type: WorkflowType; workflowId: string; input: object }): Promise<StartedWorkflow>;

  openPromotion(input: {
    model: string;
    version: number;
    promotion: string;
    requestedBy: string | null;
  }): Promise<OpenedPromotion>;
  recordApproval(input: { model: string; claim: JudgedClaim }): Promise<void>;
  remindApprovers(input: {
    model: string;
    promotion: string;
    stage: 'reminder' | 'escalation';
    waitingFor: number;
  }): Promise<void>;
  applyRolloutStep(input: {
    model: string;
    version: number;
    promotion: string;
    subjectDigest: string;
    planned: PlannedStep;
    expectedChampion: number | null;
    outcome: ApprovalOutcome;
  }): Promise<AppliedStep>;
  recordTrial(input: {
    model: string;
    promotion: string;
    index: number;
    step: RolloutStep;
    outcome: 'passed' | 'failed';
    evidence: readonly Digest[];
  }): Promise<void>;
  endTrial(input: { model: string; promotion: string; reason: string }): Promise<void>;
  endPromotion(input: { model: string; promotion: string; outcome: PromotionOutcome; reason: string }): Promise<void>;

  requestGeneration(input: { model: string; partition: string; request: string }): Promise<number>;
  jobOutcome(input: { model: string; partition: string; generation: number }): Promise<'committed' | 'open' | 'ended'>;
  announceJob(input: { model: string; partition: string; versions: readonly number[] }): Promise<void>;
  recordJobFailure(input: {
    model: string;
    partition: string;
    generation: number;
    plan: Digest | null;
    outcome: 'failed' | 'cancelled';
    reason: string;
  }): Promise<void>;

  planBackfill(input: {
    model: string;
    from: string;
    to: string;
    order: 'oldest_first' | 'newest_first';
  }): Promise<{ plan: Digest; partitions: number }>;
  backfillPartitions(input: { plan: Digest; from: number; count: number }): Promise<readonly string[]>;

  nextDeploymentEntry(input: { model: string }): Promise<number>;
  rollBack(input: {
    model: string;
    rollback: string;
    requestedBy: string;
    reason: string;
  }): Promise<{ kind: 'rolled_back'; champion: number; withdrawn: number } | { kind: 'refused'; reason: string }>;
  listAffected(input: { model: string; version: number }): Promise<{
    list: Digest;
    count: number;
    from: string | null;
    to: string | null;
  }>;
}

export interface DataActivities {
  freezeSnapshot(input: TrainingPlan): Promise<FrozenSnapshot>;
  buildTrainingData(input: TrainingPlan & { snapshot: FrozenSnapshot }): Promise<TrainingData>;
  validateTrainingData(
    input: TrainingPlan & { snapshot: FrozenSnapshot; data: TrainingData },
  ): Promise<EvidenceSummary>;

  planScoring(input: {
    model: string;
    partition: string;
    generation: number;
    asOf: string;
  }): Promise<ScoringPlanReference>;
  auditJob(input: { plan: Digest; receipts: readonly Digest[] }): Promise<AuditedJob>;
  commitJob(input: { plan: Digest; manifest: Digest }): Promise<CommittedJob>;

  watchTrial(input: { model: string; version: number; planned: PlannedStep; sinceEntry: number }): Promise<TrialWatch>;

  judgeDrift(input: { model: string; partition: string; definition: Digest }): Promise<readonly EvidenceSummary[]>;
  judgeQuality(input: { model: string; partition: string; definition: Digest }): Promise<readonly EvidenceSummary[]>;
  decideRetraining(input: {
    model: string;
    partition: string;
    definition: Digest;
    evidence: readonly Digest[];
  }): Promise<{ decision: Digest; conclusion: string; reason: string; asOf: string }>;

  retainPredictions(input: {
    definition: Digest;
    date: string;
  }): Promise<{ deletedFiles: number; deletedBytes: number }>;
}

export interface TrainingActivities {
  trainVersion(input: TrainingPlan & { snapshot: FrozenSnapshot; data: TrainingData }): Promise<TrainedVersion>;
  qualifyVersion(
    input: TrainingPlan & { snapshot: FrozenSnapshot; version: number },
  ): Promise<readonly EvidenceSummary[]>;
}

export interface ScoringActivities {
  scoreChunks(input: { plan: Digest; from: number; to: number }): Promise<ScoredBatch>;
}

export type Activities = ControlActivities & DataActivities & TrainingActivities & ScoringActivities;
