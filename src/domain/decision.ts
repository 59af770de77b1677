/** A decision: what the retraining policy concluded and why, also when it concluded to do nothing. */

export interface RetrainingDecision {
  readonly schema: 'decision/1';
  readonly model: string;
  readonly partition: string;
  readonly asOf: string;
  readonly conclusion: 'retrain' | 'hold' | 'wait' | 'nothing';
  readonly reason: string;
  /** Triggers that fired. */
  readonly triggers: readonly string[];
  /** Digests of the evidence it was drawn from. */
  readonly evidence: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;
}
