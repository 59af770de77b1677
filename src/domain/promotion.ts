/**
 * A promotion: a request to change a deployment, as the list of its events. All promotions of a model share one log, so
 * that there is one order; the rules about who may approve live in `domain/approval.ts`.
 */
import type { RolloutStep } from './definition.ts';

export type PromotionEvent =
  | {
      readonly kind: 'requested';
      readonly promotion: string;
      readonly version: number;
      readonly bundle: string;
      /** What approvals bind to: digest over version, bundle, evidence and policy. */
      readonly subjectDigest: string;
      readonly evidence: readonly string[];
      readonly requestedBy: string;
      readonly expectedChampion: number | null;
      readonly expiresAt: string;
    }
  | {
      readonly kind: 'decided';
      readonly promotion: string;
      readonly decision: 'approve' | 'reject';
      readonly approver: string;
      readonly comment: string;
      /** The subject the approver saw. */
      readonly subjectDigest: string;
      /** Null when it counted; otherwise the rule it broke. */
      readonly ignored: string | null;
    }
  | {
      readonly kind: 'stepped';
      readonly promotion: string;
      /** Index in the definition's rollout. */
      readonly index: number;
      readonly step: RolloutStep;
      readonly outcome: 'started' | 'passed' | 'failed';
      readonly evidence: readonly string[];
    }
  | {
      readonly kind: 'ended';
      readonly promotion: string;
      readonly outcome: PromotionOutcome;
      readonly reason: string;
    };

export type PromotionOutcome = 'promoted' | 'rejected' | 'expired' | 'superseded' | 'failed' | 'rolled_back';
export type PromotionStatus = 'waiting' | 'rolling_out' | PromotionOutcome;

export interface Promotion {
  readonly promotion: string;
  readonly version: number;
  readonly bundle: string;
  readonly subjectDigest: string;
  readonly evidence: readonly string[];
  readonly requestedBy: string;
  readonly expectedChampion: number | null;
  readonly expiresAt: string;
  readonly status: PromotionStatus;
  readonly decisions: readonly Extract<PromotionEvent, { kind: 'decided' }>[];
  readonly steps: readonly Extract<PromotionEvent, { kind: 'stepped' }>[];
  /** Why it ended; null while it runs. */
  readonly reason: string | null;
}

/** All promotions of a model, oldest request first. Events of a promotion that was never requested are left out. */
export function foldPromotions(events: readonly PromotionEvent[]): readonly Promotion[] {
  const promotions = new Map<string, Promotion>();
  for (const event of events) {
    const before = promotions.get(event.promotion);
    const after = apply(before, event);
    if (after !== undefined) promotions.set(event.promotion, after);
  }
  return [...promotions.values()];
}

function apply(before: Promotion | undefined, event: PromotionEvent): Promotion | undefined {
  if (event.kind === 'requested') {
    const { kind: _, ...request } = event;
    // A second request under the same id is the same request, asked again.
    return before ?? { ...request, status: 'waiting', decisions: [], steps: [], reason: null };
  }
  if (before === undefined || before.reason !== null) return before;
  switch (event.kind) {
    case 'decided':
      return { ...before, decisions: [...before.decisions, event] };
    case 'stepped':
      return { ...before, status: 'rolling_out', steps: [...before.steps, event] };
    case 'ended':
      return { ...before, status: event.outcome, reason: event.reason };
  }
}
